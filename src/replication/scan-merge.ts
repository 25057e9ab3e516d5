import { compareBytes } from '../base/bytes.ts'
import type { PartitionId } from '../model/partition.ts'
import { compareRecordStamps, isLive } from '../model/record.ts'
import type { PackedRows } from '../codec/packed-rows.ts'
import { BITS_MAX } from './routes.ts'
import { RowList } from './row-list.ts'

/** What one node has sent for a page. */
export interface ScanStream<Rows = PackedRows> {
  readonly rows: Rows
  /** The last key that it has looked at; `undefined` when it is at the end. */
  readonly last: Uint8Array | undefined
  /** Partitions whose rows do not count any more, as their owners have changed since. */
  readonly void: Set<PartitionId>
}

/** How streams are merged. */
export interface MergeOptions {
  readonly isReverse: boolean
  /** Whether a record without its value will not do. */
  readonly wantsValues: boolean
  readonly nowMs: number
  readonly partitionOf: (key: Uint8Array) => PartitionId
  /** How many have answered for a partition. */
  readonly copies: (partition: PartitionId) => number
  /** The same for all partitions, where it is: then nobody has to ask for the partition of a key. */
  readonly copiesOfAll: number | undefined
  /** Whether a key waits until every stream has passed it. The simulator shows what happens otherwise. */
  readonly waitForAll: boolean
}

/**
 * Merges what several nodes have sent, key by key, up to the place that every stream has passed that is not at its end: what
 * lies behind it in one may be missing only because another has not come so far (the short reads of CASSANDRA-20639).
 *
 * The copies of a key are compared as in a read: where all who were asked hold the same record it is the answer. Where they
 * do not, and one of them holds a value, the key is in dispute: it goes through a read of its own, which knows of horizons,
 * repairs, and waits for them. So is a key of which somebody's copy is damaged: it stands for no copy, and what it was may
 * be the only one that was heard of. Tombstones and what has expired are nobody's answer.
 */
export class ScanMerge {
  readonly #streams: readonly ScanStream[]
  readonly #at: number[]
  readonly #ends: number[]
  readonly #options: MergeOptions
  readonly #direction: 1 | -1
  /** What every stream has passed; `undefined`: the end. */
  readonly passed: Uint8Array | undefined
  /** The keys of which somebody holds a value, in order, each with its record. */
  readonly rows: RowList = new RowList()
  /** Of those the ones on which not all who were asked agree. Rising. */
  readonly disputed: number[] = []
  /** Of those again the ones of which some hold nothing, and all others the same, with its value. Rising. */
  readonly incomplete: number[] = []
  /** Of each of these which streams have it, a bit for each. */
  readonly holders: number[] = []

  constructor(streams: readonly ScanStream[], options: MergeOptions) {
    this.#streams = streams
    this.#options = options
    this.#direction = options.isReverse ? -1 : 1
    this.#at = streams.map(() => 0)
    this.passed = this.#limit()
    this.#ends = streams.map(({ rows }) => this.#endOf(rows))
  }

  /** Merges the next keys, at most so many; false when that was all. */
  step(most: number): boolean {
    for (let count = 0; count < most; count++) {
      const first = this.#first()
      if (first === -1) return false
      this.#merge(first)
    }
    return true
  }

  #limit(): Uint8Array | undefined {
    let limit: Uint8Array | undefined
    const sign = this.#options.waitForAll ? this.#direction : -this.#direction
    for (const { last } of this.#streams) {
      if (last !== undefined && (limit === undefined || compareBytes(last, limit) * sign < 0)) limit = last
    }
    return limit
  }

  /** How many of the rows have been passed by all. */
  #endOf(rows: PackedRows): number {
    if (this.passed === undefined) return rows.length
    let low = 0
    let high = rows.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (rows.compareKey(middle, this.passed) * this.#direction <= 0) low = middle + 1
      else high = middle
    }
    return low
  }

  /** The stream whose next key is the next of all; -1 when there is none. */
  #first(): number {
    let first = -1
    for (let i = 0; i < this.#streams.length; i++) {
      const at = this.#at[i]!
      if (at >= this.#ends[i]!) continue
      if (first === -1 || this.#compare(i, at, first, this.#at[first]!) < 0) first = i
    }
    return first
  }

  #compare(stream: number, at: number, other: number, otherAt: number): number {
    return this.#streams[stream]!.rows.compareKeys(at, this.#streams[other]!.rows, otherAt) * this.#direction
  }

  /** Takes the copies of a key from all streams. */
  #merge(first: number): void {
    const { wantsValues, nowMs, copiesOfAll, copies, partitionOf } = this.#options
    const firstAt = this.#at[first]!
    const { rows: firstRows } = this.#streams[first]!
    // Of the copies the one that is latest, and which of those has its value.
    let best: PackedRows | undefined
    let bestAt = 0
    let count = 0
    let isSame = true
    let isAnyLive = false
    let isDamaged = false
    for (let i = first; i < this.#streams.length; i++) {
      const at = this.#at[i]!
      if (at >= this.#ends[i]! || (i !== first && this.#compare(i, at, first, firstAt) !== 0)) continue
      this.#at[i] = at + 1
      const { rows, void: gone } = this.#streams[i]!
      if (gone.size > 0 && gone.has(partitionOf(rows.keyAt(at)))) continue
      if (rows.isDamaged(at)) {
        isDamaged = true
        continue
      }
      count++
      if (best !== undefined && rows.hasSameHead(at, best, bestAt)) {
        if (best.isHead(bestAt)) [best, bestAt] = [rows, at]
        continue
      }
      isAnyLive ||= rows.isPlain(at) || isLive(rows.recordAt(at), nowMs)
      if (best !== undefined) isSame = false
      if (best === undefined || compareRecordStamps(rows.recordAt(at)!, best.recordAt(bestAt)!) > 0)
        [best, bestAt] = [rows, at]
    }
    if (isDamaged) this.#dispute(firstRows, firstAt)
    else if (best !== undefined && isAnyLive) {
      const isAgreed = isSame && count >= (copiesOfAll ?? copies(partitionOf(best.keyAt(bestAt))))
      if (isAgreed && !(wantsValues && best.isHead(bestAt))) return this.rows.add(best, bestAt)
      if (isSame && !isAgreed && !best.isHead(bestAt) && this.#streams.length <= BITS_MAX) {
        this.incomplete.push(this.rows.length)
        this.holders.push(this.#holdersOf(first))
      }
      this.#dispute(best, bestAt)
    }
  }

  /** Which streams have the key that was merged just now, of which this one was the first. */
  #holdersOf(first: number): number {
    const { partitionOf } = this.#options
    let holders = 0
    for (let i = first; i < this.#streams.length; i++) {
      const at = this.#at[i]! - 1
      if (at < 0 || this.#compare(i, at, first, this.#at[first]! - 1) !== 0) continue
      const { rows, void: gone } = this.#streams[i]!
      if (gone.size === 0 || !gone.has(partitionOf(rows.keyAt(at)))) holders |= 1 << i
    }
    return holders
  }

  #dispute(rows: PackedRows, row: number): void {
    this.disputed.push(this.rows.length)
    this.rows.add(rows, row)
  }
}
