import type { Cluster, ClusterPhase } from '../cluster/cluster.ts'
import type { PeerId, StoreId } from '../model/node-id.ts'
import type { View } from '../model/view.ts'
import { majority } from '../placement/rules.ts'
import { isRowReplica, isTaker } from '../placement/topology.ts'
import type { RecordStoreStats } from '../storage/record-store.ts'
import type { TransportStats } from '../transport/transport.ts'
import { joining } from './settled.ts'

/**
 * One word for the state of things as this node sees them: `ok`; `degraded` (a member is not alive, this node's store
 * refuses writes or holds damaged records, a partition moves or lacks a copy, but every quorum can be had); `unavailable`
 * (this node is no member, or some partition has no living quorum).
 */
export type Health = 'ok' | 'degraded' | 'unavailable'

/** Where a node stands; `'stopped'` from the beginning of `stop()`, unless it has left the cluster before. */
export type NodePhase = ClusterPhase | 'stopped'

/** How many copies of partitions this node sees to be where they should be. */
export interface PartitionStatus {
  readonly total: number
  /** Held by this node. */
  readonly owned: number
  /** Moving between owners. */
  readonly changing: number
  /**
   * With fewer living owners than copies are wanted: `replicas`, or as many as there are members that take data and nodes that are
   * on the way in.
   */
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

/** What comparing copies with other owners has come to since the node started. */
export interface RepairStatus {
  /** Unix ms at which everybody this node was to ask had last been asked about all they share; `undefined` before. */
  readonly completedAt: number | undefined
  /** Records that one copy had and the other had not, or only in an older version. */
  readonly differences: number
  /** Of those, how many both copies hold since. */
  readonly mended: number
  /** Bytes of requests sent and replies received. */
  readonly bytes: number
}

/** What becomes of deleted and expired records, and of those that came too late. */
export interface PurgeStatus {
  /** Unix ms at which a round of this node's last ended well; `undefined` before. */
  readonly completedAt: number | undefined
  /** Members, by id, that were away when this node last looked: until they are back, or forgotten, nothing is purged. */
  readonly blockedBy: readonly string[]
  /** Records deleted here since the node started, as they said no more than that nothing is there. */
  readonly purged: number
  /** Of those, values that had expired. */
  readonly expired: number
  /** Records that came too late to be taken back; see `Node.setAside`. */
  readonly setAside: number
}

/** Records that this node keeps for members that could not be given them, until they can. */
export interface HintStatus {
  /** Kept now. */
  readonly count: number
  /** Bytes of their keys and values; at most 64 MiB are kept. */
  readonly bytes: number
  /** Since the node started: records that were kept, */
  readonly added: number
  /** handed over, */
  readonly delivered: number
  /** or given up, as there was no room or they had become too old. Comparing copies brings these. */
  readonly dropped: number
}

/** How far an index is that this node's app has defined; of the copies that this node holds. */
export interface IndexStatus {
  /** Name of its keyspace; the default one is `''`. */
  readonly keyspace: string
  readonly index: string
  /** `building` until all of its partitions are ready. */
  readonly state: 'ready' | 'building'
  /** Partitions there are, */
  readonly partitions: number
  /** and of those in how many every record of this node has its entries. */
  readonly ready: number
  /** Records that were read to build it, since the node started. */
  readonly built: number
  /** Records of which its function could make no values, since the node started; the app is told by `index:failed`. */
  readonly failed: number
}

/** Everything a node knows about itself, as plain data. */
export interface NodeStatus {
  readonly id: string
  readonly cluster: string
  readonly phase: NodePhase
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
  readonly repair: RepairStatus
  readonly purge: PurgeStatus
  readonly hints: HintStatus
  /** The indexes of the keyspaces that were opened here. */
  readonly indexes: readonly IndexStatus[]
  readonly storage: RecordStoreStats & {
    readonly permanent: boolean
    /** Why writes are refused at the moment; `undefined` while they are not. */
    readonly readOnly: string | undefined
    /** Whether the store was closed properly the last time; `undefined` for a new one. */
    readonly openedClean: boolean | undefined
  }
  readonly transport: TransportStats
  /** 1 when this node's event loop keeps up; greater when it stalls, and its time-outs grow with it. */
  readonly healthMultiplier: number
}

/** What a status is made of. */
export interface StatusInput {
  readonly id: StoreId
  readonly cluster: string
  /** Whether it is stopped, or stopping. */
  readonly isStopped: boolean
  readonly meta: Pick<Cluster, 'phase' | 'leader' | 'topology'>
  readonly view: View
  /** Whether there is a link with a peer now. */
  readonly isLinked: (peer: PeerId) => boolean
  readonly operations: OperationStatus
  readonly transfer: TransferStatus
  readonly repair: RepairStatus
  readonly purge: PurgeStatus
  readonly hints: HintStatus
  readonly indexes: readonly IndexStatus[]
  readonly storage: RecordStoreStats
  readonly permanent: boolean
  readonly readOnly: string | undefined
  readonly openedClean: boolean | undefined
  readonly transport: TransportStats
  readonly healthMultiplier: number
}

/** The status of a node, judged from what it knows. */
export function describeStatus(input: StatusInput): NodeStatus {
  const { id, cluster, meta, view, operations, transfer, repair, purge, hints, indexes } = input
  const { transport, healthMultiplier } = input
  const { leader, topology } = meta
  const phase = input.isStopped && meta.phase !== 'left' ? 'stopped' : meta.phase
  const isAlive = living(input)
  const members = { alive: 0, suspect: 0, dead: 0 }
  for (const { status } of view.values()) if (status !== 'left') members[status]++
  // Known from the log alone: gossip has not told of it since this node started.
  for (const store of topology?.members.keys() ?? []) if (!view.has(store)) members[isAlive(store) ? 'alive' : 'dead']++
  const partitions = describePartitions(input, isAlive)
  const serving = phase === 'member' || phase === 'leaving'
  const missing = topology !== undefined && [...topology.members.keys()].some(store => !isAlive(store))
  const isDamaged = input.readOnly !== undefined || input.storage.corruptLeft > 0
  const impaired = missing || isDamaged || partitions.changing > 0 || partitions.underReplicated > 0
  const health = !serving || partitions.withoutQuorum > 0 ? 'unavailable' : impaired ? 'degraded' : 'ok'
  const storage = {
    ...input.storage,
    permanent: input.permanent,
    readOnly: input.readOnly,
    openedClean: input.openedClean
  }
  const epoch = topology?.epoch ?? 0
  return {
    id,
    cluster,
    phase,
    health,
    epoch,
    leader,
    members,
    partitions,
    operations,
    transfer,
    repair,
    purge,
    hints,
    indexes,
    storage,
    transport,
    healthMultiplier
  }
}

/**
 * Who can be asked, as operations see it: a member with whom this node has linked counts before gossip has told of it, or all of
 * a cluster that is started again would be unavailable, in its own words, while it serves.
 */
function living({ id, meta: { topology }, view, isLinked }: StatusInput): (store: StoreId) => boolean {
  return store => {
    const known = view.get(store)
    if (store === id || known !== undefined) return store === id || known?.status === 'alive'
    const peer = topology?.members.get(store)?.peerId
    return peer !== undefined && isLinked(peer)
  }
}

function describePartitions(
  { id, meta: { topology }, view }: StatusInput,
  isAlive: (store: StoreId) => boolean
): PartitionStatus {
  const counts = { total: 0, owned: 0, changing: 0, underReplicated: 0, withoutQuorum: 0 }
  if (topology === undefined) return counts
  const takers = [...topology.members.values()].filter(isTaker).length
  const wanted = Math.min(topology.replicas, Math.max(1, takers + joining(view, topology).length))
  for (const row of topology.rows) {
    const living = row.slots.filter(isAlive).length
    counts.total++
    if (isRowReplica(row, id)) counts.owned++
    if (row.change !== undefined) counts.changing++
    if (living < wanted) counts.underReplicated++
    if (living < majority(row.slots.length)) counts.withoutQuorum++
  }
  return counts
}
