import { compareBytes } from '../base/bytes.ts'
import type { KilovoltError } from '../base/errors.ts'
import type { ByteRange } from '../model/key-range.ts'
import type { Stamp } from '../model/stamp.ts'
import type { RecordBytes } from '../model/record.ts'
import type { PartitionId } from '../model/partition.ts'
import type { PackedRows } from '../codec/packed-rows.ts'
import type { Mint } from './sibling-door.ts'

/** Where a record lives. */
export interface RecordKey {
  readonly partition: PartitionId
  /** Name of the keyspace in UTF-8, up to 64 bytes; the default keyspace has the empty name. */
  readonly keyspace: Uint8Array
  readonly key: Uint8Array
}

/** The order of a partition's records: by the length of the keyspace's name, then its bytes, then the key's. */
export function comparePlaces(a: Omit<RecordKey, 'partition'>, b: Omit<RecordKey, 'partition'>): number {
  return a.keyspace.length - b.keyspace.length || compareBytes(a.keyspace, b.keyspace) || compareBytes(a.key, b.key)
}

/** A record with its key, where partition and keyspace are known. */
export interface KeyedRecord {
  readonly key: Uint8Array
  readonly record: RecordBytes
}

/** What became of one record at the store's door. */
export interface ApplyResult {
  /**
   * `applied`: it was newer and is stored; `same`: this very record was stored already; `stale`: something newer is
   * stored, given in `current`; `settled`: nothing is stored, and yet something newer was: every owner has had this
   * record, or a newer one, and what took its place has been purged (rule G1).
   */
  readonly outcome: 'applied' | 'same' | 'stale' | 'settled'
  /** What the store held before. */
  readonly current: RecordBytes | undefined
  /** What it holds now, where that is not simply the record that was offered: siblings were joined, or minted. */
  readonly stored?: RecordBytes
}

/** What a key of several was found to hold. */
export type Read = RecordBytes | KilovoltError | undefined

/** How much of a range is read at a time, and from which end. */
export interface RangeOptions {
  readonly limit: number
  readonly maxBytes: number
  readonly isReverse: boolean
}

/** A part of a range, from its beginning or, in reverse, from its end. */
export interface RangePart {
  readonly rows: readonly RangeRow[]
  /** What is left of the range; `undefined` when nothing is. */
  readonly rest: ByteRange | undefined
}

/** One record of a range. */
export interface RangeRow {
  readonly key: Uint8Array
  /** `undefined` when it is damaged. */
  readonly record: RecordBytes | undefined
}

/** What is packed. */
export interface PackedPlace {
  readonly partition: PartitionId
  readonly keyspace: Uint8Array
  readonly range: ByteRange
}

/** How much of a range is packed at a time. */
export interface PackOptions extends RangeOptions {
  /** From when on all but the value of a record is enough: once so many bytes were gathered. 0: of every record. */
  readonly wholeBytesMax: number
}

/** A part of a range that was packed. */
export interface PackedPart {
  /** Its rows are those from here up to */
  readonly from: number
  /** here. */
  readonly to: number
  /** As of {@link RangePart}. */
  readonly rest: ByteRange | undefined
}

/** A record with its place, as a copy or a scan sees it. */
export interface StoredRecord extends RecordKey {
  readonly record: RecordBytes
}

/**
 * The records of a node: one writer; the newest wins, and siblings are joined. All mutations that have arrived are looked up, decided and written
 * together, and acknowledged when their batch is durable (to the degree the node was configured for).
 */
