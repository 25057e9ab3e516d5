import { copyBytes } from '../base/bytes.ts'
import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import { hlcToMs } from '../model/hlc.ts'
import type { ByteRange } from '../model/key-range.ts'
import type { PartitionId, Ring } from '../model/partition.ts'
import type { Requirement } from '../model/quorum.ts'
import { compareRecordStamps, isLive, recordHlc, type RecordBytes, restamp, restampWrite } from '../model/record.ts'
import { majority } from '../placement/rules.ts'
import { TimerWheel } from '../runtime/timer-wheel.ts'
import type { RecordKey, RecordStore } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import { type Gathered, gatherMany, Single } from './gather.ts'
import { GetOperation, type Repair, type RepairOutcome } from './get-operation.ts'
import type { Operation, OperationDeps, OperationOptions } from './operation.ts'
import { type PutKind, PutOperation, type PutResult } from './put-operation.ts'
import type { ReadBundle } from './read-bundle.ts'
import { Routes } from './routes.ts'
import type { ScanDeps } from './scan-round.ts'
import { type ScanForm, Scanner } from './scanner.ts'
import { Snitch } from './snitch.ts'
import { type PlannedWrite, plannedRecord, recordOf, recordsOf, type WriteOf } from './stamped.ts'
import { BUNDLED_BYTES_MAX, TurnBundles } from './turn-bundles.ts'
import type { LoneWrite, Stored, WriteBundle } from './write-bundle.ts'
import { decodePutReply, encodePut, type PutReply, type PutRequest } from './wire.ts'

/** What a coordinator needs. */
export interface CoordinatorDeps extends Omit<OperationDeps, 'wheel' | 'routes' | 'snitch'> {
  readonly ring: Ring
  /** This node's part in scans. */
  readonly scans: ScanDeps['scans']
  /** The local copies. */
  readonly records: Pick<RecordStore, 'get' | 'readsAtOnce'>
}

/** Settings of one call. */
export interface CallOptions {
  readonly requirement: Requirement | 'any'
  readonly timeoutMs: number | undefined
  readonly signal: AbortSignal | undefined
  /** How long what is stored lives, ms from its stamp. Absent: for ever. */
  readonly ttl?: number | undefined
}

/** Figures since the node started. */
export interface CoordinatorStats {
  readonly reads: number
  readonly writes: number
  readonly failed: number
  readonly timedOut: number
  readonly restamped: number
  readonly readRepairs: number
}

