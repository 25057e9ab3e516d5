import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import { hlcToMs } from '../model/hlc.ts'
import type { ByteRange } from '../model/key-range.ts'
import type { PartitionId } from '../model/partition.ts'
import type { Requirement } from '../model/quorum.ts'
import { isLive, recordHlc, type RecordBytes } from '../model/record.ts'
import { majority } from '../placement/rules.ts'
import { TimerWheel } from '../runtime/timer-wheel.ts'
import type { RecordKey } from '../storage/record-store.ts'
import { Bringing } from './bringing.ts'
import { type CallOptions, ownersOf } from './call.ts'
import type { Coordination, CoordinatorDeps } from './coordination.ts'
import { type Gathered, gatherMany, Single } from './gather.ts'
import { GetOperation, type Repair } from './get-operation.ts'
import { lookUpMany } from './look-up.ts'
import type { CoordinatorStats, OperationDeps, OperationOptions } from './operation.ts'
import type { PutResult } from './put-operation.ts'
import type { ReadBundle } from './read-bundle.ts'
import { Routes } from './routes.ts'
import { type RepairMany, sendRepair, sendRepairs } from './repair-sender.ts'
import { type ScanForm, Scanner } from './scanner.ts'
import { type SiblingWriteOf, SiblingWrites } from './sibling-writes.ts'
import { Snitch } from './snitch.ts'
import { type InTime, stampedInTime } from './stamp-wait.ts'
import type { PlannedWrite, WriteOf } from './stamped.ts'
import { TurnBundles } from './turn-bundles.ts'
import type { Stored } from './write-bundle.ts'
import { WriteRoom } from './write-room.ts'
import { Writes } from './writes.ts'

/** Runs the operations of this node's app over the replicas of each key. */
export class Coordinator {
  readonly #deps: CoordinatorDeps & OperationDeps
  #routes: Routes | undefined
  readonly #requestTimeoutMs: number
  /** Operations under way, so that a stop can end them. */
  readonly #running = new Set<{ cancel(error: KilovoltError): void }>()
  readonly #turn: TurnBundles
  readonly #writes: Writes
  readonly #siblings: SiblingWrites
  readonly #bringing: Bringing
  /** Why nothing is begun any more. */
  #stopped: KilovoltError | undefined
  #pages = 0
  readonly #stats = { reads: 0, writes: 0, failed: 0, timedOut: 0, restamped: 0, readRepairs: 0 }

