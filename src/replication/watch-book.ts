import type { ClusterId, StoreId } from '../model/node-id.ts'
import type { WatchBook } from './watch-subscription.ts'
import type { FeedPosition, Reached } from './watch-token.ts'

/** Where a node stands in a partition, but for how far the store that feeds it was told. */
export interface Standpoint extends Omit<Reached, 'feed'> {
  /** Who feeds it, when all is well. */
  readonly source: StoreId | undefined
}

/** Where feeds stand at a moment. There is a book for each answer, and seldom one that anybody looks into. */
export class FeedBook implements WatchBook {
  readonly clusterId: ClusterId
  readonly #standings: readonly (Standpoint | undefined)[]
  readonly #positions = new Map<StoreId, FeedPosition>()
  #reached: readonly (Reached | undefined)[] | undefined

  /** @param standings - by partition; never changed */
  constructor(
    clusterId: ClusterId,
    standings: readonly (Standpoint | undefined)[],
    feeds: Iterable<{ readonly store: StoreId; readonly position: FeedPosition | undefined }>
  ) {
    this.clusterId = clusterId
    this.#standings = standings
    for (const { store, position } of feeds) if (position !== undefined) this.#positions.set(store, position)
  }

  get reached(): readonly (Reached | undefined)[] {
    return (this.#reached ??= this.#standings.map(
      standing =>
        standing && {
          feed: standing.source === undefined ? undefined : this.#positions.get(standing.source),
          low: standing.low,
          expiredUntil: standing.expiredUntil
        }
    ))
  }
}
