import { assert } from '../base/assert.ts'
import { EMPTY_BYTES } from '../base/bytes.ts'
import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import { BoundedQueue } from '../base/queue.ts'
import type { PartitionId } from '../model/partition.ts'
import type { RecordBytes } from '../model/record.ts'
import type { Clock } from '../runtime/clock.ts'
import { ApplyBatch, type ApplyRules, type Mutation, type MutationKind } from './apply-batch.ts'
import type { ApplyLoopDeps, ApplyLoopOptions } from './apply-options.ts'
import type { ChangeTap } from './arrival-log.ts'
import { Damage } from './damage.ts'
import { FlushFence } from './flush-fence.ts'
import { dataKey, decodeDataKey, partitionRange } from './key-layout.ts'
import { Pending } from './pending.ts'
import type { RecordCache } from './record-cache.ts'
import { formFor, PLAIN, type RecordForm } from './record-form.ts'
import { RecordReader } from './record-reader.ts'
import {
  type ApplyResult,
  type KeyedRecord,
  NO_CACHE,
  type RangePart,
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

type Done = Mutation['done']

const BATCH_MAX = 512
const BATCH_BYTES_MAX = 4 * 1024 * 1024

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
  readonly #form: RecordForm
  readonly #damage: Damage
  readonly #cache: RecordCache | undefined
  readonly #reader: RecordReader
  readonly #durability: { readonly sync: boolean }
  readonly #batchMax: number
  readonly #batchBytesMax: number
  readonly #keepsUnits: boolean
  readonly #queue: BoundedQueue<Mutation>
  readonly #fence = new FlushFence()
  /** Partitions that are being dropped, with the mutations that must wait until that is done. */
  readonly #held = new Map<PartitionId, Mutation[]>()
  readonly #drops = new Map<PartitionId, Promise<void>>()
  /** From the call of `soon` until the batch is acknowledged. */
  #busy = false
  #isWritingUnit = false
  #closed = false
  readonly #pending: Pending
  #dropped = 0
  #applied = 0
  #stale = 0
  #batches = 0

  constructor({ store, clock, trees, horizonOf, damage, cache, tap }: ApplyLoopDeps, options: ApplyLoopOptions = {}) {
    this.#store = store
    this.#clock = clock
    this.#trees = trees
    this.#tap = tap
    this.#form = formFor(store)
    this.#damage = damage ?? new Damage()
    this.#cache = cache
    this.#durability = { sync: options.durability === 'fsync' }
    this.#pending = new Pending(options.pendingMax, options.pendingBytesMax)
    this.#batchMax = options.batchMax ?? BATCH_MAX
    this.#batchBytesMax = options.batchBytesMax ?? BATCH_BYTES_MAX
    this.#keepsUnits = options.keepsUnits ?? true
    this.#rules = { form: this.#form, damage: this.#damage, horizonOf, joinsSiblings: options.joinsSiblings ?? true }
    this.#queue = new BoundedQueue(this.#pending.countMax)
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

  async page(...where: Parameters<RecordReader['page']>): Promise<readonly StoredRecord[]> {
    this.#assertOpen()
    return this.#reader.page(...where)
  }

  async range(...where: Parameters<RecordReader['range']>): Promise<RangePart> {
    this.#assertOpen()
    return this.#reader.range(...where)
  }

  async partitions(): Promise<readonly PartitionId[]> {
    this.#assertOpen()
    return this.#reader.partitions()
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
    const results: ApplyResult[] = []
    let failure: Error | undefined
    let left = keys.length
    // All of them are told one after the other, and of all the same when they fail.
    const each: Done = (error, result) => {
      failure ??= error
      if (result !== undefined) results.push(result)
      if (--left === 0) done(failure, failure === undefined ? results : undefined)
    }
    for (const [i, { record }] of records.entries()) {
      this.#take(partition, keys[i]!, record, 'offer', each, this.#keepsUnits ? keys.length - 1 - i : 0)
    }
  }

  mint(key: RecordKey, bytes: number, mint: Mint, done: Done): void {
    const refusal = this.#refusal(key.key.length + bytes, 1)
    if (refusal !== undefined) return done(refusal, undefined)
    this.#take(key.partition, dataKey(key.partition, key.keyspace, key.key), EMPTY_BYTES, 'mint', done, 0, mint)
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
    mint?: Mint
  ): void {
    this.#pending.enter(key.length + record.length)
    const mutation = { key, record, kind, done, group: this.#fence.enter(), following, mint }
    const held = this.#held.size === 0 ? undefined : this.#held.get(partition)
    if (held !== undefined) held.push(mutation)
    else this.#offer(mutation)
  }

  flushed(): Promise<void> {
    return this.#fence.passed()
  }

  dropPartition(partition: PartitionId): Promise<void> {
    if (this.#closed) return Promise.reject(stopped())
    const drop = this.#drop(partition).finally(() => {
      if (this.#drops.get(partition) === drop) this.#drops.delete(partition)
    })
    this.#drops.set(partition, drop)
    return drop
  }

  stats(): RecordStoreStats {
    return {
      applied: this.#applied,
      stale: this.#stale,
      batches: this.#batches,
      pending: this.#pending.count,
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
    await Promise.allSettled(this.#drops.values())
  }

  #assertOpen(): void {
    if (this.#closed) throw stopped()
  }

  #refusal(bytes: number, count: number): KilovoltError | undefined {
    return this.#closed ? stopped() : this.#pending.refusal(bytes, count)
  }

  #offer(mutation: Mutation): void {
    assert(this.#queue.push(mutation), 'the queue has room for everything that is pending')
    if (this.#busy) return
    this.#busy = true
    this.#clock.soon(this.#turn)
  }

  /** One batch: taken, looked up, decided and written. */
  readonly #turn = (): void => {
    const batch = new ApplyBatch(this.#next())
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
    if ('then' in found) {
      void found.then(
        values => this.#write(batch, values),
        (error: unknown) => this.#fail(batch, error)
      )
    } else {
      this.#write(batch, found)
    }
  }

  /** The mutations of the next batch: never a part of a unit. */
  #next(): Mutation[] {
    const taken: Mutation[] = []
    let bytes = 0
    let following = 0
    while (following > 0 || (taken.length < this.#batchMax && bytes < this.#batchBytesMax)) {
      const mutation = this.#queue.shift()
      if (mutation === undefined) break
      taken.push(mutation)
      bytes += mutation.key.length + mutation.record.length
      following = mutation.following
    }
    return taken
  }

  #write(batch: ApplyBatch, values: readonly (Uint8Array | undefined)[]): void {
    const results = batch.decide(values, this.#rules)
    const changes = batch.changes()
    if (changes.length === 0) {
      this.#settle(batch, results)
      return
    }
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
      written = this.#store.batch(sealed, this.#durability)
    } catch (error) {
      fail(error)
      return
    }
    void written.then(() => {
      try {
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
    if (this.#queue.size > 0) this.#clock.soon(this.#turn)
    else this.#busy = false
    const thrown: unknown[] = []
    for (let i = 0; i < results.length; i++) {
      const { key, record, done, group } = batch.mutations[i]!
      const result = results[i]!
      this.#pending.leave(key.length + record.length)
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

  async #drop(partition: PartitionId): Promise<void> {
    const held: Mutation[] = []
    this.#held.set(partition, held)
    // What was offered before is written before it is deleted; what is offered from now on waits until it is. Both
    // hold as of this call: what an earlier drop of the same partition keeps waiting belongs before this one.
    const before = this.#fence.passed()
    try {
      await this.#drops.get(partition)?.catch(() => {})
      await before
      this.#cache?.dropping(partition)
      this.#dropped++
      await this.#store.clear(partitionRange(partition)).finally(() => this.#cache?.dropped(partition))
      this.#damage.dropped(partition)
      this.#trees?.dropped(partition)
    } catch (error) {
      this.#trees?.forget(partition)
      throw storageError(error, `deleting partition ${partition}`)
    } finally {
      if (this.#held.get(partition) === held) this.#held.delete(partition)
      for (const mutation of held) this.#offer(mutation)
    }
  }
}

function stopped(): KilovoltError {
  return new KilovoltError('KV_NODE_STOPPED', 'the store is closed')
}
