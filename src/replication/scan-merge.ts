import { compareBytes, equalBytes } from '../base/bytes.ts'
import type { PartitionId } from '../model/partition.ts'
import { compareRecordStamps, hasEitherSiblings, isLive, type RecordBytes, recordHead } from '../model/record.ts'
import type { ScanRow } from './scan-wire.ts'

/** What one node has sent for a page. */
export interface ScanStream<Row = ScanRow> {
  readonly rows: readonly Row[]
  /** The last key that it has looked at; `undefined` when it is at the end. */
  readonly last: Uint8Array | undefined
  /** Partitions whose rows do not count any more, as their owners have changed since. */
  readonly void: Set<PartitionId>
}

/** A key of a page. */
export interface MergedRow {
  readonly key: Uint8Array
  /** Its record, on which all who were asked agree; `undefined` when they do not, and it has to be read by itself. */
  readonly record: RecordBytes | undefined
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

  constructor(streams: readonly ScanStream[], options: MergeOptions) {
    this.#streams = streams
    this.#options = options
    this.#direction = options.isReverse ? -1 : 1
    this.#at = streams.map(() => 0)
    this.passed = this.#limit()
    this.#ends = streams.map(({ rows }) => this.#endOf(rows))
  }

  /** The next rows, at most so many; none when all are merged. */
  take(most: number): MergedRow[] {
    const merged: MergedRow[] = []
    while (merged.length < most) {
      const first = this.#first()
      if (first === undefined) break
      const row = this.#merge(first)
      if (row !== undefined) merged.push(row)
    }
    return merged
  }

  get isDone(): boolean {
    return this.#at.every((at, i) => at >= this.#ends[i]!)
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
  #endOf(rows: readonly ScanRow[]): number {
    if (this.passed === undefined) return rows.length
    let low = 0
    let high = rows.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareBytes(rows[middle]!.key, this.passed) * this.#direction <= 0) low = middle + 1
      else high = middle
    }
    return low
  }

  /** The next key. */
  #first(): Uint8Array | undefined {
    let first: Uint8Array | undefined
    for (let i = 0; i < this.#streams.length; i++) {
      const at = this.#at[i]!
      if (at >= this.#ends[i]!) continue
      const { key } = this.#streams[i]!.rows[at]!
      if (first === undefined || compareBytes(key, first) * this.#direction < 0) first = key
    }
    return first
  }

  /** Takes the copies of a key from all streams. */
  #merge(key: Uint8Array): MergedRow | undefined {
    const { wantsValues, nowMs, copiesOfAll, copies, partitionOf } = this.#options
    let best: ScanRow | undefined
    let bestRecord: RecordBytes | undefined
    let count = 0
    let isSame = true
    let isAnyLive = false
    let isDamaged = false
    for (let i = 0; i < this.#streams.length; i++) {
      const at = this.#at[i]!
      if (at >= this.#ends[i]!) continue
      const stream = this.#streams[i]!
      const row = stream.rows[at]!
      if (row.key !== key && compareBytes(row.key, key) !== 0) continue
      this.#at[i] = at + 1
      if (stream.void.size > 0 && stream.void.has(partitionOf(key))) continue
      const { record } = row
      if (record === undefined) {
        isDamaged = true
        continue
      }
      count++
      isAnyLive ||= isLive(record, nowMs)
      const order = bestRecord === undefined ? 0 : compareRecordStamps(record, bestRecord)
      if (order !== 0 || (bestRecord !== undefined && !isSameSet(record, bestRecord))) isSame = false
      if (bestRecord === undefined || order > 0 || (order === 0 && best!.isHead)) {
        best = row
        bestRecord = record
      }
    }
    if (isDamaged) return { key, record: undefined }
    if (best === undefined || !isAnyLive) return undefined
    const isAgreed = isSame && count >= (copiesOfAll ?? copies(partitionOf(key))) && !(wantsValues && best.isHead)
    return { key, record: isAgreed ? bestRecord : undefined }
  }
}

/** Two records of one stamp are the same, but for siblings: of those the heads tell. */
function isSameSet(a: RecordBytes, b: RecordBytes): boolean {
  return !hasEitherSiblings(a, b) || equalBytes(recordHead(a), recordHead(b))
}
