import type { StoreId } from '../model/node-id.ts'
import type { Liveness, View } from '../model/view.ts'
import type { Topology } from '../placement/topology.ts'

/** One node as this one sees it: what gossip says of its health, and what the log says of its place. */
export interface MemberInfo {
  /** Identity of its store, 32 hex digits. A node in memory gets a new one at each start. */
  readonly id: string
  /** libp2p peer id: where to dial. */
  readonly peerId: string
  /** Multiaddrs. */
  readonly addresses: readonly string[]
  /** How it fares: `alive`, `suspect` (does not answer), `dead`, or `left` (on purpose). */
  readonly status: Liveness
  /**
   * Its place in the cluster: `up`; `down` (dead for a while, keeps its place); `leaving` (hands over); `evicted` (its
   * copies are being rebuilt elsewhere); `none` (heard of, but not a member: yet, or any more).
   */
  readonly membership: 'up' | 'down' | 'leaving' | 'evicted' | 'arriving' | 'none'
  readonly weight: number
  readonly zone: string
  readonly region: string
  /** Whether this is the node that was asked. */
  readonly self: boolean
}

/** The members of the log and those heard of by gossip, ordered by id. */
export function listMembers(self: StoreId, view: View, topology: Topology | undefined): MemberInfo[] {
  const ids = new Set<StoreId>([...view.keys(), ...(topology?.members.keys() ?? [])])
  return [...ids].toSorted().map(id => memberInfo(id, self, view, topology))
}

/** One member; an id that nobody has heard of comes out as dead and without a place. */
export function memberInfo(id: StoreId, self: StoreId, view: View, topology: Topology | undefined): MemberInfo {
  const heard = view.get(id)
  const logged = topology?.members.get(id)
  return {
    id,
    peerId: heard?.peerId ?? logged?.peerId ?? '',
    addresses: heard?.addresses ?? logged?.addresses ?? [],
    status: heard?.status ?? 'dead',
    membership: logged?.status ?? 'none',
    weight: logged?.weight ?? 0,
    zone: logged?.zone ?? '',
    region: logged?.region ?? '',
    self: id === self
  }
}
