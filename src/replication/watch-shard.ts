import { toLatin1 } from '../base/bytes.ts'
import { hlcFromMs } from '../model/hlc.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { isTombstone, type RecordBytes, recordExpiresAt, recordHlc, STAMP_END, STAMP_START } from '../model/record.ts'
import type { RecordKey } from '../storage/record-store.ts'

/** A version as the map of those that were told keeps it. */
interface Told {
  /** Bytes of the stamp as Latin-1, with a sign behind it when it has expired: ordered as text. */
  readonly version: string
  readonly hlc: number
  readonly expiresAt: number
}

/** What was written so long before a watch began may count as old, ms: clocks are not the same everywhere. */
export const START_SLACK_MS = 60_000
/** What has expired so long before another clock says so may have been told already, ms. */
export const EXPIRY_SLACK_MS = 60_000

/** What the shards of a node have in common. */
export interface ShardsShared {
  /** How many versions more may be remembered over all partitions. */
  left: number
  /** Raised whenever the turn of any of them is, and when there are others: nobody need look at each of them before. */
  turns: number
}

/**
 * One partition as a node that watches sees it: who feeds it, and what of it was told.
 *
 * Phases: `fresh`: from now on, nobody has answered yet; `behind`: another store is about to feed it, which may hold what the
 * former one never had; `rewinding`: that one feeds it, and is searched for such; `live`: all is well.
 */
export class WatchShard {
  readonly partition: PartitionId
  readonly #shared: ShardsShared
  source: StoreId | undefined
  phase: 'fresh' | 'behind' | 'rewinding' | 'live' = 'fresh'
  #turn = 0
  /** Stores that were dismissed, each until when, monotonic ms. */
  readonly #dismissed = new Map<StoreId, number>()
  /** Whether the source was chosen by the owners of now. */
  isAssigned = false
  /** Everything asked for before this was told to the source. */
  generation = 0
  /** Everything stamped at or below was told. */
  low = 0
  /** Every record that had expired by then was told, Unix ms. */
  expiredUntil = 0
  /** Versions that were told and lie above `low`. */
  readonly #told = new Map<string, Told>()
  /** Versions up to here may have been told and forgotten, and so may ends up to then, Unix ms. */
  #forgotten = 0
  #forgottenEndMs = 0

  constructor(partition: PartitionId, nowMs: number, shared: ShardsShared) {
    this.partition = partition
    this.#shared = shared
    this.restart(0, nowMs)
  }

  /** Raised whenever what is under way for it is void. */
  get turn(): number {
    return this.#turn
  }

  /** Makes what is under way for it void. */
  turnOver(): void {
    this.#turn++
    this.#shared.turns++
  }

  /** Whether nothing told is forgotten that a rewind could meet again. */
  get isExact(): boolean {
    return this.#forgotten <= this.low && this.#forgottenEndMs <= this.endedMs
  }

  /** Whatever had ended by then no clock tells as news any more, Unix ms. */
  get endedMs(): number {
    return this.expiredUntil - EXPIRY_SLACK_MS
  }

  /** Another store feeds it from now on, or nobody. */
  assign(source: StoreId | undefined): void {
    this.source = source
    this.isAssigned = source !== undefined
    this.turnOver()
    if (this.phase !== 'fresh') this.phase = 'behind'
  }

