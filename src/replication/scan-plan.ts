import type { PeerId, StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { neededOf, type Requirement } from '../model/quorum.ts'
import type { Route, Routes } from './routes.ts'

/** What a node is asked for. */
export interface Assignment {
  readonly store: StoreId
  /** `undefined` for this node. */
  readonly peer: PeerId | undefined
  readonly whole: PartitionId[]
  readonly heads: PartitionId[]
}

/** What the plan of a page goes by. */
export interface PlanOptions {
  /** Who scans. */
  readonly self: StoreId
  readonly routes: Routes
  readonly requirement: Requirement
  readonly partitions: readonly PartitionId[]
  /** Whether values are wanted: of each partition one replica sends them, the others their stamps. */
  readonly wantsValues: boolean
  /** Who has answered for a partition already. */
  readonly heard: (partition: PartitionId) => readonly StoreId[]
  /** Whether one of them has sent the values. */
  readonly hasWhole: (partition: PartitionId) => boolean
  readonly isUsable: (store: StoreId, partition: PartitionId) => boolean
  /** Whether few nodes are to be asked, oneself before others, and not all to share the work. Default false. */
  readonly isFew?: boolean
}

/** Whom a page asks for what. */
export interface Plan {
  readonly assignments: readonly Assignment[]
  /** A partition of which too few replicas can be asked, if there is one: nobody is asked then. */
  readonly unreachable: PartitionId | undefined
}

/** What a replica has to do for a whole record and for a head, relative to each other. */
const WHOLE_COST = 3
const HEAD_COST = 2
/** What whoever scans has to do for each key besides: decode, merge, and hand out. */
const MERGE_COST = 1

/**
 * Spreads the partitions of a scan over the nodes: of each as many replicas as its level needs, the least busy first, so that
 * all share the work. Pure.
 */
export function planScan(options: PlanOptions): Plan {
  const { routes, requirement, partitions, wantsValues } = options
  const loads = new Map<StoreId, number>()
  const assignments = new Map<StoreId, Assignment>()
  if (!options.isFew) loads.set(options.self, partitions.length * MERGE_COST)
  for (const partition of partitions) {
    const route = routes.of(partition, requirement === 'one')
    const chosen = choose(route, partition, loads, options)
    if (chosen === undefined) return { assignments: [], unreachable: partition }
    let isWhole = wantsValues && !options.hasWhole(partition)
    for (const store of chosen) {
      let assignment = assignments.get(store)
      if (assignment === undefined) {
        const peer = route.peers[route.replicas.indexOf(store)]
        assignments.set(store, (assignment = { store, peer, whole: [], heads: [] }))
      }
      ;(isWhole ? assignment.whole : assignment.heads).push(partition)
      loads.set(store, (loads.get(store) ?? 0) + (isWhole ? WHOLE_COST : HEAD_COST))
      isWhole = false
    }
  }
  return { assignments: [...assignments.values()], unreachable: undefined }
}

/** The replicas that are still to be asked, the least busy first; `undefined` when there are too few. */
function choose(
  route: Route,
  partition: PartitionId,
  loads: ReadonlyMap<StoreId, number>,
  { requirement, heard, isUsable, isFew = false }: PlanOptions
): readonly StoreId[] | undefined {
  const known = heard(partition)
  const sets = requirement === 'one' ? route.sets.slice(0, 1) : route.sets
  // Without closures: of each page this is done for every partition.
  const lacking: number[] = []
  for (const set of sets) lacking.push(neededOf(set.length, requirement) - countIn(set, known))
  const chosen: StoreId[] = []
  for (let i = 0; i < sets.length;) {
    if (lacking[i]! <= 0) {
      i++
      continue
    }
    let best: StoreId | undefined
    let bestRank = Infinity
    for (const store of route.replicas) {
      if (known.includes(store) || chosen.includes(store) || !isUsable(store, partition)) continue
      // Who counts in several sets spares another one.
      let counts = 0
      for (let k = i; k < sets.length; k++) if (lacking[k]! > 0 && sets[k]!.includes(store)) counts++
      const load = loads.get(store)
      const rank = (isFew ? (load === undefined ? 1 : 0) : (load ?? 0)) - counts * SEVERAL
      if (counts > 0 && rank < bestRank) {
        best = store
        bestRank = rank
      }
    }
    if (best === undefined) return undefined
    chosen.push(best)
    for (let k = i; k < sets.length; k++) if (sets[k]!.includes(best)) lacking[k]!--
  }
  return chosen
}

function countIn(set: readonly StoreId[], stores: readonly StoreId[]): number {
  let count = 0
  for (const store of set) if (stores.includes(store)) count++
  return count
}

/** More than any load. */
const SEVERAL = 1e9
