import { EMPTY_BYTES } from '../base/bytes.ts'
import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import type { PartitionId } from '../model/partition.ts'
import type { RecordBytes } from '../model/record.ts'
import type { Clock } from '../runtime/clock.ts'
import { ApplyBatch, type ApplyRules, type Mutation, type MutationKind } from './apply-batch.ts'
import type { ApplyLoopDeps, ApplyLoopOptions } from './apply-options.ts'
import type { ChangeTap } from './arrival-log.ts'
import { Damage } from './damage.ts'
import { FlushFence } from './flush-fence.ts'
import { dataKey, decodeDataKey, partitionRange } from './key-layout.ts'
import { INDEXED_AT_ONCE, type IndexUpkeep, type IndexWrite, type PartitionDrop } from './index-upkeep.ts'
import { LoneTasks } from './lone-tasks.ts'
import { MutationQueue } from './mutation-queue.ts'
import { PartitionDrops } from './partition-drops.ts'
import type { RecordCache } from './record-cache.ts'
import { formFor, PLAIN, type RecordForm } from './record-form.ts'
import { RecordReader } from './record-reader.ts'
import {
  type ApplyResult,
  type KeyedRecord,
  NO_CACHE,
  type Read,
  type RecordKey,
  type RecordStore,
  type RecordStoreStats,
  type StoredRecord
} from './record-store.ts'
import type { Mint } from './sibling-door.ts'
import { storageError } from './storage-error.ts'
import type { Store, StoreChange } from './store.ts'
import type { RecordChange, TreeIndex } from './tree-index.ts'
import { unitDone } from './unit-done.ts'

type Done = Mutation['done']

/**
 * The single writer of a store. Whatever is offered during a turn of the event loop, or while a batch is being written,
 * goes into the next batch: one look-up of the old versions, one decision for each, one write, then all are acknowledged.
 * So a key needs no lock, and a hundred writers share the cost of one sync.
 *
 * Reads go to the database, or to a cache of what it holds, and never see what is only on its way, so they never return
 * what a failed batch did not keep.
 */
export class ApplyLoop implements RecordStore {
  readonly #store: Store
  readonly #clock: Pick<Clock, 'soon'>
  readonly #trees: TreeIndex | undefined
  readonly #rules: ApplyRules
  readonly #tap: ChangeTap | undefined
  readonly #indexes: IndexUpkeep | undefined
  readonly #form: RecordForm
  readonly #damage: Damage
  readonly #cache: RecordCache | undefined
  readonly #reader: RecordReader
  readonly #durability: { readonly sync: boolean }
  readonly #keepsUnits: boolean
  readonly #queue: MutationQueue
  readonly #fence = new FlushFence()
  readonly #drops: PartitionDrops
  readonly #lone = new LoneTasks(this.#fence)
  /** From the call of `soon` until the batch is acknowledged. */
  #busy = false
  #isWritingUnit = false
  #closed = false
  #dropped = 0
  #applied = 0
  #stale = 0
  #batches = 0

