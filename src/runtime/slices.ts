import type { Clock } from './clock.ts'
import { pause } from './clock.ts'

/** How a piece of work is cut into slices. */
export interface SlicesOptions {
  /** Most that the rests of the whole piece take together, ms. */
  readonly restMaxMs: number
  /** How many others wait for it to end: the more, the shorter the rests. Default: nobody. */
  readonly waiting?: () => number
}

/** Work that is done step by step, each some tens of microseconds, and what it comes to. */
export type Steps<T> = Generator<undefined, T, undefined>

/** Longest time that a slice keeps the event loop to itself, ms; a little more, as the clock is looked at in between only. */
const SLICE_MS = 0.5
/** So long after the last request a node still counts as busy, ms: one that answers twenty a second is never idle. */
const BUSY_FOR_MS = 50
/** Rest after a slice while requests come, in times of what the slice took: the work has an eighth of the time. */
const REST_PARTS = 7
/** Longest rest, ms: a slice that something else has held up is not paid for without end. */
const REST_MAX_MS = 20

/**
 * Cuts work that somebody waits for, but that is long, into slices between which others have the event loop. While requests
 * come, a rest follows each slice that is as long as a few of it, so that what shares the machine with this node gets most of
 * it: all pieces of work together have an eighth of the time. A request that comes into the midst waits for one slice at
 * most, and the rests begin with it. Without requests there are none.
 *
 * {@link Pace} is the same for work in the background, for which hardly ever anybody waits: its turns are longer, its rests much longer.
 */
export class Slicer {
  readonly #clock: Clock
  readonly #requests: () => number
  #seen = 0
  #seenMs = -Infinity
  #restUntilMs = -Infinity
  readonly #abort = new AbortController()

  /** @param requests - how many this node has received so far */
  constructor(clock: Clock, requests: () => number) {
    this.#clock = clock
    this.#requests = requests
  }

  /** A piece of work that begins now. */
  begin(options: SlicesOptions): Slices {
    return new Slices(this.#clock, options.restMaxMs, (tookMs, leftMs) => this.#rest(tookMs, leftMs, options))
  }

  /** Ends all rests, also those that are still to come: what waits is to fail soon, and no timer to be left. */
  stop(): void {
    this.#abort.abort()
  }

  /** Lets others go on after a slice, for at most so long; resolves to how long the rest was meant to be. */
  async #rest(tookMs: number, leftMs: number, { waiting }: SlicesOptions): Promise<number> {
    const clock = this.#clock
    const nowMs = clock.monotonicMs()
    let restMs = 0
    if (leftMs > 0 && this.#isBusy(nowMs)) {
      const owedMs = (tookMs * REST_PARTS) / (1 + (waiting?.() ?? 0))
      // What several pieces of work have taken at the same time is paid for one after the other.
      this.#restUntilMs = Math.min(Math.max(this.#restUntilMs, nowMs) + owedMs, nowMs + REST_MAX_MS)
      restMs = Math.min(this.#restUntilMs - nowMs, leftMs)
    }
    if (restMs > 0 && !this.#abort.signal.aborted) await pause(clock, Math.ceil(restMs), this.#abort.signal)
    else await new Promise<void>(resolve => clock.soon(resolve))
    return restMs
  }

  /** Whether requests came lately. */
  #isBusy(nowMs: number): boolean {
    const requests = this.#requests()
    if (requests !== this.#seen) {
      this.#seen = requests
      this.#seenMs = nowMs
    }
    return nowMs - this.#seenMs < BUSY_FOR_MS
  }
}

/** One piece of work in slices. */
export class Slices {
  readonly #clock: Pick<Clock, 'monotonicMs'>
  readonly #rest: (tookMs: number, leftMs: number) => Promise<number>
  #sinceMs: number
  #leftMs: number
  #breath: Promise<void> | undefined

  /** Made by {@link Slicer.begin}. */
  constructor(
    clock: Pick<Clock, 'monotonicMs'>,
    restMaxMs: number,
    rest: (tookMs: number, leftMs: number) => Promise<number>
  ) {
    this.#clock = clock
    this.#rest = rest
    this.#leftMs = restMaxMs
    this.#sinceMs = clock.monotonicMs()
  }

  /**
   * To be called between two steps of the work: a promise for when it may go on when the slice is over, and `undefined` while
   * it lasts. Looking costs a reading of the clock, so the steps are to be some tens of microseconds.
   */
  breathe(): Promise<void> | undefined {
    // Of work that goes on in several places at a time, as decoding what several nodes have sent, all waits for the same.
    if (this.#breath !== undefined) return this.#breath
    const tookMs = this.#clock.monotonicMs() - this.#sinceMs
    if (tookMs >= SLICE_MS) this.#breath = this.#breathe(tookMs)
    return this.#breath
  }

  async #breathe(tookMs: number): Promise<void> {
    this.#leftMs -= await this.#rest(tookMs, this.#leftMs)
    this.#sinceMs = this.#clock.monotonicMs()
    this.#breath = undefined
  }

  /** To be called after waiting for something that is no work of this node's: the slice begins now. */
  resume(): void {
    if (this.#breath === undefined) this.#sinceMs = this.#clock.monotonicMs()
  }

  /** Does all steps of some work, with breaths in between. */
  async run<T>(steps: Steps<T>): Promise<T> {
    for (;;) {
      const step = steps.next()
      if (step.done === true) return step.value
      const breath = this.breathe()
      if (breath !== undefined) await breath
    }
  }
}

/** Does all steps of some work in one go. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}
