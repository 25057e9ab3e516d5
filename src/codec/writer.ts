import { assert } from '../base/assert.ts'
import { EMPTY_BYTES, pooledBytes, utf8 } from '../base/bytes.ts'

/**
 * Appends values to a growing buffer. `finish` hands the bytes out; the writer starts afresh after it.
 *
 * Short ones are slices of a slab, a tenth as dear as memory of one's own. Whoever keeps such bytes for long copies them, so as
 * not to keep the whole slab (8 KiB).
 */
export class Writer {
  #buffer: Uint8Array
  #length = 0

  constructor(sizeHint = 64) {
    this.#buffer = pooledBytes(sizeHint)
  }

  get length(): number {
    return this.#length
  }

  u8(value: number): this {
    this.#reserve(1)
    this.#buffer[this.#length++] = value
    return this
  }

  u16(value: number): this {
    return this.u8(value >>> 8).u8(value)
  }

  u32(value: number): this {
    return this.u16(value >>> 16).u16(value & 0xffff)
  }

  bool(value: boolean): this {
    return this.u8(value ? 1 : 0)
  }

  /** A whole number from 0 to 2^53 − 1 in 1 to 8 bytes, LEB128. */
  varint(value: number): this {
    assert(Number.isSafeInteger(value) && value >= 0, 'only whole numbers from 0 to 2^53 − 1 are written as such')
    this.#reserve(8)
    let rest = value
    while (rest >= 0x80) {
      this.#buffer[this.#length++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.#buffer[this.#length++] = rest
    return this
  }

  /** The bytes as they are, without their length. */
  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.length
    return this
  }

  /** A few of the bytes, from one offset up to another: cheaper than a view that is made for it. */
  range(bytes: Uint8Array, from: number, to: number): this {
    this.#reserve(to - from)
    for (let at = from; at < to; at++) this.#buffer[this.#length++] = bytes[at]!
    return this
  }

  /** The bytes with their length before them. */
  bytes(bytes: Uint8Array): this {
    return this.varint(bytes.length).raw(bytes)
  }

  /** Text as UTF-8 with its length in bytes before it. */
  text(text: string): this {
    return this.bytes(utf8(text))
  }

  finish(): Uint8Array {
    const { buffer, byteOffset } = this.#buffer
    const bytes = new Uint8Array(buffer, byteOffset, this.#length)
    this.#buffer = EMPTY_BYTES
    this.#length = 0
    return bytes
  }

  #reserve(more: number): void {
    const needed = this.#length + more
    if (needed <= this.#buffer.length) return
    const grown = pooledBytes(Math.max(needed, this.#buffer.length * 2))
    grown.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = grown
  }
}
