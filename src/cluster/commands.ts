import type { ClusterId, StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { MemberStatus, RowCopy, TopologyMember } from '../placement/topology.ts'

/**
 * How long a command may take, and whatever else has to wait for the leader of the meta group, ms: it outlasts an election,
 * even one that has to be held again (2 s at most each), and what is then late is tried again.
 */
export const PROPOSE_TIMEOUT_MS = 5000

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
      /** Wall clock, Unix ms. */
      readonly foundedMs: number
      readonly member: NewMember
    }
  /** Founds a cluster that goes on for another, which nobody can lead any more: its members, and who owns what. */
  | {
      readonly kind: 'refound'
      readonly clusterId: ClusterId
      readonly foundedMs: number
      /** The latest known state of the other, as in a snapshot. */
      readonly state: Uint8Array
    }
  /** Adds a member, or renews what is known of it. `former`: clusters it belonged to, which have ended. */
  | { readonly kind: 'addMember'; readonly member: NewMember; readonly former: readonly ClusterId[] }
  /**
   * Renews what is known of a member; does nothing to one that was forgotten, whose data is no part of the cluster's
   * any more.
   */
  | { readonly kind: 'updateMember'; readonly member: NewMember }
  | { readonly kind: 'setStatus'; readonly storeId: StoreId; readonly status: MemberStatus }
  /** Forgets a member that owns nothing: it may come back only as a stranger. */
  | { readonly kind: 'removeMember'; readonly storeId: StoreId }
  | { readonly kind: 'changeBegin'; readonly rows: readonly RowBegin[] }
  | { readonly kind: 'changeEnd'; readonly rows: readonly RowRef[] }
  | { readonly kind: 'changeAbort'; readonly rows: readonly RowRef[] }
  /** Another cluster of the name, which took others in before, is to dissolve into this one (rule M2). */
  | {
      readonly kind: 'absorb'
      readonly cluster: ClusterId
      readonly absorbed: readonly ClusterId[]
      /** Whom to expect. */
      readonly members: readonly NewMember[]
    }
  /** It did not. */
  | { readonly kind: 'absorbCancel'; readonly cluster: ClusterId }
  /** Ends this cluster: its members, of this epoch, are to join another (rule M3). Nothing is done after it. */
  | { readonly kind: 'dissolve'; readonly into: ClusterId; readonly epoch: number }
