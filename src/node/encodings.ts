import { Transcoder } from 'level-transcoder'
import { copyBytes } from '../base/bytes.ts'
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

/** Both directions of an encoding; bytes that go in or come out are copies, never shared with the caller. */
export interface Codec<T> {
  readonly encode: (value: T) => Uint8Array
  readonly decode: (bytes: Uint8Array) => T
}

const NAMES: readonly string[] = ['utf8', 'json', 'view', 'buffer'] satisfies EncodingName[]

/**
 * The codec of an encoding.
 *
 * @throws KilovoltError `KV_CONFIG` for an unknown encoding
 */
export function createCodec<T>(encoding: Encoding<T>, what: string): Codec<T> {
  if (typeof encoding === 'object' && encoding !== null) return checked(customCodec(encoding), encoding.name)
  if (!NAMES.includes(encoding)) {
    throw new KilovoltError('KV_CONFIG', `"${what}" must be one of ${NAMES.join(', ')} or an encoding object`)
  }
  // The transcoder types a named encoding by its name; the caller's T is what it asked that name for.
  const { encode, decode } = new Transcoder<Uint8Array>(['view']).encoding(encoding as string) as Codec<T>
  switch (encoding) {
    case 'json':
      return checked({ encode: value => encode(defined(value)), decode }, encoding)
    case 'utf8':
      return checked({ encode: value => encode(text(value)), decode }, encoding)
    case 'view':
    case 'buffer':
      // The transcoder hands the very same memory on; the caller may write to it a moment later.
      return checked({ encode: value => copyBytes(bytes(value)), decode: view => decode(copyBytes(view)) }, encoding)
  }
}

function customCodec<T>(encoding: CustomEncoding<T>): Codec<T> {
  if (typeof encoding.encode !== 'function' || typeof encoding.decode !== 'function') {
    throw new KilovoltError('KV_CONFIG', 'an encoding object needs the functions encode and decode')
  }
  return {
    encode: value => copyBytes(bytes(encoding.encode(value))),
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

function text<T>(value: T): T {
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
