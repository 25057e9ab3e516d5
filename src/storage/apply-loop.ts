import { assert } from '../base/assert.ts'
import { EMPTY_BYTES } from '../base/bytes.ts'
import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import { BoundedQueue } from '../base/queue.ts'
import type { PartitionId } from '../model/partition.ts'
import type { RecordBytes } from '../model/record.ts'
import type { Clock } from '../runtime/clock.ts'
import type { ChangeTap } from './arrival-log.ts'
import { ApplyBatch, type HorizonOf, type Mutation, type MutationKind } from './apply-batch.ts'
import { Damage } from './damage.ts'
import { FlushFence } from './flush-fence.ts'
import { dataKey, partitionRange } from './key-layout.ts'
import { formFor, PLAIN, type RecordForm } from './record-form.ts'
import { RecordReader } from './record-reader.ts'
import type { ApplyResult, Read, RecordKey, RecordStore, RecordStoreStats, StoredRecord } from './record-store.ts'
import { storageError } from './storage-error.ts'
import type { Store, StoreChange } from './store.ts'
import type { RecordChange, TreeIndex } from './tree-index.ts'

/** What an apply loop needs. */
export interface ApplyLoopDeps {
  readonly store: Store
  readonly clock: Pick<Clock, 'soon'>
  /** Told of everything that is written. */
  readonly trees?: TreeIndex
  /** How far the past of each partition is settled. Default: not at all. */
  readonly horizonOf?: HorizonOf
  /** Told of records that cannot be read. Default: a list of its own, by which anything may take their place. */
  readonly damage?: Damage
  /** Told of what was written, while somebody watches. */
  readonly tap?: ChangeTap
}

/** Settings of an apply loop. */
export interface ApplyLoopOptions {
  /** What a record must survive before it is acknowledged: the end of the process or that of the machine. Default 'os'. */
  readonly durability?: 'os' | 'fsync'
  /** Most mutations that may wait or be under way. Default 65,536. */
  readonly pendingMax?: number
  /** Most bytes of keys and records that may wait or be under way; one mutation is always let in. Default 64 MiB. */
  readonly pendingBytesMax?: number
  /** Most mutations in one batch: bounds how long one turn of the event loop takes. Default 512. */
  readonly batchMax?: number
  /** A batch that has reached this many bytes takes no more mutations. Default 4 MiB. */
  readonly batchBytesMax?: number
}

type Done = Mutation['done']

const MIB = 1024 * 1024
const PENDING_MAX = 65_536
const BATCH_MAX = 512
const SYNC = { sync: true } as const
const NO_SYNC = { sync: false } as const

/**
 * The single writer of a store. Whatever is offered during a turn of the event loop, or while a batch is being written,
 * goes into the next batch: one look-up of the old versions, one decision for each, one write, then all are acknowledged.
 * So a key needs no lock, and a hundred writers share the cost of one sync.
 *
 * Reads go to the database alone and never see what is only on its way, so they never return what a failed batch did not
 * keep.
 */
export class ApplyLoop implements RecordStore {
  readonly #store: Store
  readonly #clock: Pick<Clock, 'soon'>
  readonly #trees: TreeIndex | undefined
  readonly #horizonOf: HorizonOf | undefined
  readonly #tap: ChangeTap | undefined
  readonly #form: RecordForm
  readonly #damage: Damage
  readonly #reader: RecordReader
  readonly #durability: typeof SYNC | typeof NO_SYNC
  readonly #pendingMax: number
  readonly #pendingBytesMax: number
  readonly #batchMax: number
  readonly #batchBytesMax: number
  readonly #queue: BoundedQueue<Mutation>
  readonly #fence = new FlushFence()
  /** Partitions that are being dropped, with the mutations that must wait until that is done. */
  readonly #held = new Map<PartitionId, Mutation[]>()
  readonly #drops = new Map<PartitionId, Promise<void>>()
  /** From the call of `soon` until the batch is acknowledged. */
  #busy = false
  #closed = false
  #pending = 0
  #pendingBytes = 0
  #applied = 0
  #stale = 0
  #batches = 0

