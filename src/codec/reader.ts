import { fromUtf8 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'

/**
 * Reads values out of bytes that a stranger may have sent: every read checks what is left, nothing is allocated by a
 * length that the input merely claims, and everything malformed throws `KV_PROTOCOL`.
 */
export class Reader {
  readonly #bytes: Uint8Array
  #at: number

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes
    this.#at = at
  }

  get remaining(): number {
    return this.#bytes.length - this.#at
  }

  get offset(): number {
    return this.#at
  }

  u8(): number {
    this.#need(1)
    return this.#bytes[this.#at++]!
  }

  u16(): number {
    return this.u8() * 0x100 + this.u8()
  }

  u32(): number {
    return this.u16() * 0x1_0000 + this.u16()
  }

  bool(): boolean {
    const value = this.u8()
    if (value > 1) throw malformed(`a truth value of ${value}`)
    return value === 1
  }

  varint(): number {
    let value = 0
    let scale = 1
    for (let i = 0; i < 8; i++) {
      const byte = this.u8()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) break
        if (byte === 0 && i > 0) throw malformed('a number in more bytes than it needs')
        return value
      }
      scale *= 0x80
    }
    throw malformed('a number beyond 2^53')
  }

  /** Passes over `length` bytes. */
  skip(length: number): void {
    this.#need(length)
    this.#at += length
  }

  /** `length` bytes as a view into the input. */
  raw(length: number): Uint8Array {
    this.#need(length)
    const bytes = this.#bytes.subarray(this.#at, this.#at + length)
    this.#at += length
    return bytes
  }

  /** Bytes with their length before them, as a view into the input. */
  bytes(max: number = Number.MAX_SAFE_INTEGER): Uint8Array {
    const length = this.varint()
    if (length > max) throw malformed(`${length} bytes where ${max} are allowed`)
    return this.raw(length)
  }

  /** Passes over bytes with their length before them; returns that length. */
  skipBytes(max: number): number {
    const length = this.varint()
    if (length > max) throw malformed(`${length} bytes where ${max} are allowed`)
    this.skip(length)
    return length
  }

  text(maxBytes: number): string {
    return fromUtf8(this.bytes(maxBytes))
  }

  /** How many items follow; never more than the rest of the input could hold, at `itemBytesMin` bytes each. */
  count(max: number, itemBytesMin = 1): number {
    const count = this.varint()
    if (count > max || count * itemBytesMin > this.remaining) throw malformed(`a list of ${count} items`)
    return count
  }

  /** Everything that is left, as a view into the input. */
  rest(): Uint8Array {
    return this.raw(this.remaining)
  }

  #need(length: number): void {
    if (length > this.remaining) throw malformed(`${length} bytes wanted, ${this.remaining} left`)
  }
}

function malformed(what: string): KilovoltError {
  return new KilovoltError('KV_PROTOCOL', `malformed bytes: ${what}`)
}
