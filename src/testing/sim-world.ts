import { Heap } from '../base/heap.ts'
import { KilovoltError } from '../base/errors.ts'
import type { Timer } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import { SeededRandom } from '../runtime/seeded-random.ts'
import { runTurns } from '../runtime/turn.ts'
import { Oscillator, type OscillatorOptions } from './oscillator.ts'
import { SimClock } from './sim-clock.ts'
import { type EventOwner, SimEvent } from './sim-event.ts'
import { Trace } from './trace.ts'

/** 2026-01-01T00:00:00Z: where simulated worlds begin. */
const EPOCH_MS = 1_767_225_600_000
/** Cancelled events that are kept in the heap before it is cleaned. */
const CANCELLED_MAX = 4096

/** Options of a world. */
export interface SimWorldOptions {
  /** Everything follows from it. Default 1. */
  readonly seed?: string | number
  /** Unix ms at true time 0. Default 2026-01-01. */
  readonly epochMs?: number
}

/** How long to run at most. */
export interface RunLimits {
  /** Virtual ms. Default one hour. */
  readonly limitMs?: number
  /** Goes on waiting for events when none is left, spinning. Default false. */
  readonly idle?: boolean
}

/**
 * One virtual time for everything: a heap of events in order of (time, sequence). The loop takes one event, runs it,
 * lets everything that awaits settled promises come to rest, and takes the next. Code with `async` and `await` is
 * reproducible under it, as long as nothing waits for the real world (thread pool, sockets, real timers).
 */
export class SimWorld {
  readonly random: Random
  readonly trace: Trace
  readonly #epochMs: number
  #heap = newHeap()
  /** Events of the present instant, in order of sequence: spares `soon` the heap. */
  #instant: SimEvent[] = []
  #instantAt = 0
  #sequence = 0
  #cancelled = 0
  #nowUs = 0
  #running = false

  constructor({ seed = 1, epochMs = EPOCH_MS }: SimWorldOptions = {}) {
    this.random = new SeededRandom(seed)
    this.trace = new Trace()
    this.#epochMs = epochMs
  }

  /** True time, µs. */
  get nowUs(): number {
    return this.#nowUs
  }

  /** True time, ms. */
  get nowMs(): number {
    return this.#nowUs / 1000
  }

  /** Events that wait; cancelled ones may be counted. */
  get pending(): number {
    return this.#heap.size + this.#instant.length - this.#instantAt
  }

  /** The clock of a new process, on a machine of its own or on the one whose oscillator is given. */
  clock(name: string, machine: Oscillator | OscillatorOptions = {}): SimClock {
    return new SimClock(this, name, machine instanceof Oscillator ? machine : this.oscillator(machine))
  }

