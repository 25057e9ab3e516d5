import type { PartitionId } from '../model/partition.ts'
import type { WatchFilter } from './watch-filter.ts'
import { matches } from './watch-filter.ts'
import { nameOf } from './watch-shard.ts'
import type { WatchChange, WatchPlace, WatchSubscription } from './watch-subscription.ts'

/** All watches of a node, and which of them a change is for: those of single keys are looked up, the others are asked. */
export class WatchAudience {
  readonly #byKey = new Map<string, Set<WatchSubscription>>()
  readonly #byPrefix = new Set<WatchSubscription>()
  /** How many watch each partition. */
  readonly #counts = new Map<PartitionId, number>()
  #size = 0

  get size(): number {
    return this.#size
  }

  add(subscription: WatchSubscription): void {
    const { filter, partitions } = subscription
    if (filter.isKey) {
      const name = keyName(filter)
      const set = this.#byKey.get(name)
      if (set === undefined) this.#byKey.set(name, new Set([subscription]))
      else set.add(subscription)
    } else this.#byPrefix.add(subscription)
    for (const partition of partitions) this.#counts.set(partition, (this.#counts.get(partition) ?? 0) + 1)
    this.#size++
  }

  /** False when it was not there. */
  delete(subscription: WatchSubscription): boolean {
    const { filter, partitions } = subscription
    const name = keyName(filter)
    const set = filter.isKey ? this.#byKey.get(name) : this.#byPrefix
    if (set?.delete(subscription) !== true) return false
    if (filter.isKey && set.size === 0) this.#byKey.delete(name)
    for (const partition of partitions) {
      const count = this.#counts.get(partition)! - 1
      if (count === 0) this.#counts.delete(partition)
      else this.#counts.set(partition, count)
    }
    this.#size--
    return true
  }

  /** Whether anybody watches a partition. */
  wants(partition: PartitionId): boolean {
    return this.#counts.has(partition)
  }

  *filters(): Generator<WatchFilter> {
    for (const { filter } of this.#byPrefix) yield filter
    for (const set of this.#byKey.values()) for (const { filter } of set) yield filter
  }

  /** Those that watch the key of a change. */
  *for(change: WatchChange): Generator<WatchSubscription> {
    if (this.#byKey.size > 0) yield* this.#byKey.get(nameOf(change)) ?? []
    for (const subscription of this.#byPrefix) if (matches(subscription.filter, change)) yield subscription
  }

  /** Tells everybody whom a change is for. Its bytes are kept. */
  tell(change: WatchChange, place: WatchPlace): void {
    for (const subscription of this.for(change)) subscription.offer(change, place)
  }

  /** Those that watch a partition. */
  of(partition: PartitionId): readonly WatchSubscription[] {
    return this.all().filter(({ partitions }) => partitions.includes(partition))
  }

  all(): readonly WatchSubscription[] {
    return [...this.#byPrefix, ...[...this.#byKey.values()].flatMap(set => [...set])]
  }
}

function keyName({ keyspace, prefix }: WatchFilter): string {
  return nameOf({ partition: 0, keyspace, key: prefix })
}
