import { Heap } from '../base/heap.ts'
import type { PartitionId } from '../model/partition.ts'
import {
  bareHead,
  compareRecordStamps,
  isTombstone,
  type RecordBytes,
  recordExpiresAt,
  recordHead
} from '../model/record.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { Pace } from '../runtime/pace.ts'
import type { RecordKey, RecordStore } from '../storage/record-store.ts'
import type { TreeIndex } from '../storage/tree-index.ts'

/** What telling of expired records needs. */
export interface WatchExpiryDeps {
  readonly records: RecordStore
  readonly trees: Pick<TreeIndex, 'mortalsIn'>
  readonly clock: Clock
  readonly pace: Pick<Pace, 'turn'>
  /** A record that is stored has expired. The bytes are the receiver's. */
  readonly onExpired: (place: RecordKey, record: RecordBytes) => void
}

/** A record that will expire. */
interface Mortal extends RecordKey {
  /** Unix ms. */
  readonly expiresAt: number
  /** All of it but the value. */
  readonly head: Uint8Array
}

/** Most records whose end is waited for; beyond that the store is read again for those that come later. */
const MORTALS_MAX = 65_536
const PAGE_RECORDS = 256
/** Longest sleep, ms: wall clocks jump. */
const SLEEP_MAX_MS = 1000
/** So many in one turn of the event loop when many are due, and so many that cannot be read before it rests. */
const DUE_MAX = 256
/** What could not be read is read again after this, ms. */
const RETRY_MS = 1000

/**
 * Tells when records of watched partitions expire. Nothing is stored then, so every owner tells by its own clock, and the
 * events are the same everywhere: the record's version.
 *
 * It knows those that expire soonest, in a heap with one timer: found by reading a partition once when it is first watched,
 * and as they arrive. When there are more than fit the later ones are forgotten, and found again when their time comes near.
 */
export class WatchExpiry {
  readonly #deps: WatchExpiryDeps
  readonly #max: number
  #heap = newHeap()
  /** Of what expires later than this some may have been forgotten. */
  #coveredMs = Infinity
  /** Whatever had expired until then has been told. */
  #settledMs = 0
  #read = new Set<PartitionId>()
  /** Partitions to be read, each with the time after which an end is still news. */
  readonly #toRead = new Map<PartitionId, number>()
  #timer: Timer | undefined
  #isReading = false
  #isTelling = false
  /** Of which life what is under way is: a stop ends it. */
  #life = 0

  constructor(deps: WatchExpiryDeps, max: number = MORTALS_MAX) {
    this.#deps = deps
    this.#max = max
  }

  /** Records that are waited for. */
  get size(): number {
    return this.#heap.size
  }

