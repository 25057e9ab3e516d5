import type { ClusterId, PeerId, StoreId } from './node-id.ts'

/** How a member fares, as gossip has it (SWIM, DSN 2002). */
export type Liveness = 'alive' | 'suspect' | 'dead' | 'left'

/** What gossip says of one node. */
export interface ViewMember {
  readonly storeId: StoreId
  readonly peerId: PeerId
  readonly addresses: readonly string[]
  /** Raised by its own node alone, to refute a suspicion or to announce news of itself. */
  readonly incarnation: number
  readonly status: Liveness
  /** Cluster it belongs to; `undefined` while provisional. */
  readonly clusterId: ClusterId | undefined
  /** Last epoch it has announced. */
  readonly epoch: number
}

/** Immutable picture of all nodes heard of. */
export type View = ReadonlyMap<StoreId, ViewMember>

const RANK: Readonly<Record<Liveness, number>> = { alive: 0, suspect: 1, dead: 2, left: 3 }

/**
 * The newer of two reports about one node: higher incarnation, then the worse status (an accusation stands until the
 * accused raises its incarnation), then the later epoch, then the order of the addresses' text. A join: commutative,
 * associative, idempotent.
 */
export function mergeMember(a: ViewMember, b: ViewMember): ViewMember {
  return compareReports(a, b) >= 0 ? a : b
}

function compareReports(a: ViewMember, b: ViewMember): number {
  // Leaving is final for an incarnation and beats a mere accusation.
  const byAge = a.incarnation - b.incarnation || RANK[a.status] - RANK[b.status] || a.epoch - b.epoch
  // Nearly all that is heard is known already.
  if (byAge !== 0 || isSameNode(a, b)) return byAge
  const textA = fingerprint(a)
  const textB = fingerprint(b)
  return textA < textB ? -1 : textA > textB ? 1 : 0
}

/** Whether two reports describe the node alike: where it is to be reached and what it belongs to. */
export function isSameNode(a: ViewMember, b: ViewMember): boolean {
  return (
    a.peerId === b.peerId &&
    a.clusterId === b.clusterId &&
    a.addresses.length === b.addresses.length &&
    a.addresses.every((address, i) => address === b.addresses[i])
  )
}

function fingerprint(member: ViewMember): string {
  // As JSON two different reports never have one text, whatever a stranger puts into an address.
  return JSON.stringify([member.peerId, member.clusterId, member.addresses])
}

/** Both pictures in one. */
export function mergeViews(a: View, b: View): View {
  const merged = new Map(a)
  for (const [storeId, member] of b) {
    const known = merged.get(storeId)
    merged.set(storeId, known === undefined ? member : mergeMember(known, member))
  }
  return merged
}
