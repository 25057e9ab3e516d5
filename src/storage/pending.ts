import { KilovoltError } from '../base/errors.ts'

const COUNT_MAX = 65_536
const BYTES_MAX = 64 * 1024 * 1024

/** What a writer has been given and not acknowledged yet, within bounds. */
export class Pending {
  count = 0
  bytes = 0
  readonly #countMax: number
  readonly #bytesMax: number

  constructor(countMax: number = COUNT_MAX, bytesMax: number = BYTES_MAX) {
    this.#countMax = countMax
    this.#bytesMax = bytesMax
  }

  /** Most mutations that may wait or be under way. */
  get countMax(): number {
    return this.#countMax
  }

  /** Why no more is taken; one mutation always is when there are no others. */
  refusal(bytes: number, count: number): KilovoltError | undefined {
    const isLong = this.count + count > this.#countMax
    if (!isLong && (this.count === 0 || this.bytes + bytes <= this.#bytesMax)) return undefined
    return new KilovoltError(
      'KV_OVERLOADED',
      `the store has ${this.count} writes of ${this.bytes} bytes before this one and takes no more`,
      { retryable: true, details: { pending: this.count, pendingBytes: this.bytes } }
    )
  }

  enter(bytes: number): void {
    this.count++
    this.bytes += bytes
  }

  leave(bytes: number): void {
    this.count--
    this.bytes -= bytes
  }
}
