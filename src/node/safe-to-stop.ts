import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { majority } from '../placement/rules.ts'
import { isRowReplica, type Topology, type TopologyMember } from '../placement/topology.ts'
import { ANY_OWNER, type HintStore } from '../storage/hint-store.ts'

/** Whether a node may be stopped now, and if not, why. */
export interface StopAdvice {
  /** Whether the others would go on serving every partition at `quorum`, and nothing acknowledged would be lost. */
  readonly safe: boolean
  /** What speaks against it, for people to read; empty when it is safe. */
  readonly reasons: readonly string[]
}

/** What the advice depends on. */
export interface StopInput {
  readonly self: StoreId
  readonly topology: Topology | undefined
  readonly isAlive: (store: StoreId) => boolean
  /** What is kept here for others. */
  readonly hints: Pick<HintStore, 'targets' | 'countOf'>
  /** Partitions of which it holds something that it does not own. */
  readonly strays: ReadonlySet<PartitionId> | undefined
}

/** The advice of one node, judged from what it knows. */
export function adviseStop({ self, topology, isAlive, hints, strays }: StopInput): StopAdvice {
  const counts = { changing: 0, only: 0, withoutQuorum: 0 }
  for (const row of topology?.rows ?? []) {
    if (!isRowReplica(row, self)) continue
    const living = row.slots.filter(store => store !== self && isAlive(store)).length
    if (row.change !== undefined) counts.changing++
    else if (row.slots.length === 1) counts.only++
    else if (living < majority(row.slots.length)) counts.withoutQuorum++
  }
  // Of a member the owners have all that was acknowledged; who comes from another cluster brings it along.
  const status = topology?.members.get(self)?.status
  const brought = topology !== undefined && (status ?? 'arriving') === 'arriving' ? (strays?.size ?? 0) : 0
  const sole = hints.countOf(ANY_OWNER)
  // Who is dead is counted above. Who lives gets its own within a second or two; until then this may be the only copy of some.
  const missed = hints.targets
    .filter(target => target !== ANY_OWNER && isAlive(target))
    .reduce((sum, target) => sum + hints.countOf(target), 0)
  const awaiting = awaitedBy({ self, topology, isAlive })
  const reasons = [
    counts.only > 0 && `it has the only copy of ${counts.only} partitions`,
    counts.withoutQuorum > 0 && `${counts.withoutQuorum} partitions would be without a quorum`,
    counts.changing > 0 && `${counts.changing} partitions are moving to or from it`,
    awaiting > 0 && `only it is there for ${awaiting} nodes that are expected from another cluster`,
    brought > 0 && `it brings ${brought} partitions along, which their owners have not got yet`,
    sole > 0 && `it keeps ${sole} records that no owner has`,
    missed > 0 && `it keeps ${missed} records that owners have missed, and are about to get`
  ].filter(reason => reason !== false)
  return { safe: reasons.length === 0, reasons }
}

/** How many nodes of another cluster are expected that find nobody when this one has stopped. */
function awaitedBy({ self, topology, isAlive }: Pick<StopInput, 'self' | 'topology' | 'isAlive'>): number {
  const members = [...(topology?.members.values() ?? [])]
  const isArriving = ({ status }: TopologyMember): boolean => status === 'arriving'
  const isHere = members.some(member => member.storeId === self && !isArriving(member))
  const isLast = members.every(({ storeId, status }) => storeId === self || status !== 'up' || !isAlive(storeId))
  return isHere && isLast ? members.filter(isArriving).length : 0
}