  constructor(deps: ApplyLoopDeps, options: ApplyLoopOptions = {}) {
    const { store, clock, trees, horizonOf, isWhole, damage, cache, tap, indexes } = deps
    this.#store = store
    this.#clock = clock
    this.#trees = trees
    this.#tap = tap
    this.#indexes = indexes
    this.#form = formFor(store)
    this.#damage = damage ?? new Damage()
    this.#cache = cache
    this.#durability = { sync: options.durability === 'fsync' }
    this.#keepsUnits = options.keepsUnits ?? true
    const { joinsSiblings = true } = options
    this.#rules = { form: this.#form, damage: this.#damage, horizonOf, isWhole, joinsSiblings }
    this.#queue = new MutationQueue(options)
    this.#drops = new PartitionDrops({
      passed: () => this.#fence.passed(),
      clear: partition => this.#clear(partition),
      offer: mutation => this.#offer(mutation)
    })
    this.#reader = new RecordReader({
      store,
      form: this.#form,
      damage: this.#damage,
      cache,
      onRotten: (key, record) => this.#enter(decodeDataKey(key), record, 'mend', () => {}),
      assertOpen: () => this.#assertOpen(),
      isWritingUnit: () => this.#isWritingUnit
    })
  }

  get readsAtOnce(): boolean {
    return this.#store.readsAtOnce
  }

  get(key: RecordKey): RecordBytes | undefined | Promise<RecordBytes | undefined> {
    return this.#closed ? Promise.reject(stopped()) : this.#reader.get(key)
  }

  getMany(keys: readonly RecordKey[]): readonly Read[] | Promise<readonly Read[]> {
    return this.#closed ? Promise.reject(stopped()) : this.#reader.getMany(keys)
  }

  page(...where: Parameters<RecordReader['page']>): Promise<readonly StoredRecord[]> {
    return this.#closed ? Promise.reject(stopped()) : this.#reader.page(...where)
  }

  range(...where: Parameters<RecordReader['range']>): ReturnType<RecordReader['range']> {
    return this.#closed ? Promise.reject(stopped()) : this.#reader.range(...where)
  }

  pack(...where: Parameters<RecordReader['pack']>): ReturnType<RecordReader['pack']> {
    return this.#closed ? Promise.reject(stopped()) : this.#reader.pack(...where)
  }

  partitions(): Promise<readonly PartitionId[]> {
    return this.#closed ? Promise.reject(stopped()) : this.#reader.partitions()
  }

  apply(key: RecordKey, record: RecordBytes, done: Done): void {
    this.#enter(key, record, 'offer', done)
  }

  applyUnit(
    { partition, keyspace }: Omit<RecordKey, 'key'>,
    records: readonly KeyedRecord[],
    done: (error: Error | undefined, results: readonly ApplyResult[] | undefined) => void
  ): void {
    const keys = records.map(({ key }) => dataKey(partition, keyspace, key))
    let bytes = 0
    for (let i = 0; i < keys.length; i++) bytes += keys[i]!.length + records[i]!.record.length
    const refusal = this.#refusal(bytes, keys.length)
    if (refusal !== undefined) return done(refusal, undefined)
    const each = unitDone(keys.length, done)
    for (const [i, { record }] of records.entries()) {
      this.#take(partition, keys[i]!, record, 'offer', each, this.#keepsUnits ? keys.length - 1 - i : 0)
    }
  }

  mint(key: RecordKey, bytes: number, mint: Mint, done: Done): void {
    const refusal = this.#refusal(key.key.length + bytes, 1)
    if (refusal !== undefined) return done(refusal, undefined)
    this.#take(key.partition, dataKey(key.partition, key.keyspace, key.key), EMPTY_BYTES, 'mint', done, 0, mint, bytes)
  }

  get forgotten(): number {
    return this.#dropped + this.#damage.found
  }

  copy(key: RecordKey, record: RecordBytes, done: Done): void {
    this.#enter(key, record, 'copy', done)
  }

  remove(key: RecordKey, record: RecordBytes, done: Done): void {
    this.#enter(key, record, 'remove', done)
  }

  heal(key: RecordKey, record: RecordBytes | undefined, done: Done): void {
    this.#enter(key, record ?? EMPTY_BYTES, record === undefined ? 'clear' : 'heal', done)
  }

  #enter(key: RecordKey, record: RecordBytes, kind: MutationKind, done: Done): void {
    const storeKey = dataKey(key.partition, key.keyspace, key.key)
    const refusal = this.#refusal(storeKey.length + record.length, 1)
    if (refusal === undefined) this.#take(key.partition, storeKey, record, kind, done, 0)
    else done(refusal, undefined)
  }

  #take(
    partition: PartitionId,
    key: Uint8Array,
    record: RecordBytes,
    kind: MutationKind,
    done: Done,
    following: number,
    mint?: Mint,
    mintBytes?: number
  ): void {
    const mutation = { key, record, kind, done, group: this.#fence.enter(), following, mint, mintBytes }
    this.#queue.taken(mutation)
    const held = this.#drops.heldOf(partition)
    if (held !== undefined) held.push(mutation)
    else this.#offer(mutation)
  }

  flushed(): Promise<void> {
    return this.#fence.passed()
  }

  dropPartition(partition: PartitionId): Promise<void> {
    return this.#closed ? Promise.reject(stopped()) : this.#drops.drop(partition)
  }

  /** Runs a task while no record is written; let it be short. `undefined`: not run, as its partition is being deleted. */
  alone<T>(partition: PartitionId | undefined, task: () => Promise<T>): Promise<T | undefined> {
    if (this.#closed) return Promise.reject(stopped())
    return this.#alone(() => {
      const isGoing = partition !== undefined && this.#drops.heldOf(partition) !== undefined
      return isGoing ? Promise.resolve(undefined) : task()
    })
  }

  #alone<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#lone.add(task)
    this.#wake()
    return result
  }

  stats(): RecordStoreStats {
    return {
      applied: this.#applied,
      stale: this.#stale,
      batches: this.#batches,
      pending: this.#queue.pending,
      corrupt: this.#damage.found,
      corruptLeft: this.#damage.left,
      cache: this.#cache?.stats() ?? NO_CACHE
    }
  }

  /**
   * Refuses new work with `KV_NODE_STOPPED` and resolves when everything taken before is acknowledged. The store stays
   * open. Idempotent.
   */
  async close(): Promise<void> {
    this.#closed = true
    await this.#fence.passed()
    await this.#drops.settled()
  }

  #assertOpen(): void {
    if (this.#closed) throw stopped()
  }

  #refusal(bytes: number, count: number): KilovoltError | undefined {
    return this.#closed ? stopped() : this.#queue.refusal(bytes, count)
  }

  #offer(mutation: Mutation): void {
    this.#queue.push(mutation)
    this.#wake()
  }

  #wake(): void {
    if (this.#busy) return
    this.#busy = true
    this.#clock.soon(this.#turn)
  }

  #goOn(): void {
    if (!this.#queue.isEmpty || !this.#lone.isEmpty) this.#clock.soon(this.#turn)
    else this.#busy = false
  }

  /** One batch: taken, looked up, decided and written; or what has to be done between two. */
  readonly #turn = (): void => {
    const lone = this.#lone.run()
    if (lone !== undefined) return void lone.then(() => this.#goOn())
    const batch = new ApplyBatch(this.#queue.next())
    this.#batches++
    const cache = this.#cache
    if (cache !== undefined) {
      batch.recall(key => cache.get(cache.nameOf(key)))
      if (batch.keys.length === 0) return this.#write(batch, [])
    }
    let found
    try {
      found = this.#store.getMany(batch.keys)
    } catch (error) {
      this.#fail(batch, error)
      return
    }
    if (!('then' in found)) return this.#write(batch, found)
    void found.then(
      values => this.#write(batch, values),
      (error: unknown) => this.#fail(batch, error)
    )
  }

  #write(batch: ApplyBatch, values: readonly (Uint8Array | undefined)[]): void {
    const results = batch.decide(values, this.#rules)
    const changes = batch.changes()
    if (changes.length === 0) return this.#settle(batch, results)
    const entries = this.#indexes?.isIdle === false ? this.#indexes.entriesOf(changes) : undefined
    if (entries instanceof Promise) void entries.then(more => this.#writeChanges(batch, results, changes, more))
    else this.#writeChanges(batch, results, changes, entries)
  }

  #writeChanges(
    batch: ApplyBatch,
    results: readonly (ApplyResult | KilovoltError)[],
    changes: readonly RecordChange[],
    entries: IndexWrite | undefined
  ): void {
    const fail = (error: unknown): void => {
      this.#cache?.failed()
      // What the guard of the store has refused was not even tried.
      if (isKilovoltError(error, 'KV_READ_ONLY')) this.#trees?.writing([])
      else this.#trees?.failed(changes)
      this.#fail(batch, error)
    }
    this.#trees?.writing(changes)
    this.#isWritingUnit = batch.hasUnit
    this.#cache?.writing(changes)
    const sealed = this.#sealed(changes)
    let written
    try {
      written = this.#store.batch(entries === undefined ? sealed : [...sealed, ...entries.changes], this.#durability)
    } catch (error) {
      fail(error)
      return
    }
    void written.then(() => {
      try {
        entries?.written()
        this.#trees?.written(changes)
        if (this.#tap?.isOn === true) this.#tap.written(changes)
        for (const { key } of changes) this.#damage.remove(key)
        this.#cache?.written(changes, i => sealed[i]!.value && this.#form.recordIn(sealed[i]!.value))
      } finally {
        // Whoever is told of it must not throw. When one does the process hears of it, and the loop goes on.
        this.#settle(batch, results)
      }
    }, fail)
  }

  #fail(batch: ApplyBatch, error: unknown): void {
    const failure = storageError(error, 'a write to the store')
    this.#settle(
      batch,
      batch.mutations.map(() => failure)
    )
  }

  /** Acknowledges a batch and sees to the next. */
  #settle(batch: ApplyBatch, results: readonly (ApplyResult | KilovoltError)[]): void {
    this.#isWritingUnit = false
    // Before the callbacks: what they offer waits for the next turn, and one that throws does not stop the loop.
    this.#goOn()
    const thrown: unknown[] = []
    for (let i = 0; i < results.length; i++) {
      const mutation = batch.mutations[i]!
      const { done, group } = mutation
      const result = results[i]!
      this.#queue.settled(mutation)
      try {
        if (result instanceof Error) {
          done(result, undefined)
        } else {
          if (result.outcome === 'applied') this.#applied++
          else if (result.outcome === 'stale') this.#stale++
          done(undefined, result)
        }
      } catch (error) {
        thrown.push(error)
      }
      this.#fence.leave(group)
    }
    // A callback must not throw. When one does, the process hears of it.
    if (thrown.length > 0) throw thrown[0]
  }

  #sealed(changes: readonly RecordChange[]): readonly StoreChange[] {
    if (this.#form === PLAIN) return changes
    return changes.map(({ key, value }) => ({ key, value: value && this.#form.seal(key, value) }))
  }

  async #clear(partition: PartitionId): Promise<void> {
    const clear = (): Promise<void> => this.#store.clear(partitionRange(partition))
    try {
      this.#cache?.dropping(partition)
      this.#dropped++
      const indexes = this.#indexes?.isIdle === false ? this.#indexes : undefined
      const rowsOf: PartitionDrop['rowsOf'] = (...range) => this.#reader.range(partition, ...range, INDEXED_AT_ONCE)
      const drop = { alone: this.#alone.bind(this), rowsOf, dropRecords: clear }
      const cleared = indexes?.dropPartition(partition, drop) ?? clear()
      await cleared.finally(() => this.#cache?.dropped(partition))
      this.#damage.dropped(partition)
      this.#trees?.dropped(partition)
    } catch (error) {
      this.#trees?.forget(partition)
      throw storageError(error, `deleting partition ${partition}`)
    }
  }
}

function stopped(): KilovoltError {
  return new KilovoltError('KV_NODE_STOPPED', 'the store is closed')
}
