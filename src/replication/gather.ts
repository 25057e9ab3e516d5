import { abortError, onAbort } from '../base/abort.ts'
import type { KilovoltError } from '../base/errors.ts'

/** Who waits for operations; each is known to it by a number. */
export interface Waiter<Result> {
  resolve(index: number, result: Result | Promise<Result>): void
  reject(index: number, error: unknown): void
}

/** Waits for one operation. */
export class Single<Result> implements Waiter<Result> {
  readonly promise: Promise<Result>
  #resolve!: (result: Result | Promise<Result>) => void
  #reject!: (error: unknown) => void

  constructor() {
    this.promise = new Promise<Result>((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  resolve(_index: number, result: Result | Promise<Result>): void {
    this.#resolve(result)
  }

  reject(_index: number, error: unknown): void {
    this.#reject(error)
  }
}

/** What several operations have come to. */
export interface Gathered<Result> {
  /** In the order of the operations; `undefined` for one that failed. */
  readonly results: readonly (Result | undefined)[]
  /** Why some failed, by their place in that order. */
  readonly failures: ReadonlyMap<number, unknown>
}

/** Waits for several operations with one promise. One that fails keeps the others from nothing. */
export class Gather<Result> implements Waiter<Result> {
  /** Never rejects. */
  readonly promise: Promise<Gathered<Result>>
  readonly #results: (Result | undefined)[]
  readonly #failures = new Map<number, unknown>()
  #left: number
  /** How many have to end before somebody goes on. */
  #wanted = Infinity
  #goOn: (() => void) | undefined
  #done!: (gathered: Gathered<Result>) => void

  /** @param count - how many operations there are: numbers from 0 up to, not including, this */
  constructor(count: number) {
    this.#results = Array.from({ length: count })
    this.#left = count
    this.promise = new Promise(resolve => (this.#done = resolve))
    this.#endIfOver()
  }

  resolve(index: number, result: Result | Promise<Result>): void {
    if (result instanceof Promise) {
      result.then(
        value => this.#take(index, value),
        (error: unknown) => this.reject(index, error)
      )
    } else this.#take(index, result)
  }

  reject(index: number, error: unknown): void {
    this.#failures.set(index, error)
    this.#left--
    this.#endIfOver()
  }

  /** Resolves when so many have ended; nothing when they have. One may wait at a time. */
  ended(count: number): Promise<void> | undefined {
    if (this.#ended >= count) return undefined
    this.#wanted = count
    return new Promise(resolve => (this.#goOn = resolve))
  }

  get #ended(): number {
    return this.#results.length - this.#left
  }

  #take(index: number, result: Result): void {
    this.#results[index] = result
    this.#left--
    this.#endIfOver()
  }

  #endIfOver(): void {
    if (this.#ended >= this.#wanted) {
      this.#wanted = Infinity
      this.#goOn!()
    }
    if (this.#left === 0) this.#done({ results: this.#results, failures: this.#failures })
  }
}

/** What operations on many keys go into: a bundle, or none when each goes by itself. */
interface Opened {
  readonly isFull: boolean
  start(): void
  cancel(error: KilovoltError): void
}

/** How operations on many keys are begun. */
interface Begin<Bundle extends Opened, Result> {
  readonly open: () => Bundle | undefined
  readonly add: (bundle: Bundle | undefined, waiter: Waiter<Result>, index: number) => void
  /** Which of them are begun as one; {@link Begin.add} is given the number of the unit then. Default: each by itself. */
  readonly units?: Units<Result>
}

/** Operations that are begun together in units. */
export interface Units<Result> {
  readonly count: number
  /** How many operations a unit has. */
  readonly sizeOf: (unit: number) => number
  readonly reject: (waiter: Waiter<Result>, unit: number, error: unknown) => void
}

/** Operations of one call that are under way at once: what they hold in memory has a bound. */
const AT_ONCE_MAX = 2048
/** Operations that are begun together. */
const STEP = 256

/**
 * Runs operations on many keys in bundles, a bounded number at once, in their order. When the signal aborts, those that are
 * under way or have not begun fail with `KV_ABORTED`.
 */
export async function gatherMany<Bundle extends Opened, Result>(
  count: number,
  signal: AbortSignal | undefined,
  { open, add, units }: Begin<Bundle, Result>
): Promise<Gathered<Result>> {
  const gather = new Gather<Result>(count)
  const bundles: Bundle[] = []
  const aborted = (): KilovoltError => abortError(signal!, 'the call')
  const forget = onAbort(signal, () => {
    for (const bundle of bundles) bundle.cancel(aborted())
  })
  const last = units?.count ?? count
  for (let next = 0, begun = 0; next < last;) {
    const room = gather.ended(begun + STEP - AT_ONCE_MAX)
    if (room !== undefined) await room
    let bundle: Bundle | undefined
    for (const until = begun + STEP; next < last && begun < until;) {
      const index = next++
      begun += units?.sizeOf(index) ?? 1
      if (signal?.aborted === true) {
        if (units === undefined) gather.reject(index, aborted())
        else units.reject(gather, index, aborted())
        continue
      }
      if (bundle === undefined || bundle.isFull) {
        bundle?.start()
        bundle = open()
        if (bundle !== undefined && signal !== undefined) bundles.push(bundle)
      }
      add(bundle, gather, index)
    }
    bundle?.start()
  }
  const gathered = await gather.promise
  forget()
  return gathered
}
