import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import { HLC_COUNTERS_PER_MS, hlcFromMs, hlcToMs } from '../model/hlc.ts'
import type { StoreId } from '../model/node-id.ts'
import { compareRecordStamps, hasSiblings, hasStamp, isLive, type RecordBytes, recordHlc } from '../model/record.ts'
import type { PlacementRules } from '../placement/rules.ts'
import { isRowReplica, rowOf, type Topology } from '../placement/topology.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Horizons } from '../storage/horizons.ts'
import type { ApplyResult, KeyedRecord, RecordKey, RecordStore, StampSource } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import {
  decodeGets,
  decodePuts,
  encodeReadAnswers,
  encodeWriteAnswers,
  type ReadAnswer,
  writeAnswerOf
} from './bundle-wire.ts'
import type { IncomingMessage, Responder, Transport } from '../transport/transport.ts'
import { asError, driftError, overError } from './replica-error.ts'
import {
  decodeGet,
  decodePut,
  encodeGetReply,
  encodePutReply,
  type Fenced,
  type GetReply,
  type GetRequest,
  type PutReply,
  type PutRequest
} from './wire.ts'

/** What a replica needs. */
export interface ReplicaDeps {
  readonly self: StoreId
  readonly records: RecordStore
  readonly horizons: Pick<Horizons, 'floorOf' | 'horizonOf'>
  readonly stamps: StampSource
  readonly clock: Pick<Clock, 'wallMs'>
  readonly rules: PlacementRules
  readonly topology: () => Topology | undefined
  /** Pulls the topology up to an epoch. */
  readonly catchUp: (epoch: number, timeoutMs: number) => Promise<unknown>
  /** Whether the cluster has ended, so that nothing new is taken. */
  readonly isOver: () => boolean
}

/** Limits of a replica. */
export interface ReplicaOptions {
  /** How far ahead of this node's clock a fresh write may be stamped, ms. */
  readonly maxClockDriftMs: number
  /** How long to wait for a later epoch, ms. */
  readonly requestTimeoutMs: number
}

/** What has come of one write of several. */
export type PutAnswer = PutReply | KilovoltError

/** Receives the answer of the replica, or why there is none. Called once. */
export type ReplicaDone<T> = (error: KilovoltError | undefined, reply: T | undefined) => void

/**
 * The door of this node's copies: every write, local or remote, fresh or repair, goes through `put`.
 *
 * Rule C2: a request of a later epoch than this node's waits until this node has that epoch; one that is older than the
 * row is refused. The check and the hand-over to the store happen in one turn of the event loop, so that a copy taken
 * after an epoch was applied contains every write admitted before it.
 */
export class Replica {
  readonly #deps: ReplicaDeps
  readonly #options: ReplicaOptions
  #requests = 0

  constructor(deps: ReplicaDeps, options: ReplicaOptions) {
    this.#deps = deps
    this.#options = options
  }

  /** How many reads and fresh writes have come since the node started, those of this node included. */
  get requests(): number {
    return this.#requests
  }

  /** Answers PUT and GET, PUTS and GETS. */
  listen(transport: Transport): void {
    transport.handle(MessageType.PUT, (message, respond) => {
      this.serve(message, respond, decodePut, encodePutReply, (request, done) => this.put(request, message.epoch, done))
    })
    transport.handle(MessageType.GET, (message, respond) => {
      this.serve(message, respond, decodeGet, encodeGetReply, (request, done) => this.get(request, message.epoch, done))
    })
    transport.handle(MessageType.PUTS, (message, respond) => {
      this.serve(message, respond, decodePuts, encodeWriteReplies, (requests, done) =>
        this.putMany(requests, message.epoch, done)
      )
    })
    transport.handle(MessageType.GETS, (message, respond) => {
      this.serve(message, respond, decodeGets, encodeReadAnswers, (requests, done) =>
        this.getMany(requests, message.epoch, done)
      )
    })
  }

