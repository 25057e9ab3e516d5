import type { ClusterId, StoreId } from '../model/node-id.ts'
import { claim } from '../placement/claim.ts'
import type { View } from '../model/view.ts'
import { isTaker, type Topology } from '../placement/topology.ts'

/**
 * Whether nothing moves or is to move, every partition has its copies on nodes that live, and every member that takes a share
 * holds it. Rows move in waves: between two of them nothing is under way, and yet there are shares to be handed over, which the
 * claim tells as it does to the leader.
 */
export function isSettled(topology: Topology | undefined, isAlive: (store: StoreId) => boolean = () => true): boolean {
  return whatIsLeft(topology, isAlive) === undefined
}

/** Why a cluster is not settled, for people to read; `undefined` when it is. */
export function whatIsLeft(
  topology: Topology | undefined,
  isAlive: (store: StoreId) => boolean,
  view: View = new Map()
): string | undefined {
  if (topology === undefined) return 'this node does not know the cluster yet'
  const { rows, members, replicas } = topology
  // First what is seldom true while anything is under way: this is asked at each change of the topology and the members.
  const changing = rows.filter(({ change }) => change !== undefined).length
  if (changing > 0) return `${changing} of ${rows.length} partitions move`
  const takers = [...members.values()].filter(isTaker)
  if (takers.length === 0) return 'no member takes data'
  const copies = Math.min(replicas, takers.length)
  const short = rows.filter(({ slots }) => slots.length < copies).length
  if (short > 0) return `${short} of ${rows.length} partitions have fewer than ${copies} copies`
  const holders = new Set(rows.flatMap(({ slots }) => slots))
  const dead = [...holders].filter(store => !isAlive(store))
  if (dead.length > 0) return `${nameAll(dead)} ${dead.length === 1 ? 'is' : 'are'} not there, and may come back`
  const empty = takers.filter(({ storeId }) => !holders.has(storeId)).map(({ storeId }) => storeId)
  if (empty.length > 0) return `${nameAll(empty)} ${empty.length === 1 ? 'has' : 'have'} no data yet`
  const coming = joining(view, topology)
  if (coming.length > 0) return `${nameAll(coming)} ${coming.length === 1 ? 'is' : 'are'} on the way in`
  return isAsClaimed(topology, holders) ? undefined : 'shares are still to be handed over'
}

/** Stores as people are told of them. */
export function nameAll(stores: readonly StoreId[]): string {
  return stores.map(store => store.slice(0, 8)).join(', ')
}

/**
 * Who lives and is on the way into this cluster, as gossip has it: whoever has none yet, and whoever says it is a member while
 * this node's log does not. The leader gives them shares as soon as they are in; until then the log alone looks complete.
 */
export function joining(view: View, topology: Topology | undefined): StoreId[] {
  if (topology === undefined) return []
  const isOurs = (clusterId: ClusterId | undefined): boolean =>
    clusterId === undefined || clusterId === topology.clusterId
  return [...view.values()]
    .filter(
      ({ storeId, status, clusterId }) => status === 'alive' && isOurs(clusterId) && !topology.members.has(storeId)
    )
    .map(({ storeId }) => storeId)
}

function isAsClaimed({ rows, members, replicas }: Topology, holders: ReadonlySet<StoreId>): boolean {
  const current = rows.map(({ slots }) => slots)
  // The place of a member that is down is kept for it, until it is evicted.
  const claimants = [...members.values()].filter(
    ({ storeId, status }) => status === 'up' || (status === 'down' && holders.has(storeId))
  )
  const target = claim({ current, members: claimants, partitions: rows.length, replicas })
  return current.every((slots, partition) => slots.join() === target[partition]!.join())
}
