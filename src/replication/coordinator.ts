import { hlcToMs } from '../model/hlc.ts'
import type { StoreId } from '../model/node-id.ts'
import type { Ring } from '../model/partition.ts'
import type { Requirement } from '../model/quorum.ts'
import { encodeRecord, isLive, recordHlc, type RecordBytes } from '../model/record.ts'
import type { Stamp } from '../model/stamp.ts'
import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import { majority } from '../placement/rules.ts'
import { TimerWheel } from '../runtime/timer-wheel.ts'
import type { RecordKey } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import { GetOperation } from './get-operation.ts'
import type { OperationDeps, OperationOptions } from './operation.ts'
import { PutOperation } from './put-operation.ts'
import { Routes } from './routes.ts'
import { decodePutReply, encodePut, type PutRequest } from './wire.ts'

/** What a coordinator needs. */
export interface CoordinatorDeps extends Omit<OperationDeps, 'wheel' | 'routes'> {
  readonly ring: Ring
}

/** Settings of one call. */
export interface CallOptions {
  readonly requirement: Requirement
  readonly timeoutMs: number | undefined
  readonly signal: AbortSignal | undefined
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
  readonly #stats = { reads: 0, writes: 0, failed: 0, timedOut: 0, restamped: 0, readRepairs: 0 }

  constructor(deps: CoordinatorDeps, requestTimeoutMs: number) {
    this.#deps = { ...deps, wheel: new TimerWheel(deps.clock), routes: () => this.#latestRoutes() }
    this.#requestTimeoutMs = requestTimeoutMs
  }

  stats(): CoordinatorStats {
    return { ...this.#stats }
  }

  /** The newest live record that the level finds, or `undefined`. */
  async get(keyspace: Uint8Array, key: Uint8Array, options: CallOptions): Promise<RecordBytes | undefined> {
    this.#stats.reads++
    const { clock, stamps } = this.#deps
    const place = this.#place(keyspace, key)
    const blocking = this.#isBlocking(options.requirement)
    const operation = new GetOperation(this.#deps, place, this.#options(options), this.#repairer(place), blocking)
    this.#running.add(operation)
    try {
      const { record, repairs } = await operation.run()
      this.#stats.readRepairs += repairs
      if (record === undefined) return undefined
      // What has been read is in the past of what is stamped here from now on.
      stamps.observe(recordHlc(record))
      return isLive(record, Math.max(clock.wallMs(), hlcToMs(stamps.last))) ? record : undefined
    } catch (error) {
      throw this.#failed(error)
    } finally {
      this.#running.delete(operation)
    }
  }

  /** Stores a value, or a tombstone when it is `undefined`. */
  async put(
    keyspace: Uint8Array,
    key: Uint8Array,
    value: Uint8Array | undefined,
    options: CallOptions
  ): Promise<{ readonly existed: boolean; readonly stamp: Stamp }> {
    this.#stats.writes++
    let operation: PutOperation | undefined
    try {
      const next = this.#deps.stamps.next()
      const stamp = next instanceof Promise ? await next : next
      const record = encodeRecord({ stamp, value })
      operation = new PutOperation(this.#deps, this.#place(keyspace, key), record, this.#options(options))
      this.#running.add(operation)
      const { existed, restamps } = await operation.run()
      this.#stats.restamped += restamps
      return { existed, stamp }
    } catch (error) {
      throw this.#failed(error)
    } finally {
      if (operation !== undefined) this.#running.delete(operation)
    }
  }

  /** Ends what is under way; its outcome is unknown. */
  stop(): void {
    const error = new KilovoltError(
      'KV_NODE_STOPPED',
      'the node stops; whether a write that was under way is stored is unknown'
    )
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

  #place(keyspace: Uint8Array, key: Uint8Array): RecordKey {
    return { partition: this.#deps.ring.partitionOf(key), keyspace, key }
  }

  #options({ requirement, timeoutMs, signal }: CallOptions): OperationOptions {
    return { requirement, timeoutMs: timeoutMs ?? this.#requestTimeoutMs, signal }
  }

  /** Levels from a majority up promise that reads do not go back. */
  #isBlocking(requirement: Requirement): boolean {
    if (requirement === 'one') return false
    if (typeof requirement !== 'number') return true
    return requirement >= majority(this.#deps.topology()?.replicas ?? 1)
  }

  /** Repairs carry the record as it is, and are not judged as fresh writes. */
  #repairer(place: RecordKey) {
    const { self, replica, transport, topology } = this.#deps
    return (
      store: StoreId,
      record: RecordBytes,
      epoch: number,
      timeoutMs: number,
      done: (held: boolean) => void
    ): void => {
      const request: PutRequest = { ...place, record, exempt: false, repair: true }
      if (store === self) {
        replica.put(request, epoch, (error, reply) => done(error === undefined && reply?.kind !== 'fenced'))
        return
      }
      const peer = topology()?.members.get(store)?.peerId
      if (peer === undefined) return done(false)
      transport.request(
        peer,
        { type: MessageType.PUT, class: 'data', body: encodePut(request), timeoutMs },
        outcome => {
          done(outcome.kind === 'reply' && isHeld(outcome.body))
        }
      )
    }
  }

  #failed(error: unknown): unknown {
    this.#stats.failed++
    if (isKilovoltError(error, 'KV_TIMEOUT')) this.#stats.timedOut++
    return error
  }
}

function isHeld(body: Uint8Array): boolean {
  try {
    return decodePutReply(body).kind !== 'fenced'
  } catch {
    return false
  }
}
