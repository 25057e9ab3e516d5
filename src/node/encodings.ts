import { isMap, isNativeError, isPromise, isSet } from 'node:util/types'
import { Transcoder } from 'level-transcoder'
import { kindOf } from '../base/arguments.ts'
import { copyBytes, EMPTY_BYTES, fromUtf8, pooledCopy, utf8 } from '../base/bytes.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import { nameOf } from '../model/key.ts'
import { decodeStructured, encodeStructured } from './structured.ts'

/**
 * An encoding of one's own: anything to bytes and back, or with the format `'utf8'` anything to text and back. Both
 * functions must be pure, and what they return is theirs no more. Encodings that were made for Level fit, those of
 * `abstract-encoding` and of multiformats among them.
 */
export type CustomEncoding<T> = BytesEncoding<T> | TextEncoding<T>

/** An encoding of one's own into bytes. */
export interface BytesEncoding<T> {
  /** For error messages. */
  readonly name?: string | undefined
  /** What `decode` is given: a `Buffer`, unless it is `'view'`, a plain `Uint8Array`. */
  readonly format?: 'buffer' | 'view' | undefined
  /** The bytes of a value. */
  readonly encode: (value: T) => Uint8Array
  /** The value of such bytes, which are its own. */
  readonly decode: (bytes: Buffer) => T
}

/** An encoding of one's own into text, which is kept as UTF-8. */
export interface TextEncoding<T> {
  /** For error messages. */
  readonly name?: string | undefined
  readonly format: 'utf8'
  /** The text of a value. */
  readonly encode: (value: T) => string
  /**
   * The value of such text: a function of a string, to be written with its type. Said in this loose way so that TypeScript
   * can tell what the `decode` of a {@link BytesEncoding} is given where nobody says it.
   */
  readonly decode: CallableFunction
}

/**
 * Encodings that are built in: text (`utf8`), JSON, bytes as `Uint8Array` (`view`) or as `Buffer`, and bytes as text, in
 * hexadecimal or base 64.
 */
export type EncodingName = 'utf8' | 'json' | 'view' | 'buffer' | 'hex' | 'base64'

/** How keys become bytes; values have {@link ValueEncoding}. */
export type Encoding<T> = EncodingName | CustomEncoding<T>

/**
 * How values become bytes. `'structured'` keeps dates, maps, sets, typed arrays, big integers and fields that are
 * `undefined` what they are, as CBOR.
 */
export type ValueEncoding<T> = Encoding<T> | 'structured'

/** Both directions of an encoding. What is decoded shares no memory with the bytes. */
export interface Codec<T> {
  readonly encode: (value: T) => Uint8Array
  readonly decode: (bytes: Uint8Array) => T
}

/** What Level's encodings tell their format by. */
interface LevelEncoding {
  readonly name?: unknown
  readonly format?: unknown
  readonly type?: unknown
  readonly buffer?: unknown
  readonly code?: unknown
}

type What = 'keyEncoding' | 'valueEncoding'
/** Something of a type that the encoding does not take. Who calls is told of what. */
class MisuseError extends TypeError {}
/** Makes bytes of the caller's last. */
type Own = (bytes: Uint8Array) => Uint8Array

const NAMES: readonly string[] = ['utf8', 'json', 'view', 'buffer', 'hex', 'base64'] satisfies EncodingName[]

/**
 * The codec of keys or of values. The bytes of a key are copies, as they are needed for as long as an operation takes;
 * those of a value may be the caller's own memory, as they are copied into a record before anything is waited for.
 *
 * @param keyspace - name of the keyspace, for messages. Default: the default keyspace
 * @throws KilovoltError `KV_CONFIG` for an unknown encoding
 */
export function createCodec<T>(encoding: ValueEncoding<T>, what: What, keyspace: Uint8Array = EMPTY_BYTES): Codec<T> {
  const own = what === 'keyEncoding' ? copyBytes : (bytes: Uint8Array) => bytes
  if (typeof encoding !== 'string') return customCodec(encoding, what, own, keyspace)
  // A named encoding is typed by its name; the caller's T is what it asked that name for.
  return checked(namedCodec(encoding, what, own) as unknown as Codec<T>, encoding, what, keyspace)
}

/** Level's names. Its own codecs take whatever they are given, `String(value)` of it at worst: ours refuse misuse. */
function namedCodec(name: string, what: What, own: Own): Codec<never> {
  switch (name) {
    case 'utf8':
      return { encode: (value: unknown) => utf8(wholeText(value)), decode: fromUtf8 as () => never }
    case 'json':
      return {
        encode: (value: unknown) => utf8(json(value)),
        decode: view => JSON.parse(fromUtf8(view)) as never
      }
    case 'view':
      return { encode: (value: unknown) => own(bytes(value)), decode: pooledCopy as () => never }
    case 'buffer':
      return { encode: (value: unknown) => own(bytes(value)), decode: view => Buffer.from(view) as never }
    case 'hex':
      return { encode: fromHexText, decode: view => bufferOver(view).toString('hex') as never }
    case 'base64':
      return { encode: fromBase64Text, decode: view => bufferOver(view).toString('base64') as never }
    case 'structured':
      // What is equal need not have equal bytes: the fields of an object may come in any order.
      if (what === 'keyEncoding') throw unknownEncoding(what, 'values only may be structured')
      return {
        encode: value => encodeStructured(defined(value, 'structured')),
        decode: decodeStructured as () => never
      }
    default: {
      // Another name for one of these.
      const known = resolved(name, what).commonName
      if (known === name) throw unknownEncoding(what)
      return namedCodec(known, what, own)
    }
  }
}

