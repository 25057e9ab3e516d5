import { isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'
import type { PeerId, StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { isLive, isTombstone, recordExpiresAt, recordHlc } from '../model/record.ts'
import type { Topology } from '../placement/topology.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { Pace } from '../runtime/pace.ts'
import type { Random } from '../runtime/random.ts'
import type { Arrival, ArrivalLog } from '../storage/arrival-log.ts'
import type { Horizons } from '../storage/horizons.ts'
import type { RecordStore } from '../storage/record-store.ts'
import type { TreeIndex } from '../storage/tree-index.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import { WatchExpiry } from './watch-expiry.ts'
import { matchesAny } from './watch-filter.ts'
import {
  decodeRewind,
  decodeWatch,
  encodeRewindReply,
  encodeWatchReply,
  LOG_ID_BYTES,
  type RewindReply,
  type RewindRequest,
  type WatchReply,
  type WatchRequest
} from './watch-wire.ts'

/** What telling others of arrivals needs. */
export interface WatchSourceDeps {
  readonly self: StoreId
  readonly transport: Transport
  readonly arrivals: ArrivalLog
  readonly records: RecordStore
  readonly trees: Pick<TreeIndex, 'mortalsIn'>
  readonly horizons: Pick<Horizons, 'horizonOf'>
  readonly clock: Clock
  readonly random: Random
  readonly pace: Pick<Pace, 'turn'>
  readonly topology: () => Topology | undefined
}

/** So long after the last request arrivals are still kept, ms: whoever comes back goes on where it was. */
const KEEP_MS = 60_000
/** Longest wait of a request, ms. */
const WAIT_MAX_MS = 30_000
/** Arrivals and bytes in one answer, about. */
const ARRIVALS_MAX = 1024
const REPLY_BYTES_MAX = 512 * 1024
/** Records looked at in one step of a rewind, and steps to an answer: few milliseconds each. */
const PAGE_RECORDS = 256
const PAGE_BYTES = 128 * 1024
const PAGES_MAX = 16
/** Time after which it is answered with what there is, ms: turns are waited for where requests come first. */
const ANSWER_MS = 1000
/** What so many ask for is remembered. */
const INTERESTS_MAX = 1024
const NONE: readonly PartitionId[] = []

/** Partitions that somebody asks for, mostly the same again and again: worked out once. */
interface Interest {
  readonly partitions: readonly PartitionId[]
  readonly wanted: ReadonlySet<PartitionId>
  /** Those of them that are owned, and those that are not, as of an {@link WatchSource.#ownership}. */
  owned: readonly PartitionId[]
  strangers: readonly PartitionId[]
  ownership: number
  /** Whether the ends of records in those that are owned are told of. */
  isCovered: boolean
}

/** A request that waits for something to arrive. */
interface Waiting {
  readonly request: WatchRequest
  readonly interest: Interest
  /** Up to here nothing was of interest. */
  seq: number
  readonly done: (reply: WatchReply) => void
  readonly timer: Timer
}

/**
 * The owner's side of watching: answers what has arrived at this node's store. A node that watches asks, gets at most so much,
 * and asks again: so nothing is kept for it here but one request, and one that is slow falls out of what is kept of the
 * arrivals, and reads the store instead. Until somebody watches nothing is kept at all.
 *
 * | message | answer |
 * |---|---|
 * | `WATCH` | what has arrived in some partitions after a position, at once or when something does |
 * | `REWIND` | the next records of a partition that are stamped after the past that whoever asks knows |
 */
export class WatchSource {
  readonly #deps: WatchSourceDeps
  readonly #expiry: WatchExpiry
  /** Those that wait, by who asks. */
  readonly #waiting = new Map<string, Waiting>()
  /** Since which number what arrives in an owned partition is in the log. */
  readonly #ownedSince = new Map<PartitionId, number>()
  /** The greatest of these numbers. */
  #ownedLast = 0
  /** Raised whenever other partitions are owned. */
  #ownership = 0
  /** What those who ask last asked for. */
  readonly #interests = new Map<string, Interest>()
  #askedMs = 0
  #keeper: Timer | undefined
  #isFlushing = false
  #isStopped = false

  constructor(deps: WatchSourceDeps) {
    this.#deps = deps
    const { arrivals } = deps
    this.#expiry = new WatchExpiry({ ...deps, onExpired: (place, record) => arrivals.expire(place, record) })
  }

  /** Answers WATCH and REWIND. */
  listen(): void {
    const { transport } = this.#deps
    transport.handle(MessageType.WATCH, ({ from, body }, respond) => {
      try {
        this.watch(from, decodeWatch(body), reply => respond.reply(encodeWatchReply(reply)))
      } catch (error) {
        respond.refuse(asError(error))
      }
    })
    transport.handle(MessageType.REWIND, ({ body }, respond) => {
      new Promise<RewindReply>(resolve => resolve(this.rewind(decodeRewind(body)))).then(
        reply => respond.reply(encodeRewindReply(reply)),
        (error: unknown) => respond.refuse(asError(error))
      )
    })
  }

  /** Owners may have changed. */
  topologyChanged(): void {
    if (!this.#deps.arrivals.isOn) return
    const { arrivals, self, topology } = this.#deps
    const rows = topology()?.rows ?? []
    const moved = [...rows.keys()].filter(one => rows[one]!.slots.includes(self) !== this.#ownedSince.has(one))
    if (moved.length > 0) {
      this.#ownership++
      // A number of their own: somebody may stand where the log stood when what comes back now was lost.
      arrivals.skip()
    }
    for (const partition of moved) {
      if (this.#ownedSince.delete(partition)) this.#expiry.forget(partition)
      else this.#ownedSince.set(partition, (this.#ownedLast = arrivals.last))
    }
    this.#flushSoon()
  }

  /**
   * Answers what has arrived, at once or later; of each who asks one request waits, and a further one ends the wait of the
   * one before.
   *
   * @throws KilovoltError `KV_NODE_STOPPED`, `KV_NOT_JOINED`
   */
  watch(who: PeerId | 'self', request: WatchRequest, done: (reply: WatchReply) => void): void {
    this.#open()
    const before = request.waitMs === 0 ? undefined : this.#waiting.get(who)
    if (before !== undefined) this.#end(who, before)
    const interest = this.#interestOf(who, request.partitions)
    const reply = this.#answer(request, interest, request.position?.seq)
    if (request.waitMs === 0 || !isEmpty(reply) || request.position === undefined) return done(reply)
    const waiting: Waiting = {
      request,
      interest,
      seq: reply.seq,
      done,
      timer: this.#deps.clock.after(Math.min(request.waitMs, WAIT_MAX_MS), () => this.#end(who, waiting))
    }
    this.#waiting.set(who, waiting)
  }

  /**
   * The next records that who asks may have missed.
   *
   * @throws KilovoltError `KV_NOT_JOINED` when this node does not own the partition, `KV_STORAGE`, `KV_NODE_STOPPED`
   */
  async rewind(request: RewindRequest): Promise<RewindReply> {
    this.#open()
    const { records, horizons, clock, pace } = this.#deps
    const { partition, low, expiredSince, filters } = request
    const wanted: RewindReply['records'][number][] = []
    let bytes = 0
    let reached = request.after
    const isFull = (): boolean => wanted.length >= PAGE_RECORDS || bytes >= PAGE_BYTES
    const endMs = clock.monotonicMs() + ANSWER_MS
    for (let pages = 0; pages < PAGES_MAX && !isFull(); pages++) {
      if (pages > 0 && clock.monotonicMs() >= endMs) break
      if (!this.#ownedSince.has(partition)) throw notOwned(partition)
      const after = reached
      const page = await pace.turn(() => records.page(partition, after, PAGE_RECORDS, PAGE_BYTES))
      // What has moved away meanwhile may have been deleted while it was read.
      if (!this.#ownedSince.has(partition)) throw notOwned(partition)
      const nowMs = clock.wallMs()
      for (const stored of page) {
        const expired = !isTombstone(stored.record) && !isLive(stored.record, nowMs)
        const isNews = recordHlc(stored.record) > low || (expired && recordExpiresAt(stored.record)! > expiredSince)
        if (!isNews || !matchesAny(filters, stored)) continue
        wanted.push({ ...stored, expired })
        bytes += stored.key.length + stored.record.length
      }
      const last = page.at(-1)
      reached = last === undefined ? undefined : { keyspace: last.keyspace, key: last.key }
      if (last === undefined) break
    }
    // After the reading: whatever was purged before that lies at or below it.
    return { horizon: horizons.horizonOf(partition), reached, records: wanted }
  }

  /** Ends all waits and keeps nothing any more. */
  stop(): void {
    this.#isStopped = true
    for (const [who, waiting] of this.#waiting) this.#end(who, waiting)
    this.#keeper?.cancel()
    this.#expiry.stop()
    this.#deps.arrivals.close()
  }

  /** Begins to keep arrivals, or goes on with it. */
  #open(): void {
    if (this.#isStopped) throw new KilovoltError('KV_NODE_STOPPED', 'the node stops')
    const { arrivals, clock, random, topology } = this.#deps
    if (topology() === undefined) throw new KilovoltError('KV_NOT_JOINED', 'the replica is no member yet')
    this.#askedMs = clock.monotonicMs()
    if (arrivals.isOn) return
    this.#ownedSince.clear()
    this.#ownedLast = 0
    this.#ownership++
    const isKept = (partition: PartitionId): boolean => this.#ownedSince.has(partition)
    arrivals.open(random.bytes(LOG_ID_BYTES), isKept, arrival => this.#onArrival(arrival))
    this.topologyChanged()
    this.#keep(KEEP_MS)
  }

  #keep(delayMs: number): void {
    const { arrivals, clock } = this.#deps
    this.#keeper = clock.after(delayMs, () => {
      const leftMs = this.#waiting.size > 0 ? KEEP_MS : this.#askedMs + KEEP_MS - clock.monotonicMs()
      if (leftMs > 0) return this.#keep(leftMs)
      this.#keeper = undefined
      this.#interests.clear()
      this.#expiry.stop()
      arrivals.close()
    })
  }

  #onArrival(arrival: Arrival): void {
    if (!arrival.expired) this.#expiry.note(arrival, arrival.record)
    this.#flushSoon()
  }

  /** Once for all that is written together; not a turn of the event loop later, which is a third of the way of an event. */
  #flushSoon(): void {
    if (this.#isFlushing || this.#waiting.size === 0) return
    this.#isFlushing = true
    void Promise.resolve().then(() => {
      this.#isFlushing = false
      for (const [who, waiting] of this.#waiting) {
        const reply = this.#answer(waiting.request, waiting.interest, waiting.seq)
        if (isEmpty(reply)) waiting.seq = reply.seq
        else this.#end(who, waiting, reply)
      }
    })
  }

  #end(who: string, waiting: Waiting, reply?: WatchReply): void {
    waiting.timer.cancel()
    if (this.#waiting.get(who) === waiting) this.#waiting.delete(who)
    // On a quiet stream at least the past moves on.
    const { request, interest, seq } = waiting
    waiting.done(reply ?? this.#answer({ ...request, wantsHorizons: true }, interest, seq))
  }

  /** What a request asks for; the ends of records there are told of from now on. */
  #interestOf(who: string, partitions: readonly PartitionId[]): Interest {
    let interest = this.#interests.get(who)
    if (interest === undefined || !isSameList(interest.partitions, partitions)) {
      // Who is gone does not say so.
      if (this.#interests.size >= INTERESTS_MAX) this.#interests.clear()
      interest = {
        partitions,
        wanted: new Set(partitions),
        owned: NONE,
        strangers: NONE,
        ownership: -1,
        isCovered: false
      }
      this.#interests.set(who, interest)
    }
    this.#bringUpToDate(interest)
    this.#expiry.cover(interest.isCovered ? NONE : interest.owned)
    interest.isCovered = true
    return interest
  }

  #bringUpToDate(interest: Interest): void {
    if (interest.ownership === this.#ownership) return
    interest.ownership = this.#ownership
    interest.isCovered = false
    interest.owned = interest.partitions.filter(partition => this.#ownedSince.has(partition))
    interest.strangers = interest.partitions.filter(partition => !this.#ownedSince.has(partition))
  }

  #answer(request: WatchRequest, interest: Interest, from: number | undefined): WatchReply {
    this.#bringUpToDate(interest)
    const { arrivals, horizons } = this.#deps
    const { position, partitions, filters, wantsHorizons } = request
    const { wanted, owned, strangers } = interest
    const reaches = position === undefined || arrivals.reaches(position.log, from!)
    const seq = position === undefined || !reaches ? arrivals.last : from!
    const isGap = (partition: PartitionId): boolean => !reaches || (this.#ownedSince.get(partition) ?? 0) > seq
    const gaps = reaches && this.#ownedLast <= seq ? NONE : partitions.filter(isGap)
    const told: Arrival[] = []
    let reached = seq
    let bytes = 0
    while (reached < arrivals.last && told.length < ARRIVALS_MAX && bytes < REPLY_BYTES_MAX) {
      const arrival = arrivals.at(++reached)
      if (arrival === undefined || !wanted.has(arrival.partition) || !matchesAny(filters, arrival)) continue
      told.push(arrival)
      bytes += arrival.key.length + arrival.record.length
    }
    const isAll = reached === arrivals.last
    return {
      log: arrivals.id,
      seq: reached,
      // Of what has not been told yet some may have expired, or lie below the horizon.
      expiredUntil: isAll ? this.#expiry.settledUntil(owned) : 0,
      gaps,
      strangers,
      horizons:
        isAll && wantsHorizons ? owned.map(partition => [partition, horizons.horizonOf(partition)] as const) : [],
      arrivals: told
    }
  }
}

function isSameList(a: readonly PartitionId[], b: readonly PartitionId[]): boolean {
  return a === b || (a.length === b.length && a.every((partition, i) => partition === b[i]))
}

/** Whether there is nothing to tell that cannot wait. */
function isEmpty({ arrivals, gaps, strangers }: WatchReply): boolean {
  return arrivals.length === 0 && gaps.length === 0 && strangers.length === 0
}

function notOwned(partition: PartitionId): KilovoltError {
  return new KilovoltError('KV_NOT_JOINED', `partition ${partition} is not owned here`, { retryable: true })
}

function asError(error: unknown): KilovoltError {
  return isKilovoltError(error) ? error : new KilovoltError('KV_STORAGE', messageOf(error), { cause: error })
}
