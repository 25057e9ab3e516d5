import assert from 'node:assert/strict'
import { toHex } from '../../../src/base/bytes.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { Actor, PeerId, StoreId } from '../../../src/model/node-id.ts'
import { Ring } from '../../../src/model/partition.ts'
import type { Requirement } from '../../../src/model/quorum.ts'
import { compareRecords, encodeRecord, type RecordBytes, recordValue } from '../../../src/model/record.ts'
import { joinRecords } from '../../../src/model/sibling-set.ts'
import { isForSiblings } from '../../../src/storage/sibling-door.ts'
import type { Stamp } from '../../../src/model/stamp.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Row, Topology } from '../../../src/placement/topology.ts'
import {
  decodeGets,
  decodePuts,
  encodeReadAnswers,
  encodeWriteAnswers,
  type ReadAnswer,
  type WriteAnswer
} from '../../../src/replication/bundle-wire.ts'
import type { CallOptions } from '../../../src/replication/call.ts'
import { Minter } from '../../../src/replication/minter.ts'
import { Coordinator } from '../../../src/replication/coordinator.ts'
import type { OperationDeps } from '../../../src/replication/operation.ts'
import type { ReplicaAnswer } from '../../../src/replication/out-of-reach.ts'
import { Replica } from '../../../src/replication/replica.ts'
import {
  decodeGet,
  decodePut,
  encodeGetReply,
  encodePutReply,
  type GetReply,
  type GetRequest,
  type PutReply,
  type PutRequest
} from '../../../src/replication/wire.ts'
import type { ApplyResult, KeyedRecord, RecordKey, RecordStore } from '../../../src/storage/record-store.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { MessageType } from '../../../src/transport/message-type.ts'
import type { Outcome, OutgoingRequest, Transport } from '../../../src/transport/transport.ts'
import { peerNumber, store, topology } from '../cluster/fixtures.ts'
import { NO_CACHE } from '../../../src/storage/record-store.ts'

export const KEYSPACE: Uint8Array = new Uint8Array()
export const KEY: Uint8Array = Uint8Array.of(1)
export const ACTOR = '00000000000000aa' as Actor

/** A record of this time; a tombstone when it has no value. */
export function record(hlc: number, value: string | undefined = `v${hlc}`): RecordBytes {
  return encodeRecord({ stamp: { hlc, actor: ACTOR }, value: value === undefined ? undefined : Buffer.from(value) })
}

export function tombstone(hlc: number): RecordBytes {
  return encodeRecord({ stamp: { hlc, actor: ACTOR }, value: undefined })
}

/** The value of what an operation returned, as text. */
export function text(found: RecordBytes | undefined): string | undefined {
  const value = found === undefined ? undefined : recordValue(found)
  return value === undefined ? undefined : Buffer.from(value).toString()
}

/** A request that waits for the test to answer it. */
export interface Asked {
  readonly to: number
  readonly type: MessageType
  readonly timeoutMs: number
  /** The request as it was encoded. */
  readonly body: Uint8Array
  readonly put: PutRequest | undefined
  readonly get: GetRequest | undefined
  /** The reads of a bundle. */
  readonly gets: readonly GetRequest[] | undefined
  /** The writes of a bundle. */
  readonly puts: readonly PutRequest[] | undefined
  end(outcome: Outcome): void
  stored(existed?: boolean): void
  holds(found: RecordBytes | undefined): void
  put$(reply: PutReply): void
  get$(reply: GetReply): void
  /** Answers to the reads of a bundle. */
  gets$(...answers: readonly ReadAnswer[]): void
  /** Answers to the writes of a bundle. */
  puts$(...answers: readonly WriteAnswer[]): void
}

export interface BenchOptions {
  /** Number of this node; 9 holds nothing. Default 1. */
  readonly self?: number
  readonly slots?: readonly number[]
  readonly row?: Row
  readonly replicas?: number
  /** What the local copy holds at the beginning. */
  readonly held?: RecordBytes
  /** Whether the local database reads synchronously. Default true. */
  readonly readsAtOnce?: boolean
  /** Whether keys are spread over partitions, by their last byte, or all lie in the first one. Default false. */
  readonly spread?: boolean
}

function noScans(): never {
  throw new Error('scans are tried elsewhere')
}