export interface RecordStore {
  /** Whether {@link RecordStore.get} returns the record itself, unless it fails. */
  readonly readsAtOnce: boolean
  /**
   * The record under a key, tombstones and expired records included. One that is damaged is a failure, never nothing.
   * Synchronous where the database is; failures are rejections, never thrown: `KV_STORAGE`, `KV_CORRUPT`,
   * `KV_NODE_STOPPED`.
   */
  get(key: RecordKey): RecordBytes | undefined | Promise<RecordBytes | undefined>
  /**
   * The records under several keys, in order; an error in the place of one that is damaged. Otherwise as
   * {@link RecordStore.get}: a list, not a promise, where the database reads synchronously. Of a unit that is written at the
   * same time ({@link RecordStore.applyUnit}) it sees all or nothing.
   */
  getMany(keys: readonly RecordKey[]): readonly Read[] | Promise<readonly Read[]>
  /**
   * Offers a record that passed `assertRecord`; its bytes belong to the store from now on. `done` is called once and
   * must not throw: with the result when it is durable, or with the error that kept it from being so (`KV_STORAGE`,
   * `KV_CORRUPT` when a damaged record lies there that may have been newer, up to `details.newerThan`, and, before this
   * call returns, `KV_OVERLOADED` or `KV_NODE_STOPPED`: not taken). A callback, not a promise: this is called for each
   * replica of each write.
   */
  apply(
    key: RecordKey,
    record: RecordBytes,
    done: (error: Error | undefined, result: ApplyResult | undefined) => void
  ): void
  /**
   * Writes a record that is made of what is held, in one turn: nothing comes between. `done` as for {@link RecordStore.apply}:
   * `applied`, or `same` when it has made nothing new, with what is `stored` now; or with the error that it has made, or
   * `KV_CORRUPT` where what is held cannot be read.
   *
   * @param bytes - about how many bytes come to what is held
   */
  mint(
    key: RecordKey,
    bytes: number,
    mint: Mint,
    done: (error: Error | undefined, result: ApplyResult | undefined) => void
  ): void
  /**
   * How often something that was stored here may have been lost since the store was opened, other than to what took its
   * place: a partition was dropped, a record damaged. Whoever has minted before must not count on having seen all of it.
   */
  readonly forgotten: number
  /**
   * As {@link RecordStore.apply}, of several records of one partition and keyspace, no two of one key: they are written
   * together or not at all, and no reader sees a part of them. Of each the newer one stays, as ever. `done` is told what
   * became of each, in their order, or why none of them was taken: also when one alone cannot be, because a damaged
   * record lies there.
   */
  applyUnit(
    place: Omit<RecordKey, 'key'>,
    records: readonly KeyedRecord[],
    done: (error: Error | undefined, results: readonly ApplyResult[] | undefined) => void
  ): void
  /**
   * As {@link RecordStore.apply}, for a copy that is being made from another store: there a missing record need not
   * have been overwritten, so it is let in though it lies below the horizon, unless it is spent.
   */
  copy(
    key: RecordKey,
    record: RecordBytes,
    done: (error: Error | undefined, result: ApplyResult | undefined) => void
  ): void
  /**
   * Deletes a record if it is still this one, byte for byte. `done` as for {@link RecordStore.apply}: `applied` when it
   * was there, `same` when nothing was, `stale` when another record is.
   */
  remove(
    key: RecordKey,
    record: RecordBytes,
    done: (error: Error | undefined, result: ApplyResult | undefined) => void
  ): void
  /**
   * Puts what is proven to be the newest record of a key in the place of a damaged one; without one it deletes what is
   * damaged. Where nothing is damaged it is as {@link RecordStore.apply}, or nothing is done. `done` as there.
   */
  heal(
    key: RecordKey,
    record: RecordBytes | undefined,
    done: (error: Error | undefined, result: ApplyResult | undefined) => void
  ): void
  /** Resolves when everything offered before this call is written or refused: the fence before a copy is taken. */
  flushed(): Promise<void>
  /**
   * The next records of a partition, strictly after `after`: keyspaces by the length of their name, then by its bytes,
   * then keys by theirs. Ends after the record that reaches `maxBytes` (keys and records; default no bound), so only an
   * empty page means the end when that is given; without it a page shorter than `limit` does. Damaged records are left
   * out.
   */
  page(
    partition: PartitionId,
    after: { readonly keyspace: Uint8Array; readonly key: Uint8Array } | undefined,
    limit: number,
    maxBytes?: number
  ): Promise<readonly StoredRecord[]>
  /**
   * The next records of one keyspace within a partition, in key order or against it: at most `limit`, and no more after the
   * one that reaches `maxBytes` (keys and records).
   */
  range(partition: PartitionId, keyspace: Uint8Array, range: ByteRange, options: RangeOptions): Promise<RangePart>
  /** As {@link RecordStore.range}, with the rows copied behind those that were gathered before; at once where the store can. */
  pack(rows: PackedRows, where: PackedPlace, options: PackOptions): PackedPart | Promise<PackedPart>
  /** Partitions of which there is any record, in order. */
  partitions(): Promise<readonly PartitionId[]>
  /**
   * Deletes all records of a partition: the last step after its ownership has moved away. What was offered before is
   * deleted too, what is offered afterwards is written when it is done. Not atomic: after a failure or a crash a part
   * may be left, and it has to be called again.
   */
  dropPartition(partition: PartitionId): Promise<void>
  /** Figures for `status()`. */
  stats(): RecordStoreStats
}

/** Figures of a record store since it was opened. */
export interface RecordStoreStats {
  readonly applied: number
  readonly stale: number
  readonly batches: number
  /** Mutations that wait for their batch now. */
  readonly pending: number
  /** Records that were found to be damaged; */
  readonly corrupt: number
  /** of those, how many lie there still: neither mended from another copy, nor overwritten, nor deleted. */
  readonly corruptLeft: number
  /** What is kept in memory of a database on disk. */
  readonly cache: RecordCacheStats
}

/** Figures of a cache since its store was opened. */
export interface RecordCacheStats {
  /** Look-ups that were answered from memory. */
  readonly hits: number
  /** Look-ups that had to go to the database. */
  readonly misses: number
  /** Records held now. */
  readonly entries: number
  /** Bytes they take: keys, records, and what it takes to keep them, 170 to 340 for each. */
  readonly bytes: number
  /** Most bytes they may take; 0 when there is no cache. */
  readonly bytesMax: number
}

/** What a store without a cache has to say. */
export const NO_CACHE: RecordCacheStats = { hits: 0, misses: 0, entries: 0, bytes: 0, bytesMax: 0 }

/** Issues versions that are never used twice, across restarts too: nothing above the persisted ceiling is given out. */
export interface StampSource {
  /**
   * A new version, greater than every one issued or observed before, and than `after`, which it takes note of. A promise only
   * when the ceiling has to be raised first.
   */
  next(after?: number): Stamp | Promise<Stamp>
  /** Takes note of a version seen elsewhere, unless it is further ahead of this node's clock than any clock may be. */
  observe(hlc: number): void
  /** The greatest hybrid time issued or observed. */
  readonly last: number
}
