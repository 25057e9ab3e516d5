import { toHex } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { compareRecordStamps, type RecordBytes, recordHlc, recordStamp } from '../model/record.ts'
import { formatStamp } from '../model/stamp.ts'
import type { Clock } from '../runtime/clock.ts'
import { ApplyLoop } from './apply-loop.ts'
import { Damage } from './damage.ts'
import { HintUnits } from './hint-units.ts'
import { dataKey, decodeDataKey, hintPrefix, hintRange, targetOfHint } from './key-layout.ts'
import { PrefixedStore } from './prefixed-store.ts'
import type { ApplyResult, KeyedRecord, RecordKey, RecordStore, StoredRecord } from './record-store.ts'
import { storageError } from './storage-error.ts'
import type { Store } from './store.ts'

/** In the place of a target: whoever owns the record. Such a hint may be the only copy of an acknowledged write. */
export const ANY_OWNER: StoreId = '0'.repeat(32) as StoreId

/** Figures of a hint store. */
export interface HintStats {
  /** Records that are kept for others now. */
  readonly count: number
  /** Bytes of their keys and values. */
  readonly bytes: number
  /** Since the node started: records that were kept, */
  readonly added: number
  /** handed over, */
  readonly delivered: number
  /** or given up, as there was no room, or they had become too old, or were damaged. */
  readonly dropped: number
}

/** What a hint store needs. */
export interface HintStoreDeps {
  readonly store: Store
  readonly clock: Pick<Clock, 'soon'>
  /**
   * Nothing stamped at or below this is kept for others any more: the past of the partition is being settled. Default:
   * no bound.
   */
  readonly floorOf?: (partition: PartitionId) => number
  /** Told of what is kept and found to be damaged, by its key as that of a record. */
  readonly onDamage?: (key: Uint8Array) => void
}

/** Settings of a hint store. */
export interface HintStoreOptions {
  readonly durability: 'os' | 'fsync'
  /** Most bytes of keys and values that are kept. */
  readonly bytesMax: number
}

/** What is kept for one target. */
interface Shelf {
  readonly records: RecordStore & { close(): Promise<void> }
  count: number
  /** Which of them go together. */
  readonly units: HintUnits
  /** Damaged ones that are counted still, by their keys as those of records, in hex. */
  readonly damaged: Set<string>
}

const PAGE_RECORDS = 1000
const PAGE_BYTES = 1024 * 1024

/**
 * Records that some store should have and could not be given: hinted handoff (Dynamo, SOSP 2007). Of one key the newest
 * is kept for each target, so that a hot key takes the room of one, and the order in which hints are handed over does
 * not matter. Bounded: what finds no room is refused, and left to the comparing of copies.
 */
export class HintStore {
  readonly #store: Store
  readonly #clock: Pick<Clock, 'soon'>
  readonly #floorOf: HintStoreDeps['floorOf']
  readonly #onDamage: HintStoreDeps['onDamage']
  readonly #options: HintStoreOptions
  readonly #shelves = new Map<StoreId, Shelf>()
  #bytes = 0
  /** Bytes of what is on its way to the disk: they count before it is known whether they are kept. */
  #entering = 0
  #isOpen = false
  readonly #stats = { added: 0, delivered: 0, dropped: 0 }

  constructor({ store, clock, floorOf, onDamage }: HintStoreDeps, options: HintStoreOptions) {
    this.#store = store
    this.#clock = clock
    this.#floorOf = floorOf
    this.#onDamage = onDamage
    this.#options = options
  }

  /** Counts what an earlier life has left. To be called before anything else. */
  async open(): Promise<void> {
    let after: StoreId | undefined
    for (;;) {
      const [entry] = await this.#store.page(hintRange(after), 1)
      if (entry === undefined) break
      after = targetOfHint(entry[0])
      const shelf = this.#shelf(after)
      for (const partition of await shelf.records.partitions()) {
        const find = shelf.units.finder()
        for (let last: StoredRecord | undefined; ;) {
          const page = await shelf.records.page(partition, last, PAGE_RECORDS, PAGE_BYTES)
          for (const stored of page) {
            this.#count(shelf, stored, 1)
            find(stored)
          }
          last = page.at(-1)
          if (last === undefined) break
        }
      }
    }
    this.#isOpen = true
  }

