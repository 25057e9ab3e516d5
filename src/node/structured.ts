import { isBoxedPrimitive } from 'node:util/types'
import { decode, type DecodeOptions, encode, type EncodeOptions, type TagDecoder, type TypeEncoder } from 'cborg'
import * as forms from 'cborg/taglib'

/**
 * Values of JavaScript as CBOR (RFC 8949), with the registered tags for what JSON has no form for: dates (1), big
 * integers (2, 3), typed arrays (64 … 86, RFC 8746), sets (258), maps (259), regular expressions (21066) and errors (27).
 * Unlike the bytes of `v8.serialize` those mean the same to every version of Node, and to other languages.
 *
 * @throws Error for what has no such form: functions, symbols, promises, circles of objects, objects of which nothing would
 *   be left, and text with half a surrogate pair in it
 */
export function encodeStructured(value: unknown): Uint8Array {
  return encode(value, ENCODING)
}

/** The value again. Shares no memory with the bytes. */
export function decodeStructured(bytes: Uint8Array): unknown {
  return decode(bytes, DECODING)
}

/** What the library calls the kinds of values, and what becomes of them where that is not its own form for them. */
const ENCODERS: Readonly<Record<string, unknown>> = {
  number: forms.negativeZeroEncoder,
  bigint: forms.structBigIntEncoder,
  string: assertWhole,
  Object: assertFields,
  Date: forms.dateEncoder,
  RegExp: forms.regExpEncoder,
  Set: forms.setEncoder,
  Map: forms.mapEncoder,
  Error: forms.errorEncoder,
  Uint8Array: forms.uint8ArrayEncoder,
  Uint8ClampedArray: forms.uint8ClampedArrayEncoder,
  Int8Array: forms.int8ArrayEncoder,
  Uint16Array: forms.uint16ArrayEncoder,
  Uint32Array: forms.uint32ArrayEncoder,
  Int16Array: forms.int16ArrayEncoder,
  Int32Array: forms.int32ArrayEncoder,
  Float32Array: forms.float32ArrayEncoder,
  Float64Array: forms.float64ArrayEncoder,
  BigUint64Array: forms.bigUint64ArrayEncoder,
  BigInt64Array: forms.bigInt64ArrayEncoder
}

const DECODERS: Readonly<Record<number, unknown>> = {
  [forms.TAG_DATE_EPOCH]: decodeDate,
  [forms.TAG_BIGINT_POS]: forms.bigIntDecoder,
  [forms.TAG_BIGINT_NEG]: forms.bigNegIntDecoder,
  [forms.TAG_OBJECT_CLASS]: decodeError,
  [forms.TAG_REGEXP]: forms.regExpDecoder,
  [forms.TAG_SET]: forms.setDecoder,
  [forms.TAG_MAP]: forms.mapDecoder,
  [forms.TAG_UINT8_ARRAY]: forms.uint8ArrayDecoder,
  [forms.TAG_UINT8_CLAMPED_ARRAY]: forms.uint8ClampedArrayDecoder,
  [forms.TAG_INT8_ARRAY]: forms.int8ArrayDecoder,
  [forms.TAG_UINT16_ARRAY_LE]: forms.uint16ArrayDecoder,
  [forms.TAG_UINT32_ARRAY_LE]: forms.uint32ArrayDecoder,
  [forms.TAG_BIGUINT64_ARRAY_LE]: forms.bigUint64ArrayDecoder,
  [forms.TAG_INT16_ARRAY_LE]: forms.int16ArrayDecoder,
  [forms.TAG_INT32_ARRAY_LE]: forms.int32ArrayDecoder,
  [forms.TAG_BIGINT64_ARRAY_LE]: forms.bigInt64ArrayDecoder,
  [forms.TAG_FLOAT32_ARRAY_LE]: forms.float32ArrayDecoder,
  [forms.TAG_FLOAT64_ARRAY_LE]: forms.float64ArrayDecoder
}

// Made once: the library's own extended form, which this is, makes them with each call. No sorter: fields keep their order.
const ENCODING = {
  mapSorter: undefined,
  typeEncoders: ENCODERS as Record<string, TypeEncoder>
} as unknown as EncodeOptions
const DECODING: DecodeOptions = { tags: DECODERS as Record<number, TagDecoder> }

/** UTF-8 has no form for half a surrogate pair: it would become U+FFFD. */
function assertWhole(text: string): null {
  if (!text.isWellFormed()) throw new Error('a string with half a surrogate pair in it has no UTF-8 form')
  return null
}

/**
 * Any object that the library knows no form for is one of its own fields to it. Of those with none, and of a number or a text in
 * a box, that would leave nothing or something else; not so of instances of classes, whose fields are what they are stored for.
 */
function assertFields(value: object): null {
  if (Object.getPrototypeOf(value) === Object.prototype) return null
  const kind = Object.prototype.toString.call(value)
  if (kind !== '[object Object]' && (Object.keys(value).length === 0 || isBoxedPrimitive(value))) {
    throw new Error(`${kind} has no form`)
  }
  return null
}

/**
 * Seconds since 1970. Of their fractions the library cuts off what it should round, and loses a millisecond; seconds apart
 * from fractions, as together they have more digits than a number holds once they are multiplied.
 */
function decodeDate(content: () => unknown): Date {
  const seconds = content()
  if (typeof seconds !== 'number' && typeof seconds !== 'bigint') throw new Error('a date that is no number')
  const whole = Math.trunc(Number(seconds))
  return new Date(whole * 1000 + Math.round((Number(seconds) - whole) * 1000))
}

const ERRORS: ReadonlyMap<unknown, ErrorConstructor> = new Map(
  [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError].map(kind => [kind.name, kind])
)

/** An array: the name and the message. Names of one's own, which the library drops, are those of plain errors. */
function decodeError(content: () => unknown): Error {
  const [name, message] = content() as readonly unknown[]
  if (typeof name !== 'string' || typeof message !== 'string') throw new Error('an error without a name or a message')
  const error = new (ERRORS.get(name) ?? Error)(message)
  if (error.name === name) return error
  return Object.defineProperty(error, 'name', { value: name, writable: true, configurable: true, enumerable: false })
}
