import type { StoreId } from '../model/node-id.ts'
import type { Topology } from '../placement/topology.ts'

/** Whether nothing moves, every partition has its copies on nodes that live, and every member that takes a share holds one. */
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
    takers.every(({ storeId }) => holders.has(storeId))
  )
}
