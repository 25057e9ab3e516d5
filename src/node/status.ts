import type { ClusterPhase } from '../cluster/cluster.ts'
import type { RecordStoreStats } from '../storage/record-store.ts'
import type { TransportStats } from '../transport/transport.ts'

/**
 * One word for the state of things as this node sees them: `ok`; `degraded` (a member is not alive, a partition moves or
 * lacks a copy, but every quorum can be had); `unavailable` (this node is no member, or some partition has no living
 * quorum).
 */
export type Health = 'ok' | 'degraded' | 'unavailable'

/** How many copies of partitions this node sees to be where they should be. */
export interface PartitionStatus {
  readonly total: number
  /** Held by this node. */
  readonly owned: number
  /** Moving between owners. */
  readonly changing: number
  /** With fewer living owners than copies are wanted. */
  readonly underReplicated: number
  /** Without a living majority of owners. */
  readonly withoutQuorum: number
}

/** Operations that this node has coordinated since it started. */
export interface OperationStatus {
  readonly reads: number
  readonly writes: number
  readonly failed: number
  readonly timedOut: number
  /** Writes stamped again because a copy held something newer. */
  readonly restamped: number
  /** Copies mended by reads. */
  readonly readRepairs: number
}

/** Data that moved to this node for changes of ownership since it started. */
export interface TransferStatus {
  readonly recordsCopied: number
  readonly bytesCopied: number
  readonly partitionsCopied: number
}

/** Everything a node knows about itself, as plain data. */
export interface NodeStatus {
  readonly id: string
  readonly cluster: string
  readonly phase: ClusterPhase
  readonly health: Health
  readonly epoch: number
  /** Id of the node that leads the meta group, as far as known here. */
  readonly leader: string | undefined
  readonly members: {
    readonly alive: number
    readonly suspect: number
    readonly dead: number
  }
  readonly partitions: PartitionStatus
  readonly operations: OperationStatus
  readonly transfer: TransferStatus
  readonly storage: RecordStoreStats & {
    readonly permanent: boolean
    /** Whether the store was closed properly the last time; `undefined` for a new one. */
    readonly openedClean: boolean | undefined
  }
  readonly transport: TransportStats
  /** 1 when this node's event loop keeps up; greater when it stalls, and its time-outs grow with it. */
  readonly healthMultiplier: number
}
