import type { ClusterId, StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { MemberStatus, RowCopy, TopologyMember } from '../placement/topology.ts'

/** A member as it introduces itself; the log adds the rest. */
export type NewMember = Omit<TopologyMember, 'status' | 'joinedEpoch'>

/** A row's change, as the leader plans it. */
export interface RowBegin {
  readonly partition: PartitionId
  /** The row's epoch at planning; a row that has changed since ignores the command. */
  readonly rowEpoch: number
  readonly next: readonly StoreId[]
  readonly copies: readonly RowCopy[]
}

/** A row whose change is over. `rowEpoch` is the epoch at which it began. */
export interface RowRef {
  readonly partition: PartitionId
  readonly rowEpoch: number
}

/** What the log of the meta group says. Every command is checked against the state; one that does not fit does nothing. */
export type Command =
  | {
      readonly kind: 'found'
      readonly clusterId: ClusterId
      readonly name: string
      readonly partitions: number
      readonly replicas: number
      readonly member: NewMember
    }
  /** Adds a member, or renews what is known of it. */
  | { readonly kind: 'addMember'; readonly member: NewMember }
  /** Renews what is known of a member; does nothing to one that was forgotten, whose data is no part of the cluster's any more. */
  | { readonly kind: 'updateMember'; readonly member: NewMember }
  | { readonly kind: 'setStatus'; readonly storeId: StoreId; readonly status: MemberStatus }
  /** Forgets a member that owns nothing: it may come back only as a stranger. */
  | { readonly kind: 'removeMember'; readonly storeId: StoreId }
  | { readonly kind: 'changeBegin'; readonly rows: readonly RowBegin[] }
  | { readonly kind: 'changeEnd'; readonly rows: readonly RowRef[] }
  | { readonly kind: 'changeAbort'; readonly rows: readonly RowRef[] }
