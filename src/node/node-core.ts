import type { Bootstrap } from '../membership/bootstrap-source.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Cluster } from '../cluster/cluster.ts'
import type { Hash64, Ring } from '../model/partition.ts'
import type { Host } from '../transport/host.ts'
import type { Horizons } from '../storage/horizons.ts'
import type { Identity } from '../storage/identity.ts'
import type { BackendSource } from './backend.ts'
import type { KilovoltError } from '../base/errors.ts'
import type { Logger } from '../runtime/logger.ts'
import type { LoopMonitor } from '../runtime/loop-monitor.ts'
import type { Membership } from '../membership/membership.ts'
import type { NodeStatus } from './status.ts'
import type { PeerSource } from '../membership/discovery.ts'
import type { PlacementRules } from '../placement/rules.ts'
import type { Random } from '../runtime/random.ts'
import type { RecordStore, StoredRecord } from '../storage/record-store.ts'
import type { RoundReport } from '../repair/anti-entropy.ts'
import type { StopAdvice } from './safe-to-stop.ts'
import type { Store } from '../storage/store.ts'
import type { StoreId } from '../model/node-id.ts'
import type { Transport } from '../transport/transport.ts'
import type { TreeIndex } from '../storage/tree-index.ts'

/** The world that a node lives in: real in production, simulated in `kilovolt/testing`. */
export interface NodeParts {
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly loop: LoopMonitor
  readonly store: Store
  readonly identity: Identity
  readonly host: Host
  readonly hash: Hash64
  readonly rules: PlacementRules
  /** Finds addresses on the local network. */
  readonly lan?: PeerSource
}

/** What a node is told, once options are resolved. Times in ms; `NodeOptions` explains each. */
export interface NodeConfig {
  readonly cluster: string
  readonly bootstrap: Bootstrap
  readonly expect: number | undefined
  readonly found: boolean
  readonly durability: 'os' | 'fsync'
  /** Overrides both defaults: 32 MiB over a database on disk, 0 over one in memory. */
  readonly cacheBytes: number | undefined
  readonly replicas: number
  readonly partitions: number
  readonly weight: number
  readonly zone: string
  readonly region: string
  readonly requestTimeoutMs: number
  readonly joinTimeoutMs: number
  /** Overrides both defaults: 15 s for members in memory, 5 min for those on disk. */
  readonly evictAfterMs: number | undefined
  readonly warmUpMs: number
  readonly maxClockDriftMs: number
  readonly repairIntervalMs: number
  readonly purgeIntervalMs: number
  /** How far in the past a round of purging settles. */
  readonly purgeLagMs: number
  readonly gcGraceMs: number
}

/** What an assembled node tells of itself. */
export interface CoreEvents {
  /** It has begun to stop; once. */
  stopped: undefined
  /** Why the store refuses writes; nothing when it takes them again. */
  storage: KilovoltError | undefined
  /** How many records were set aside. */
  'set-aside': number
  /** An index that its code could make no values of a record for; the first time only. */
  'index-failed': {
    readonly keyspace: string
    readonly index: string
    readonly key: Uint8Array
    readonly error: unknown
  }
  /** How many stored records were found to be damaged. */
  corrupt: number
}

/** An assembled node: the parts that the façade and the simulator look at, and its life. */
export interface NodeCore extends BackendSource {
  readonly config: NodeConfig
  readonly storeId: StoreId
  readonly clock: Clock
  readonly ring: Ring
  readonly transport: Transport
  readonly membership: Membership
  readonly cluster: Cluster
  readonly records: RecordStore
  readonly trees: TreeIndex
  readonly horizons: Horizons
  readonly stopped: boolean
  /** Starts everything from the bottom up; what was started is stopped again when a part fails. */
  start(signal?: AbortSignal): Promise<void>
  leave(timeoutMs: number, signal: AbortSignal | undefined): Promise<void>
  /** Idempotent. */
  stop(): Promise<void>
  on<K extends keyof CoreEvents>(type: K, listener: (detail: CoreEvents[K]) => void): () => void
  /** Whether it may be stopped now. */
  safeToStop(): StopAdvice
  /** What was set aside. */
  setAside(): AsyncIterable<StoredRecord>
  /** Deletes what was set aside. */
  discardSetAside(): Promise<void>
  /** Compares everything this node owns with all other owners, now; when thorough, it reads all of it first. */
  repair(isThorough: boolean, signal: AbortSignal | undefined): Promise<RoundReport>
  status(): NodeStatus
}