  /**
   * Does something else with a key that is bound to an epoch as writes are: when this node has that epoch, if the key is for
   * this node. Counts as one fresh write.
   */
  admit<T>(
    request: RecordKey & { readonly exempt: boolean },
    epoch: number,
    done: ReplicaDone<T | Fenced>,
    run: () => void
  ): void {
    this.#requests++
    const go = (): void => {
      const refusal = this.#refusal(request, epoch)
      if (refusal === undefined) run()
      else if (refusal instanceof KilovoltError) done(refusal, undefined)
      else done(undefined, refusal)
    }
    if (this.#isAhead(request, epoch)) return this.#catchUp(epoch, done, go)
    go()
  }

  /** One write. */
  put(request: PutRequest, epoch: number, done: ReplicaDone<PutReply>): void {
    if (!request.repair) this.#requests += sizeOf(request)
    if (this.#isAhead(request, epoch)) return this.#catchUp(epoch, done, () => this.#put(request, epoch, done))
    this.#put(request, epoch, done)
  }

  get(request: GetRequest, epoch: number, done: ReplicaDone<GetReply>): void {
    this.#requests++
    if (this.#isAhead(request, epoch)) return this.#catchUp(epoch, done, () => this.#get(request, epoch, done))
    this.#get(request, epoch, done)
  }

  /** Several reads of one coordinator; an answer for each, `undefined` for one that could not be read. */
  getMany(requests: readonly GetRequest[], epoch: number, done: ReplicaDone<readonly ReadAnswer[]>): void {
    this.#requests += requests.length
    const go = (): void => this.#getMany(requests, epoch, done)
    if (this.#isAnyAhead(requests, epoch)) return this.#catchUp(epoch, done, go)
    go()
  }

  /** Several writes of one coordinator; a reply for each, or why it could not be stored. */
  putMany(requests: readonly PutRequest[], epoch: number, done: ReplicaDone<readonly PutAnswer[]>): void {
    for (const request of requests) if (!request.repair) this.#requests += sizeOf(request)
    const go = (): void => this.#putMany(requests, epoch, done)
    if (this.#isAnyAhead(requests, epoch)) return this.#catchUp(epoch, done, go)
    go()
  }

  #getMany(requests: readonly GetRequest[], epoch: number, done: ReplicaDone<readonly ReadAnswer[]>): void {
    const answers: ReadAnswer[] = []
    const wanted: GetRequest[] = []
    for (const request of requests) {
      const refusal = this.#refusal(request, epoch)
      answers.push(refusal instanceof KilovoltError ? undefined : refusal)
      if (refusal === undefined) wanted.push(request)
    }
    const fill = (found: readonly (RecordBytes | KilovoltError | undefined)[]): void => {
      let next = 0
      for (let i = 0; i < requests.length && next < found.length; i++) {
        if (requests[i] !== wanted[next]) continue
        const record = found[next++]
        answers[i] = record instanceof Error ? undefined : this.#answer(record, requests[i]!)
      }
      done(undefined, answers)
    }
    const found = this.#deps.records.getMany(wanted)
    if (!(found instanceof Promise)) return fill(found)
    const before = wanted.map(request => this.#horizonOf(request))
    found.then(
      list => {
        const isMoot = list.some((record, i) => record === undefined && this.#horizonOf(wanted[i]!) !== before[i])
        if (isMoot) this.#getMany(requests, epoch, done)
        else fill(list)
      },
      (error: unknown) => done(asError(error), undefined)
    )
  }

  #putMany(requests: readonly PutRequest[], epoch: number, done: ReplicaDone<readonly PutAnswer[]>): void {
    const replies: PutAnswer[] = Array.from({ length: requests.length })
    let left = requests.length
    if (left === 0) return done(undefined, replies)
    for (const [i, request] of requests.entries()) {
      this.#put(request, epoch, (error, reply) => {
        replies[i] = reply ?? asError(error)
        if (--left === 0) done(undefined, replies)
      })
    }
  }

  /** `isNext`: what is stamped too far ahead comes right after what is held here. */
  #put(request: PutRequest, epoch: number, done: ReplicaDone<PutReply>, isNext = false): void {
    const refusal = this.#refusal(request, epoch)
    if (refusal === undefined) this.#store(request, epoch, done, isNext)
    else if (refusal instanceof KilovoltError) done(refusal, undefined)
    else done(undefined, refusal)
  }

  #get(request: GetRequest, epoch: number, done: ReplicaDone<GetReply>): void {
    const refusal = this.#refusal(request, epoch)
    if (refusal instanceof KilovoltError) return done(refusal, undefined)
    if (refusal !== undefined) return done(undefined, refusal)
    const found = this.#deps.records.get(request)
    if (!(found instanceof Promise)) return done(undefined, this.#answer(found, request))
    const before = this.#horizonOf(request)
    found.then(
      record => {
        if (record === undefined && this.#horizonOf(request) !== before) this.#get(request, epoch, done)
        else done(undefined, this.#answer(record, request))
      },
      (error: unknown) => done(asError(error), undefined)
    )
  }

  #answer(record: RecordBytes | undefined, request: GetRequest): GetReply {
    return record === undefined ? { kind: 'none', horizon: this.#horizonOf(request) } : answer(record, request.known)
  }

  /**
   * Up to where what is missing was overwritten. That nothing was found says so only with the horizon of that moment: a deletion
   * may have been purged, or a write have come, while the store was read. Where it has risen meanwhile the read begins anew.
   */
  #horizonOf({ partition }: GetRequest): number {
    const { horizons, rules } = this.#deps
    return rules.refusePast ? horizons.horizonOf(partition) : 0
  }

  #store(request: PutRequest, epoch: number, done: ReplicaDone<PutReply>, isNext: boolean): void {
    const { horizons, stamps, clock, rules, isOver } = this.#deps
    if (isOver() && !request.repair) return done(overError(), undefined)
    const hlc = recordHlc(request.record)
    // H1: what is new has no place in a past that is being settled. What is acknowledged already has, up to the horizon.
    const floor = horizons.floorOf(request.partition)
    if (hlc <= floor && !request.repair && rules.closePast) return done(undefined, { kind: 'late', floor })
    stamps.observe(hlc)
    if (request.repair || isNext || hlc <= hlcFromMs(clock.wallMs() + this.#options.maxClockDriftMs)) {
      return request.rest === undefined ? this.#storeOne(request, done) : this.#storeUnit(request, request.rest, done)
    }
    // D1: a fresh write from the far future is refused; D3: unless it directly succeeds what is held here already, or a key
    // that was once poisoned could never be written again. What was checked before the look may not be so after it.
    void this.#succeedsHeld(request, hlc).then(
      succeeds => {
        if (succeeds) this.#put(request, epoch, done, true)
        else done(driftError(), undefined)
      },
      (error: unknown) => done(asError(error), undefined)
    )
  }

  #storeOne(request: PutRequest, done: ReplicaDone<PutReply>): void {
    this.#deps.records.apply(request, request.record, (error, result) => {
      if (error !== undefined || result === undefined) return fail(request, error, done)
      const newer = newerThan(request, result)
      if (newer !== undefined) return done(undefined, { kind: 'stale', current: newer })
      done(undefined, { kind: 'stored', existed: this.#isLive(result.current) })
    })
  }

  /** Judged by hybrid time, as by a reader. */
  #isLive(record: RecordBytes | undefined): boolean {
    const { clock, stamps } = this.#deps
    return isLive(record, Math.max(clock.wallMs(), hlcToMs(stamps.last)))
  }

