import { abortError, throwIfStopped } from '../base/abort.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import type { PeerId, StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { Topology } from '../placement/topology.ts'
import { type Clock, pause, type Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { Exchange } from './exchange.ts'
import type { TreeBuilder } from './tree-builder.ts'

/** What anti-entropy needs. */
export interface AntiEntropyDeps {
  readonly self: StoreId
  readonly builder: TreeBuilder
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly topology: () => Topology | undefined
  readonly isAlive: (store: StoreId) => boolean
  /** Compares copies with another owner. */
  readonly exchangeWith: (peer: PeerId, rest: () => Promise<void>) => Exchange
}

/** Settings of anti-entropy. */
export interface AntiEntropyOptions {
  /** Time between two rounds over all partitions, ms; varied by a tenth. `Infinity`: only when asked to. */
  readonly everyMs: number
}

/** What one round came to. */
export interface RoundReport {
  /** Records that one side had and the other had not, or only in an older version. */
  readonly differences: number
  /** Of those, how many both sides hold since. */
  readonly mended: number
  /** Bytes of requests sent and replies received. */
  readonly bytes: number
  /** Owners that could not be compared with, or not with all they share with this node. */
  readonly missed: readonly StoreId[]
}

/** Figures since the node started. */
export interface AntiEntropyStats {
  /** Unix ms at which a round last reached every owner that it was to ask; `undefined` before. */
  readonly completedAt: number | undefined
  readonly differences: number
  readonly mended: number
  readonly bytes: number
}

/** How soon a round begins that something has called for, ms: others may have been called for by the same. */
const SOON_MS = 2000
/** Pause before a round that did not reach everybody is made again, ms. */
const AGAIN_MS = 15_000
/** Pause between two pages, ms: requests go first. */
const REST_MS = 2

/**
 * Compares what this node owns with the other owners, round by round, and mends what differs: what a replica missed while
 * it was away, or what a crash took from it, comes back without anybody reading it.
 *
 * Of two owners the one with the smaller id asks, so that nothing is mended from both ends at once. Rows that are changing
 * are left to the copying; the round after the change looks at them.
 */
export class AntiEntropy {
  readonly #deps: AntiEntropyDeps
  readonly #options: AntiEntropyOptions
  readonly #stats = { completedAt: undefined as number | undefined, differences: 0, mended: 0, bytes: 0 }
  readonly #abort = new AbortController()
  #timer: Timer | undefined
  #dueMs = Infinity
  /** The rounds that were begun, one after another; never rejects. */
  #rounds: Promise<unknown> = Promise.resolve()
  #isRunning = false
  /** Whether a round was called for while one was under way. */
  #again = false

  constructor(deps: AntiEntropyDeps, options: AntiEntropyOptions) {
    this.#deps = deps
    this.#options = options
  }

  /** Calls for a round: somebody is back, or owners have changed. */
  soon(): void {
    if (this.#options.everyMs === Infinity) return
    if (this.#isRunning) this.#again = true
    else this.#schedule(SOON_MS + this.#deps.random.int(SOON_MS))
  }

  /**
   * A round now, in which this node asks every other owner, after the one that may be under way.
   *
   * @throws KilovoltError `KV_ABORTED`, `KV_NODE_STOPPED`
   */
  async run(signal: AbortSignal | undefined): Promise<RoundReport> {
    const round = this.#rounds.then(() => this.#round(() => true, signal))
    this.#rounds = round.catch(() => {})
    const report = await round
    if (signal?.aborted === true) throw abortError(signal, 'repair')
    throwIfStopped(this.#abort.signal)
    return report
  }

  stats(): AntiEntropyStats {
    return { ...this.#stats }
  }

  /** Begins nothing more. */
  cancel(): void {
    this.#abort.abort()
    this.#timer?.cancel()
  }

  /** Resolves when nothing is under way any more; the transport must be stopped first, or be about to. */
  async stop(): Promise<void> {
    this.cancel()
    await this.#rounds
  }

  #schedule(delayMs: number): void {
    const { clock } = this.#deps
    const dueMs = clock.monotonicMs() + delayMs
    if (this.#abort.signal.aborted || dueMs >= this.#dueMs) return
    this.#timer?.cancel()
    this.#dueMs = dueMs
    this.#timer = clock.after(delayMs, () => {
      this.#dueMs = Infinity
      this.#rounds = this.#rounds.then(() => this.#regularRound())
    })
  }

  async #regularRound(): Promise<void> {
    const { self, random } = this.#deps
    const { everyMs } = this.#options
    this.#again = false
    this.#isRunning = true
    const { missed } = await this.#round(other => other > self)
    this.#isRunning = false
    const regularMs = everyMs * 0.9 + random.int(Math.ceil(everyMs * 0.2))
    if (this.#again) this.soon()
    else this.#schedule(missed.length === 0 ? regularMs : Math.min(regularMs, AGAIN_MS))
  }

  /** Compares with those owners that are to be asked; never rejects. */
  async #round(isAsked: (other: StoreId) => boolean, signal?: AbortSignal): Promise<RoundReport> {
    const { self, topology, clock } = this.#deps
    const sum = { differences: 0, mended: 0, bytes: 0, missed: [] as StoreId[] }
    const latest = topology()
    const shared = latest === undefined ? [] : sharedWith(latest, self)
    for (const [other, partitions] of shared) {
      if (!isAsked(other)) continue
      if (this.#isOver(signal) || !(await this.#compareWith(other, partitions, sum, signal))) sum.missed.push(other)
    }
    this.#stats.differences += sum.differences
    this.#stats.mended += sum.mended
    this.#stats.bytes += sum.bytes
    if (latest !== undefined && sum.missed.length === 0) this.#stats.completedAt = clock.wallMs()
    return sum
  }

  /** Whether everything that both own was compared, and what differed is the same now. */
  async #compareWith(
    other: StoreId,
    partitions: readonly PartitionId[],
    sum: { differences: number; mended: number; bytes: number },
    signal: AbortSignal | undefined
  ): Promise<boolean> {
    const { topology, isAlive, builder, logger } = this.#deps
    const peer = topology()?.members.get(other)?.peerId
    if (peer === undefined || !isAlive(other)) return false
    const exchange = this.#deps.exchangeWith(peer, () => this.#rest(signal))
    const { result } = exchange
    try {
      for (const partition of partitions) {
        await builder.ensure(partition)
        if (this.#isOver(signal)) return false
      }
      const { differing, unknown } = await exchange.compare(partitions)
      for (const partition of differing) await exchange.mend(partition)
      return unknown.length === 0 && result.mended === result.differences
    } catch (error) {
      logger.debug('comparing with a replica was broken off', { store: other, error: messageOf(error) })
      return false
    } finally {
      const { differences, mended, bytes } = result
      sum.differences += differences
      sum.mended += mended
      sum.bytes += bytes
      if (differences > 0) logger.info('replicas differed and were mended', { store: other, differences, mended })
    }
  }

  async #rest(signal: AbortSignal | undefined): Promise<void> {
    await pause(this.#deps.clock, REST_MS, this.#abort.signal)
    if (this.#isOver(signal)) throw new KilovoltError('KV_ABORTED', 'the comparison is not wanted any more')
  }

  #isOver(signal: AbortSignal | undefined): boolean {
    return this.#abort.signal.aborted || signal?.aborted === true
  }
}

/** For each other owner, the partitions that both own and that do not change now. */
function sharedWith({ rows }: Topology, self: StoreId): ReadonlyMap<StoreId, PartitionId[]> {
  const shared = new Map<StoreId, PartitionId[]>()
  for (const [partition, { slots, change }] of rows.entries()) {
    if (change !== undefined || !slots.includes(self)) continue
    for (const other of slots) {
      if (other === self) continue
      const partitions = shared.get(other)
      if (partitions === undefined) shared.set(other, [partition])
      else partitions.push(partition)
    }
  }
  return shared
}