  /** Watches these partitions as well, from now on. */
  cover(partitions: readonly PartitionId[]): void {
    const nowMs = this.#deps.clock.wallMs()
    for (const partition of partitions) {
      if (this.#read.has(partition) || this.#toRead.has(partition)) continue
      if (this.#deps.trees.mortalsIn(partition) === 0) this.#read.add(partition)
      else this.#toRead.set(partition, nowMs)
    }
    this.#readOn()
  }

  /** A partition is not owned any more. */
  forget(partition: PartitionId): void {
    this.#read.delete(partition)
    this.#toRead.delete(partition)
  }

  /** A record has arrived that has not expired. */
  note(place: RecordKey, record: RecordBytes): void {
    const expiresAt = isTombstone(record) ? undefined : recordExpiresAt(record)
    if (expiresAt === undefined) return
    const { partition, keyspace, key } = place
    this.#add({ expiresAt, partition, keyspace, key, head: recordHead(record) })
    this.#sleep()
  }

  /** Unix ms: all records of these partitions that had expired until then have been told; 0 when that is not known. */
  settledUntil(partitions: readonly PartitionId[]): number {
    if (this.#isReading || partitions.some(partition => !this.#read.has(partition))) return 0
    const nowMs = Math.min(this.#deps.clock.wallMs(), this.#coveredMs)
    const isDue = this.#isTelling || (this.#heap.peek()?.expiresAt ?? Infinity) <= nowMs
    if (!isDue) this.#settledMs = Math.max(this.#settledMs, nowMs)
    return this.#settledMs
  }

  /** Forgets everything. */
  stop(): void {
    this.#life++
    this.#timer?.cancel()
    this.#timer = undefined
    this.#heap = newHeap()
    this.#read = new Set()
    this.#toRead.clear()
    this.#coveredMs = Infinity
    this.#settledMs = 0
    this.#isReading = this.#isTelling = false
  }

  #add(mortal: Mortal): void {
    if (mortal.expiresAt > this.#coveredMs) return
    this.#heap.push(mortal)
    if (this.#heap.size <= this.#max) return
    // Half of them: so that this is done once in so many.
    const kept = newHeap()
    while (kept.size < this.#max / 2) {
      const soonest = this.#heap.pop()!
      this.#coveredMs = soonest.expiresAt
      kept.push(soonest)
    }
    // Some of those that end at the same moment as the last one may be left out.
    this.#coveredMs--
    this.#heap = kept
  }

  #sleep(leastMs = 1): void {
    const next = this.#heap.peek()?.expiresAt ?? (this.#coveredMs === Infinity ? undefined : this.#coveredMs)
    if (next === undefined || this.#timer !== undefined || this.#isTelling) return
    const delayMs = Math.max(leastMs, Math.min(SLEEP_MAX_MS, next - this.#deps.clock.wallMs()))
    this.#timer = this.#deps.clock.after(delayMs, () => {
      this.#timer = undefined
      void this.#tell()
    })
  }

  async #tell(): Promise<void> {
    const life = this.#life
    this.#isTelling = true
    const nowMs = this.#deps.clock.wallMs()
    const unread: Mortal[] = []
    while (unread.length < DUE_MAX) {
      const due: Mortal[] = []
      while (due.length < DUE_MAX && (this.#heap.peek()?.expiresAt ?? Infinity) <= nowMs) due.push(this.#heap.pop()!)
      for (const mortal of due) {
        const isRead = await this.#tellOne(mortal, life, nowMs)
        if (life !== this.#life) return
        if (!isRead) unread.push(mortal)
      }
      if (due.length < DUE_MAX) break
      await new Promise<void>(resolve => this.#deps.clock.soon(resolve))
      if (life !== this.#life) return
    }
    for (const mortal of unread) this.#heap.push(mortal)
    this.#isTelling = false
    this.#renew(nowMs)
    this.#sleep(unread.length === 0 ? 1 : RETRY_MS)
  }

  /** False when it cannot be read: as long as that is so nobody knows whether it ended. */
  async #tellOne(mortal: Mortal, life: number, nowMs: number): Promise<boolean> {
    let record: RecordBytes | undefined
    try {
      record = await this.#deps.records.get(mortal)
    } catch {
      return false
    }
    // Only what still lies there: what took its place was told of itself.
    if (record === undefined || isTombstone(record) || compareRecordStamps(record, mortal.head) !== 0) return true
    // Siblings with the same latest write may have come to live longer: they have been noted again.
    if ((recordExpiresAt(record) ?? Infinity) > nowMs) return true
    if (life === this.#life) this.#deps.onExpired(mortal, bareHead(record))
    return true
  }

  /** Reads everything again when what is left in the heap has been told and more was forgotten. */
  #renew(nowMs: number): void {
    if (this.#coveredMs > nowMs || this.#isReading) return
    const sinceMs = this.#coveredMs
    this.#coveredMs = Infinity
    for (const partition of this.#read) this.#toRead.set(partition, sinceMs)
    this.#read.clear()
    this.#readOn()
  }

  #readOn(): void {
    if (this.#isReading || this.#toRead.size === 0) return
    this.#isReading = true
    const life = this.#life
    void this.#readAll(life).finally(() => {
      if (life !== this.#life) return
      this.#isReading = false
      this.#sleep()
    })
  }

  async #readAll(life: number): Promise<void> {
    for (const [partition, sinceMs] of this.#toRead) {
      try {
        await this.#readOne(partition, sinceMs, life)
      } catch {
        // The store fails or closes; what is not read is not known to be settled either.
        return
      }
      if (life !== this.#life) return
      if (this.#toRead.delete(partition)) this.#read.add(partition)
    }
  }

  async #readOne(partition: PartitionId, sinceMs: number, life: number): Promise<void> {
    let after: RecordKey | undefined
    for (;;) {
      const from = after
      const page = await this.#deps.pace.turn(() => this.#deps.records.page(partition, from, PAGE_RECORDS))
      if (life !== this.#life) return
      for (const { keyspace, key, record } of page) {
        const expiresAt = isTombstone(record) ? undefined : recordExpiresAt(record)
        if (expiresAt === undefined || expiresAt <= sinceMs) continue
        this.#add({
          expiresAt,
          partition,
          keyspace: new Uint8Array(keyspace),
          key: new Uint8Array(key),
          head: new Uint8Array(recordHead(record))
        })
      }
      after = page.at(-1)
      if (page.length < PAGE_RECORDS) return
    }
  }
}

function newHeap(): Heap<Mortal> {
  return new Heap((a, b) => a.expiresAt < b.expiresAt)
}
