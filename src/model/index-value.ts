import { compareBytes, concatBytes, copyBytes, equalBytes, fromUtf8, utf8 } from '../base/bytes.ts'
import { afterPrefix, type ByteRange } from './key-range.ts'

/**
 * A value that an index is ordered by. Values of different types never compare as equal; they stand in the order `boolean`,
 * `number`, `bigint`, `Date`, `string`, `Uint8Array`. Numbers, bigints and dates are in their own order, text in that of its
 * UTF-8 (which is that of its code points), bytes in theirs; `-0` is 0.
 */
export type IndexValue = boolean | number | bigint | Date | string | Uint8Array

/** Longest encoded value, in bytes: text of about a thousand characters. */
export const INDEX_VALUE_BYTES_MAX = 1024

/**
 * What stands before a value, so that types are in order: the byte order of two encoded values is that of the values.
 *
 *     0x10 | 0x11                               false, true
 *     0x20  f64                                 number: big-endian, the sign flipped, all bits flipped below zero
 *     0x30  sign u8 · length u16 · magnitude    bigint: below zero (sign 0) length and magnitude with all bits flipped
 *     0x40  f64                                 Date: its Unix ms, as a number
 *     0x50  UTF-8 · 00 00                       string: each 00 of the text as 00 FF
 *     0x60  bytes · 00 00                       Uint8Array: likewise
 *
 * None begins with another, so that something else may stand behind it.
 */
const Tag = { FALSE: 0x10, TRUE: 0x11, NUMBER: 0x20, BIGINT: 0x30, DATE: 0x40, TEXT: 0x50, BYTES: 0x60 } as const

const TERMINATOR = Uint8Array.of(0, 0)
const ESCAPED_ZERO = 0xff

/**
 * The bytes of a value.
 *
 * @throws TypeError for what has no place in the order, RangeError for what is too long
 */
export function encodeIndexValue(value: unknown): Uint8Array {
  // Long text is not even made into bytes.
  const isLong = (typeof value === 'string' || value instanceof Uint8Array) && value.length > INDEX_VALUE_BYTES_MAX
  const bytes = isLong ? undefined : encode(value)
  if (bytes !== undefined && bytes.length <= INDEX_VALUE_BYTES_MAX) return bytes
  throw new RangeError(`a value of more than ${INDEX_VALUE_BYTES_MAX} bytes cannot be indexed`)
}

/**
 * The value that such bytes begin with, and how many of them it takes.
 *
 * @throws RangeError when they begin with none
 */
export function decodeIndexValue(bytes: Uint8Array): { readonly value: IndexValue; readonly length: number } {
  switch (bytes[0]) {
    case Tag.FALSE:
      return { value: false, length: 1 }
    case Tag.TRUE:
      return { value: true, length: 1 }
    case Tag.NUMBER:
      return { value: readNumber(bytes), length: NUMBER_BYTES }
    case Tag.DATE:
      return { value: new Date(readNumber(bytes)), length: NUMBER_BYTES }
    case Tag.BIGINT:
      return readBigint(bytes)
    case Tag.TEXT: {
      const { plain, length } = unescaped(bytes)
      return { value: fromUtf8(plain), length }
    }
    case Tag.BYTES: {
      const { plain, length } = unescaped(bytes)
      return { value: plain, length }
    }
    default:
      throw malformed()
  }
}

/** Bounds as a caller gives them. */
export interface IndexBounds {
  readonly equals?: IndexValue | undefined
  readonly gt?: IndexValue | undefined
  readonly gte?: IndexValue | undefined
  readonly lt?: IndexValue | undefined
  readonly lte?: IndexValue | undefined
  readonly prefix?: string | Uint8Array | undefined
}

/**
 * The entries (a value with something behind it) within all of the bounds. A bound on one side alone stays within its type:
 * `{ gt: 5 }` finds numbers, and no text.
 *
 * @throws TypeError, RangeError as {@link encodeIndexValue}
 */
export function indexRange({ equals, gt, gte, lt, lte, prefix }: IndexBounds): ByteRange {
  if (equals !== undefined) return startingWith(encodeIndexValue(equals))
  const low = gte ?? gt
  const high = lte ?? lt
  const within: ByteRange[] = []
  if (low !== undefined) {
    const bytes = encodeIndexValue(low)
    within.push({ from: gte === undefined ? behind(bytes) : bytes, to: endOfType(bytes) })
  }
  if (high !== undefined) {
    const bytes = encodeIndexValue(high)
    within.push({ from: startOfType(bytes), to: lte === undefined ? bytes : behind(bytes) })
  }
  if (prefix !== undefined) within.push(startingWith(encodeIndexValue(prefix).slice(0, -TERMINATOR.length)))
  return within.reduce(intersect, { from: new Uint8Array(0), to: undefined })
}

/** Whether two lists of encoded values have this one in common. */
export function hasValue(values: readonly Uint8Array[], value: Uint8Array): boolean {
  return values.some(other => equalBytes(other, value))
}

