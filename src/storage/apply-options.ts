import type { PartitionId } from '../model/partition.ts'
import type { Clock } from '../runtime/clock.ts'
import type { HorizonOf } from './apply-batch.ts'
import type { ChangeTap } from './arrival-log.ts'
import type { Damage } from './damage.ts'
import type { IndexUpkeep } from './index-upkeep.ts'
import type { RecordCache } from './record-cache.ts'
import type { Store } from './store.ts'
import type { TreeIndex } from './tree-index.ts'

/** What an apply loop needs. */
export interface ApplyLoopDeps {
  readonly store: Store
  readonly clock: Pick<Clock, 'soon'>
  /** Told of everything that is written. */
  readonly trees?: TreeIndex
  /** How far the past of each partition is settled. Default: not at all. */
  readonly horizonOf?: HorizonOf
  /** Whether all that is to be here of a partition is here: not where its copy is being made. Default: it is. */
  readonly isWhole?: (partition: PartitionId) => boolean
  /** Told of records that cannot be read. Default: a list of its own, by which anything may take their place. */
  readonly damage?: Damage
  /** Keeps what was used last in memory. Default: nothing is. */
  readonly cache?: RecordCache | undefined
  /** Told of what was written, while somebody watches. */
  readonly tap?: ChangeTap
  /** Says what of secondary indexes is to be written with records. Default: there are none. */
  readonly indexes?: IndexUpkeep
}

/** Settings of an apply loop. */
export interface ApplyLoopOptions {
  /** What a record must survive before it is acknowledged: the end of the process or that of the machine. Default 'os'. */
  readonly durability?: 'os' | 'fsync'
  /** Most mutations that may wait or be under way. Default 65,536. */
  readonly pendingMax?: number
  /** Most bytes of keys and records that may wait or be under way; one mutation is always let in. Default 64 MiB. */
  readonly pendingBytesMax?: number
  /** Most mutations in one batch, but for a unit: bounds how long one turn of the event loop takes. Default 512. */
  readonly batchMax?: number
  /** A batch that has reached this many bytes takes no more mutations. Default 4 MiB. */
  readonly batchBytesMax?: number
  /** Whether the records of a unit are written in one batch; not so only to show what that would do. Default true. */
  readonly keepsUnits?: boolean
  /** Whether records with siblings are joined; not so only to show what that would do. Default true. */
  readonly joinsSiblings?: boolean
}