  /** Those for whom something is kept. */
  get targets(): readonly StoreId[] {
    return [...this.#shelves].filter(([, { count }]) => count > 0).map(([target]) => target)
  }

  /** How many records are kept for a target. */
  countOf(target: StoreId): number {
    return this.#shelves.get(target)?.count ?? 0
  }

  /** What is kept for a target, to be read page by page. */
  of(target: StoreId): Pick<RecordStore, 'partitions' | 'page'> {
    return this.#shelf(target).records
  }

  /**
   * Keeps a record for a target. `done` is called once: without an error when it, or a newer one, is kept as durably as
   * the records of this node are; with `KV_OVERLOADED` when there is no room or it is too late (rule H1), or with why
   * it could not be stored.
   *
   * @param rest - the rest of its unit: all of it is kept, or nothing
   */
  add(
    target: StoreId,
    key: RecordKey,
    record: RecordBytes,
    done?: (error: KilovoltError | undefined) => void,
    rest: readonly KeyedRecord[] = []
  ): void {
    const { bytesMax } = this.#options
    const { partition, keyspace } = key
    const isLate = recordHlc(record) <= (this.#floorOf?.(partition) ?? 0)
    const unit: readonly StoredRecord[] = [
      { partition, keyspace, key: key.key, record },
      ...rest.map(write => ({ partition, keyspace, ...write }))
    ]
    const bytes = unit.reduce((sum, stored) => sum + bytesOf(stored, stored.record), 0)
    if (isLate || this.#bytes + this.#entering + bytes > bytesMax) {
      this.#stats.dropped += unit.length
      const why = isLate
        ? 'the record is too old to be kept for others'
        : `${bytesMax} bytes are kept for others already`
      done?.(new KilovoltError('KV_OVERLOADED', why, { retryable: true }))
      return
    }
    const shelf = this.#shelf(target)
    this.#entering += bytes
    shelf.records.applyUnit(key, unit, (error, results) => {
      this.#entering -= bytes
      if (error !== undefined || results === undefined) {
        this.#stats.dropped += unit.length
        done?.(storageError(error, 'keeping a record for another node'))
        return
      }
      const kept = unit.filter((stored, i) => this.#kept(shelf, stored, results[i]!))
      shelf.units.add(kept, record)
      done?.(undefined)
    })
  }

  /** Counts what has become of a record; whether it is kept. */
  #kept(shelf: Shelf, offered: StoredRecord, { outcome, current, stored: joined }: ApplyResult): boolean {
    const stored = joined === undefined ? offered : { ...offered, record: joined }
    if (outcome !== 'applied') return outcome === 'same'
    this.#stats.added++
    if (current !== undefined) this.#count(shelf, { ...stored, record: current }, -1)
    else if (forgetDamage(shelf, stored)) this.#lose(shelf)
    this.#count(shelf, stored, 1)
    return true
  }

  /**
   * What is to be handed over at once of a page of what is kept for a target: with each record the others of its unit, on
   * that page or not, and each unit once.
   */
  async unitsOf(target: StoreId, page: readonly StoredRecord[]): Promise<readonly (readonly StoredRecord[])[]> {
    const { records, units } = this.#shelf(target)
    const found: (readonly StoredRecord[])[] = []
    const seen = new Set<string>()
    for (const stored of page) {
      const places = units.of(stored)
      if (places === undefined) {
        found.push([stored])
        continue
      }
      const name = `${stored.partition} ${formatStamp(recordStamp(stored.record))}`
      if (seen.has(name)) continue
      seen.add(name)
      const held = await records.getMany(places)
      const unit: StoredRecord[] = []
      for (const [i, record] of held.entries()) {
        const isOfIt = record !== undefined && !(record instanceof Error)
        if (isOfIt && compareRecordStamps(record, stored.record) === 0) unit.push({ ...places[i]!, record })
      }
      if (unit.length > 0) found.push(unit)
    }
    return found
  }

  /** The record has been handed over, or is given up: it is deleted, unless a newer one has taken its place. */
  remove(target: StoreId, stored: StoredRecord, isDelivered: boolean): Promise<void> {
    const shelf = this.#shelf(target)
    return new Promise((resolve, reject) => {
      shelf.records.remove(stored, stored.record, (error, result) => {
        if (error !== undefined) return reject(error)
        if (result?.outcome === 'applied') {
          forgetDamage(shelf, stored)
          this.#count(shelf, stored, -1)
          this.#stats[isDelivered ? 'delivered' : 'dropped']++
        }
        resolve()
      })
    })
  }

  /**
   * Partitions of which something is kept that is stamped at or below this; what comes at the same time counts or is
   * refused.
   */
  async partitionsUpTo(hlc: number): Promise<ReadonlySet<PartitionId>> {
    const found = new Set<PartitionId>()
    for (const { records } of this.#shelves.values()) {
      await records.flushed()
      for (const partition of await records.partitions()) {
        for (let last: StoredRecord | undefined; !found.has(partition);) {
          const page = await records.page(partition, last, PAGE_RECORDS, PAGE_BYTES)
          if (page.some(({ record }) => recordHlc(record) <= hlc)) found.add(partition)
          last = page.at(-1)
          if (last === undefined) break
        }
      }
    }
    return found
  }

  stats(): HintStats {
    let count = 0
    for (const shelf of this.#shelves.values()) count += shelf.count
    return { count, bytes: this.#bytes, ...this.#stats }
  }

  /** Resolves when everything that was taken is kept. */
  async close(): Promise<void> {
    await Promise.all([...this.#shelves.values()].map(({ records }) => records.close()))
  }

  #shelf(target: StoreId): Shelf {
    let shelf = this.#shelves.get(target)
    if (shelf === undefined) {
      const store = new PrefixedStore(this.#store, hintPrefix(target))
      // Nobody votes by a hint: of one that is damaged nothing is left to be kept, and anything may take its place.
      const damage = new Damage({ onFound: key => this.#discard(target, key) })
      const records = new ApplyLoop({ store, clock: this.#clock, damage }, { durability: this.#options.durability })
      this.#shelves.set(target, (shelf = { records, count: 0, units: new HintUnits(), damaged: new Set() }))
    }
    return shelf
  }

  /** A damaged hint is of no use to anybody, and would hold up whoever waits until nothing is kept any more. */
  #discard(target: StoreId, key: Uint8Array): void {
    this.#onDamage?.(key)
    const shelf = this.#shelf(target)
    const place = decodeDataKey(key)
    // What is damaged at the start is not counted to begin with.
    if (this.#isOpen) shelf.damaged.add(toHex(key))
    shelf.records.heal(place, undefined, (error, result) => {
      // What cannot be deleted now is found again by the next start.
      if (error !== undefined || result === undefined) return
      const isCounted = forgetDamage(shelf, place)
      // Else something has taken its place already.
      if (result.outcome !== 'applied') return
      if (isCounted) this.#lose(shelf)
      else this.#stats.dropped++
    })
  }

  /** Its bytes are not known any more: they count until the next start. */
  #lose(shelf: Shelf): void {
    shelf.count--
    this.#stats.dropped++
  }

  #count(shelf: Shelf, { record, ...key }: StoredRecord, by: 1 | -1): void {
    if (by === -1) shelf.units.remove(key, record)
    shelf.count += by
    this.#bytes += by * bytesOf(key, record)
  }
}

/** Something has taken the place of what lay here, or nothing has. Whether that was damaged, and is counted still. */
function forgetDamage(shelf: Shelf, { partition, keyspace, key }: RecordKey): boolean {
  return shelf.damaged.size > 0 && shelf.damaged.delete(toHex(dataKey(partition, keyspace, key)))
}

function bytesOf({ keyspace, key }: RecordKey, record: RecordBytes): number {
  return keyspace.length + key.length + record.length
}
