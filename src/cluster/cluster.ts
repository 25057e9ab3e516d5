import type { PartitionId } from '../model/partition.ts'
import type { StoreId } from '../model/node-id.ts'
import type { Topology } from '../placement/topology.ts'

/** Where a node stands: see `docs/internals/founding.md`. */
export type ClusterPhase = 'provisional' | 'joining' | 'member' | 'leaving' | 'left'

/** What the cluster floor tells. */
export interface ClusterEvents {
  phase: ClusterPhase
  /** A new epoch was applied here; topologies come in order, each later than the one before. */
  topology: Topology
  /** A row's ownership began to change, or its change ended. */
  row: { readonly partition: PartitionId; readonly event: 'begin' | 'end' | 'abort' }
  /** The leader of the meta group as known here. */
  leader: StoreId | undefined
}

/** Moves data for ownership changes: given to the cluster floor, which itself never touches user data. */
export interface Mover {
  /**
   * Fetches a partition from each of the sources into this node's store. Resolves when all is durable here.
   * `epoch` is that of the change: a source applies it before it answers (rule C3).
   */
  copy(task: CopyTask, signal: AbortSignal): Promise<void>
  /** Partitions of which this node's store holds anything. */
  held(): Promise<readonly PartitionId[]>
  /**
   * Gives the owners of a partition whatever they lack of what this node holds of it.
   *
   * @throws KilovoltError when no owner takes it now
   */
  giveBack(partition: PartitionId): Promise<void>
  /**
   * Gives the owners of a partition what this node holds of it from another cluster, in which it was before.
   *
   * @throws KilovoltError when they do not take it now
   */
  bringAlong(partition: PartitionId): Promise<void>
  /** Compares everything with the other owners, and mends what differs; resolves with those that could not be compared with. */
  compareAll(): Promise<readonly StoreId[]>
  /** Forgets how far the past is settled, which is that of another cluster. */
  forgetPast(): Promise<void>
  /** How many records this node keeps that no owner has, for whoever comes to be one. */
  sole(): number
  /**
   * Deletes what this node holds of a partition that it does not own any more, when its turn comes: what it takes from then on stays.
   *
   * @param signal - calls it off, unless it has begun
   */
  drop(partition: PartitionId, signal: AbortSignal): Promise<void>
}

/** One partition to fetch. */
export interface CopyTask {
  readonly partition: PartitionId
  readonly from: readonly StoreId[]
  readonly epoch: number
}

/** Who is a member and who owns what: the meta group as the rest of the node sees it. */
export interface Cluster {
  readonly phase: ClusterPhase
  /** The latest applied topology; `undefined` before this node is a member. */
  readonly topology: Topology | undefined
  readonly leader: StoreId | undefined
  /** Whether this cluster has ended, so that nothing new is taken any more: this node is about to go over to another. */
  readonly isOver: boolean
  /** Partitions of which this node holds something that it does not own; `undefined` while it does not know. */
  readonly strays: ReadonlySet<PartitionId> | undefined
  /**
   * Founds or joins by the rules F1–F4; resolves when this node is a member.
   *
   * @throws KilovoltError `KV_BOOTSTRAP_UNREACHABLE`, `KV_JOIN_TIMEOUT`, `KV_HANDSHAKE`, `KV_ABORTED`
   */
  start(signal?: AbortSignal): Promise<void>
  /**
   * Resolves with a topology of at least this epoch, pulled from any member.
   *
   * @throws KilovoltError `KV_TIMEOUT`
   */
  catchUp(epoch: number, timeoutMs: number): Promise<Topology>
  /** Hands everything over, then leaves the log. Resolves when nothing is owned any more, rejects with `KV_TIMEOUT`. */
  leave(timeoutMs: number, signal?: AbortSignal): Promise<void>
  stop(): Promise<void>
  on<K extends keyof ClusterEvents>(type: K, listener: (detail: ClusterEvents[K]) => void): () => void
}
