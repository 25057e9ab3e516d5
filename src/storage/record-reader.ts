import { isKilovoltError, type KilovoltError } from '../base/errors.ts'
import type { PartitionId } from '../model/partition.ts'
import { type ByteRange, restAfter, successor } from '../model/key-range.ts'
import type { RecordBytes } from '../model/record.ts'
import type { Damage } from './damage.ts'
import {
  dataKey,
  dataRange,
  decodeDataKey,
  PARTITION_MAX,
  partitionRange,
  keyAtOf,
  keyOf,
  keyspaceRange,
  partitionRangeAfter
} from './key-layout.ts'
import type { RecordCache } from './record-cache.ts'
import type { RecordForm } from './record-form.ts'
import type { PackedRows } from '../codec/packed-rows.ts'
import type {
  PackedPart,
  PackedPlace,
  PackOptions,
  RangeOptions,
  RangePart,
  RangeRow,
  Read,
  RecordKey,
  StoredRecord
} from './record-store.ts'
import { storageError } from './storage-error.ts'
import type { Store, StoreEntry } from './store.ts'

/** What a reader needs. */
export interface RecordReaderDeps {
  readonly store: Store
  readonly form: RecordForm
  readonly damage: Damage
  /** Records that need not be read. Default: none. */
  readonly cache?: RecordCache | undefined
  /** Told of a record that is damaged on the medium while it is known what it was. */
  readonly onRotten?: (key: Uint8Array, record: RecordBytes) => void
  /** Throws when nothing may be read any more: a long scan asks again and again. */
  readonly assertOpen: () => void
  /** Whether records are being written of which a reader must not see a part. */
  readonly isWritingUnit: () => boolean
}

/** The reading half of a record store: sees what is stored, and tells of what is damaged. */
export class RecordReader {
  readonly #deps: RecordReaderDeps

  constructor(deps: RecordReaderDeps) {
    this.#deps = deps
  }