  constructor({ store, clock, trees, horizonOf, damage, tap }: ApplyLoopDeps, options: ApplyLoopOptions = {}) {
    this.#store = store
    this.#clock = clock
    this.#trees = trees
    this.#horizonOf = horizonOf
    this.#tap = tap
    this.#form = formFor(store)
    this.#damage = damage ?? new Damage()
    this.#durability = options.durability === 'fsync' ? SYNC : NO_SYNC
    this.#pendingMax = options.pendingMax ?? PENDING_MAX
    this.#pendingBytesMax = options.pendingBytesMax ?? 64 * MIB
    this.#batchMax = options.batchMax ?? BATCH_MAX
    this.#batchBytesMax = options.batchBytesMax ?? 4 * MIB
    this.#queue = new BoundedQueue(this.#pendingMax)
    this.#reader = new RecordReader({
      store,
      form: this.#form,
      damage: this.#damage,
      assertOpen: () => this.#assertOpen()
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

  async partitions(): Promise<readonly PartitionId[]> {
    this.#assertOpen()
    return this.#reader.partitions()
  }

  apply(key: RecordKey, record: RecordBytes, done: Done): void {
    this.#enter(key, record, 'offer', done)
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
    const bytes = storeKey.length + record.length
    const refusal = this.#refusal(bytes)
    if (refusal !== undefined) {
      done(refusal, undefined)
      return
    }
    this.#pending++
    this.#pendingBytes += bytes
    const mutation = { key: storeKey, record, kind, done, group: this.#fence.enter() }
    const held = this.#held.size === 0 ? undefined : this.#held.get(key.partition)
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
      pending: this.#pending,
      corrupt: this.#damage.found,
      corruptLeft: this.#damage.left
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

  #refusal(bytes: number): KilovoltError | undefined {
    if (this.#closed) return stopped()
    const full = this.#pending >= this.#pendingMax || this.#pendingBytes + bytes > this.#pendingBytesMax
    if (!full || this.#pending === 0) return undefined
    return new KilovoltError(
      'KV_OVERLOADED',
      `the store has ${this.#pending} writes of ${this.#pendingBytes} bytes before this one and takes no more`,
      { retryable: true, details: { pending: this.#pending, pendingBytes: this.#pendingBytes } }
    )
  }

  #offer(mutation: Mutation): void {
    assert(this.#queue.push(mutation), 'the queue has room for everything that is pending')
    if (this.#busy) return
    this.#busy = true
    this.#clock.soon(this.#turn)
  }

  /** One batch: taken, looked up, decided and written. */
  readonly #turn = (): void => {
    const batch = new ApplyBatch(this.#take())
    this.#batches++
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

  #take(): Mutation[] {
    const taken: Mutation[] = []
    let bytes = 0
    while (taken.length < this.#batchMax && bytes < this.#batchBytesMax) {
      const mutation = this.#queue.shift()
      if (mutation === undefined) break
      taken.push(mutation)
      bytes += mutation.key.length + mutation.record.length
    }
    return taken
  }

  #write(batch: ApplyBatch, values: readonly (Uint8Array | undefined)[]): void {
    const results = batch.decide(values, { form: this.#form, damage: this.#damage, horizonOf: this.#horizonOf })
    const changes = batch.changes()
    if (changes.length === 0) {
      this.#settle(batch, results)
      return
    }
    const fail = (error: unknown): void => {
      // What the guard of the store has refused was not even tried.
      if (isKilovoltError(error, 'KV_READ_ONLY')) this.#trees?.writing([])
      else this.#trees?.failed(changes)
      this.#fail(batch, error)
    }
    this.#trees?.writing(changes)
    let written
    try {
      written = this.#store.batch(this.#sealed(changes), this.#durability)
    } catch (error) {
      fail(error)
      return
    }
    void written.then(() => {
      this.#trees?.written(changes)
      if (this.#tap?.isOn === true) this.#tap.written(changes)
      for (const { key } of changes) this.#damage.remove(key)
      this.#settle(batch, results)
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
    // Before the callbacks: what they offer waits for the next turn, and one that throws does not stop the loop.
    if (this.#queue.size > 0) this.#clock.soon(this.#turn)
    else this.#busy = false
    const thrown: unknown[] = []
    for (let i = 0; i < results.length; i++) {
      const { key, record, done, group } = batch.mutations[i]!
      const result = results[i]!
      this.#pending--
      this.#pendingBytes -= key.length + record.length
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
      await this.#store.clear(partitionRange(partition))
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
