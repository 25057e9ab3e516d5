import type { ClusterId, PeerId, StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'

/** What the log says of a member. Liveness (alive, suspect, dead) is gossip and not found here. */
export interface TopologyMember {
  readonly storeId: StoreId
  readonly peerId: PeerId
  readonly addresses: readonly string[]
  /** Share of data it should hold, relative to others; 0 never owns anything. */
  readonly weight: number
  readonly zone: string
  readonly region: string
  /** Whether its data is gone with its process. */
  readonly volatile: boolean
  /**
   * `up`; `down`: dead for a while, nothing moves yet; `leaving`: handing over; `evicted`: its slots are being rebuilt
   * elsewhere; `arriving`: expected from another cluster, with records to bring along.
   */
  readonly status: MemberStatus
  /** Epoch at which it joined. */
  readonly joinedEpoch: number
}

/** Whether it takes a share of the data. */
export function isTaker({ status, weight }: Pick<TopologyMember, 'status' | 'weight'>): boolean {
  return status === 'up' && weight > 0
}

/** Status of a member in the log. */
export type MemberStatus = 'up' | 'down' | 'leaving' | 'evicted' | 'arriving'

/** One copy that a change of a row needs: `to` fetches the partition from each of `from`. */
export interface RowCopy {
  readonly to: StoreId
  readonly from: readonly StoreId[]
}

/** A change of a row under way: both the old and the new owners count until it ends (rule C1). */
export interface RowChange {
  readonly next: readonly StoreId[]
  readonly copies: readonly RowCopy[]
}

/** The owners of one partition. */
export interface Row {
  /** Distinct members, the primary first. */
  readonly slots: readonly StoreId[]
  readonly change: RowChange | undefined
  /** Epoch of the last change of this row; requests of an earlier epoch are refused (rule C2). */
  readonly rowEpoch: number
}

/** Members and owners as of one point of the meta log. Immutable: each epoch has its own. */
export interface Topology {
  readonly clusterId: ClusterId
  readonly name: string
  /** Index of the last applied command. */
  readonly epoch: number
  /** Replication factor N. */
  readonly replicas: number
  readonly members: ReadonlyMap<StoreId, TopologyMember>
  /** One row for each partition. */
  readonly rows: readonly Row[]
}

/**
 * How many copies a change of a row rebuilds a slot from, when they are fewer than hold every acknowledged write for certain;
 * `undefined` when they are enough. Too few are used only where the others are lost for good.
 */
export function copiesLeft({ slots, change }: Row): number | undefined {
  const newcomer = change?.next.find(store => !slots.includes(store))
  if (change === undefined || newcomer === undefined || slots.length === 0) return undefined
  const from = change.copies.find(({ to }) => to === newcomer)?.from ?? []
  const leaver = slots.find(store => !change.next.includes(store))
  // Whoever hands over is enough: the owners that stay hold what they held.
  const handsOver = leaver !== undefined && from.includes(leaver)
  return handsOver || from.length >= slots.length - Math.floor(slots.length / 2) ? undefined : from.length
}

/** Whether a member hands over what it has, and waits until it may go. */
export function isAnyLeaving({ members }: Topology): boolean {
  return [...members.values()].some(({ status }) => status === 'leaving')
}

/** The row of a partition. */
export function rowOf(topology: Topology, partition: PartitionId): Row {
  return topology.rows[partition]!
}

/** Everyone who must hear of a write to the row: the owners, and the coming ones while it changes. */
export function rowReplicas(row: Row): readonly StoreId[] {
  const { slots, change } = row
  return change === undefined ? slots : [...slots, ...change.next.filter(store => !slots.includes(store))]
}

/** Whether the store owns the row or is about to. */
export function isRowReplica(row: Row, store: StoreId): boolean {
  return row.slots.includes(store) || row.change?.next.includes(store) === true
}
