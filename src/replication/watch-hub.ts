import { KilovoltError } from '../base/errors.ts'
import { createDeferred, type Deferred } from '../base/deferred.ts'
import { hlcFromMs } from '../model/hlc.ts'
import type { ClusterId, StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { PlacementRules } from '../placement/rules.ts'
import { rowOf, type Topology } from '../placement/topology.ts'
import { type Clock, pause, type Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Transport } from '../transport/transport.ts'
import { WatchAsk } from './watch-ask.ts'
import { WatchAudience } from './watch-audience.ts'
import type { WatchDesk } from './watch-desk.ts'
import { type FeedOwner, WatchFeed } from './watch-feed.ts'
import { unite, type WatchFilter } from './watch-filter.ts'
import { resumeWatch } from './watch-resume.ts'
import { rewindShard } from './watch-rewind.ts'
import { WatchRooms } from './watch-rooms.ts'
import { WatchSettling } from './watch-settling.ts'
import { groupBySource, type ShardsShared, START_SLACK_MS, WatchShard } from './watch-shard.ts'
import type { WatchSource } from './watch-source.ts'
import { FeedBook, type Standpoint } from './watch-book.ts'
import { type WatchBook, type WatchListener, WatchSubscription } from './watch-subscription.ts'
import type { Reached, Standing } from './watch-token.ts'

/** What watching needs. */
export interface WatchHubDeps {
  readonly self: StoreId
  readonly transport: Transport
  readonly source: WatchSource
  readonly clock: Clock
  readonly logger: Logger
  readonly rules: PlacementRules
  readonly topology: () => Topology | undefined
  readonly isAlive: (store: StoreId) => boolean
  /** How often copies are compared, ms. */
  readonly repairIntervalMs: number
}

/** Versions that a node remembers to have told, over all partitions; some 150 bytes each. */
const TOLD_MAX = 131_072
/** How often it is looked whether each partition has somebody who feeds it, ms; at other times it is looked at once. */
const ARRANGE_EVERY_MS = 250
/** Watches of one node. */
export const WATCHES_MAX = 10_000
/** Who could not be searched for what was missed feeds a partition only where nobody else does for so long, ms. */
const DISTRUST_MS = 30_000
/** What could not be had is asked for again after this time or less, ms. */
const RETRY_MS = 200

/**
 * The watching side: all watches of a node share one subscription with each owner that they need, and one owner feeds each
 * partition. When the one that feeds a partition fails, or does not own it any more, another one takes over. What that one
 * has and the former one never had is found by a *rewind* (rule W2): it is searched for records that are stamped later than
 * the past that all owners are known to have had (the low-water mark, which follows the horizon), and what was told already is
 * left out. Where more may be missing than a rewind can find, the watches are told so: *reset*.
 *
 * Promised to each watch: versions of a key strictly increase; the last one always comes; none comes twice. Versions between
 * may be left out.
 */
export class WatchHub implements FeedOwner, WatchDesk {
  readonly ask: WatchAsk
  readonly audience: WatchAudience = new WatchAudience()
  readonly #deps: WatchHubDeps
  readonly #shards = new Map<PartitionId, WatchShard>()
  readonly #feeds = new Map<StoreId, WatchFeed>()
  readonly #shared: ShardsShared = { left: TOLD_MAX, turns: 0 }
  readonly #abort = new AbortController()
  readonly #rooms: WatchRooms
  /** Those who wait until all they need was asked for. */
  readonly #waiting = new Map<WatchSubscription, Deferred<void>>()
  readonly #settling: WatchSettling
  /** What each store feeds, as of some turns. */
  #fed: { readonly turns: number; readonly by: ReadonlyMap<StoreId, readonly WatchShard[]> } = {
    turns: -1,
    by: new Map()
  }
  #generation = 1
  #clusterId: ClusterId | undefined
  #book: WatchBook | undefined
  /** What of it does not change with each answer. */
  #standings: readonly (Standpoint | undefined)[] | undefined
  #filters: readonly WatchFilter[] | undefined
  #timer: Timer | undefined
  #retrying: Promise<void> | undefined
  #isArranging = false

  constructor(deps: WatchHubDeps) {
    this.#deps = deps
    this.ask = new WatchAsk(deps)
    this.#rooms = new WatchRooms(deps.clock)
    this.#settling = new WatchSettling({
      clock: deps.clock,
      repairIntervalMs: deps.repairIntervalMs,
      isComplete: () => this.#isComplete,
      shard: partition => this.#shards.get(partition)
    })
  }

  get clock(): Clock {
    return this.#deps.clock
  }

  get rules(): PlacementRules {
    return this.#deps.rules
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  retry(): Promise<void> {
    // One timer for all partitions of an owner that is gone.
    this.#retrying ??= pause(this.clock, RETRY_MS, this.#abort.signal).finally(() => {
      this.#retrying = undefined
    })
    return this.#retrying
  }

  get generation(): number {
    return this.#generation
  }

  /** What all watches of this node together want. */
  get filters(): readonly WatchFilter[] {
    return (this.#filters ??= unite(this.audience.filters()))
  }

  /** Number of watches. */
  get size(): number {
    return this.audience.size
  }

  /** Owners that feed this node now. */
  get feeds(): readonly StoreId[] {
    return [...this.#feeds.keys()]
  }

  /**
   * Begins a watch.
   *
   * @param since - where an earlier one stood; default: from now on
   * @throws KilovoltError `KV_NODE_STOPPED`, `KV_OVERLOADED`
   */
  add(
    filter: WatchFilter,
    partitions: readonly PartitionId[],
    since: Standing | undefined,
    listener: WatchListener
  ): WatchSubscription {
    if (this.#abort.signal.aborted) throw new KilovoltError('KV_NODE_STOPPED', 'the node stops')
    if (this.audience.size >= WATCHES_MAX)
      throw new KilovoltError('KV_OVERLOADED', `a node has up to ${WATCHES_MAX} watches`, { retryable: true })
    const nowMs = this.#deps.clock.wallMs()
    const low = hlcFromMs(nowMs - START_SLACK_MS)
    const subscription = new WatchSubscription(filter, partitions, low, listener)
    for (const partition of partitions) {
      if (this.#shards.has(partition)) continue
      const shard = new WatchShard(partition, nowMs, this.#shared)
      // Whoever has fed the earlier watch may know yet where that one stood.
      shard.source = since?.partitions.get(partition)?.feed?.store
      this.#shards.set(partition, shard)
      this.#shared.turns++
    }
    this.audience.add(subscription)
    this.#filters = undefined
    if (since !== undefined) this.#resume(subscription, since)
    this.#ask(subscription)
    return subscription
  }

  /** Ends a watch. */
  remove(subscription: WatchSubscription): void {
    subscription.close()
    if (!this.audience.delete(subscription)) return
    this.#waiting.get(subscription)?.resolve()
    this.#waiting.delete(subscription)
    this.#settling.forget(subscription)
    this.#filters = undefined
    for (const partition of subscription.partitions) {
      if (this.audience.wants(partition)) continue
      this.#shards.get(partition)?.close()
      this.#shards.delete(partition)
    }
    this.#arrangeSoon()
  }

  /** Resolves when whatever arrives from now on will be told to the watch, or when that has ended. */
  covered(subscription: WatchSubscription): Promise<void> {
    if (subscription.isClosed) return Promise.resolve()
    let waiting = this.#waiting.get(subscription)
    if (waiting === undefined) this.#waiting.set(subscription, (waiting = createDeferred()))
    return waiting.promise
  }

  /** As {@link WatchHub.covered}, counted from this call. */
  coveredAnew(subscription: WatchSubscription): Promise<void> {
    this.#ask(subscription)
    return this.covered(subscription)
  }

  /** Tells a watch that something cannot be told, now, and once the copies agree; see {@link WatchSettling}. */
  reset(subscription: WatchSubscription): void {
    this.#settling.reset(subscription)
  }

  /** Where this node stands; nothing until it is a member. */
  get book(): WatchBook | undefined {
    if (this.#clusterId === undefined) return undefined
    this.#standings ??= this.#stand()
    return (this.#book ??= new FeedBook(this.#clusterId, this.#standings, this.#feeds.values()))
  }

  /** Resolves when these watches have room for more that is old, or soon. */
  room(subscriptions: Iterable<WatchSubscription>): Promise<void> {
    return this.#rooms.wait(subscriptions)
  }

  shard(partition: PartitionId): WatchShard | undefined {
    return this.#shards.get(partition)
  }

  feed(store: StoreId): WatchFeed | undefined {
    return this.#feeds.get(store)
  }

  get turns(): number {
    return this.#shared.turns
  }

  /** The partitions that a store feeds, in rising order. */
  fedBy(store: StoreId): readonly WatchShard[] {
    const { turns } = this.#shared
    if (this.#fed.turns !== turns) this.#fed = { turns, by: groupBySource(this.#shards.values()) }
    return this.#fed.by.get(store) ?? []
  }

  /** Something of where this node stands has changed; by default more than how far a feed was told. */
  moved(isPositionOnly = false): void {
    if (isPositionOnly) this.#book = undefined
    else this.#closeBook()
    for (const [subscription, waiting] of this.#waiting) {
      const { partitions, generation } = subscription
      if (!partitions.every(partition => (this.#shards.get(partition)?.generation ?? 0) >= generation)) continue
      this.#waiting.delete(subscription)
      waiting.resolve()
    }
  }

  /** Another store feeds the partition from here on: what that one never had is looked for. */
  rewind(shard: WatchShard): void {
    void rewindShard(this, shard)
  }

  /** The one that feeds a partition cannot be searched: it counts as none of its owners for a while, if there is another. */
  distrust(shard: WatchShard): boolean {
    const topology = this.#deps.topology()
    if (topology === undefined || shard.source === undefined) return false
    const { source } = shard
    if (!rowOf(topology, shard.partition).slots.some(store => store !== source && this.#isGood(shard, store)))
      return false
    shard.dismiss(this.clock.monotonicMs(), DISTRUST_MS)
    this.#closeBook()
    this.#arrangeSoon()
    return true
  }

  /** Something calls for another look at who feeds what. */
  failed(feed: WatchFeed, error: unknown): void {
    this.#deps.logger.debug('an owner does not tell what arrives', { store: feed.store, error })
    this.#arrangeSoon()
  }

  topologyChanged(): void {
    if (this.audience.size > 0) this.#arrangeSoon()
  }

  /** Ends everything; watches learn of it from their node. */
  stop(): void {
    this.#abort.abort()
    this.#rooms.stop()
    this.#timer?.cancel()
    for (const feed of this.#feeds.values()) feed.stop()
    for (const waiting of this.#waiting.values()) waiting.resolve()
    this.#waiting.clear()
  }

  #ask(subscription: WatchSubscription): void {
    subscription.generation = ++this.#generation
    this.#closeBook()
    this.#arrangeSoon()
  }

  #resume(subscription: WatchSubscription, since: Standing): void {
    const behind = new Map<PartitionId, Reached>()
    for (const partition of subscription.partitions) {
      const reached = since.partitions.get(partition)
      if (reached !== undefined) behind.set(partition, reached)
    }
    subscription.takeUp(behind)
    this.#settling.resumed(subscription)
    void resumeWatch(this, subscription, since)
  }

  /** Once for all that changes in a turn of the event loop. */
  #arrangeSoon(): void {
    if (this.#isArranging || this.#abort.signal.aborted) return
    this.#isArranging = true
    this.#deps.clock.soon(() => {
      this.#isArranging = false
      this.#arrange()
    })
  }

  #arrange(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#abort.signal.aborted) return
    const topology = this.#deps.topology()
    if (topology !== undefined) this.#assign(topology)
    for (const feed of this.#feeds.values()) {
      if (this.fedBy(feed.store).length > 0) feed.refresh()
      else if (!feed.isFailing) {
        feed.stop()
        this.#feeds.delete(feed.store)
      }
    }
    this.#settling.look()
    if (this.audience.size === 0) return this.#rest()
    this.#timer = this.#deps.clock.after(ARRANGE_EVERY_MS, () => this.#arrange())
  }

  /** Nobody watches any more. */
  #rest(): void {
    for (const feed of this.#feeds.values()) feed.stop()
    this.#feeds.clear()
  }

  #assign(topology: Topology): void {
    if (this.#clusterId !== topology.clusterId) this.#begin(topology.clusterId)
    for (const shard of this.#shards.values()) {
      const { slots } = rowOf(topology, shard.partition)
      const source = this.#sourceFor(shard, slots)
      if (source !== undefined && !this.#feeds.has(source)) this.#feeds.set(source, new WatchFeed(source, this))
      if (source === shard.source && shard.isAssigned) continue
      shard.assign(source)
      this.#closeBook()
    }
  }

  /** The one that feeds it goes on as long as it can: to change costs a rewind. */
  #sourceFor(shard: WatchShard, slots: readonly StoreId[]): StoreId | undefined {
    const { self } = this.#deps
    const { source } = shard
    const isGood = (store: StoreId): boolean => slots.includes(store) && this.#isGood(shard, store)
    if (source !== undefined && isGood(source)) return source
    const other = isGood(self) ? self : slots.find(isGood)
    return other ?? (source !== undefined && slots.includes(source) ? source : slots[0])
  }

  /** Whether nobody is away who may bring something back. */
  get #isComplete(): boolean {
    const { topology, isAlive, self } = this.#deps
    const members = [...(topology()?.members.keys() ?? [])]
    return members.every(store => store === self || isAlive(store))
  }

  /** Whether an owner of a partition can feed it, as far as is known. */
  #isGood(shard: WatchShard, store: StoreId): boolean {
    const { self, isAlive, clock } = this.#deps
    if (shard.isDismissed(store, clock.monotonicMs())) return false
    const feed = this.#feeds.get(store)
    return (store === self || isAlive(store) || feed?.isWell === true) && feed?.isFailing !== true
  }

  /** The node is a member of another cluster, in which all that was told means nothing. */
  #begin(clusterId: ClusterId): void {
    const isAnother = this.#clusterId !== undefined
    this.#clusterId = clusterId
    this.#closeBook()
    if (!isAnother) return
    this.#rest()
    for (const shard of this.#shards.values()) shard.begin(this.#deps.clock.wallMs())
    for (const subscription of this.audience.all()) this.reset(subscription)
  }

  #stand(): readonly (Standpoint | undefined)[] {
    const standings: (Standpoint | undefined)[] = []
    for (const { partition, source, phase, low, expiredUntil } of this.#shards.values())
      standings[partition] = { source: phase === 'live' ? source : undefined, low, expiredUntil }
    return standings
  }

  #closeBook(): void {
    this.#book = this.#standings = undefined
  }
}