  constructor(deps: CoordinatorDeps, requestTimeoutMs: number) {
    const { clock } = deps
    this.#deps = {
      ...deps,
      wheel: new TimerWheel(clock),
      routes: () => this.#latestRoutes(),
      snitch: new Snitch(clock)
    }
    this.#requestTimeoutMs = requestTimeoutMs
    const room = new WriteRoom({
      clock,
      wheel: this.#deps.wheel,
      running: this.#running,
      failed: error => this.#failed(error)
    })
    this.#turn = new TurnBundles(this.#deps, {
      timeoutMs: requestTimeoutMs,
      running: this.#running,
      room,
      repair: this.#repair,
      visible: record => this.#visible(record),
      failed: error => this.#failed(error),
      readAlone: (place, options) => this.#getAlone(place, options),
      writeAlone: (write, options) => this.#writes.goOn(write, options)
    })
    const shared: Coordination = {
      deps: this.#deps,
      turn: this.#turn,
      room,
      stats: this.#stats,
      repair: this.#repair,
      options: call => this.#options(call),
      inTime: (stamped, options, isRepeat) => this.#inTime(stamped, options, isRepeat),
      track: operation => this.#track(operation),
      failed: error => this.#failed(error)
    }
    this.#writes = new Writes(shared)
    this.#siblings = new SiblingWrites(shared)
    this.#bringing = new Bringing(shared, this.#siblings)
  }

  /** How many operations were begun since the node started. */
  get operations(): number {
    return this.#stats.reads + this.#stats.writes
  }

  /** The same without pages of scans. */
  get requests(): number {
    return this.operations - this.#pages
  }

  stats(): CoordinatorStats {
    return { ...this.#stats }
  }

  /** The newest live record that the level finds, or `undefined`; at once, not as a promise, when that is known here. */
  get(
    keyspace: Uint8Array,
    key: Uint8Array,
    options: CallOptions
  ): RecordBytes | undefined | Promise<RecordBytes | undefined> {
    this.#stats.reads++
    const partition = this.#deps.ring.partitionOf(key)
    if (ownersOf(options.requirement) === 'one' && this.#isReadHere(partition)) {
      const found = this.#deps.records.get({ partition, keyspace, key })
      if (!(found instanceof Promise)) return this.#visible(found)
      // It has failed. Another copy may do: the operation tells.
      found.catch(() => {})
    }
    const place = { partition, keyspace, key }
    const bundle = options.wantsDead === true ? undefined : this.#turn.readsFor(options)
    if (bundle === undefined) return this.#getAlone(place, this.#options(options), options.wantsDead)
    const single = new Single<RecordBytes | undefined>()
    bundle.add(place, single, 0)
    return single.promise
  }

  /** As {@link Coordinator.get}, of several keys. */
  getMany(
    keyspace: Uint8Array,
    keys: readonly Uint8Array[],
    options: CallOptions
  ): Promise<Gathered<RecordBytes | undefined>> {
    if (ownersOf(options.requirement) === 'one') return this.#getManyAtOne(keyspace, keys, options)
    return gatherMany<ReadBundle, RecordBytes | undefined>(keys.length, options.signal, {
      open: () => this.#turn.reads(options),
      add: (bundle, waiter, index) => {
        const key = keys[index]!
        if (bundle === undefined) return waiter.resolve(index, this.get(keyspace, key, options))
        this.#stats.reads++
        bundle.add({ partition: this.#deps.ring.partitionOf(key), keyspace, key }, waiter, index)
      }
    })
  }

  /** Begins a scan of a part of a keyspace; nothing is asked before its first page is. Each page counts as a read. */
  scan(
    keyspace: Uint8Array,
    range: ByteRange,
    { requirement, timeoutMs, signal }: CallOptions,
    form: ScanForm
  ): Scanner {
    const onPage = (): void => {
      this.#stats.reads++
      this.#pages++
    }
    const track = (page: { cancel(error: KilovoltError): void }): (() => void) => {
      this.#running.add(page)
      if (this.#stopped !== undefined) page.cancel(this.#stopped)
      return () => this.#running.delete(page)
    }
    const options = { keyspace, range, ...this.#options({ requirement, timeoutMs, signal }), ...form }
    const isBlocking = (level: Requirement): boolean => this.#isBlocking(level)
    const more = { getMany: this.getMany.bind(this), isBlocking, repairMany: this.#repairMany, onPage, track }
    return new Scanner({ ...this.#deps, ...more }, options)
  }

  /** Keys of one partition that is kept here are looked up together, so that of a batch all is seen or nothing. */
  #getManyAtOne(
    keyspace: Uint8Array,
    keys: readonly Uint8Array[],
    options: CallOptions
  ): Promise<Gathered<RecordBytes | undefined>> {
    const { ring, records, wheel, clock } = this.#deps
    return lookUpMany(keyspace, keys, this.#options(options), {
      ring,
      records,
      wheel,
      clock,
      isHere: partition => this.#isReadHere(partition),
      begun: count => (this.#stats.reads += count),
      visible: record => this.#visible(record),
      failed: error => this.#failed(error),
      get: key => this.get(keyspace, key, options),
      getAlone: (place, left) => this.#getAlone(place, left)
    })
  }

  async #getAlone(place: RecordKey, options: OperationOptions, wantsDead = false): Promise<RecordBytes | undefined> {
    const blocking = this.#isBlocking(options.requirement)
    try {
      const found = await this.#track(new GetOperation(this.#deps, place, options, this.#repair, blocking))
      const visible = this.#visible(found)
      return wantsDead ? found : visible
    } catch (error) {
      throw this.#failed(error)
    }
  }

  /** Stores a value, or a tombstone when it is `undefined`. The value is copied before this returns. */
  put(keyspace: Uint8Array, key: Uint8Array, value: Uint8Array | undefined, options: CallOptions): Promise<Stored> {
    return this.#writes.put(keyspace, key, value, options)
  }

  /**
   * As {@link Coordinator.put}, of several keys; the values are copied before this returns. Those of one partition are stored
   * together or not at all by each replica.
   *
   * @throws KilovoltError `KV_BATCH_TOO_LARGE`, when nothing was sent
   */
  putMany(keyspace: Uint8Array, writes: readonly WriteOf[], options: CallOptions): Promise<Gathered<Stored>> {
    return this.#writes.putMany(keyspace, writes, options)
  }

  /** One write by itself, of what was made of a record that was read; the value is copied before this returns. */
  write(keyspace: Uint8Array, key: Uint8Array, plan: PlannedWrite, options: CallOptions): Promise<PutResult> {
    return this.#writes.write(keyspace, key, plan, options)
  }

  /** Adds a sibling to a key, in the place of those that its author has seen; the value is copied before this returns. */
  mint(keyspace: Uint8Array, key: Uint8Array, write: SiblingWriteOf, options: CallOptions): Promise<Stored> {
    return this.#siblings.mint(keyspace, key, write, options)
  }

  /** Gives the owners a record of another cluster that this node was in; see {@link Bringing.bring}. */
  bring(place: RecordKey, record: RecordBytes): Promise<void> {
    return this.#bringing.bring(place, record)
  }

  #inTime<T, Options extends CallOptions>(stamped: Promise<T>, options: Options, isRepeat = false): InTime<T, Options> {
    const wait = { ...this.#deps, requestTimeoutMs: this.#requestTimeoutMs, isRepeat, running: this.#running }
    return stampedInTime(stamped, options, wait).catch((error: unknown) => {
      throw this.#failed(error)
    })
  }

  async #track<Result>(operation: { run(): Promise<Result>; cancel(error: KilovoltError): void }): Promise<Result> {
    this.#running.add(operation)
    // It has waited for its stamp, or was one of a bundle, while the node stopped.
    if (this.#stopped !== undefined) operation.cancel(this.#stopped)
    try {
      return await operation.run()
    } finally {
      this.#running.delete(operation)
    }
  }

  /** Whether a read at `one` needs no more than a look at the local copy, which can be had without waiting. */
  #isReadHere(partition: PartitionId): boolean {
    const { records, self } = this.#deps
    return records.readsAtOnce && this.#latestRoutes()?.of(partition, true).replicas[0] === self
  }

  #visible(record: RecordBytes | undefined): RecordBytes | undefined {
    if (record === undefined) return undefined
    // What has been read is in the past of what is stamped here from now on.
    this.#deps.stamps.observe(recordHlc(record))
    return isLive(record, this.nowMs) ? record : undefined
  }

  /** Hybrid time in Unix ms, by which it is judged whether a value has expired: the same for all who hear of each other. */
  get nowMs(): number {
    const { clock, stamps } = this.#deps
    return Math.max(clock.wallMs(), hlcToMs(stamps.last))
  }

  /** Ends what is under way; its outcome is unknown. */
  stop(): void {
    const error = new KilovoltError(
      'KV_NODE_STOPPED',
      'the node stops; whether a write that was under way is stored is unknown'
    )
    this.#stopped = error
    this.#turn.stop()
    for (const operation of this.#running) operation.cancel(error)
    this.#running.clear()
  }

  #latestRoutes(): Routes | undefined {
    const { topology, self, rules } = this.#deps
    const latest = topology()
    if (latest === undefined) return undefined
    if (this.#routes?.topology !== latest) this.#routes = new Routes(latest, self, rules)
    return this.#routes
  }

  #options({ requirement, timeoutMs, signal }: CallOptions): OperationOptions {
    return { requirement: ownersOf(requirement), timeoutMs: timeoutMs ?? this.#requestTimeoutMs, signal }
  }

  /** Levels from a majority up promise that reads do not go back. */
  #isBlocking(requirement: Requirement): boolean {
    if (requirement === 'one') return false
    if (typeof requirement !== 'number') return true
    return requirement >= majority(this.#deps.topology()?.replicas ?? 1)
  }

  readonly #repair: Repair = (...repair) => {
    this.#stats.readRepairs++
    sendRepair(this.#deps, ...repair)
  }

  readonly #repairMany: RepairMany = (...repairs) => {
    return sendRepairs(this.#deps, ...repairs).then(held => {
      this.#stats.readRepairs += held.length
      return held
    })
  }

  #failed(error: unknown): unknown {
    this.#stats.failed++
    if (isKilovoltError(error, 'KV_TIMEOUT')) this.#stats.timedOut++
    return error
  }
}