  /**
   * The writes of a unit are stored together. Each yields to what is newer at its key, as if that had come after the unit;
   * the coordinator is told, and may stamp the unit again.
   */
  #storeUnit(request: PutRequest, rest: readonly KeyedRecord[], done: ReplicaDone<PutReply>): void {
    this.#deps.records.applyUnit(request, [request, ...rest], (error, results) => {
      if (error !== undefined || results === undefined) return fail(request, error, done)
      let newest: RecordBytes | undefined
      for (const { outcome, current } of results) {
        if (outcome !== 'stale' || current === undefined) continue
        if (newest === undefined || compareRecordStamps(current, newest) > 0) newest = current
      }
      if (newest !== undefined) return done(undefined, { kind: 'stale', current: newest })
      const existed = Uint8Array.from(results, ({ current }) => (this.#isLive(current) ? 1 : 0))
      done(undefined, { kind: 'stored', existed: existed[0] === 1, rest: existed.subarray(1) })
    })
  }

  /** Whether a write comes right after what is held under its key; of a unit one key is enough, or it could never be written. */
  async #succeedsHeld({ partition, keyspace, key, rest = [] }: PutRequest, hlc: number): Promise<boolean> {
    for (const name of [key, ...rest.map(write => write.key)]) {
      const held = await this.#deps.records.get({ partition, keyspace, key: name })
      if (held !== undefined && hlc <= recordHlc(held) + HLC_COUNTERS_PER_MS) return true
    }
    return false
  }

  /** Whether the request is bound to an epoch that this node does not have yet. */
  #isAhead({ exempt }: Pick<GetRequest, 'exempt'>, epoch: number): boolean {
    return !exempt && epoch > (this.#deps.topology()?.epoch ?? Infinity)
  }

  #isAnyAhead(requests: readonly (PutRequest | GetRequest)[], epoch: number): boolean {
    return epoch > (this.#deps.topology()?.epoch ?? Infinity) && requests.some(({ exempt }) => !exempt)
  }

  #catchUp<T>(epoch: number, done: ReplicaDone<T>, go: () => void): void {
    this.#deps
      .catchUp(epoch, this.#options.requestTimeoutMs)
      .then(go, (error: unknown) => done(asError(error), undefined))
  }

  /** Why the request is not for this node, as it knows the world now; `undefined` when it is. */
  #refusal(
    { partition, exempt }: Pick<GetRequest, 'partition' | 'exempt'>,
    epoch: number
  ): KilovoltError | Fenced | undefined {
    const { self, topology, rules } = this.#deps
    const here = topology()
    if (here === undefined) return new KilovoltError('KV_NOT_JOINED', 'the replica is no member yet')
    if (partition >= here.rows.length) return new KilovoltError('KV_PROTOCOL', `there is no partition ${partition}`)
    const row = rowOf(here, partition)
    const late = rules.fenceRequests && !exempt && epoch < row.rowEpoch
    return late || !isRowReplica(row, self) ? { kind: 'fenced', epoch: here.epoch } : undefined
  }

  /** Answers a message by what comes of the request in it. */
  serve<Req, Rep>(
    message: IncomingMessage,
    respond: Responder,
    decode: (bytes: Uint8Array) => Req,
    encode: (reply: Rep) => Uint8Array,
    run: (request: Req, done: ReplicaDone<Rep>) => void
  ): void {
    let request: Req
    try {
      request = decode(message.body)
    } catch (error) {
      return respond.refuse(asError(error))
    }
    run(request, (error, reply) => {
      if (error !== undefined || reply === undefined) respond.refuse(asError(error))
      else respond.reply(encode(reply))
    })
  }
}

