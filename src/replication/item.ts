import { type Requirement, neededOf } from '../model/quorum.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { RecordKey } from '../storage/record-store.ts'
import type { Waiter } from './gather.ts'
import type { Route } from './routes.ts'

/** `running`; `done`: has its result; `failed`: has its error; `alone`: goes on by itself, outside of the bundle. */
export type ItemState = 'running' | 'done' | 'failed' | 'alone'

/**
 * One operation of a bundle, while it is under way. It is its own place and, as the kinds of bundles have it, its own request:
 * everything that is made for each operation costs time twice, once to make and once to collect.
 */
export abstract class Item<Result> implements RecordKey {
  readonly partition: PartitionId
  readonly keyspace: Uint8Array
  readonly key: Uint8Array
  /** Who waits for it, and its number there. */
  readonly waiter: Waiter<Result>
  readonly index: number
  state: ItemState = 'running'
  /** Its row, once it is asked for. */
  route: Route | undefined
  /** Answers needed, answers had, and replicas that may still answer. */
  needed = 0
  had = 0
  left = 0
  /**
   * Replicas that are to be asked or need not be, that were asked and may have done it, that have, and that have not: a bit
   * each, by their place in the route.
   */
  tried = 0
  asked = 0
  agreed = 0
  missed = 0

  constructor({ partition, keyspace, key }: RecordKey, waiter: Waiter<Result>, index: number) {
    this.partition = partition
    this.keyspace = keyspace
    this.key = key
    this.waiter = waiter
    this.index = index
  }

  /** Takes the row as it is now. */
  begin(route: Route, requirement: Requirement): void {
    this.route = route
    this.needed = neededOf(route.sets[0]?.length ?? 0, requirement)
    this.left = route.replicas.length
    this.tried = route.locals
  }

  /** Place of a replica in the route. */
  placeOf(store: StoreId): number {
    return this.route!.replicas.indexOf(store)
  }

  /** A replica has not answered, and will not. */
  miss(at: number): void {
    this.missed |= 1 << at
    this.left--
  }

  /** Adds those that were asked and may still answer. */
  addPending(stores: Set<StoreId>): void {
    const pending = this.asked & ~this.agreed & ~this.missed
    for (let at = 0; pending >> at > 0; at++) if (((pending >> at) & 1) === 1) stores.add(this.route!.replicas[at]!)
  }

  /** Whether it is out of reach of those that may still answer. */
  get isOutOfReach(): boolean {
    return this.left < this.needed
  }

  /** How a replica has fared, for people to read. */
  answerOf(at: number): string {
    const isOf = (bits: number): boolean => ((bits >> at) & 1) === 1
    return isOf(this.agreed) ? 'ok' : isOf(this.missed) ? 'failed' : isOf(this.asked) ? 'pending' : 'unasked'
  }
}
