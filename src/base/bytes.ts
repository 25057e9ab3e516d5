import { markAsUntransferable } from 'node:worker_threads'

/** No bytes at all; shared, never written to. */
export const EMPTY_BYTES: Uint8Array = new Uint8Array(0)

/** Up to here V8 keeps an array without a buffer of its own. */
const BUFFERLESS_MAX = 64
/** Where short text is copied to, as a Buffer for each would cost more than the rest. */
const SHORT_TEXT: Buffer = Buffer.alloc(BUFFERLESS_MAX)

/** Text as UTF-8; a lone surrogate becomes U+FFFD. Five times as fast as `TextEncoder` for short text, by Node's pool. */
export function utf8(text: string): Uint8Array {
  const { buffer, byteOffset, length } = Buffer.from(text)
  return new Uint8Array(buffer, byteOffset, length)
}

/** UTF-8 as text; malformed sequences become U+FFFD. A byte order mark is a character like any other. */
export function fromUtf8(bytes: Uint8Array): string {
  if (bytes.length <= BUFFERLESS_MAX) {
    SHORT_TEXT.set(bytes)
    return SHORT_TEXT.toString('utf8', 0, bytes.length)
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString()
}

/** Lexicographic order of unsigned bytes: negative, zero or positive. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  if (a === b) return 0
  const shared = Math.min(a.length, b.length)
  for (let i = 0; i < shared; i++) {
    const difference = a[i]! - b[i]!
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

/** Whether two byte strings are the same. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  // Of long ones a call of native code is worth it.
  return a.length > BUFFERLESS_MAX ? Buffer.compare(a, b) === 0 : compareBytes(a, b) === 0
}

/** One array that holds all parts, in order. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0
  for (const part of parts) length += part.length
  const whole = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** A copy of a part. */
export function copyPart(bytes: Uint8Array, from: number, to: number = bytes.length): Uint8Array {
  // A Buffer's own `slice` is a view.
  return Uint8Array.prototype.slice.call(bytes, from, to)
}

/**
 * A part of some bytes, for whoever only reads it: a view or, where that costs more, a copy. To ask for a view of a short
 * array makes V8 give the array a buffer, which stays for as long as the array does: some 240 bytes for each key of a database
 * in memory that is looked into once.
 */
export function partOf(bytes: Uint8Array, from: number, to: number = bytes.length): Uint8Array {
  return bytes.length > BUFFERLESS_MAX ? bytes.subarray(from, to) : copyPart(bytes, from, to)
}

/** A copy that shares no memory with the original. */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes)
}

/**
 * The same bytes for somebody who keeps them: copied when they are a view into something larger, such as a frame from the network,
 * all of which would be kept alive.
 */
export function ownBytes(bytes: Uint8Array): Uint8Array {
  // To ask a short array for its `buffer` makes one, which costs more than the copy.
  if (bytes.length > BUFFERLESS_MAX && bytes.length === bytes.buffer.byteLength) return bytes
  return copyBytes(bytes)
}

/** Bytes that short arrays are cut from, one after the other; none has a part of it that another has. */
const SLAB_BYTES = 8192
const POOLED_MAX = SLAB_BYTES / 2
let slab: ArrayBuffer | undefined
let slabAt = 0

/**
 * An array for somebody to fill: of up to 4 KiB a slice of a slab, as memory of its own takes four times as long, and a slice of
 * Node's pool twice. Not for what is kept for long: each keeps the 8 KiB alive that it lies in.
 */
export function pooledBytes(length: number): Uint8Array {
  if (length > POOLED_MAX) return Buffer.allocUnsafe(length)
  if (slab === undefined || slabAt + length > SLAB_BYTES) {
    slab = new ArrayBuffer(SLAB_BYTES)
    // An app that gives one of its values to a worker would take what others have of the slab along.
    markAsUntransferable(slab)
    slabAt = 0
  }
  const bytes = new Uint8Array(slab, slabAt, length)
  slabAt += length
  return bytes
}

/** As {@link copyBytes}, for what is handed out: see {@link pooledBytes}. */
export function pooledCopy(bytes: Uint8Array): Uint8Array {
  if (bytes.length <= BUFFERLESS_MAX || bytes.length > POOLED_MAX) return copyBytes(bytes)
  const copy = pooledBytes(bytes.length)
  copy.set(bytes)
  return copy
}

/** Takes any `Uint8Array`, and is the fastest of four ways by half. */
const { latin1Slice } = Buffer.prototype as unknown as {
  readonly latin1Slice: (this: Uint8Array, start: number, end: number) => string
}

/** Text of one character for each byte: what a `Map` can be asked for, at a tenth of the cost of hexadecimal. */
export function toLatin1(bytes: Uint8Array): string {
  // Not by a view, for which a short array would have to be given a buffer of its own.
  if (bytes.length <= BUFFERLESS_MAX) return String.fromCharCode.apply(null, bytes as unknown as number[])
  return latin1Slice.call(bytes, 0, bytes.length)
}

const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** Lower-case hexadecimal text. */
export function toHex(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += HEX[byte]!
  return text
}

/** Bytes of lower- or upper-case hexadecimal text; `undefined` when it is not that. */
export function fromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0) return undefined
  const bytes = new Uint8Array(text.length / 2)
  for (let i = 0; i < bytes.length; i++) {
    const byte = digit(text.charCodeAt(i * 2)) * 16 + digit(text.charCodeAt(i * 2 + 1))
    if (Number.isNaN(byte)) return undefined
    bytes[i] = byte
  }
  return bytes
}

/** Value of a hexadecimal digit, given as its character's code; NaN for another character. */
function digit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const lower = code | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : NaN
}

/** Writes a number as so many bytes, big-endian. */
export function writeUint(bytes: Uint8Array, at: number, width: number, value: number): void {
  let rest = value
  for (let i = at + width - 1; i >= at; i--) {
    bytes[i] = rest % 256
    rest = Math.floor(rest / 256)
  }
}

/** The number that so many bytes are, big-endian; exact up to six of them, and to 2^53. */
export function readUint(bytes: Uint8Array, at: number, width: number): number {
  let value = 0
  for (let i = at; i < at + width; i++) value = value * 256 + bytes[i]!
  return value
}