/** The part of a node in scans, for what has nothing to do with them. */
export const NO_SCANS = { scans: { page: noScans }, slicer: { begin: noScans } }

const MEMBERS = [1, 2, 3, 4, 5, 9].map(n => ({ n }))

/** A row that changes: 4 is to have the copy of 3. */
export const MOVING: Row = {
  slots: [1, 2, 3].map(store),
  change: { next: [1, 2, 4].map(store), copies: [{ to: store(4), from: [store(3)] }] },
  rowEpoch: 5
}

/** What comes after the topology of a bench: 4 and 5 own everything in the place of 1 and 2. */
export const MOVED: Topology = topology(MEMBERS, { slots: [3, 4, 5], epoch: 12 })

/** How an operation failed: what each replica is said to have answered, and what is said of the outcome. */
export interface Failure {
  readonly code: string
  readonly answers: readonly string[]
  readonly outcome: unknown
}

/** A coordinator with a local replica; what it asks of others the test answers. */
export class Bench {
  readonly world: SimWorld = new SimWorld()
  readonly clock: SimClock = this.world.clock('n')
  readonly asked: Asked[] = []
  readonly dead = new Set<StoreId>()
  readonly coordinator: Coordinator
  readonly replica: Replica
  readonly minter: Minter
  /** Epochs that were to be caught up with. */
  readonly caughtUp: number[] = []
  /** What catching up leads to. */
  next: Topology | KilovoltError | undefined
  /** How long catching up takes, ms. */
  catchesUpAfterMs = 0
  topology: Topology
  /** What this node holds, by the key in hex. */
  readonly held = new Map<string, RecordBytes>()
  /** Keys, in hex, of what is damaged here. */
  readonly damaged = new Map<string, KilovoltError>()
  /** What writes to the local database fail with. */
  writeFails: KilovoltError | undefined
  /** Whether writes to the local database are done at once. */
  storesAtOnce = false
  /** What stamps have to wait for. */
  stampsAfter: Promise<unknown> | undefined
  /** What reads of the local database fail with. */
  readFails: Error | undefined
  /** What reads of several keys from the local database wait for. */
  readsLater: Promise<unknown> | undefined
  observed = 0
  /** What was kept for others. */
  readonly kept: (readonly [StoreId, RecordBytes, (readonly KeyedRecord[])?])[] = []
  keepFails: KilovoltError | undefined
  #hlc = 1000