const SAME: GetReply = { kind: 'same' }

function encodeWriteReplies(replies: readonly PutAnswer[]): Uint8Array {
  return encodeWriteAnswers(replies.map(writeAnswerOf))
}

/** How many writes a request is. */
function sizeOf({ rest }: PutRequest): number {
  return rest === undefined ? 1 : 1 + rest.length
}

function answer(record: RecordBytes, known: Uint8Array | undefined): GetReply {
  // Nothing newer than what the coordinator has: it need not travel. Of siblings the stamp does not tell all.
  if (known !== undefined && hasStamp(record, known) && !hasSiblings(record)) return SAME
  return { kind: 'record', record }
}

/**
 * What a write has to come after, if it does not yet. Siblings are joined: whatever was stored before, what is offered of them
 * is part of it then. A write without siblings that comes to some must be the latest, as it is meant to be what is read.
 */
function newerThan({ record, repair }: PutRequest, { outcome, current, stored }: ApplyResult): RecordBytes | undefined {
  if (hasSiblings(record)) return undefined
  if (outcome === 'stale') return current
  if (stored === undefined || repair || compareRecordStamps(stored, record) <= 0) return undefined
  return stored
}

function fail(request: PutRequest, error: Error | undefined, done: ReplicaDone<PutReply>): void {
  const bound = error === undefined || request.repair ? undefined : boundOf(error)
  // K1: a damaged record lies here; what is stamped later is newer than that can have been.
  if (bound !== undefined) return done(undefined, { kind: 'late', floor: bound })
  done(asError(error), undefined)
}

/** What a damaged record in the way of a write is not stamped after. */
function boundOf(error: Error): number | undefined {
  if (!isKilovoltError(error, 'KV_CORRUPT')) return undefined
  const { newerThan } = error.details
  return typeof newerThan === 'number' ? newerThan : undefined
}
