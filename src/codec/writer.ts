import { assert } from '../base/assert.ts'
import { utf8 } from '../base/bytes.ts'

/** Appends values to a growing buffer. `finish` hands the bytes out; the writer starts afresh after it. */
export class Writer {
  #buffer: Uint8Array
  #length = 0

  constructor(sizeHint = 64) {
    this.#buffer = new Uint8Array(sizeHint)
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

  /** The bytes with their length before them. */
  bytes(bytes: Uint8Array): this {
    return this.varint(bytes.length).raw(bytes)
  }

  /** Text as UTF-8 with its length in bytes before it. */
  text(text: string): this {
    return this.bytes(utf8(text))
  }

  finish(): Uint8Array {
    const bytes = this.#buffer.subarray(0, this.#length)
    this.#buffer = new Uint8Array(0)
    this.#length = 0
    return bytes
  }

  #reserve(more: number): void {
    const needed = this.#length + more
    if (needed <= this.#buffer.length) return
    const grown = new Uint8Array(Math.max(needed, this.#buffer.length * 2))
    grown.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = grown
  }
}
