import { copyBytes, fromUtf8, utf8 } from '../base/bytes.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'

/** An encoding of one's own: anything to bytes and back. Both functions must be pure. */
export interface CustomEncoding<T> {
  /** For error messages. */
  readonly name: string
  /** The bytes of a value. */
  readonly encode: (value: T) => Uint8Array
  /** The value of such bytes. */
  readonly decode: (bytes: Uint8Array) => T
}

/** Encodings that are built in: text, JSON, and bytes as `Uint8Array` (`view`) or `Buffer`. */
export type EncodingName = 'utf8' | 'json' | 'view' | 'buffer'

/** How keys or values become bytes. */
export type Encoding<T> = EncodingName | CustomEncoding<T>

/** Both directions of an encoding. What is decoded shares no memory with the bytes. */
export interface Codec<T> {
  readonly encode: (value: T) => Uint8Array
  readonly decode: (bytes: Uint8Array) => T
}

const NAMES: readonly string[] = ['utf8', 'json', 'view', 'buffer'] satisfies EncodingName[]

/**
 * The codec of keys or of values. The bytes of a key are copies, as they are needed for as long as an operation takes;
 * those of a value may be the caller's own memory, as they are copied into a record before anything is waited for.
 *
 * @throws KilovoltError `KV_CONFIG` for an unknown encoding
 */
export function createCodec<T>(encoding: Encoding<T>, what: 'keyEncoding' | 'valueEncoding'): Codec<T> {
  const own = what === 'keyEncoding' ? copyBytes : (bytes: Uint8Array) => bytes
  if (typeof encoding === 'object' && encoding !== null) return checked(customCodec(encoding, own), encoding.name)
  if (!NAMES.includes(encoding)) {
    throw new KilovoltError('KV_CONFIG', `"${what}" must be one of ${NAMES.join(', ')} or an encoding object`)
  }
  // A named encoding is typed by its name; the caller's T is what it asked that name for.
  return checked(namedCodec(encoding, own) as unknown as Codec<T>, encoding)
}

function namedCodec(name: EncodingName, own: (bytes: Uint8Array) => Uint8Array) {
  switch (name) {
    case 'utf8':
      return { encode: (value: unknown) => utf8(text(value)), decode: fromUtf8 }
    case 'json':
      return {
        encode: (value: unknown) => utf8(JSON.stringify(defined(value))),
        decode: (view: Uint8Array): unknown => JSON.parse(fromUtf8(view))
      }
    case 'view':
      return { encode: (value: unknown) => own(bytes(value)), decode: copyBytes }
    case 'buffer':
      return { encode: (value: unknown) => own(bytes(value)), decode: (view: Uint8Array) => Buffer.from(view) }
  }
}

function customCodec<T>(encoding: CustomEncoding<T>, own: (bytes: Uint8Array) => Uint8Array): Codec<T> {
  if (typeof encoding.encode !== 'function' || typeof encoding.decode !== 'function') {
    throw new KilovoltError('KV_CONFIG', 'an encoding object needs the functions encode and decode')
  }
  return {
    encode: value => own(bytes(encoding.encode(value))),
    decode: view => encoding.decode(copyBytes(view))
  }
}

function checked<T>(codec: Codec<T>, name: string): Codec<T> {
  const guard = <A, B>(direction: string, fn: (input: A) => B) => {
    return (input: A): B => {
      try {
        return fn(input)
      } catch (error) {
        if (error instanceof TypeError && direction === 'encode') throw error
        throw new KilovoltError('KV_ENCODING', `could not ${direction} as ${name}: ${messageOf(error)}`, {
          cause: error
        })
      }
    }
  }
  return { encode: guard('encode', codec.encode), decode: guard('decode', codec.decode) }
}

function defined<T>(value: T): T {
  if (value === undefined || typeof value === 'function' || typeof value === 'symbol') {
    throw new TypeError(`a ${typeof value} has no JSON form; to remove a key, use delete`)
  }
  return value
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError(`a string is expected, not ${kindOf(value)}`)
  return value
}

function bytes(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError(`a Uint8Array is expected, not ${kindOf(value)}`)
  return value
}

function kindOf(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'an array' : `a value of type ${typeof value}`
}