function encode(value: unknown): Uint8Array {
  switch (typeof value) {
    case 'boolean':
      return Uint8Array.of(value ? Tag.TRUE : Tag.FALSE)
    case 'number':
      return number(Tag.NUMBER, value)
    case 'bigint':
      return bigint(value)
    case 'string':
      // Whichever half it is, it would become U+FFFD.
      if (!value.isWellFormed()) throw new TypeError('a string with half a surrogate pair in it cannot be indexed')
      return concatBytes([Uint8Array.of(Tag.TEXT), escaped(utf8(value)), TERMINATOR])
    default:
  }
  if (value instanceof Date) return number(Tag.DATE, value.getTime())
  if (value instanceof Uint8Array) return concatBytes([Uint8Array.of(Tag.BYTES), escaped(value), TERMINATOR])
  const what = value === null ? 'null' : Array.isArray(value) ? 'a list within a list' : typeof value
  throw new TypeError(`${what} cannot be indexed: a value is a boolean, number, bigint, Date, string or Uint8Array`)
}

const NUMBER_BYTES = 9

function number(tag: number, value: number): Uint8Array {
  if (Number.isNaN(value)) throw new TypeError('a number or date that is none has no place in an index')
  const bytes = new Uint8Array(NUMBER_BYTES)
  bytes[0] = tag
  new DataView(bytes.buffer).setFloat64(1, value === 0 ? 0 : value)
  flip(bytes)
  return bytes
}

function readNumber(bytes: Uint8Array): number {
  if (bytes.length < NUMBER_BYTES) throw malformed()
  const copy = copyBytes(bytes.subarray(0, NUMBER_BYTES))
  // The sign is flipped: what begins with a one is positive.
  if (copy[1]! >= 0x80) copy[1]! ^= 0x80
  else for (let i = 1; i < NUMBER_BYTES; i++) copy[i]! ^= 0xff
  return new DataView(copy.buffer, copy.byteOffset).getFloat64(1)
}

function flip(bytes: Uint8Array): void {
  if (bytes[1]! < 0x80) bytes[1]! ^= 0x80
  else for (let i = 1; i < NUMBER_BYTES; i++) bytes[i]! ^= 0xff
}

const BIGINT_HEAD_BYTES = 4

function bigint(value: bigint): Uint8Array {
  const isNegative = value < 0n
  const hex = (isNegative ? -value : value).toString(16)
  const magnitude = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex')
  const bytes = new Uint8Array(BIGINT_HEAD_BYTES + magnitude.length)
  bytes.set([Tag.BIGINT, isNegative ? 0 : 1, Math.min(0xff, magnitude.length >>> 8), magnitude.length & 0xff])
  bytes.set(magnitude, BIGINT_HEAD_BYTES)
  if (isNegative) for (let i = 2; i < bytes.length; i++) bytes[i]! ^= 0xff
  return bytes
}

function readBigint(bytes: Uint8Array): { readonly value: bigint; readonly length: number } {
  if (bytes.length < BIGINT_HEAD_BYTES) throw malformed()
  const isNegative = bytes[1] === 0
  const mask = isNegative ? 0xff : 0
  const length = BIGINT_HEAD_BYTES + (bytes[2]! ^ mask) * 0x100 + (bytes[3]! ^ mask)
  if (length === BIGINT_HEAD_BYTES || bytes.length < length) throw malformed()
  const magnitude = copyBytes(bytes.subarray(BIGINT_HEAD_BYTES, length))
  for (let i = 0; i < magnitude.length; i++) magnitude[i]! ^= mask
  const value = BigInt(`0x${Buffer.from(magnitude).toString('hex')}`)
  return { value: isNegative ? -value : value, length }
}

function escaped(plain: Uint8Array): Uint8Array {
  let zeros = 0
  for (const byte of plain) if (byte === 0) zeros++
  if (zeros === 0) return plain
  const bytes = new Uint8Array(plain.length + zeros)
  let at = 0
  for (const byte of plain) {
    bytes[at++] = byte
    if (byte === 0) bytes[at++] = ESCAPED_ZERO
  }
  return bytes
}

function unescaped(bytes: Uint8Array): { readonly plain: Uint8Array; readonly length: number } {
  const plain = new Uint8Array(bytes.length)
  let length = 0
  for (let at = 1; at < bytes.length; at++) {
    if (bytes[at] === 0) {
      at++
      if (bytes[at] === 0) return { plain: plain.slice(0, length), length: at + 1 }
      if (bytes[at] !== ESCAPED_ZERO) break
      plain[length++] = 0
    } else {
      plain[length++] = bytes[at]!
    }
  }
  throw malformed()
}

function startingWith(bytes: Uint8Array): ByteRange {
  return { from: bytes, to: afterPrefix(bytes) }
}

/** Behind all entries of the value. */
function behind(bytes: Uint8Array): Uint8Array {
  // An encoded value begins with its tag, which is not 0xff.
  return afterPrefix(bytes)!
}

function startOfType(bytes: Uint8Array): Uint8Array {
  return Uint8Array.of(bytes[0]! & 0xf0)
}

function endOfType(bytes: Uint8Array): Uint8Array {
  return Uint8Array.of((bytes[0]! & 0xf0) + 0x10)
}

function intersect(a: ByteRange, b: ByteRange): ByteRange {
  return {
    from: compareBytes(a.from, b.from) < 0 ? b.from : a.from,
    to: a.to === undefined || (b.to !== undefined && compareBytes(b.to, a.to) < 0) ? b.to : a.to
  }
}

function malformed(): RangeError {
  return new RangeError('these bytes are no value of an index')
}
