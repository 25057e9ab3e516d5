import { abortError, onAbort, throwIfAborted } from '../base/abort.ts'
import { hasMethods, isObject, misuse } from '../base/arguments.ts'
import { toHex } from '../base/bytes.ts'
import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import { assertKnownOptions, show } from '../base/options.ts'
import { systemClock } from '../runtime/system-clock.ts'
import { systemRandom } from '../runtime/system-random.ts'
import { assertOperationOptions } from './call-options.ts'
import type { Entry, Keyspace, OperationOptions, ReadOptions, WriteOptions } from './keyspace.ts'

/** What is stored of a counter: for each who counts, how much it has added and how much it has taken away. */
export interface PnCounts {
  readonly [counter: string]: readonly [added: number, removed: number]
}

/** Options of a {@link PnCounter}. */
export interface PnCounterOptions {
  /**
   * Name of who counts; no two that count at the same time may have the same. One that comes later goes on where the one before it
   * ended, as far as a read at its level knows. It counts under this name until the key is deleted, and then under one that is made
   * of it. Default: one of its own, by chance.
   */
  readonly actor?: string | undefined
}

/** An increment that waits for its turn. */
interface Increment {
  readonly amount: number
  readonly options: OperationOptions
  /** The options of what its turn asks of the keyspace. */
  readonly bounds: () => OperationOptions
  /** Its turn has come: from here on the keyspace minds its deadline and its signal. */
  readonly endWait: () => void
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

const OPTIONS: ReadonlySet<string> = new Set(['actor'] satisfies (keyof PnCounterOptions)[])

/** The join of two: a count only grows. */
export function pnJoined(a: PnCounts, b: PnCounts): PnCounts {
  const both = new Map<string, readonly [number, number]>()
  for (const [actor, [added, removed]] of [...Object.entries(a), ...Object.entries(b)]) {
    const [most, least] = both.get(actor) ?? [0, 0]
    both.set(actor, [Math.max(most, added), Math.max(least, removed)])
  }
  return Object.fromEntries([...both].toSorted(([x], [y]) => (x < y ? -1 : 1)))
}

/** What counts come to. */
export function pnTotal(counts: PnCounts | undefined): number {
  return Object.values(counts ?? {}).reduce((sum, [added, removed]) => sum + added - removed, 0)
}

/**
 * A number that many nodes add to at the same time, and that comes to the true sum: each counts for itself, and keeps its count in
 * memory, so that nothing it has been told of is ever counted twice or not at all. Keep one for as long as the process lives: each
 * one adds an entry of some 40 bytes to what is stored.
 *
 * When its key is deleted, or has expired, it begins anew with what is added next. What is added at the same time as the deletion
 * may bring back the counts that were read for it.
 *
 * @example
 * ```ts
 * const likes = node.keyspace<PnCounts>('likes', { conflicts: resolvers.pnCounter })
 * const counter = new PnCounter(likes, 'post:1')
 * await counter.add(1)
 * console.log(await counter.value())
 * ```
 */
export class PnCounter<K = string> {
  readonly #keyspace: Keyspace<PnCounts, K>
  readonly #key: K
  readonly #given: string | undefined
  #actor: string
  /** Whether some count under this name is known to have been stored. */
  #isStored = false
  #added = 0
  #removed = 0
  #isCounting = false
  readonly #waiting = new Set<Increment>()

  /**
   * @param keyspace - one with `conflicts: resolvers.pnCounter`
   * @param key - the counter's key
   * @param options - who counts
   * @throws KilovoltError `KV_CONFIG` for a keyspace that keeps only the newest of what several have counted
   */
  constructor(keyspace: Keyspace<PnCounts, K>, key: K, options: PnCounterOptions = {}) {
    assertKnownOptions(options, 'a PnCounter', OPTIONS)
    const { actor } = options
    if (actor !== undefined && (typeof actor !== 'string' || actor === '')) {
      throw new KilovoltError('KV_CONFIG', `"actor" must be the name of who counts, not ${show(actor)}`)
    }
    if (!hasMethods(keyspace, 'getEntry', 'put')) throw misuse('the first argument', 'a keyspace', keyspace)
    if (keyspace.conflicts === 'newest') {
      throw new KilovoltError('KV_CONFIG', 'a PnCounter needs a keyspace with "conflicts: resolvers.pnCounter"')
    }
    this.#keyspace = keyspace
    this.#key = key
    this.#given = actor
    this.#actor = actor ?? ownName()
  }

