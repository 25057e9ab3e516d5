import type { AbortOptions } from '../base/abort.ts'
import type { StoreId } from '../model/node-id.ts'
import { majority } from '../placement/rules.ts'
import { isTaker, type Row } from '../placement/topology.ts'
import type { NodeCore } from './node-core.ts'
import { joining } from './settled.ts'
import { waitFor, type Waitable } from './wait-for.ts'

/** How long a node that starts waits for links with the others, ms: who is not there by then may be gone. */
const REACH_MS = 2000
/**
 * How long a node waits for the second copies of a cluster that has one of each partition, ms. Three nodes that start
 * together have them after one second; where there is much to copy, or requests come meanwhile, it takes longer.
 */
const SECOND_COPIES_MS = 5000
/** What is acknowledged at `quorum` outlives a node when there are so many copies. */
const ENOUGH_COPIES = 2

/** What it takes to know whom this node can ask, and how many copies there are. */
export type Reachable = Waitable &
  Pick<NodeCore, 'storeId'> & {
    readonly cluster: Pick<NodeCore['cluster'], 'topology'>
    readonly membership: Pick<NodeCore['membership'], 'statusOf' | 'view'>
    readonly transport: Pick<NodeCore['transport'], 'isLinked'>
  }

/**
 * Resolves when an app can use this node, or cannot be made to wait any longer, is stopped, or the signal is aborted; never
 * rejects. That is when two things hold.
 *
 * It is linked with a majority of the owners of every row, so that what is asked of it finds somebody. A node that comes back
 * knows its cluster from its store, and is a member before it has linked with anybody.
 *
 * And what is acknowledged at `quorum` is on two nodes, if two are there. A cluster begins with one that owns everything: what
 * that one had acknowledged before the others have taken their shares would die with it. A cluster that stands has more
 * copies, and is not waited for.
 */
export async function untilUsable(core: Reachable, { signal }: AbortOptions = {}): Promise<void> {
  const end = await waitFor(core, () => isReaching(core), REACH_MS, signal)
  if (end === 'met' || end === 'late') await waitFor(core, () => hasSecondCopies(core), SECOND_COPIES_MS, signal)
}

function isReaching({ storeId, cluster: { topology }, transport }: Reachable): boolean {
  const isReached = ({ slots }: Row): boolean => {
    const reached = slots.filter(store => {
      const peer = topology?.members.get(store)?.peerId
      return store === storeId || (peer !== undefined && transport.isLinked(peer))
    })
    return slots.length === 0 || reached.length >= majority(slots.length)
  }
  return topology?.rows.every(isReached) ?? true
}

function hasSecondCopies({ storeId, cluster: { topology }, membership }: Reachable): boolean {
  if (topology === undefined || topology.replicas < ENOUGH_COPIES) return true
  const isHere = (store: StoreId): boolean => store === storeId || membership.statusOf(store) === 'alive'
  const takers = [...topology.members.values()].filter(member => isTaker(member) && isHere(member.storeId))
  const coming = joining(membership.view, topology)
  return (
    takers.length + coming.length < ENOUGH_COPIES || topology.rows.every(({ slots }) => slots.length >= ENOUGH_COPIES)
  )
}
