import { assert } from '../base/assert.ts'
import { KilovoltError } from '../base/errors.ts'
import { BoundedQueue } from '../base/queue.ts'
import type { Mutation } from './apply-batch.ts'
import type { ApplyLoopOptions } from './apply-options.ts'

const MIB = 1024 * 1024
const PENDING_MAX = 65_536
const BATCH_MAX = 512

/** The mutations that wait for their batch, and the bounds on them and on batches. */
export class MutationQueue {
  readonly #pendingMax: number
  readonly #pendingBytesMax: number
  readonly #batchMax: number
  readonly #batchBytesMax: number
  readonly #queue: BoundedQueue<Mutation>
  #pending = 0
  #pendingBytes = 0

  constructor(options: ApplyLoopOptions) {
    this.#pendingMax = options.pendingMax ?? PENDING_MAX
    this.#pendingBytesMax = options.pendingBytesMax ?? 64 * MIB
    this.#batchMax = options.batchMax ?? BATCH_MAX
    this.#batchBytesMax = options.batchBytesMax ?? 4 * MIB
    this.#queue = new BoundedQueue(this.#pendingMax)
  }

  /** Mutations that were taken and are not acknowledged: those that wait here, and those that are held or under way. */
  get pending(): number {
    return this.#pending
  }

  get isEmpty(): boolean {
    return this.#queue.size === 0
  }

  /** Why no more are taken, if they are not. */
  refusal(bytes: number, count: number): KilovoltError | undefined {
    const isLong = this.#pending + count > this.#pendingMax
    if (!isLong && (this.#pending === 0 || this.#pendingBytes + bytes <= this.#pendingBytesMax)) return undefined
    return new KilovoltError(
      'KV_OVERLOADED',
      `the store has ${this.#pending} writes of ${this.#pendingBytes} bytes before this one and takes no more`,
      { retryable: true, details: { pending: this.#pending, pendingBytes: this.#pendingBytes } }
    )
  }

  /** One is taken. */
  taken(mutation: Mutation): void {
    this.#pending++
    this.#pendingBytes += bytesOf(mutation)
  }

  /** One is acknowledged. */
  settled(mutation: Mutation): void {
    this.#pending--
    this.#pendingBytes -= bytesOf(mutation)
  }

  push(mutation: Mutation): void {
    assert(this.#queue.push(mutation), 'the queue has room for everything that is pending')
  }

  /** The mutations of the next batch: never a part of a unit. */
  next(): Mutation[] {
    const taken: Mutation[] = []
    let bytes = 0
    let following = 0
    while (following > 0 || (taken.length < this.#batchMax && bytes < this.#batchBytesMax)) {
      const mutation = this.#queue.shift()
      if (mutation === undefined) break
      taken.push(mutation)
      bytes += bytesOf(mutation)
      following = mutation.following
    }
    return taken
  }
}

/** What waits to be minted is held by whoever mints it. */
function bytesOf({ key, record, mintBytes = 0 }: Mutation): number {
  return key.length + record.length + mintBytes
}