  /**
   * Adds a number, which may be negative. Calls of one counter go one after the other; those that wait for their turn with nothing
   * but the same levels to be kept to are counted by one read and one write. One that fails may count yet, with the next
   * that succeeds, unless its error says that it was not executed (`details.outcome`). `timeoutMs` and `signal` hold for the wait as
   * well.
   *
   * @param amount - a finite number
   * @throws KilovoltError as `Keyspace.get` and `Keyspace.put`; RangeError when it would come to more than a number can hold
   */
  add(amount: number, options: OperationOptions = {}): Promise<void> {
    try {
      if (!Number.isFinite(amount)) throw new TypeError('a counter adds finite numbers')
      assertOperationOptions(options)
      throwIfAborted(options.signal, 'a wait to count')
    } catch (error) {
      return Promise.reject(error)
    }
    const { signal, timeoutMs } = options
    return new Promise((resolve, reject) => {
      const giveUp = (error: KilovoltError): void => {
        this.#waiting.delete(increment)
        increment.endWait()
        reject(error)
      }
      const timer =
        timeoutMs === undefined ? undefined : systemClock.after(timeoutMs, () => giveUp(waitedError(timeoutMs)))
      const forgetAbort = onAbort(signal, () => giveUp(abortError(signal!, 'a wait to count')))
      const endWait = (): void => {
        timer?.cancel()
        forgetAbort()
      }
      const increment: Increment = { amount, options, bounds: boundsOf(options), endWait, resolve, reject }
      this.#waiting.add(increment)
      if (!this.#isCounting) void this.#count()
    })
  }

  /**
   * What all have added and taken away, as far as a read at the keyspace's level knows; 0 when nobody has.
   *
   * @throws KilovoltError as `Keyspace.get`; `KV_INVALID_VALUE` when the key holds something else than counts
   */
  async value(options: OperationOptions = {}): Promise<number> {
    return pnTotal(countsOf(await this.#keyspace.getEntry(this.#key, options)))
  }

  /** Counts what waits, until nothing does. */
  async #count(): Promise<void> {
    this.#isCounting = true
    // Whoever comes meanwhile is at the end of the same set.
    for (const first of this.#waiting) {
      const together = isBounded(first) ? [first] : this.#allLike(first)
      for (const increment of together) {
        this.#waiting.delete(increment)
        increment.endWait()
      }
      try {
        await this.#add(together, first.bounds)
        for (const { resolve } of together) resolve()
      } catch (error) {
        for (const { reject } of together) reject(error)
      }
    }
    this.#isCounting = false
  }

  /** Also where its own levels are none, and like nothing, not even themselves: the keyspace says so. */
  #allLike(first: Increment): Increment[] {
    return [...this.#waiting].filter(other => other === first || isAlike(first, other))
  }

  /** @param bounds - the options of the call, with the time that is left to it */
  async #add(increments: readonly Increment[], bounds: () => OperationOptions): Promise<void> {
    let more = 0
    let less = 0
    for (const { amount } of increments) {
      if (amount >= 0) more += amount
      else less -= amount
    }
    const entry = await this.#keyspace.getEntry(this.#key, readOf(bounds()))
    // More than it knows of is what one of its name has counted before it, as in a process that was started anew.
    const stored = countsOf(entry)
    const isKnown = Object.hasOwn(stored, this.#actor)
    if (this.#isStored && !isKnown) this.#beginAnew()
    this.#isStored ||= isKnown
    const [added, removed] = isKnown ? stored[this.#actor]! : [0, 0]
    this.#added = Math.max(this.#added, added)
    this.#removed = Math.max(this.#removed, removed)
    // JSON has no form for infinity: what it makes of it no counter could read.
    if (![this.#added + more, this.#removed + less].every(Number.isFinite)) {
      throw new RangeError('a counter cannot count so far: nothing was added')
    }
    this.#added += more
    this.#removed += less
    const own: PnCounts = { [this.#actor]: [this.#added, this.#removed] }
    const counts = pnJoined(stored, own)
    try {
      const context = entry?.context === undefined ? {} : { context: entry.context }
      await this.#keyspace.put(this.#key, counts, { ...writeOf(bounds()), ...context })
      this.#isStored = true
    } catch (error) {
      if (isKilovoltError(error) && error.details['outcome'] === 'not-executed') {
        this.#added -= more
        this.#removed -= less
      }
      throw error
    }
  }

  /**
   * What was stored is not there: it was deleted, or the read has not come to a copy that has it. Under another name neither is
   * counted twice, and nothing is lost.
   */
  #beginAnew(): void {
    this.#actor = this.#given === undefined ? ownName() : `${this.#given}:${ownName()}`
    this.#isStored = false
    this.#added = 0
    this.#removed = 0
  }
}

/** What is stored of a counter: of siblings, which a keyspace without a resolver leaves as they are, all of it. */
function countsOf(entry: Entry<PnCounts> | undefined): PnCounts {
  const found: readonly unknown[] = entry?.siblings ?? (entry === undefined ? [] : [entry.value])
  for (const value of found) {
    if (areCounts(value)) continue
    const message = `the key of a PnCounter holds ${show(value)}, which no counter has stored: delete it, or give the counter another key`
    throw new KilovoltError('KV_INVALID_VALUE', message)
  }
  return (found as readonly PnCounts[]).reduce(pnJoined, {})
}

function areCounts(value: unknown): value is PnCounts {
  return isObject(value) && Object.values(value).every(isPair)
}

function isPair(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && value.every(part => Number.isFinite(part))
}

/** Of options for a read and a write those of the read: a number of copies takes the place of a level. */
function readOf(options: OperationOptions): ReadOptions {
  const { w: _, ...rest } = options as ReadOptions & WriteOptions
  return rest.r === undefined ? rest : { ...rest, consistency: undefined }
}

/** And those of the write. */
function writeOf(options: OperationOptions): WriteOptions {
  const { r: _, ...rest } = options as ReadOptions & WriteOptions
  return rest.w === undefined ? rest : { ...rest, consistency: undefined }
}

/** Options of a call that begins now, each time with what is left of its time. */
function boundsOf(options: OperationOptions): () => OperationOptions {
  const { timeoutMs } = options
  if (timeoutMs === undefined) return () => options
  const deadlineMs = systemClock.monotonicMs() + timeoutMs
  return () => ({ ...options, timeoutMs: Math.max(1, Math.floor(deadlineMs - systemClock.monotonicMs())) })
}

/** Whether it has a deadline or a signal of its own, which others must not end by. */
function isBounded({ options }: Increment): boolean {
  return options.timeoutMs !== undefined || options.signal !== undefined
}

/** Whether the same read and write are good for both. */
function isAlike(a: Increment, b: Increment): boolean {
  if (isBounded(a) || isBounded(b)) return false
  const [these, those] = [a.options, b.options] as readonly (ReadOptions & WriteOptions)[]
  return these!.consistency === those!.consistency && these!.r === those!.r && these!.w === those!.w
}

function waitedError(timeoutMs: number): KilovoltError {
  return new KilovoltError('KV_TIMEOUT', `others were counting for ${timeoutMs} ms: it has not been counted`, {
    details: { outcome: 'not-executed' }
  })
}

function ownName(): string {
  return toHex(systemRandom.bytes(8))
}
