import { copyBytes, fromHex, toHex } from '../base/bytes.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Arrival } from '../storage/arrival-log.ts'
import type { WatchAsk } from './watch-ask.ts'
import type { WatchAudience } from './watch-audience.ts'
import type { WatchFilter } from './watch-filter.ts'
import type { WatchShard } from './watch-shard.ts'
import type { WatchBook } from './watch-subscription.ts'
import type { FeedPosition } from './watch-token.ts'
import type { WatchReply } from './watch-wire.ts'

/** What a feed needs of the node that watches. */
export interface FeedOwner {
  readonly ask: WatchAsk
  readonly audience: WatchAudience
  readonly clock: Clock
  readonly generation: number
  readonly filters: readonly WatchFilter[]
  readonly book: WatchBook | undefined
  /** Raised whenever a shard's turn is, or there are others. */
  readonly turns: number
  shard(partition: number): WatchShard | undefined
  fedBy(store: StoreId): readonly WatchShard[]
  moved(isPositionOnly: boolean): void
  rewind(shard: WatchShard): void
  failed(feed: WatchFeed, error: unknown): void
}

/** How long an owner waits for something to arrive, ms: so often the past moves on where nothing happens. */
const WAIT_MS = 5000
/** Who has answered within this time is not given up for what others say of it, ms. */
const WELL_FOR_MS = WAIT_MS + 1000
/** How often the past moves on where much happens, ms. */
const HORIZONS_EVERY_MS = 5000
/** An owner that has not answered for so long is given up, when there is another one, ms. */
const FAILING_AFTER_MS = 3000
/** A failure is forgotten after this, when nobody asks the owner any more, ms. */
const FORGIVE_AFTER_MS = 15_000
const RETRY_MS = 200
const RETRY_MAX_MS = 2000
/** What is told in one turn of the event loop: those who watch take it in between. */
const TELL_MAX = 256
/** Who says that it does not own a partition is not asked for it again for so long, ms. */
const STRANGER_MS = 1000

/** What is asked for, as of some turns: mostly the same again and again. */
interface Errand {
  readonly turns: number
  /** Each with its turn. */
  readonly shards: ReadonlyMap<WatchShard, number>
  readonly partitions: readonly PartitionId[]
}

/** A request under way. */
interface Asked {
  readonly generation: number
  readonly errand: Errand
}

/** The one subscription of this node with one owner: asks, tells what comes, and asks again. */
export class WatchFeed {
  readonly store: StoreId
  readonly #owner: FeedOwner
  /** How far what has arrived there was told; `undefined` before the first answer. */
  position: FeedPosition | undefined
  #asked: Asked | undefined
  #errand: Errand | undefined
  /** The request after whose answer all shards were live, and as far as was asked for: another one like it leaves them so. */
  #calm: Asked | undefined
  /** Whether an answer is being told. */
  #isTelling = false
  #failedSinceMs: number | undefined
  #failures = 0
  #retryAtMs = 0
  #answeredMs = -Infinity
  #horizonsMs = -Infinity
  #isStopped = false

  constructor(store: StoreId, owner: FeedOwner) {
    this.store = store
    this.#owner = owner
  }