  /** The store that feeds it says it does not own it, or cannot be searched: nobody feeds it from now on, and that one not for so long. */
  dismiss(nowMs: number, forMs: number): void {
    // Stores come and go without end.
    for (const [store, untilMs] of this.#dismissed) if (untilMs <= nowMs) this.#dismissed.delete(store)
    if (this.source !== undefined) this.#dismissed.set(this.source, nowMs + forMs)
    this.assign(undefined)
  }

  isDismissed(store: StoreId, nowMs: number): boolean {
    return (this.#dismissed.get(store) ?? 0) > nowMs
  }

  /** How many stores are remembered that were dismissed. */
  get dismissed(): number {
    return this.#dismissed.size
  }

  /** All that was told means nothing any more. */
  begin(nowMs: number): void {
    this.assign(undefined)
    this.phase = 'fresh'
    this.#dismissed.clear()
    this.#shared.left += this.#told.size
    this.#told.clear()
    this.#forgotten = this.#forgottenEndMs = this.low = this.generation = 0
    this.restart(0, nowMs)
  }

  /** Begins anew: what came before is not asked for any more. */
  restart(horizon: number, nowMs: number): void {
    this.low = Math.max(this.low, horizon, hlcFromMs(nowMs - START_SLACK_MS))
    this.expiredUntil = Math.max(this.expiredUntil, nowMs)
    this.#forgotten = Math.min(this.#forgotten, this.low)
    this.#forgottenEndMs = Math.min(this.#forgottenEndMs, this.endedMs)
    this.#prune()
  }

  /** What is stamped at or below the horizon, and whatever had expired until then, has all been told. */
  settle(horizon: number, expiredUntil: number): void {
    if (expiredUntil > this.expiredUntil) this.expiredUntil = expiredUntil
    if (horizon <= this.low) return
    this.low = horizon
    this.#prune()
  }

  /** Whether a version is later than what was told of its key; it counts as told from then on. */
  isNews(place: RecordKey, record: RecordBytes, expired: boolean): boolean {
    const name = nameOf(place)
    const version = versionOf(record, expired)
    const told = this.#told.get(name)
    if (told !== undefined && version <= told.version) return false
    // The latest last: those that are forgotten first were told first.
    if (told !== undefined) this.#told.delete(name)
    else if (this.#shared.left > 0) this.#shared.left--
    else this.#forgetOne()
    const expiresAt = isTombstone(record) ? undefined : recordExpiresAt(record)
    this.#told.set(name, { version, hlc: recordHlc(record), expiresAt: expiresAt ?? 0 })
    return true
  }

  /** Nobody watches it any more. */
  close(): void {
    this.turnOver()
    this.#shared.left += this.#told.size
    this.#told.clear()
  }

  #forgetOne(): void {
    for (const [name, { version, hlc, expiresAt }] of this.#told) {
      this.#told.delete(name)
      this.#forgotten = Math.max(this.#forgotten, hlc)
      if (isEnd(version)) this.#forgottenEndMs = Math.max(this.#forgottenEndMs, expiresAt)
      return
    }
    // All that is remembered is of other partitions: one more does not matter.
    this.#shared.left--
  }

  #prune(): void {
    for (const [name, { hlc, expiresAt }] of this.#told) {
      // The end of one that expires is told of at its time, whenever it was written.
      if (hlc > this.low || expiresAt > this.endedMs) continue
      this.#told.delete(name)
      this.#shared.left++
    }
  }
}

/** Partitions in rising order, by who feeds them. */
export function groupBySource(shards: Iterable<WatchShard>): ReadonlyMap<StoreId, readonly WatchShard[]> {
  const by = new Map<StoreId, WatchShard[]>()
  for (const shard of [...shards].sort((a, b) => a.partition - b.partition)) {
    if (shard.source === undefined) continue
    const fed = by.get(shard.source)
    if (fed === undefined) by.set(shard.source, [shard])
    else fed.push(shard)
  }
  return by
}

/** A key of a partition as text. */
export function nameOf({ keyspace, key }: RecordKey): string {
  return `${String.fromCharCode(keyspace.length)}${toLatin1(keyspace)}${toLatin1(key)}`
}

/** A version as text that is ordered as versions are; that it has expired is later than the version itself. */
export function versionOf(record: RecordBytes, expired: boolean): string {
  const stamp = Buffer.from(record.buffer, record.byteOffset + STAMP_START, STAMP_END - STAMP_START).toString('latin1')
  return expired ? `${stamp}x` : stamp
}

function isEnd(version: string): boolean {
  return version.length > STAMP_END - STAMP_START
}
