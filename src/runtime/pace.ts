import { onAbort } from '../base/abort.ts'
import { createDeferred } from '../base/deferred.ts'
import type { Clock } from './clock.ts'
import { pause } from './clock.ts'

/** So long after the last request a node still counts as busy, ms: one that answers ten a second is never idle. */
const BUSY_FOR_MS = 500
/** Rest after a turn, in times of what the turn took: work in the background has a sixteenth of the time. */
const REST_PARTS = 15
/** Longest rest, ms: a turn that something else has held up is not paid for without end. */
const REST_MAX_MS = 500
/**
 * While somebody waits for what runs here rests become shorter and shorter, and after so long there are none, ms: however much
 * there is to do, it takes at most so much longer than without rests. A sixth of the 30 s that deployments commonly give a
 * process to end, so that most of that is left for the work itself; and long enough for what is little to be done with hardly
 * shorter rests.
 */
const PATIENCE_MS = 5000

/**
 * Lets work in the background leave room for requests. While requests come, one piece of work runs at a time, and a rest
 * follows each that is as long as a few of it: what waits meanwhile waits for one short piece at most, and the processes
 * that share the machine get most of it. As the rest follows from what a piece took, a slow or crowded machine is spared
 * more. Without requests everything runs at once.
 *
 * Hardly ever does anybody wait for such work. Who does, as a node does that leaves, has only so long: the rests end then, but
 * still one piece of work runs at a time.
 */
export class Pace {
  readonly #clock: Clock
  readonly #requests: () => number
  #seen: number
  #seenMs = -Infinity
  #restUntilMs = -Infinity
  /** Since when somebody waits for what runs here. */
  #awaitedSinceMs: number | undefined
  #last: Promise<void> = Promise.resolve()
  readonly #abort = new AbortController()

  /** @param requests - how many this node has received so far */
  constructor(clock: Clock, requests: () => number) {
    this.#clock = clock
    this.#requests = requests
    this.#seen = requests()
  }

  /** Whether requests came lately. */
  get isBusy(): boolean {
    const nowMs = this.#clock.monotonicMs()
    const requests = this.#requests()
    if (requests !== this.#seen) {
      this.#seen = requests
      this.#seenMs = nowMs
    }
    return nowMs - this.#seenMs < BUSY_FOR_MS
  }

  /** Says whether somebody waits for what runs here; to be told again at any time. */
  awaited(isAwaited: boolean): void {
    this.#awaitedSinceMs = isAwaited ? (this.#awaitedSinceMs ?? this.#clock.monotonicMs()) : undefined
  }

  /** Ends all rests, also those that are still to come: what waits is to fail soon, and no timer to be left. */
  stop(): void {
    this.#abort.abort()
  }

  /** Runs a piece of work, after those that came before and the rest that they call for. An aborted signal ends the rest. */
  async turn<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (!this.isBusy) return work()
    const before = this.#last
    const { promise, resolve } = createDeferred<void>()
    this.#last = promise
    await before
    try {
      const restMs = this.#restUntilMs - this.#clock.monotonicMs()
      if (restMs > 0) await this.#rest(restMs, signal)
      const startMs = this.#clock.monotonicMs()
      const result = await work()
      const endMs = this.#clock.monotonicMs()
      this.#restUntilMs = endMs + Math.min(REST_MAX_MS, this.#restParts(endMs) * (endMs - startMs))
      return result
    } finally {
      resolve()
    }
  }

  /** How long to rest after a turn that has ended now, in times of what it took. */
  #restParts(nowMs: number): number {
    const waitedMs = nowMs - (this.#awaitedSinceMs ?? nowMs)
    return REST_PARTS * Math.max(0, 1 - waitedMs / PATIENCE_MS)
  }

  async #rest(restMs: number, signal: AbortSignal | undefined): Promise<void> {
    const wake = new AbortController()
    const forgets = [signal, this.#abort.signal].map(one => onAbort(one, () => wake.abort()))
    await pause(this.#clock, restMs, wake.signal)
    for (const forget of forgets) forget()
  }
}
