import type { ClusterId, StoreId } from '../model/node-id.ts'
import { claim } from '../placement/claim.ts'
import type { View } from '../model/view.ts'
import type { Topology } from '../placement/topology.ts'

/**
 * Whether nothing moves or is to move, every partition has its copies on nodes that live, and every member that takes a share
 * holds it. Rows move in waves: between two of them nothing is under way, and yet there are shares to be handed over, which the
 * claim tells as it does to the leader.
 */
export function isSettled(topology: Topology | undefined, isAlive: (store: StoreId) => boolean = () => true): boolean {
  if (topology === undefined) return false
  // First what is seldom true while anything is under way: this is asked at each change of the topology and the members.
  if (topology.rows.some(({ change }) => change !== undefined)) return false
  const takers = [...topology.members.values()].filter(({ status, weight }) => status === 'up' && weight > 0)
  const copies = Math.min(topology.replicas, takers.length)
  const holders = new Set(topology.rows.flatMap(({ slots }) => slots))
  return (
    takers.length > 0 &&
    topology.rows.every(({ slots }) => slots.length >= copies && slots.every(isAlive)) &&
    takers.every(({ storeId }) => holders.has(storeId)) &&
    isAsClaimed(topology, holders)
  )
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