  /** The clock of a new machine. */
  oscillator(options?: OscillatorOptions): Oscillator {
    return new Oscillator(this.#epochMs, options)
  }

  /** Calls `fn` after a true delay, as an event of the world itself: for faults, clients and checks. */
  after(delayMs: number, fn: () => void): Timer {
    return this.at(this.#nowUs + Math.max(0, Math.ceil(delayMs * 1000)), fn, undefined)
  }

  /** An event of a process (or of none) at a true time in µs. */
  at(dueUs: number, fn: () => void, owner: EventOwner | undefined): SimEvent {
    const event = new SimEvent(this.#forget, dueUs, this.#sequence++, fn, owner)
    this.#heap.push(event)
    return event
  }

  /** An event of a process (or of none) at the present instant, after all that are due by now. */
  soon(fn: () => void, owner: EventOwner | undefined): SimEvent {
    const event = new SimEvent(this.#forget, this.#nowUs, this.#sequence++, fn, owner)
    this.#instant.push(event)
    return event
  }

  /**
   * The pause of these owners ends now, earlier than it was to: what it has held up runs before anything that is due later.
   * Left where it was, it would come after what was begun since, as in no process and on no connection.
   */
  release(owners: readonly EventOwner[]): void {
    this.#rebuild(event => {
      if (event.isPostponed && event.owner !== undefined && owners.includes(event.owner))
        event.postpone(this.#nowUs, this.#sequence++)
    })
  }

  /**
   * Runs events until the condition holds (true) or there is none left within the limit (false). Time stands at the
   * last event afterwards; at the limit when it was reached.
   */
  async run(until: () => boolean, { limitMs = 3_600_000, idle = false }: RunLimits = {}): Promise<boolean> {
    if (this.#running) throw new KilovoltError('KV_INTERNAL', 'the simulated world runs already')
    this.#running = true
    const endUs = this.#nowUs + Math.ceil(limitMs * 1000)
    let met = false
    try {
      await runTurns(() => {
        met = until()
        return !met && (this.#step(endUs) || idle)
      })
    } finally {
      this.#running = false
    }
    if (!met && this.pending > 0) this.#nowUs = Math.max(this.#nowUs, endUs)
    return met
  }

  /** Lets this much virtual time pass. */
  async advance(ms: number): Promise<void> {
    const endUs = this.#nowUs + Math.ceil(ms * 1000)
    await this.run(() => false, { limitMs: ms })
    this.#nowUs = Math.max(this.#nowUs, endUs)
  }

  /**
   * Runs until the promise is settled and returns its value or throws its error.
   *
   * @throws KilovoltError `KV_TIMEOUT` when the limit passes or no event is left: the promise would never be settled
   */
  async settle<T>(promise: Promise<T>, limits: RunLimits = {}): Promise<T> {
    let settled = false
    const mark = (): void => {
      settled = true
    }
    promise.then(mark, mark)
    if (await this.run(() => settled, limits)) return promise
    const why = this.pending === 0 ? 'no event is left that could settle it' : 'the limit of virtual time has passed'
    throw new KilovoltError('KV_TIMEOUT', `a promise is still pending at ${this.nowMs} ms: ${why}`)
  }

  /** Runs the next event due by `endUs`; false when there is none. */
  #step(endUs: number): boolean {
    for (;;) {
      const event = this.#next(endUs)
      if (event === undefined) return false
      if (!event.isLive) continue
      const { owner } = event
      if (event.dueUs > this.#nowUs) this.#nowUs = event.dueUs
      if (owner !== undefined && event.mustWait(this.#nowUs)) {
        event.postpone(owner.stalledUntilUs, this.#sequence++)
        this.#heap.push(event)
        continue
      }
      this.trace.step(this.#nowUs / 1000, owner?.name ?? 'world', event.sequence)
      event.run()
      return true
    }
  }

  /** Counts a cancelled event, and cleans the heap when half of it is such. */
  readonly #forget = (): void => {
    this.#cancelled++
    if (this.#cancelled >= CANCELLED_MAX && this.#cancelled * 2 >= this.#heap.size) this.#rebuild()
  }

  /** Makes the heap anew, without what was cancelled; `visit` may change the place of an event. */
  #rebuild(visit?: (event: SimEvent) => void): void {
    const old = this.#heap
    this.#heap = newHeap()
    this.#cancelled = 0
    for (let event = old.pop(); event !== undefined; event = old.pop()) {
      if (!event.isLive) continue
      visit?.(event)
      this.#heap.push(event)
    }
  }

  #next(endUs: number): SimEvent | undefined {
    const later = this.#heap.peek()
    const now = this.#instant[this.#instantAt]
    if (now !== undefined && (later === undefined || later.dueUs > this.#nowUs || now.sequence < later.sequence)) {
      this.#instantAt++
      if (this.#instantAt === this.#instant.length) {
        this.#instant = []
        this.#instantAt = 0
      }
      return now
    }
    return later === undefined || later.dueUs > endUs ? undefined : this.#heap.pop()
  }
}

function newHeap(): Heap<SimEvent> {
  return new Heap((a, b) => a.dueUs < b.dueUs || (a.dueUs === b.dueUs && a.sequence < b.sequence))
}