  /** See {@link RecordStore.get}. */
  get({ partition, keyspace, key }: RecordKey): RecordBytes | undefined | Promise<RecordBytes | undefined> {
    const storeKey = dataKey(partition, keyspace, key)
    if (this.#deps.cache !== undefined) return this.#getCached(storeKey, this.#deps.cache)
    const found = this.#deps.store.get(storeKey)
    if (found === undefined) return undefined
    if (found instanceof Promise)
      return found.then(value => value && (this.#intact(storeKey, value) ?? this.#lookAgain(storeKey)))
    try {
      return this.#opened(storeKey, found)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** See {@link RecordStore.getMany}. */
  getMany(keys: readonly RecordKey[]): readonly Read[] | Promise<readonly Read[]> {
    const storeKeys = keys.map(({ partition, keyspace, key }) => dataKey(partition, keyspace, key))
    if (this.#deps.cache !== undefined) return this.#getManyCached(storeKeys, this.#deps.cache)
    const found = this.#deps.store.getMany(storeKeys, this.#deps.isWritingUnit())
    if (!('then' in found)) return found.map((value, i) => value && this.#read(storeKeys[i]!, value))
    return found.then(values => this.#readLater(storeKeys, values))
  }

  /** See {@link RecordStore.page}. */
  async page(
    partition: PartitionId,
    after: { readonly keyspace: Uint8Array; readonly key: Uint8Array } | undefined,
    limit: number,
    maxBytes: number = Infinity
  ): Promise<readonly StoredRecord[]> {
    const { store, assertOpen } = this.#deps
    const range = partitionRangeAfter(partition, after)
    let gte = range.gte
    const records: StoredRecord[] = []
    let bytes = 0
    for (;;) {
      const entries = await store.page({ gte, lt: range.lt }, limit - records.length, maxBytes - bytes)
      let isWhole = true
      for (const [key, value] of entries) {
        if (bytes >= maxBytes) break
        gte = successor(key)
        const place = decodeDataKey(key)
        const record = this.#intact(key, value) ?? (await this.#lookAgain(key).catch(() => this.#rotten(key)))
        if (record === undefined) {
          isWhole = false
          continue
        }
        records.push({ partition, keyspace: place.keyspace, key: place.key, record })
        bytes += key.length + value.length
      }
      // Where some were left out it goes on: a short page would be taken for the last one.
      if (isWhole || bytes >= maxBytes) return records
      assertOpen()
    }
  }

  /** See {@link RecordStore.range}. */
  async range(
    partition: PartitionId,
    keyspace: Uint8Array,
    range: ByteRange,
    options: RangeOptions
  ): Promise<RangePart> {
    const { entries, rest } = await this.#entries(partition, keyspace, range, options)
    const rows: RangeRow[] = []
    for (const [key, value] of entries) {
      const record = this.#intact(key, value) ?? (await this.#lookAgain(key).catch(asFailure))
      if (record !== undefined) rows.push({ key: keyOf(key), record: record instanceof Error ? undefined : record })
    }
    return { rows, rest }
  }

  /** See {@link RecordStore.pack}. */
  pack(rows: PackedRows, place: PackedPlace, options: PackOptions): PackedPart | Promise<PackedPart> {
    try {
      return this.#visited(rows, place, options) ?? this.#packLater(rows, place, options)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async #packLater(
    rows: PackedRows,
    { partition, keyspace, range }: PackedPlace,
    options: PackOptions
  ): Promise<PackedPart> {
    const { entries, rest } = await this.#entries(partition, keyspace, range, options)
    const records: Read[] = []
    for (const [key, value] of entries)
      records.push(this.#intact(key, value) ?? (await this.#lookAgain(key).catch(asFailure)))
    // In one go: what is gathered of other ranges at the same time may not come in between.
    const from = rows.length
    const { wholeBytesMax } = options
    for (let i = 0; i < entries.length; i++) {
      const record = records[i]
      // What is no longer there is no row any more.
      if (record === undefined) continue
      const [key] = entries[i]!
      rows.append(key, keyAtOf(key), record instanceof Error ? undefined : record, rows.size >= wholeBytesMax)
    }
    return { from, to: rows.length, rest }
  }

  /** See {@link RecordStore.partitions}. */
  async partitions(): Promise<readonly PartitionId[]> {
    const { store, assertOpen } = this.#deps
    const found: PartitionId[] = []
    for (let from = 0; from <= PARTITION_MAX;) {
      assertOpen()
      const [entry] = await store.page({ gte: partitionRange(from).gte, lt: dataRange().lt }, 1)
      if (entry === undefined) break
      const { partition } = decodeDataKey(entry[0])
      found.push(partition)
      from = partition + 1
    }
    return found
  }

  /** As {@link RecordReader.pack} from a store that can be visited; `undefined` where something is damaged. */
  #visited(
    rows: PackedRows,
    { partition, keyspace, range }: PackedPlace,
    { limit, maxBytes, isReverse, wholeBytesMax }: PackOptions
  ): PackedPart | undefined {
    const { store } = this.#deps
    if (store.visit === undefined) return undefined
    const from = rows.length
    let bytes = 0
    let isIntact = true
    store.visit(keyspaceRange(partition, keyspace, range), limit, maxBytes, isReverse, (key, value) => {
      const record = this.#intact(key, value)
      if (record === undefined) isIntact = false
      else rows.append(key, keyAtOf(key), record, rows.size >= wholeBytesMax)
      bytes += key.length + value.length
    })
    const to = rows.length
    const isAll = to - from < limit && bytes < maxBytes
    if (isIntact) return { from, to, rest: isAll ? undefined : restAfter(range, rows.keyAt(to - 1), isReverse) }
    rows.truncate(from)
    return undefined
  }

  /** What the store has of a range, and what of the range that leaves. */
  async #entries(
    partition: PartitionId,
    keyspace: Uint8Array,
    range: ByteRange,
    { limit, maxBytes, isReverse }: RangeOptions
  ): Promise<{ readonly entries: readonly StoreEntry[]; readonly rest: ByteRange | undefined }> {
    const { store } = this.#deps
    const entries = await store.page(keyspaceRange(partition, keyspace, range), limit, maxBytes, isReverse)
    let bytes = 0
    let taken = 0
    for (; taken < entries.length && bytes < maxBytes; taken++) {
      const [storeKey, value] = entries[taken]!
      bytes += storeKey.length + value.length
    }
    const isAll = taken === entries.length && taken < limit && bytes < maxBytes
    return {
      entries: taken === entries.length ? entries : entries.slice(0, taken),
      rest: isAll ? undefined : restAfter(range, keyOf(entries[taken - 1]![0]), isReverse)
    }
  }

  #getCached(key: Uint8Array, cache: RecordCache): RecordBytes | undefined | Promise<RecordBytes | undefined> {
    const name = cache.nameOf(key)
    const known = cache.get(name)
    if (known !== undefined) return known
    const found = this.#deps.store.get(key)
    if (found === undefined) return undefined
    if (found instanceof Promise) return this.#getLater(key, found, name, cache)
    try {
      const record = this.#opened(key, found)
      cache.keep(name, record)
      return record
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async #getLater(
    key: Uint8Array,
    found: Promise<Uint8Array | undefined>,
    name: string | undefined,
    cache: RecordCache
  ): Promise<RecordBytes | undefined> {
    const read = cache.readBegins(name)
    let record
    try {
      const value = await found
      if (value === undefined) return undefined
      record = this.#intact(key, value)
    } finally {
      cache.readEnds(read, record)
    }
    return record ?? this.#lookAgain(key)
  }

  #getManyCached(keys: readonly Uint8Array[], cache: RecordCache): readonly Read[] | Promise<readonly Read[]> {
    const reads: Read[] = []
    const missing: { readonly at: number; readonly key: Uint8Array; readonly name: string | undefined }[] = []
    for (const [at, key] of keys.entries()) {
      const name = cache.nameOf(key)
      const known = cache.get(name)
      reads.push(known)
      if (known === undefined) missing.push({ at, key, name })
    }
    if (missing.length === 0) return reads
    const missingKeys = missing.map(({ key }) => key)
    // Of what is being written the cache holds nothing: all of it is read at once.
    const found = this.#deps.store.getMany(missingKeys, this.#deps.isWritingUnit())
    if (!('then' in found)) {
      for (const [i, { at, key, name }] of missing.entries()) {
        const value = found[i]
        if (value === undefined) continue
        const record = (reads[at] = this.#read(key, value))
        if (record !== undefined && !(record instanceof Error)) cache.keep(name, record)
      }
      return reads
    }
    const pending = missing.map(({ name }) => cache.readBegins(name))
    const fill = async (values: readonly (Uint8Array | undefined)[]): Promise<readonly Read[]> => {
      const records = missingKeys.map((key, i) => values[i] && this.#intact(key, values[i]))
      for (const [i, read] of pending.entries()) cache.readEnds(read, records[i])
      for (const [i, { at, key }] of missing.entries()) {
        reads[at] = records[i] ?? (values[i] && (await this.#lookAgain(key).catch(asFailure)))
      }
      return reads
    }
    return found.then(fill, (error: unknown) => {
      for (const read of pending) cache.readEnds(read, undefined)
      throw error
    })
  }

  #read(key: Uint8Array, value: Uint8Array): Read {
    try {
      return this.#opened(key, value)
    } catch (error) {
      return asFailure(error)
    }
  }

  async #readLater(keys: readonly Uint8Array[], values: readonly (Uint8Array | undefined)[]): Promise<readonly Read[]> {
    const reads: Read[] = []
    for (const [i, value] of values.entries()) {
      const key = keys[i]!
      reads.push(value && (this.#intact(key, value) ?? (await this.#lookAgain(key).catch(asFailure))))
    }
    return reads
  }

  /** @throws KilovoltError `KV_CORRUPT` */
  #opened(key: Uint8Array, value: Uint8Array): RecordBytes {
    try {
      return this.#deps.form.open(key, value)
    } catch (error) {
      this.#deps.damage.add(key)
      throw error
    }
  }

  /** The record, unless it is damaged: nobody is told of that yet. */
  #intact(key: Uint8Array, value: Uint8Array): RecordBytes | undefined {
    try {
      return this.#deps.form.open(key, value)
    } catch {
      return undefined
    }
  }

  /** What was damaged when it was read may have been healed before that was seen: it counts only if it still is. */
  async #lookAgain(key: Uint8Array): Promise<RecordBytes | undefined> {
    const value = await this.#deps.store.get(key)
    return value && this.#opened(key, value)
  }

  /** A record that was found to be damaged may be here as it was written. */
  #rotten(key: Uint8Array): undefined {
    const { cache, onRotten } = this.#deps
    const record = cache?.peek(key)
    if (record !== undefined) onRotten?.(key, record)
  }
}

function asFailure(error: unknown): KilovoltError {
  return isKilovoltError(error) ? error : storageError(error, 'reading a record')
}