  constructor(options: BenchOptions = {}) {
    const { self = 1, row, slots = [1, 2, 3], replicas = 3, readsAtOnce = true } = options
    if (options.held !== undefined) this.local = options.held
    const rows = row === undefined ? undefined : Array.from({ length: 64 }, () => row)
    this.topology = topology(MEMBERS, rows === undefined ? { slots, replicas } : { rows, replicas })
    const next = (after = 0): Stamp => ({
      hlc: (this.#hlc = Math.max(this.#hlc, this.observed, after) + 1),
      actor: ACTOR
    })
    const stamps = {
      last: 0,
      next: (after?: number) =>
        this.stampsAfter === undefined ? next(after) : this.stampsAfter.then(() => next(after)),
      observe: (hlc: number) => void (this.observed = Math.max(this.observed, hlc))
    }
    const common = {
      self: store(self),
      records: this.#records(readsAtOnce),
      horizons: { floorOf: () => 0, horizonOf: () => 0 },
      stamps,
      clock: this.clock,
      rules: SOUND_RULES,
      topology: () => this.topology,
      isOver: () => false,
      catchUp: async (epoch: number) => {
        this.caughtUp.push(epoch)
        if (this.catchesUpAfterMs > 0) await this.#pause(this.catchesUpAfterMs)
        if (this.next instanceof Error) throw this.next
        if (this.next !== undefined) this.topology = this.next
        return this.topology
      }
    }
    this.replica = new Replica(common, { maxClockDriftMs: 1e15, requestTimeoutMs: 1000 })
    const isDead = (id: StoreId): boolean => this.dead.has(id)
    const ring = new Ring(64, options.spread === true ? bytes => BigInt(bytes.at(-1)! % 64) << 58n : () => 0n)
    const keepFor: OperationDeps['keepFor'] = (target, _key, kept, done, rest) => {
      this.kept.push(rest === undefined ? [target, kept] : [target, kept, rest])
      this.clock.soon(() => done?.(this.keepFails))
    }
    this.minter = new Minter({ ...common, replica: this.replica }, 1e15, true)
    this.coordinator = new Coordinator(
      {
        ...common,
        replica: this.replica,
        minter: this.minter,
        ...NO_SCANS,
        transport: this.#transport(),
        isDead,
        ring,
        keepFor
      },
      1000
    )
  }

  /** What this node holds under the key that most tests have to do with. */
  get local(): RecordBytes | undefined {
    return this.held.get(toHex(KEY))
  }

  set local(record: RecordBytes) {
    this.held.set(toHex(KEY), record)
  }

  get(
    requirement: Requirement | 'any',
    more: Partial<CallOptions> = {},
    key: Uint8Array = KEY
  ): Promise<RecordBytes | undefined> {
    return settled(this.coordinator.get(KEYSPACE, key, call(requirement, more)))
  }

  put(
    requirement: Requirement | 'any',
    value: string = 'new',
    more: Partial<CallOptions> = {},
    key: Uint8Array = KEY
  ): Promise<{ readonly existed: boolean }> {
    return settled(this.coordinator.put(KEYSPACE, key, Buffer.from(value), call(requirement, more)))
  }

  delete(requirement: Requirement, key: Uint8Array = KEY): Promise<{ readonly existed: boolean }> {
    return settled(this.coordinator.put(KEYSPACE, key, undefined, call(requirement)))
  }

  /** Begins a turn by an operation that comes to nothing, so that those that follow in it are gathered. */
  begin(): void {
    void this.get('quorum', { signal: AbortSignal.abort() })
  }

  /** Lets everything run that waits for nothing. */
  turn(): Promise<void> {
    return this.world.advance(1)
  }

  /** Stops it, and sees to it that no timer is left. */
  async end(): Promise<void> {
    this.coordinator.stop()
    await this.turn()
    assert.equal(this.clock.pending, 0, 'no timer is left')
  }

  /** How far an operation is, after everything has run that can. */
  async state(promise: Promise<unknown>): Promise<'pending' | 'done' | 'failed'> {
    let now: 'pending' | 'done' | 'failed' = 'pending'
    promise.then(
      () => (now = 'done'),
      () => (now = 'failed')
    )
    await this.turn()
    return now
  }

  /** What has come of operations, after everything has run that can: the result, the code of an error, or `pending`. */
  async outcomes<T>(promises: readonly Promise<T>[]): Promise<(T | string)[]> {
    const found: (T | string)[] = promises.map(() => 'pending')
    for (const [i, promise] of promises.entries()) {
      promise.then(
        result => (found[i] = result),
        (error: KilovoltError) => (found[i] = error.code)
      )
    }
    await this.turn()
    return found
  }

  /** How an operation has failed, after everything has run that can. */
  async failure(promise: Promise<unknown>): Promise<Failure> {
    await this.turn()
    const error: unknown = await promise.then(
      () => assert.fail('it should have failed'),
      (reason: unknown) => reason
    )
    assert.ok(error instanceof KilovoltError, String(error))
    const answers = (error.details['answers'] as readonly ReplicaAnswer[]).map(({ answer }) => answer)
    return { code: error.code, answers, outcome: error.details['outcome'] }
  }

  /** Numbers of those who have been asked and have not answered. */
  get waiting(): number[] {
    return this.asked.map(({ to }) => to).toSorted((a, b) => a - b)
  }

  /** The oldest request to a node that has not been answered. */
  of(to: number): Asked {
    const at = this.asked.findIndex(asked => asked.to === to)
    if (at === -1) throw new Error(`node ${to} is asked nothing; waiting: ${this.waiting.join(', ')}`)
    return this.asked.splice(at, 1)[0]!
  }

  #pause(ms: number): Promise<void> {
    return new Promise(resolve => {
      this.clock.after(ms, resolve)
    })
  }

