import { EMPTY_BYTES, equalBytes } from '../base/bytes.ts'
import { messageOf } from '../base/errors.ts'
import { ALL_KEYS, type ByteRange } from '../model/key-range.ts'
import type { PartitionId } from '../model/partition.ts'
import { type Clock, pause } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Indexes } from './indexes.ts'
import { decodeDataKey, indexEntryKey, indexEntryRange, indexKey, partitionOfKey } from './key-layout.ts'
import { INDEXED_AT_ONCE, type IndexWrite } from './index-upkeep.ts'
import type { RangePart, Read, RecordKey } from './record-store.ts'
import type { Store, StoreChange } from './store.ts'
import { PartitionState, savedAsDropped, StoredIndex } from './stored-index.ts'

/** What keeping indexes needs. */
export interface IndexKeeperDeps {
  readonly indexes: Indexes
  readonly store: Store
  readonly clock: Clock
  readonly logger: Logger
  /** Runs a task while no record is being written; `undefined` when the partition that it is about is being deleted. */
  readonly alone: <T>(partition: PartitionId | undefined, task: () => Promise<T>) => Promise<T | undefined>
  /** The next records of a keyspace in a partition. */
  readonly rowsOf: (partition: PartitionId, keyspace: Uint8Array, range: ByteRange) => Promise<RangePart>
  /** Several records, in order; an error in the place of one that is damaged. */
  readonly getMany: (keys: readonly RecordKey[]) => readonly Read[] | Promise<readonly Read[]>
  /** Partitions that hold any record. */
  readonly partitions: () => Promise<readonly PartitionId[]>
  /** Leaves room for requests between two pieces of work. */
  readonly turn: <T>(work: () => Promise<T>, signal: AbortSignal) => Promise<T>
}

/** Entries that are looked at in one piece. */
const SWEPT_AT_ONCE = 512
/** Rest before what could not go on, or has failed, is tried again, ms: the first, and the longest after one failure upon another. */
const AGAIN_MS = 200
const AGAIN_MAX_MS = 12_800
const NO_SYNC = { sync: false } as const
const NOTHING: IndexWrite = { changes: [], written: () => {} }

/**
 * Builds indexes, and deletes those that nobody wants any more, in the background: in pieces of some milliseconds each, of
 * which each takes the place of one batch of records, so that what is read is what is stored when its entries are written. A
 * partition is ready in the very batch that brings its last entries; one that a crash has left half built begins again.
 */
export class IndexKeeper {
  readonly #deps: IndexKeeperDeps
  readonly #abort = new AbortController()
  #running: Promise<void> | undefined
  #isStarted = false
  #isCalled = false

  constructor(deps: IndexKeeperDeps) {
    this.#deps = deps
  }

  /** Begins with what there is to do. */
  start(): void {
    this.#isStarted = true
    this.work()
  }

  /** There may be something to do. */
  work(): void {
    this.#isCalled = true
    if (!this.#isStarted || this.#abort.signal.aborted) return
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
      if (this.#isCalled) this.work()
    })
  }

  cancel(): void {
    this.#abort.abort()
  }

  /** Resolves when nothing is being done any more. */
  async stop(): Promise<void> {
    this.cancel()
    await this.#running
  }

