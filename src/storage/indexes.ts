import { toLatin1 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { ALL_KEYS, type ByteRange, restAfter, successor } from '../model/key-range.ts'
import { hasValue } from '../model/index-value.ts'
import type { PartitionId } from '../model/partition.ts'
import type { RecordBytes } from '../model/record.ts'
import { entryOf, indexEntryKey, indexEntryRange, indexRange, keyOf, keyspaceOf, partitionOfKey } from './key-layout.ts'
import type { IndexUpkeep, IndexWrite, PartitionDrop } from './index-upkeep.ts'
import { opened, seal } from './sealed.ts'
import type { RangePart } from './record-store.ts'
import type { Store, StoreChange } from './store.ts'
import { type IndexDefinition, PartitionState, readIndex, savedAsDropped, StoredIndex } from './stored-index.ts'
import type { RecordChange } from './tree-index.ts'

/** What indexes need. */
export interface IndexesDeps {
  readonly store: Store
  readonly partitions: number
  /** Told of the first record of an index that its code could make no values of. */
  readonly onFailure: (index: StoredIndex, key: Uint8Array, error: unknown) => void
  /** Told when there is something to build or to delete. */
  readonly onWork: () => void
  /** Whether old entries are deleted; not so only to show what that would do. Default true. */
  readonly removesOld?: boolean
  /** Whether a partition counts as stale when it was written to before the code was known; not so only to show the same. Default true. */
  readonly notesUnindexed?: boolean
}

/** An entry: an encoded value with a key behind it, and the partition of the key. */
export interface IndexEntry {
  readonly entry: Uint8Array
  readonly partition: PartitionId
}

/** A part of a range of entries. */
export interface IndexPart {
  readonly entries: readonly IndexEntry[]
  /** What is left of the range; `undefined` when nothing is. */
  readonly rest: ByteRange | undefined
}

type Values = readonly Uint8Array[]

const NO_VALUES: Values = []

/**
 * The secondary indexes of this store, of the records that it holds itself. Their entries are written in the batch of the
 * records that they are of, so that neither is ever without the other; see `docs/decisions/0024-indexes-of-what-a-replica-holds.md`.
 *
 * The code that makes values of records comes with the app, when it opens a keyspace. What an earlier life has left of an
 * index is known from the start: a partition that is written to before the app comes is not kept up, and built anew.
 */
export class Indexes implements IndexUpkeep {
  readonly #deps: IndexesDeps
  /** By the name of their keyspace, as text of bytes. */
  readonly #byKeyspace = new Map<string, StoredIndex[]>()
  /** Ids whose entries are of no use any more. */
  readonly dropped: Set<number> = new Set()
  /** Those of them of which the store still says where they are whole. */
  readonly #unsaidDrops = new Map<number, StoredIndex>()
  #nextId = 1

  constructor(deps: IndexesDeps) {
    this.#deps = deps
  }

  /** Whether nothing written needs an index. */
  get isIdle(): boolean {
    return this.#byKeyspace.size === 0 && this.#unsaidDrops.size === 0
  }

  /** Reads what an earlier life has left. To be called before anything is written. */
  async open(): Promise<void> {
    const { store, partitions } = this.#deps
    const { gte, lt } = indexRange()
    for (let from = gte; ;) {
      const page = await store.page({ gte: from, lt }, PAGE)
      for (const [key, value] of page) {
        const { id, index } = readIndex(key, value, partitions)
        this.#nextId = Math.max(this.#nextId, id + 1)
        if (index === undefined) this.dropped.add(id)
        else this.#add(index)
      }
      if (page.length < PAGE) break
      from = successor(page.at(-1)![0])
    }
    this.#deps.onWork()
  }

  /** All of them, those of which nobody has told the code included. */
  *all(): Iterable<StoredIndex> {
    for (const indexes of this.#byKeyspace.values()) yield* indexes
  }

  /** The index of that name whose code is known; `undefined` when there is none. */
  find(keyspace: Uint8Array, name: string): StoredIndex | undefined {
    return this.#byKeyspace
      .get(toLatin1(keyspace))
      ?.find(index => index.name === name && index.definition !== undefined)
  }

  /**
   * The app defines an index. What an earlier life has left of it is gone on with; what was left of one that had another
   * definition is dropped.
   *
   * @throws KilovoltError `KV_CONFIG` when it was defined in another way in this life
   */
  define(definition: IndexDefinition): StoredIndex {
    const known = this.#byKeyspace.get(toLatin1(definition.keyspace))?.find(({ name }) => name === definition.name)
    if (known?.definition !== undefined && !known.isOf(definition)) {
      throw new KilovoltError(
        'KV_CONFIG',
        `the index "${definition.name}" of this keyspace is defined in another way elsewhere in this process`
      )
    }
    if (known?.isOf(definition) === true) {
      if (known.definition === undefined) {
        known.definition = definition
        this.#deps.onWork()
      }
      return known
    }
    if (known !== undefined) this.drop(known)
    const index = new StoredIndex(definition, this.#deps.partitions)
    index.definition = definition
    this.#add(index)
    this.#deps.onWork()
    return index
  }

  /**
   * Nobody wants it any more: its entries are deleted in the background. What is written from now on has none, so that the store
   * is told with the next of that, or before the first of them goes: a later life that wants it again must not take it for whole.
   */
  drop(index: StoredIndex): void {
    const name = toLatin1(index.keyspace)
    const left = this.#byKeyspace.get(name)?.filter(other => other !== index) ?? []
    if (left.length === 0) this.#byKeyspace.delete(name)
    else this.#byKeyspace.set(name, left)
    if (index.id !== undefined) {
      this.dropped.add(index.id)
      this.#unsaidDrops.set(index.id, index)
    }
    this.#deps.onWork()
  }

  /** What the store has to be told of those that were dropped, if anything. To be written while no record is. */
  saidDrops(): IndexWrite {
    const said = [...this.#unsaidDrops]
    return {
      changes: said.map(([id, index]) => savedAsDropped(id, index)),
      written: () => {
        for (const [id] of said) this.#unsaidDrops.delete(id)
      }
    }
  }

  /** An id that no index of this store has. */
  newId(): number {
    return this.#nextId++
  }

  /** What has to be written with these changes of records; a promise only where values have to be waited for. Never fails. */
  entriesOf(changes: readonly RecordChange[]): IndexWrite | Promise<IndexWrite> {
    const entries: StoreChange[] = []
    const waits: Promise<void>[] = []
    const touched = new Set<StoredIndex>()
    for (const change of changes) {
      const indexes = this.#byKeyspace.get(toLatin1(keyspaceOf(change.key)))
      if (indexes === undefined) continue
      const partition = partitionOfKey(change.key)
      for (const index of indexes) {
        if (index.isUnsaved) touched.add(index)
        if (index.definition === undefined && index.stateOf(partition) === PartitionState.READY) {
          if (this.#deps.notesUnindexed === false) continue
          index.set(partition, PartitionState.BEHIND)
          index.overstated()
          touched.add(index)
        }
        const state = index.stateOf(partition)
        if (state === PartitionState.BEHIND) index.note(change.key, change.before, change.value?.length ?? 0)
        if (state === PartitionState.BEHIND || state === PartitionState.STALE) continue
        const waiting = this.#entriesOfOne(index, change, entries)
        if (waiting !== undefined) waits.push(waiting)
      }
    }
    const finish = (): IndexWrite => {
      const corrections = [...touched].map(index => index.correction())
      for (const { changes: said } of corrections) entries.push(...said)
      // Behind what is said of one that was dropped meanwhile.
      const drops = this.saidDrops()
      const written = (): void => {
        for (const correction of corrections) correction.written()
        drops.written()
      }
      return { changes: [...entries, ...drops.changes], written }
    }
    return waits.length === 0 ? finish() : Promise.all(waits).then(finish)
  }

  /** What of the entries of a record is to be written when they are of what it was, and it is something else now. */
  async entriesOfChange(index: StoredIndex, change: Omit<RecordChange, 'isCopy'>): Promise<readonly StoreChange[]> {
    const entries: StoreChange[] = []
    await this.#entriesOfOne(index, change, entries)
    return entries
  }

  /** The entries of a record that is there already. */
  entriesOfRecord(
    index: StoredIndex,
    partition: PartitionId,
    key: Uint8Array,
    record: RecordBytes
  ): readonly StoreChange[] | Promise<readonly StoreChange[]> {
    const values = this.#valuesOf(index, record, key)
    const put = (of: Values): readonly StoreChange[] => of.map(value => entry(index.id!, value, key, partition))
    return values instanceof Promise ? values.then(put) : put(values)
  }

  /**
   * As {@link IndexUpkeep.dropPartition}. Until all is gone the partition counts as stale, so that a crash in between leaves
   * nothing that is taken for whole; what is left of an index whose code nobody has told is deleted when it is known.
   */
  async dropPartition(partition: PartitionId, { alone, rowsOf, dropRecords }: PartitionDrop): Promise<void> {
    const { store } = this.#deps
    const { STALE, BEHIND, READY } = PartitionState
    const kept = [...this.all()].filter(index => index.isUnsaved || index.stateOf(partition) !== STALE)
    const save = async (state: PartitionState, indexes: readonly StoredIndex[]): Promise<void> => {
      if (indexes.length === 0) return
      for (const index of indexes) index.set(partition, state)
      try {
        await store.batch(
          indexes.map(index => index.saved()),
          NO_SYNC
        )
      } catch (error) {
        // The store says more than is so: it is told with the next record, which has no entries.
        for (const index of indexes) index.overstated()
        throw error
      }
    }
    // What one is behind with has other entries than its record tells.
    const known = kept.filter(index => {
      const state = index.stateOf(partition)
      return index.definition !== undefined && state !== BEHIND && state !== STALE
    })
    const ids = known.map(({ id }) => id)
    try {
      await alone(() => save(STALE, kept))
      for (const index of known) await this.#dropEntries(index, rowsOf)
      await dropRecords()
      // One that is made anew meanwhile is of another id, and sees to itself.
      await alone(() =>
        save(
          READY,
          known.filter(({ id }) => ids.includes(id))
        )
      )
    } finally {
      this.#deps.onWork()
    }
  }

  /** Deletes the entries of the records of a partition that is about to go. */
  async #dropEntries(index: StoredIndex, rowsOf: PartitionDrop['rowsOf']): Promise<void> {
    const { store } = this.#deps
    for (let left: ByteRange | undefined = ALL_KEYS; left !== undefined;) {
      const part: RangePart = await rowsOf(index.keyspace, left)
      left = part.rest
      const gone: StoreChange[] = []
      for (const { key, record } of part.rows) {
        if (record === undefined) continue
        for (const value of await this.#valuesOf(index, record, undefined)) {
          gone.push({ key: indexEntryKey(index.id!, value, key), value: undefined })
        }
      }
      if (gone.length > 0) await store.batch(gone, NO_SYNC)
    }
  }

  /**
   * The next entries of a range, of whatever partition, at most so many. An entry that is damaged makes the whole index to be
   * built anew: nobody knows which others are gone.
   */
  async page(index: StoredIndex, range: ByteRange, limit: number, isReverse: boolean): Promise<IndexPart> {
    if (index.id === undefined) return { entries: [], rest: undefined }
    const found = await this.#deps.store.page(indexEntryRange(index.id, range), limit, undefined, isReverse)
    const entries: IndexEntry[] = []
    for (const [key, value] of found) {
      const body = opened(key, value)
      if (body?.length !== 2) {
        this.#spoil(index)
        return { entries: [], rest: undefined }
      }
      entries.push({ entry: entryOf(key), partition: new Reader(body).u16() })
    }
    const last = entries.at(-1)
    return {
      entries,
      rest: found.length < limit || last === undefined ? undefined : restAfter(range, last.entry, isReverse)
    }
  }

  #spoil(index: StoredIndex): void {
    index.setAll(PartitionState.STALE)
    index.overstated()
    this.#deps.onWork()
  }

  #add(index: StoredIndex): void {
    const name = toLatin1(index.keyspace)
    this.#byKeyspace.set(name, [...(this.#byKeyspace.get(name) ?? []), index])
  }

  #entriesOfOne(
    index: StoredIndex,
    change: Omit<RecordChange, 'isCopy'>,
    into: StoreChange[]
  ): Promise<void> | undefined {
    const { before, value } = change
    const olds = before === undefined ? NO_VALUES : this.#valuesOf(index, before, undefined)
    const news = value === undefined ? NO_VALUES : this.#valuesOf(index, value, keyOf(change.key))
    if (!(olds instanceof Promise) && !(news instanceof Promise)) {
      this.#difference(index, change.key, olds, news, into)
      return undefined
    }
    return Promise.all([olds, news]).then(([from, to]) => this.#difference(index, change.key, from, to, into))
  }

  #difference(index: StoredIndex, storeKey: Uint8Array, olds: Values, news: Values, into: StoreChange[]): void {
    const key = keyOf(storeKey)
    if (this.#deps.removesOld !== false) {
      for (const old of olds) {
        if (!hasValue(news, old)) into.push({ key: indexEntryKey(index.id!, old, key), value: undefined })
      }
    }
    for (const value of news) {
      if (!hasValue(olds, value)) into.push(entry(index.id!, value, key, partitionOfKey(storeKey)))
    }
  }

  /**
   * The values of a record; none when there is a mistake in the app's code: it is stored all the same.
   *
   * @param told - the key by which a failure is told, where it counts
   */
  #valuesOf(index: StoredIndex, record: RecordBytes, told: Uint8Array | undefined): Values | Promise<Values> {
    const failed = (error: unknown): Values => {
      if (told !== undefined && index.failed++ === 0) this.#deps.onFailure(index, told, error)
      return NO_VALUES
    }
    try {
      const values = index.definition!.valuesOf(record)
      return values instanceof Promise ? values.catch(failed) : values
    } catch (error) {
      return failed(error)
    }
  }
}

const PAGE = 256
const NO_SYNC = { sync: false } as const

function entry(id: number, value: Uint8Array, key: Uint8Array, partition: PartitionId): StoreChange {
  return seal(indexEntryKey(id, value, key), Uint8Array.of(partition >>> 8, partition & 0xff))
}