  #transport(): Transport {
    const slice = {
      request: (to: PeerId, { type, body, timeoutMs }: OutgoingRequest, done: (outcome: Outcome) => void) => {
        const end = (outcome: Outcome): void => this.clock.soon(() => done(outcome))
        const answer = (bytes: Uint8Array): void => end({ kind: 'reply', epoch: this.topology.epoch, body: bytes })
        this.asked.push({
          to: peerNumber(to),
          type,
          timeoutMs,
          body,
          put: type === MessageType.PUT ? decodePut(body) : undefined,
          get: type === MessageType.GET ? decodeGet(body) : undefined,
          gets: type === MessageType.GETS ? decodeGets(body) : undefined,
          puts: type === MessageType.PUTS ? decodePuts(body) : undefined,
          end,
          stored: (existed = false) => answer(encodePutReply({ kind: 'stored', existed })),
          holds: found =>
            answer(
              encodeGetReply(found === undefined ? { kind: 'none', horizon: 0 } : { kind: 'record', record: found })
            ),
          put$: reply => answer(encodePutReply(reply)),
          get$: reply => answer(encodeGetReply(reply)),
          gets$: (...answers) => answer(encodeReadAnswers(answers)),
          puts$: (...answers) => answer(encodeWriteAnswers(answers))
        })
      }
    }
    return slice as unknown as Transport
  }

  #records(readsAtOnce: boolean): RecordStore {
    const read = ({ key }: RecordKey): RecordBytes | KilovoltError | undefined =>
      this.damaged.get(toHex(key)) ?? this.held.get(toHex(key))
    return {
      readsAtOnce,
      get: place => {
        const found = this.readFails ?? read(place)
        if (found instanceof Error) return Promise.reject(found)
        return readsAtOnce ? found : Promise.resolve(found)
      },
      getMany: places => {
        if (this.readFails !== undefined) return Promise.reject(this.readFails)
        const found = places.map(read)
        if (this.readsLater !== undefined) return this.readsLater.then(() => found)
        return readsAtOnce ? found : Promise.resolve(found)
      },
      forgotten: 0,
      mint: ({ key }, _bytes, mint, done) => {
        const current = this.held.get(toHex(key))
        const made = mint(current)
        if (made instanceof Error) return done(made, undefined)
        this.held.set(toHex(key), made)
        done(undefined, { outcome: made === current ? 'same' : 'applied', current, stored: made })
      },
      apply: ({ key }, offered, done) => {
        if (this.writeFails !== undefined) return done(this.writeFails, undefined)
        const current = this.held.get(toHex(key))
        if (isForSiblings(current, offered)) {
          const stored = current === undefined ? offered : joinRecords(current, offered)
          this.held.set(toHex(key), stored)
          return done(undefined, { outcome: stored === current ? 'stale' : 'applied', current, stored })
        }
        const order = current === undefined ? 1 : compareRecords(offered, current)
        if (order > 0) this.held.set(toHex(key), offered)
        const outcome = order > 0 ? 'applied' : order === 0 ? 'same' : 'stale'
        const answer = (): void => done(undefined, { outcome, current })
        if (this.storesAtOnce) answer()
        else this.clock.soon(answer)
      },
      applyUnit: (_place, offered, done) => {
        if (this.writeFails !== undefined) return done(this.writeFails, undefined)
        const results = offered.map(({ key, record: one }): ApplyResult => {
          const current = this.held.get(toHex(key))
          const order = current === undefined ? 1 : compareRecords(one, current)
          if (order > 0) this.held.set(toHex(key), one)
          return { outcome: order > 0 ? 'applied' : order === 0 ? 'same' : 'stale', current }
        })
        const answer = (): void => done(undefined, results)
        if (this.storesAtOnce) answer()
        else this.clock.soon(answer)
      },
      copy: () => {},
      remove: () => {},
      heal: () => {},
      flushed: async () => {},
      page: async () => [],
      range: async () => ({ rows: [], rest: undefined }),
      pack: async rows => ({ from: rows.length, to: rows.length, rest: undefined }),
      partitions: async () => [],
      dropPartition: async () => {},
      stats: () => ({ applied: 0, stale: 0, batches: 0, pending: 0, corrupt: 0, corruptLeft: 0, cache: NO_CACHE })
    }
  }
}

/** Options as the façade gives them when the app gives none. */
export function call(requirement: Requirement | 'any', more: Partial<CallOptions> = {}): CallOptions {
  return { requirement, timeoutMs: undefined, signal: undefined, ...more }
}

/** A promise that may be looked at later: its rejection is not taken for forgotten. */
function settled<T>(value: T | Promise<T>): Promise<T> {
  const promise = Promise.resolve(value)
  promise.catch(() => {})
  return promise
}
