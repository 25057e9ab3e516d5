import type { ClusterId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { type RecordBytes, recordExpiresAt, recordHlc } from '../model/record.ts'
import type { RecordKey } from '../storage/record-store.ts'
import type { WatchFilter } from './watch-filter.ts'
import { nameOf, versionOf } from './watch-shard.ts'
import { encodeToken, type FeedPosition, type Reached } from './watch-token.ts'

/** Where a node that watches stands in all partitions that it watches; never changed once it is given out. */
export interface WatchBook {
  readonly clusterId: ClusterId
  /** By partition. */
  readonly reached: readonly (Reached | undefined)[]
}

/** A change of a record, as it is told to those who watch. */
export interface WatchChange extends RecordKey {
  readonly record: RecordBytes
  /** It has expired: that is the change. */
  readonly expired: boolean
  /** Stamp of the live value that it took the place of, where that is known. */
  readonly previous: Uint8Array | undefined
}

/** Where a change stands among all that is told. */
export interface WatchPlace {
  readonly book: WatchBook
  /** Of which feed it is, as it stands in the book or in what is behind, and its number there; `undefined` for what a rewind has found. */
  readonly feed: FeedPosition | undefined
  readonly seq: number
}

/** Who watches: takes what it is told at once, and drops what it has no room for. */
export interface WatchListener {
  /** @param token - gives the position after this change; may be called later, or never */
  change(change: WatchChange, token: () => string): void
  /** Some changes cannot be told. */
  reset(): void
  /** Nothing when there is room for more that is old; else what resolves when there is. Never rejects. */
  room(): Promise<void> | undefined
}

/** Most keys told of, and remembered, while an earlier watch is being taken up; beyond that it begins anew. */
const SEEN_MAX = 65_536
const NO_PARTITIONS: ReadonlyMap<PartitionId, Reached> = new Map()

/** One watch of an app: what it is to be told, and how far it was. */
export class WatchSubscription {
  readonly filter: WatchFilter
  /** In rising order. */
  readonly partitions: readonly PartitionId[]
  readonly #listener: WatchListener
  /** Nothing stamped at or below this is told when an owner is searched for what was missed, but for who asks for it. */
  low: number
  /** Everything that it needs was asked for by then. */
  generation = 0
  #isClosed = false
  /** Partitions in which it has still to be told what is old, with how far it was; replaced, never changed. */
  #behind: ReadonlyMap<PartitionId, Reached> = NO_PARTITIONS
  /** What was told while old and new came in no order, by key. */
  #seen: Map<string, string> | undefined
  /** Latest of it, and the latest end, Unix ms. */
  #seenHlc = 0
  #seenEndMs = 0
  /** Up to which version, and to which end, it has forgotten what it was told. */
  #forgottenHlc = 0
  #forgottenEndMs = 0
  #isInOrder = true

  constructor(filter: WatchFilter, partitions: readonly PartitionId[], low: number, listener: WatchListener) {
    this.filter = filter
    this.partitions = partitions
    this.low = low
    this.#listener = listener
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Partitions in which it has still to be told what is old. */
  get behind(): ReadonlyMap<PartitionId, Reached> {
    return this.#behind
  }

  /** It is to be told what came after this as well. */
  takeUp(behind: ReadonlyMap<PartitionId, Reached>): void {
    this.#behind = behind
    this.#seen = new Map()
    this.#isInOrder = false
  }

  /** In partitions that are behind everything has been told that had arrived at a store by then. */
  advance(partitions: Iterable<PartitionId>, feed: FeedPosition): void {
    const behind = new Map(this.#behind)
    for (const partition of partitions) {
      const reached = behind.get(partition)
      if (reached !== undefined) behind.set(partition, { ...reached, feed })
    }
    this.#behind = behind
  }

  /** A partition has been told up to the present. */
  caughtUp(partition: PartitionId): void {
    const behind = new Map(this.#behind)
    behind.delete(partition)
    this.#behind = behind
  }

  /** Whatever comes from now on comes in order; but another owner may yet tell of what was met on the way here. */
  inOrder(): void {
    this.#isInOrder = true
  }

  /** Nothing stamped at or below this can come any more, nor the end of what had ended by then, Unix ms. */
  settled(low: number, endedMs: number): void {
    if (this.#isInOrder && low >= this.#seenHlc && endedMs >= this.#seenEndMs) this.#seen = undefined
  }

  /** Whether old and new come in order. */
  get isInOrder(): boolean {
    return this.#isInOrder
  }

  /** Nothing is remembered any more: who searches for what is stamped later than a mark may meet it again. */
  forget(): void {
    this.#forgottenHlc = this.#seenHlc
    this.#forgottenEndMs = this.#seenEndMs
    this.#seen = undefined
  }

  /** Whether nothing was forgotten that is stamped later than this, and no end after that, Unix ms. */
  isExactAbove(low: number, endedMs: number): boolean {
    return this.#forgottenHlc <= low && this.#forgottenEndMs <= endedMs
  }

  /** Whether it remembers what it was told by itself. */
  get remembers(): boolean {
    return this.#seen !== undefined
  }

  /** Tells a change, unless a later one of its key was told. */
  offer(change: WatchChange, place: WatchPlace): void {
    if (this.#isClosed || !this.#isNews(change)) return
    const behind = this.#behind
    this.#listener.change(change, () => this.#tokenAt(place, behind))
  }

  /** See {@link WatchListener.room}. */
  room(): Promise<void> | undefined {
    return this.#listener.room()
  }

  /** Some changes cannot be told; what is old is not asked for any more. */
  reset(): void {
    if (this.#isClosed) return
    this.#behind = NO_PARTITIONS
    this.#listener.reset()
  }

  /** The position after all that has been told by now, as a token that is made when it is looked at. */
  position(book: WatchBook): () => string {
    const behind = this.#behind
    return () => this.#tokenAt({ book, feed: undefined, seq: 0 }, behind)
  }

  close(): void {
    this.#isClosed = true
    this.#seen = undefined
  }

  #isNews(change: WatchChange): boolean {
    if (this.#seen === undefined) return true
    const { record, expired, partition } = change
    const name = nameOf(change)
    const version = versionOf(record, expired)
    const before = this.#seen.get(name)
    if (before !== undefined && version <= before) return false
    if (this.#isInOrder) return true
    if (before === undefined) {
      // What the feed alone tells comes in order; what is old comes no more after a reset.
      if (!this.#behind.has(partition)) return true
      if (this.#seen.size >= SEEN_MAX) {
        this.reset()
        return false
      }
    }
    this.#seen.set(name, version)
    this.#seenHlc = Math.max(this.#seenHlc, recordHlc(record))
    if (expired) this.#seenEndMs = Math.max(this.#seenEndMs, recordExpiresAt(record) ?? 0)
    return true
  }

  #tokenAt({ book, feed, seq }: WatchPlace, behind: ReadonlyMap<PartitionId, Reached>): string {
    const partitions = new Map<PartitionId, Reached>()
    const moved = feed && { ...feed, seq }
    for (const partition of this.partitions) {
      const reached = behind.get(partition) ?? book.reached[partition]
      if (reached === undefined) continue
      partitions.set(
        partition,
        reached.feed !== undefined && reached.feed === feed ? { ...reached, feed: moved } : reached
      )
    }
    return encodeToken({ clusterId: book.clusterId, partitions }, this.filter)
  }
}
