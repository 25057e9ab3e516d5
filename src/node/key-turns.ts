import { abortError, onAbort } from '../base/abort.ts'
import { createDeferred } from '../base/deferred.ts'
import { KilovoltError } from '../base/errors.ts'
import type { Clock, Timer } from '../runtime/clock.ts'

/** What a call that waits for its turn was given. */
export interface TurnOptions {
  /** From the call until its end, the wait included, ms. Default: that of the turns. */
  readonly timeoutMs: number | undefined
  readonly signal: AbortSignal | undefined
}

/** A call that has its turn. */
export interface Turn {
  /**
   * Time that is left to it, ms.
   *
   * @throws the error that the call has ended with, when it has: what is left of it must have no effect
   */
  readonly leftMs: number
}

/** Bounds of turns. */
export interface KeyTurnsOptions {
  /** Deadline of a call that names none, ms. */
  readonly timeoutMs: number
  /** Most calls on one key, the one whose turn it is included. Default 1,000. */
  readonly callsPerKeyMax?: number
  /** Most calls in all. Default 65,536. */
  readonly callsMax?: number
}

const CALLS_PER_KEY_MAX = 1000
const CALLS_MAX = 65_536

/**
 * Has the calls of one node that read a key and then write it take turns: of two that ran at the same time one would write
 * over what the other has written, unseen. Calls on different keys do not wait for each other. A call that has ended, by its
 * deadline say, lets the next one go on, whatever it still waits for.
 */
export class KeyTurns {
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #callsPerKeyMax: number
  readonly #callsMax: number
  /** Calls on each key that have not ended; it is the first one's turn. */
  readonly #queues = new Map<string, Call[]>()
  #calls = 0
  #stopped: KilovoltError | undefined

  constructor(clock: Clock, options: KeyTurnsOptions) {
    this.#clock = clock
    this.#timeoutMs = options.timeoutMs
    this.#callsPerKeyMax = options.callsPerKeyMax ?? CALLS_PER_KEY_MAX
    this.#callsMax = options.callsMax ?? CALLS_MAX
  }

  /** Calls that have not ended. */
  get calls(): number {
    return this.#calls
  }

  /**
   * What a call comes to that is begun when it is its turn on the key.
   *
   * @throws KilovoltError `KV_OVERLOADED` when too many wait already, `KV_TIMEOUT`, `KV_ABORTED`, `KV_NODE_STOPPED`
   */
  take<T>(key: string, { timeoutMs, signal }: TurnOptions, run: (turn: Turn) => Promise<T>): Promise<T> {
    if (this.#stopped !== undefined) return Promise.reject(this.#stopped)
    const queue = this.#queues.get(key) ?? []
    if (queue.length >= this.#callsPerKeyMax || this.#calls >= this.#callsMax) {
      return Promise.reject(overloaded(queue.length, this.#calls))
    }
    const { promise, resolve, reject } = createDeferred<T>()
    const call = new Call(this.#clock, timeoutMs ?? this.#timeoutMs, {
      begin: () => void run(call).then(value => call.end(() => resolve(value)), call.fail),
      failed: reject,
      over: () => this.#leave(key, queue, call)
    })
    this.#calls++
    queue.push(call)
    this.#queues.set(key, queue)
    call.heed(signal)
    if (queue[0] === call) call.begin()
    return promise
  }

  /** What is left, whenever it is asked, of the time of a call that begins now and waits for nobody, ms. */
  timeLeft({ timeoutMs }: Pick<TurnOptions, 'timeoutMs'>): () => number {
    const deadlineMs = this.#clock.monotonicMs() + (timeoutMs ?? this.#timeoutMs)
    return () => leftUntil(deadlineMs, this.#clock)
  }

  /** Ends all calls, and takes no more. */
  stop(): void {
    this.#stopped = new KilovoltError(
      'KV_NODE_STOPPED',
      'the node stops; whether a write that was under way is stored is unknown'
    )
    for (const queue of this.#queues.values()) for (const call of [...queue].reverse()) call.fail(this.#stopped)
  }

  #leave(key: string, queue: Call[], call: Call): void {
    this.#calls--
    const isFirst = queue[0] === call
    queue.splice(queue.indexOf(call), 1)
    if (queue.length === 0) this.#queues.delete(key)
    else if (isFirst) queue[0]!.begin()
  }
}

/** What becomes of a call. */
interface CallEvents {
  readonly begin: () => void
  readonly failed: (error: unknown) => void
  /** Called once, when it has ended. */
  readonly over: () => void
}

/** One call, from the wait for its turn to its end. */
class Call implements Turn {
  readonly #clock: Clock
  readonly #deadlineMs: number
  readonly #events: CallEvents
  readonly #timer: Timer
  #forgetAbort: () => void = () => {}
  #hasBegun = false
  #isOver = false
  #error: unknown

  constructor(clock: Clock, timeoutMs: number, events: CallEvents) {
    this.#clock = clock
    this.#events = events
    this.#deadlineMs = clock.monotonicMs() + timeoutMs
    this.#timer = clock.after(timeoutMs, () => this.fail(timedOut(timeoutMs, this.#hasBegun)))
  }

  get leftMs(): number {
    if (this.#isOver) throw this.#error
    return leftUntil(this.#deadlineMs, this.#clock)
  }

  heed(signal: AbortSignal | undefined): void {
    const forget = onAbort(signal, () => this.fail(abortError(signal!, 'the call')))
    if (this.#isOver) forget()
    else this.#forgetAbort = forget
  }

  begin(): void {
    if (this.#isOver) return
    this.#hasBegun = true
    this.#events.begin()
  }

  readonly fail = (error: unknown): void => {
    if (!this.#isOver) this.#error = error
    this.end(() => this.#events.failed(error))
  }

  end(tell: () => void): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#timer.cancel()
    this.#forgetAbort()
    tell()
    this.#events.over()
  }
}

function leftUntil(deadlineMs: number, clock: Clock): number {
  return Math.max(1, Math.floor(deadlineMs - clock.monotonicMs()))
}

function overloaded(onKey: number, calls: number): KilovoltError {
  return new KilovoltError(
    'KV_OVERLOADED',
    `${onKey} calls on this key, and ${calls} in all, wait for their turn, and no more are taken`,
    { retryable: true, details: { onKey, calls } }
  )
}

function timedOut(timeoutMs: number, hasBegun: boolean): KilovoltError {
  const hint = 'the function of an update() waits for itself when it calls one on its own key'
  if (!hasBegun) {
    const message = `it was not this call’s turn on its key within ${timeoutMs} ms, and nothing was done; ${hint}`
    return new KilovoltError('KV_TIMEOUT', message, { retryable: true, details: { outcome: 'not-executed' } })
  }
  return new KilovoltError(
    'KV_TIMEOUT',
    `a call that reads and then writes did not finish within ${timeoutMs} ms: what it wrote, if it came to that, may be stored or become so; ${hint}`,
    { details: { outcome: 'unknown' } }
  )
}