  /** Whether it has not answered for so long that another owner is better. */
  get isFailing(): boolean {
    if (this.#failedSinceMs === undefined) return false
    const forMs = this.#owner.clock.monotonicMs() - this.#failedSinceMs
    return forMs >= FAILING_AFTER_MS && (forMs < FORGIVE_AFTER_MS || this.#asked !== undefined)
  }

  /** Whether it answers as it should, whatever is said of it. */
  get isWell(): boolean {
    return this.#owner.clock.monotonicMs() - this.#answeredMs < WELL_FOR_MS && this.#failedSinceMs === undefined
  }

  /** Sees to it that it is asked for all that it is to feed. */
  refresh(): void {
    if (this.#isStopped || this.#isTelling) return
    if (this.#failedSinceMs !== undefined && this.#owner.clock.monotonicMs() < this.#retryAtMs) return
    const shards = this.#owner.fedBy(this.store)
    if (!this.#isAskedFor(shards) && shards.length > 0) this.#ask(shards)
  }

  #isAskedFor(shards: readonly WatchShard[]): boolean {
    if (this.#asked === undefined || this.#asked.generation !== this.#owner.generation) return false
    const { errand } = this.#asked
    if (errand.turns === this.#owner.turns) return true
    return errand.shards.size === shards.length && shards.every(shard => errand.shards.get(shard) === shard.turn)
  }

  stop(): void {
    this.#isStopped = true
    this.#asked = undefined
  }

  #ask(shards: readonly WatchShard[]): void {
    const { ask, clock, generation, filters, turns } = this.#owner
    if (this.#errand?.turns !== turns) {
      const partitions = shards.map(({ partition }) => partition)
      this.#errand = { turns, partitions, shards: new Map(shards.map(shard => [shard, shard.turn])) }
    }
    const asked: Asked = { generation, errand: this.#errand }
    this.#asked = asked
    // Whoever needs an answer before it is told anything gets it at once.
    const isSettled = shards.every(shard => shard.generation >= generation && shard.phase !== 'behind')
    const request = {
      position: this.position && { log: fromHex(this.position.log)!, seq: this.position.seq },
      wantsHorizons: !isSettled || clock.monotonicMs() - this.#horizonsMs >= HORIZONS_EVERY_MS,
      waitMs: isSettled ? WAIT_MS : 0,
      partitions: this.#errand.partitions,
      filters
    }
    ask.watch(this.store, request).then(
      reply => void this.#take(asked, reply),
      (error: unknown) => this.#fail(asked, error)
    )
  }

  #fail(asked: Asked, error: unknown): void {
    if (this.#asked !== asked || this.#isStopped) return
    this.#asked = undefined
    const nowMs = this.#owner.clock.monotonicMs()
    this.#failedSinceMs ??= nowMs
    this.#failures++
    this.#retryAtMs = nowMs + Math.min(RETRY_MAX_MS, RETRY_MS * this.#failures)
    this.#owner.failed(this, error)
  }

  async #take(asked: Asked, reply: WatchReply): Promise<void> {
    if (this.#asked !== asked || this.#isStopped) return
    this.#failedSinceMs = undefined
    this.#failures = 0
    this.#answeredMs = this.#owner.clock.monotonicMs()
    this.#isTelling = true
    await this.#tell(reply.arrivals)
    this.#isTelling = false
    this.#asked = undefined
    if (this.#isStopped) return
    this.position = { store: this.store, log: toHex(reply.log), seq: reply.seq }
    this.#owner.moved(!this.#settle(asked, reply))
    this.refresh()
  }

  async #tell(arrivals: readonly Arrival[]): Promise<void> {
    for (let at = 0; at < arrivals.length && !this.#isStopped; at += TELL_MAX) {
      if (at > 0) await new Promise<void>(resolve => this.#owner.clock.soon(resolve))
      const { book } = this.#owner
      if (book === undefined) return
      for (const arrival of arrivals.slice(at, at + TELL_MAX)) this.#tellOne(arrival, book)
    }
  }

  #tellOne(arrival: Arrival, book: WatchBook): void {
    const { seq, partition, record, expired } = arrival
    const shard = this.#owner.shard(partition)
    // What came before this owner took over is searched for next. Some of it was told, and forgotten as all is settled.
    if (shard === undefined || (shard.phase === 'behind' && shard.source === this.store)) return
    if (!shard.isNews(arrival, record, expired)) return
    this.#owner.audience.tell(owned(arrival), { book, feed: this.position, seq })
  }

  /** Whether anything was to be settled. */
  #settle(asked: Asked, { gaps, strangers, horizons, expiredUntil }: WatchReply): boolean {
    const nowMs = this.#owner.clock.monotonicMs()
    if (horizons.length > 0) this.#horizonsMs = nowMs
    const isCalm = gaps.length + strangers.length === 0 && this.#isCalm(asked)
    if (!isCalm) {
      this.#settleShards(asked, new Set(gaps), new Set(strangers), nowMs)
      const isAllLive = [...asked.errand.shards.keys()].every(({ phase }) => phase === 'live')
      this.#calm = isAllLive && asked.errand.turns === this.#owner.turns ? asked : undefined
    }
    for (const [partition, horizon] of horizons) {
      const shard = this.#owner.shard(partition)
      if (shard?.source === this.store && shard.phase === 'live') shard.settle(horizon, expiredUntil)
    }
    return !isCalm || horizons.length > 0
  }

  /** Whether nothing has changed since all was well: a shard that is live stays so until its turn is over. */
  #isCalm({ generation, errand }: Asked): boolean {
    return this.#calm?.generation === generation && this.#calm.errand === errand && errand.turns === this.#owner.turns
  }

  #settleShards(
    { generation, errand }: Asked,
    isGap: ReadonlySet<PartitionId>,
    isStranger: ReadonlySet<PartitionId>,
    nowMs: number
  ): void {
    for (const [shard, turn] of errand.shards) {
      // Somebody else feeds it meanwhile, or nobody is to any more.
      if (shard.source !== this.store || shard.turn !== turn) continue
      if (isStranger.has(shard.partition)) {
        shard.dismiss(nowMs, STRANGER_MS)
        continue
      }
      shard.generation = generation
      if (shard.phase === 'fresh') shard.phase = 'live'
      else if (shard.phase === 'behind' || isGap.has(shard.partition)) this.#owner.rewind(shard)
    }
  }
}

/** With bytes of its own: those of an answer would keep all of it as long as one change waits to be read. */
function owned(arrival: Arrival): Arrival {
  const { keyspace, key, record, previous } = arrival
  return {
    ...arrival,
    keyspace: copyBytes(keyspace),
    key: copyBytes(key),
    record: copyBytes(record),
    previous: previous && copyBytes(previous)
  }
}