/** Runs the operations of this node's app over the replicas of each key. */
export class Coordinator {
  readonly #deps: CoordinatorDeps & OperationDeps
  #routes: Routes | undefined
  readonly #requestTimeoutMs: number
  /** Operations under way, so that a stop can end them. */
  readonly #running = new Set<{ cancel(error: KilovoltError): void }>()
  readonly #turn: TurnBundles
  /** Why nothing is begun any more. */
  #stopped: KilovoltError | undefined
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
    this.#turn = new TurnBundles(this.#deps, {
      timeoutMs: requestTimeoutMs,
      running: this.#running,
      repair: this.#repair,
      visible: record => this.#visible(record),
      failed: error => this.#failed(error),
      readAlone: (place, options) => this.#getAlone(place, options),
      writeAlone: (write, options) => this.#goOnWriting(write, options)
    })
  }

  /** How many operations were begun since the node started. */
  get operations(): number {
    return this.#stats.reads + this.#stats.writes
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
    const bundle = this.#turn.readsFor(options)
    if (bundle === undefined) return this.#getAlone(place, this.#options(options))
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
    const track = (page: { cancel(error: KilovoltError): void }): (() => void) => {
      this.#stats.reads++
      this.#running.add(page)
      if (this.#stopped !== undefined) page.cancel(this.#stopped)
      return () => this.#running.delete(page)
    }
    const getMany = this.getMany.bind(this)
    const options = this.#options({ requirement, timeoutMs, signal })
    return new Scanner({ ...this.#deps, getMany, track }, { keyspace, range, ...options, ...form })
  }

  async #getAlone(place: RecordKey, options: OperationOptions): Promise<RecordBytes | undefined> {
    const blocking = this.#isBlocking(options.requirement)
    try {
      return this.#visible(await this.#track(new GetOperation(this.#deps, place, options, this.#repair, blocking)))
    } catch (error) {
      throw this.#failed(error)
    }
  }

  /** Stores a value, or a tombstone when it is `undefined`. The value is copied before this returns. */
  put(keyspace: Uint8Array, key: Uint8Array, value: Uint8Array | undefined, options: CallOptions): Promise<Stored> {
    this.#stats.writes++
    const place = { partition: this.#deps.ring.partitionOf(key), keyspace, key }
    const stamp = this.#deps.stamps.next()
    const { ttl } = options
    if (!(stamp instanceof Promise)) return this.#store(place, recordOf(stamp, value, ttl), options)
    // The caller's memory is the caller's again as soon as it is waited for anything.
    const own = value && copyBytes(value)
    return stamp.then(
      later => this.#store(place, recordOf(later, own, ttl), options),
      (error: unknown) => {
        throw this.#failed(error)
      }
    )
  }

  #store(place: RecordKey, record: RecordBytes, options: CallOptions): Promise<Stored> {
    const bundle = this.#turn.writesFor(options, record.length)
    if (bundle === undefined) return this.#storeAlone(place, record, options)
    const single = new Single<Stored>()
    bundle.add(place, record, single, 0)
    return single.promise
  }

  #storeAlone(place: RecordKey, record: RecordBytes, options: CallOptions): Promise<Stored> {
    return this.#putAlone(place, record, this.#options(options), options.requirement === 'any' ? 'any' : 'write')
  }

  /** As {@link Coordinator.put}, of several keys; the values are copied before this returns. */
  putMany(keyspace: Uint8Array, writes: readonly WriteOf[], options: CallOptions): Promise<Gathered<Stored>> {
    this.#stats.writes += writes.length
    const records = recordsOf(writes, this.#deps.stamps)
    if (!(records instanceof Promise)) return this.#storeMany(keyspace, writes, records, options)
    return records.then(
      later => this.#storeMany(keyspace, writes, later, options),
      (error: unknown) => {
        throw this.#failed(error)
      }
    )
  }

  #storeMany(
    keyspace: Uint8Array,
    writes: readonly WriteOf[],
    records: readonly RecordBytes[],
    options: CallOptions
  ): Promise<Gathered<Stored>> {
    return gatherMany<WriteBundle, Stored>(writes.length, options.signal, {
      open: () => this.#turn.writes(options),
      add: (bundle, waiter, index) => {
        const { key } = writes[index]!
        const record = records[index]!
        const place = { partition: this.#deps.ring.partitionOf(key), keyspace, key }
        if (bundle !== undefined && record.length <= BUNDLED_BYTES_MAX) bundle.add(place, record, waiter, index)
        else waiter.resolve(index, this.#storeAlone(place, record, options))
      }
    })
  }

  /** One write by itself, of what was made of a record that was read; the value is copied before this returns. */
  async write(keyspace: Uint8Array, key: Uint8Array, plan: PlannedWrite, options: CallOptions): Promise<PutResult> {
    this.#stats.writes++
    const place = { partition: this.#deps.ring.partitionOf(key), keyspace, key }
    const { ttl, requirement } = options
    let record: RecordBytes
    try {
      record = await plannedRecord(plan, ttl, this.#deps.stamps)
    } catch (error) {
      throw this.#failed(error)
    }
    const kind = plan.after !== undefined ? 'extended' : requirement === 'any' ? 'any' : 'write'
    return this.#putAlone(place, record, { ...this.#options(options), keepsExpiry: ttl === undefined }, kind)
  }

  async #putAlone(place: RecordKey, record: RecordBytes, options: OperationOptions, kind: PutKind): Promise<PutResult> {
    try {
      const result = await this.#track(new PutOperation(this.#deps, place, record, options, kind))
      this.#stats.restamped += result.restamps
      return result
    } catch (error) {
      throw this.#failed(error)
    }
  }

  /** A write of a bundle goes on by itself. */
  async #goOnWriting({ place, record, isBehind }: LoneWrite, options: OperationOptions): Promise<Stored> {
    // Else it stays the same record: who has it already takes it for that, and not for a second write of the value.
    return this.#putAlone(place, isBehind ? await this.#restamped(record) : record, options, 'write')
  }

  async #restamped(record: RecordBytes): Promise<RecordBytes> {
    this.#stats.restamped++
    try {
      return restampWrite(record, await this.#deps.stamps.next())
    } catch (error) {
      throw this.#failed(error)
    }
  }

  /**
   * Gives the owners a record of another cluster that this node was in, unless they have something at least as new
   * (rule G4). A deletion too: somebody may still bring an older value. Nothing that is written at the same time, or was
   * written since, loses to it: what is too old to be taken gets the earliest stamp that is. Idempotent.
   *
   * @throws KilovoltError as {@link Coordinator.put}; it can be tried again
   */
  async bring(place: RecordKey, record: RecordBytes): Promise<void> {
    const options = this.#options({ requirement: 'quorum', timeoutMs: undefined, signal: undefined })
    const held = await this.#track(new GetOperation(this.#deps, place, options, this.#repair, false))
    if (held !== undefined && compareRecordStamps(held, record) >= 0) return
    const { rules, stamps } = this.#deps
    const aged = rules.keepAge ? record : restamp(record, await stamps.next())
    await this.#track(new PutOperation(this.#deps, place, aged, options, 'brought'))
  }

  async #track<Result>(operation: Operation<unknown, Result>): Promise<Result> {
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

  /** Repairs carry the record as it is, and are not judged as fresh writes. */
  readonly #repair: Repair = (key, store, record, epoch, timeoutMs, done) => {
    const { self, replica, transport, topology } = this.#deps
    this.#stats.readRepairs++
    const { partition, keyspace, key: name } = key
    const request: PutRequest = { partition, keyspace, key: name, record, exempt: false, repair: true }
    if (store === self) {
      replica.put(request, epoch, (_error, reply) => done(outcomeOf(reply)))
      return
    }
    const peer = topology()?.members.get(store)?.peerId
    if (peer === undefined) return done(false)
    transport.request(peer, { type: MessageType.PUT, class: 'data', body: encodePut(request), timeoutMs }, outcome => {
      done(outcome.kind === 'reply' && outcomeOf(decoded(outcome.body)))
    })
  }

  #failed(error: unknown): unknown {
    this.#stats.failed++
    if (isKilovoltError(error, 'KV_TIMEOUT')) this.#stats.timedOut++
    return error
  }
}

/** What must be had of owners. */
function ownersOf(requirement: Requirement | 'any'): Requirement {
  return requirement === 'any' ? 'one' : requirement
}

function outcomeOf(reply: PutReply | undefined): RepairOutcome {
  return reply?.kind === 'fenced' ? reply : reply !== undefined
}

/** An answer that makes no sense is none. */
function decoded(body: Uint8Array): PutReply | undefined {
  try {
    return decodePutReply(body)
  } catch {
    return undefined
  }
}
