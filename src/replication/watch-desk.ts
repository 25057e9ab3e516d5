import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { PlacementRules } from '../placement/rules.ts'
import type { Clock } from '../runtime/clock.ts'
import type { WatchAsk } from './watch-ask.ts'
import type { WatchAudience } from './watch-audience.ts'
import type { WatchFeed } from './watch-feed.ts'
import type { WatchFilter } from './watch-filter.ts'
import type { WatchShard } from './watch-shard.ts'
import type { WatchBook, WatchSubscription } from './watch-subscription.ts'

/** What looking for something missed needs of the node that watches. */
export interface WatchDesk {
  readonly ask: WatchAsk
  readonly audience: WatchAudience
  readonly clock: Clock
  readonly rules: PlacementRules
  /** Aborted when the node stops. */
  readonly signal: AbortSignal
  /** What all watches together want. */
  readonly filters: readonly WatchFilter[]
  readonly book: WatchBook | undefined
  shard(partition: PartitionId): WatchShard | undefined
  feed(store: StoreId): WatchFeed | undefined
  /** Something of where the node stands has changed. */
  moved(): void
  /** Tells a watch that something cannot be told. */
  reset(subscription: WatchSubscription): void
  /** The one that feeds a partition cannot be searched. Whether another owner takes over. */
  distrust(shard: WatchShard): boolean
  /** Resolves a moment later, or when the node stops: all who have to ask again wait together. */
  retry(): Promise<void>
  /** Resolves when these watches have room for more that is old, or soon. */
  room(subscriptions: Iterable<WatchSubscription>): Promise<void>
  /** Resolves when whatever arrives from now on will be told to the watch, or when that has ended. */
  covered(subscription: WatchSubscription): Promise<void>
  /** The same, counted from this call. */
  coveredAnew(subscription: WatchSubscription): Promise<void>
}