/** What is it that `encode` makes: Level's own rules say, so that encodings which were made for Level mean the same here. */
function customCodec<T>(encoding: CustomEncoding<T>, what: What, own: Own, keyspace: Uint8Array): Codec<T> {
  if (typeof encoding !== 'object' || encoding === null) throw unknownEncoding(what)
  if (typeof encoding.encode !== 'function' || typeof encoding.decode !== 'function') {
    throw new KilovoltError('KV_CONFIG', 'an encoding object needs the functions encode and decode')
  }
  // Its functions may need their object; and other arguments would mean "write into this buffer" to some of them.
  const encode = (value: T): unknown => encoding.encode(value)
  const decode = (encoded: unknown): T => (encoding.decode as (encoded: unknown) => T).call(encoding, encoded)
  const { name, format, type, buffer, code } = encoding as LevelEncoding
  const as = resolved({ name, format, type, buffer, code, encode, decode }, what)
  return checked(
    {
      encode: as.format === 'utf8' ? value => utf8(wholeText(encode(value))) : value => own(bytes(encode(value))),
      decode: view => decode(FORMATTED[as.format](view))
    },
    as.commonName,
    what,
    keyspace
  )
}

/** What an encoding of each format is given to decode; its own in any case. */
const FORMATTED = {
  utf8: fromUtf8,
  view: pooledCopy,
  buffer: (view: Uint8Array) => Buffer.from(view)
}

function resolved(encoding: string | object, what: What): { format: keyof typeof FORMATTED; commonName: string } {
  try {
    // One for each, as it remembers whatever it has seen.
    return new Transcoder(['buffer', 'view', 'utf8']).encoding(encoding as string)
  } catch (cause) {
    throw unknownEncoding(what, messageOf(cause), cause)
  }
}

function unknownEncoding(what: What, why?: string, cause?: unknown): KilovoltError {
  const names = what === 'valueEncoding' ? [...NAMES, 'structured'] : NAMES
  const problem = why === undefined ? '' : ` (${why})`
  return new KilovoltError(
    'KV_CONFIG',
    `"${what}" must be one of ${names.join(', ')} or an encoding object${problem}`,
    {
      cause
    }
  )
}

/** Errors that say of what they are; of the value or the key itself they tell nothing, as it may be somebody's secret. */
function checked<T>(codec: Codec<T>, name: string, what: What, keyspace: Uint8Array): Codec<T> {
  const part = what === 'keyEncoding' ? 'key' : 'value'
  const hint = `: was it written with another ${what}?`
  const guard = <A, B>(direction: string, fn: (input: A) => B) => {
    return (input: A): B => {
      try {
        return fn(input)
      } catch (error) {
        if (error instanceof MisuseError) throw new TypeError(`the ${part}: ${error.message}`, { cause: error })
        const of = `a ${part} of ${nameOf(keyspace)} as ${name}`
        // Of a circle JSON says on further lines where it is, by the names of its fields.
        const [reason] = messageOf(error).split('\n', 1)
        const message = `could not ${direction} ${of} (${reason})${direction === 'decode' ? hint : ''}`
        throw new KilovoltError('KV_ENCODING', message, { cause: error })
      }
    }
  }
  return { encode: guard('encode', codec.encode), decode: guard('decode', codec.decode) }
}

function json(value: unknown): string {
  const given = JSON.stringify(defined(value, 'JSON')) as string | undefined
  if (given === undefined) throw new MisuseError('what the toJSON of a value makes has no JSON form')
  if (given === '{}') assertEmpty(value)
  return given
}

/** JSON makes `{}` of these whatever is in them: a forgotten `await`, or data that would be lost. */
function assertEmpty(value: unknown): void {
  if (isPromise(value)) throw new MisuseError('a promise has no JSON form: await it first')
  if (isMap(value) || isSet(value) || isNativeError(value)) {
    throw new MisuseError('maps, sets and errors have no JSON form; "valueEncoding: \'structured\'" has one')
  }
}

function defined<T>(value: T, form: string): T {
  if (value === undefined || typeof value === 'function' || typeof value === 'symbol') {
    throw new MisuseError(`${kindOf(value)} has no ${form} form; to remove a key, use delete`)
  }
  return value
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw new MisuseError(`a string is expected, not ${kindOf(value)}`)
  return value
}

/** UTF-8 has no form for half a surrogate pair: whichever it is, it would become U+FFFD. */
function wholeText(value: unknown): string {
  const given = text(value)
  if (!given.isWellFormed()) throw new MisuseError('a string with half a surrogate pair in it has no UTF-8 form')
  return given
}

function bytes(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new MisuseError(`a Uint8Array is expected, not ${kindOf(value)}`)
  return value
}

function fromHexText(value: unknown): Uint8Array {
  const given = text(value)
  // It stops at the first thing that is no digit, and of any other letter it looks at the low byte alone.
  if (given.length % 2 !== 0 || /[^\dA-Fa-f]/u.test(given))
    throw new MisuseError('a string of hexadecimal digits, two for each byte, is expected')
  return Buffer.from(given, 'hex')
}

function fromBase64Text(value: unknown): Uint8Array {
  const given = text(value)
  // It passes over whatever is no digit.
  if (!/^[\w+/-]*={0,2}$/u.test(given) || given.replace(/=+$/u, '').length % 4 === 1)
    throw new MisuseError('a string in base 64 is expected')
  return Buffer.from(given, 'base64')
}

function bufferOver({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, length)
}