  async #run(): Promise<void> {
    const { clock, logger } = this.#deps
    const { signal } = this.#abort
    let failures = 0
    while (!signal.aborted) {
      this.#isCalled = false
      let restMs = 0
      try {
        const done = await this.#step()
        if (done === 'nothing') return
        if (done === 'waits') restMs = AGAIN_MS
        failures = 0
      } catch (error) {
        if (signal.aborted) return
        if (failures === 0) {
          logger.warn('an index could not be gone on with; it is tried again', { error: messageOf(error) })
        }
        restMs = Math.min(AGAIN_MAX_MS, AGAIN_MS * 2 ** failures++)
      }
      if (restMs > 0) await pause(clock, restMs, signal)
    }
  }

  /** Takes the next step: `nothing` when there is none to take, `waits` when it has to be tried again in a while. */
  async #step(): Promise<'done' | 'waits' | 'nothing'> {
    const { indexes } = this.#deps
    const known = [...indexes.all()].filter(({ definition }) => definition !== undefined)
    for (const index of known) {
      const stale = index.in(PartitionState.STALE)
      if (stale.length === 0) continue
      if (index.id === undefined || stale.length === index.partitions) await this.#create(index)
      else await this.#sweep(index, stale)
      return 'done'
    }
    const behind = known.find(index => index.in(PartitionState.BEHIND).length > 0)
    if (behind !== undefined) {
      await this.#catchUp(behind)
      return 'done'
    }
    const unbuilt = known.find(index => index.in(PartitionState.BUILDING).length > 0)
    if (unbuilt !== undefined) {
      const name = unbuilt.keyspace
      return this.#build(known.filter(({ keyspace }) => equalBytes(keyspace, name)))
    }
    for (const id of indexes.dropped) {
      await this.#drop(id)
      return 'done'
    }
    return 'nothing'
  }

  /** Gives an index a place where nothing lies; from then on it is kept up. */
  async #create(index: StoredIndex): Promise<void> {
    const { alone, indexes, store } = this.#deps
    await alone(undefined, async () => {
      const { id: old } = index
      const id = indexes.newId()
      const changes = [new StoredIndex(index, index.partitions, id).saved()]
      if (old !== undefined) changes.push(savedAsDropped(old, index))
      await store.batch(changes, NO_SYNC)
      index.id = id
      index.correction().written()
      index.setAll(PartitionState.BUILDING)
      if (old !== undefined) indexes.dropped.add(old)
    })
  }

  /** Deletes the entries of some partitions, which are kept up from then on. */
  async #sweep(index: StoredIndex, stale: readonly PartitionId[]): Promise<void> {
    const { alone, indexes, store } = this.#deps
    const isStale = (partition: PartitionId): boolean => index.stateOf(partition) === PartitionState.STALE
    const wanted = new Set(stale)
    for (let left: ByteRange | undefined = ALL_KEYS; left !== undefined;) {
      const range: ByteRange = left
      left = await this.#piece(() =>
        alone(undefined, async () => {
          const part = await indexes.page(index, range, SWEPT_AT_ONCE, false)
          const gone = part.entries.filter(({ partition }) => wanted.has(partition) && isStale(partition))
          // Entries go only where the store does not say that they are all there.
          const { changes, written } = index.isUnsaved ? index.correction() : NOTHING
          const deletions = gone.map(({ entry }) => deleted(index.id!, entry))
          if (deletions.length + changes.length > 0) await store.batch([...deletions, ...changes], NO_SYNC)
          written()
          return part.rest
        })
      )
    }
    // What was found to be damaged meanwhile is made anew as a whole.
    if (index.in(PartitionState.STALE).length === index.partitions) return
    await alone(undefined, async () => {
      for (const partition of stale) if (isStale(partition)) index.set(partition, PartitionState.BUILDING)
    })
  }

  /** Indexes what was written before the code was known; what is written meanwhile waits with it. */
  async #catchUp(index: StoredIndex): Promise<void> {
    const { alone, getMany, indexes, store } = this.#deps
    const { journal } = index
    const isBehind = (key: Uint8Array): boolean => index.stateOf(partitionOfKey(key)) === PartitionState.BEHIND
    for (let isLeft: boolean | undefined = true; isLeft === true;) {
      isLeft = await this.#piece(() =>
        alone(undefined, async () => {
          const some = journal.some(INDEXED_AT_ONCE.limit, INDEXED_AT_ONCE.maxBytes)
          // A partition that was dropped meanwhile is seen to as a whole.
          const due = some.filter(({ key }) => isBehind(key))
          const now = await getMany(due.map(({ key }) => decodeDataKey(key)))
          const entries: StoreChange[] = []
          for (const [i, { key, before }] of due.entries()) {
            // What is damaged comes through the door of the store when it is healed.
            const value = now[i] instanceof Error ? undefined : now[i]
            entries.push(...(await indexes.entriesOfChange(index, { key, before, value })))
          }
          const isLast = some.length === journal.size
          const partitions = isLast ? index.in(PartitionState.BEHIND) : []
          const write = async (changes: readonly StoreChange[]): Promise<void> => {
            if (entries.length + changes.length > 0) await store.batch([...entries, ...changes], NO_SYNC)
          }
          await this.#ready([{ index, partitions }], write, PartitionState.BEHIND)
          journal.remove(some)
          return !isLast
        })
      )
    }
  }

  /** Builds what is not built of the indexes of a keyspace. */
  async #build(indexes: readonly StoredIndex[]): Promise<'done' | 'waits'> {
    const { alone, store, partitions } = this.#deps
    // Where there was no record since, there is none without its entries.
    const holding = new Set(await partitions())
    await alone(undefined, async () => {
      const empty = indexes.map(index => ({
        index,
        partitions: index.in(PartitionState.BUILDING).filter(partition => !holding.has(partition))
      }))
      await this.#ready(empty, changes => store.batch(changes, NO_SYNC))
    })
    let isAll = true
    for (const partition of holding) {
      const some = indexes.filter(index => index.stateOf(partition) === PartitionState.BUILDING)
      if (some.length > 0 && !(await this.#buildPartition(some, partition))) isAll = false
    }
    return isAll ? 'done' : 'waits'
  }

  /** Whether it could: not while the partition is being deleted. */
  async #buildPartition(indexes: readonly StoredIndex[], partition: PartitionId): Promise<boolean> {
    const { alone, rowsOf, store } = this.#deps
    const { keyspace } = indexes[0]!
    for (let left: ByteRange | undefined = ALL_KEYS; left !== undefined;) {
      const range: ByteRange = left
      const done = await this.#piece(() =>
        alone(partition, async () => {
          const building = indexes.filter(index => index.stateOf(partition) === PartitionState.BUILDING)
          if (building.length === 0) return { rest: undefined }
          const { rows, rest } = await rowsOf(partition, keyspace, range)
          const entries = await this.#entriesOf(building, partition, rows)
          const last = rest === undefined ? building.map(index => ({ index, partitions: [partition] })) : []
          await this.#ready(last, async changes => {
            if (entries.length + changes.length > 0) await store.batch([...entries, ...changes], NO_SYNC)
          })
          return { rest }
        })
      )
      if (done === undefined) return false
      left = done.rest
    }
    return true
  }

  async #entriesOf(
    building: readonly StoredIndex[],
    partition: PartitionId,
    rows: RangePart['rows']
  ): Promise<readonly StoreChange[]> {
    const entries: StoreChange[] = []
    for (const index of building) {
      for (const { key, record } of rows) {
        // One that is damaged comes through the door of the store when it is healed.
        if (record !== undefined)
          entries.push(...(await this.#deps.indexes.entriesOfRecord(index, partition, key, record)))
      }
      index.built += rows.length
    }
    return entries
  }

  /** Some partitions are ready as soon as that is written, and not if it cannot be. */
  async #ready(
    some: readonly { readonly index: StoredIndex; readonly partitions: readonly PartitionId[] }[],
    write: (changes: readonly StoreChange[]) => Promise<void>,
    before: PartitionState = PartitionState.BUILDING
  ): Promise<void> {
    const set = (state: PartitionState): void => {
      for (const { index, partitions } of some) for (const partition of partitions) index.set(partition, state)
    }
    set(PartitionState.READY)
    try {
      await write(some.filter(({ partitions }) => partitions.length > 0).map(({ index }) => index.saved()))
    } catch (error) {
      set(before)
      throw error
    }
  }

  /** Nobody writes such entries any more, once what is being written is. */
  async #drop(id: number): Promise<void> {
    const { alone, indexes, store } = this.#deps
    await alone(undefined, async () => {
      const drops = indexes.saidDrops()
      if (drops.changes.length > 0) await store.batch(drops.changes, NO_SYNC)
      drops.written()
    })
    await store.clear(indexEntryRange(id, ALL_KEYS))
    await store.batch([{ key: indexKey(id), value: undefined }], NO_SYNC)
    indexes.dropped.delete(id)
  }

  async #piece<T>(work: () => Promise<T>): Promise<T> {
    const { signal } = this.#abort
    signal.throwIfAborted()
    return this.#deps.turn(work, signal)
  }
}

function deleted(id: number, entry: Uint8Array): StoreChange {
  return { key: indexEntryKey(id, entry, EMPTY_BYTES), value: undefined }
}
