import type { ByteRange } from '../model/key-range.ts'
import type { PartitionId } from '../model/partition.ts'
import type { RangeOptions, RangePart } from './record-store.ts'
import type { StoreChange } from './store.ts'
import type { RecordChange } from './tree-index.ts'

/** Records of which the entries are made, or deleted, in one piece. */
export const INDEXED_AT_ONCE: RangeOptions = { limit: 128, maxBytes: 256 * 1024, isReverse: false }

/** What goes into the database with some changes of records. */
export interface IndexWrite {
  readonly changes: readonly StoreChange[]
  /** To be called when it is written. */
  readonly written: () => void
}

/** What deleting the entries of a partition needs of whoever deletes its records. */
export interface PartitionDrop {
  /** Runs a task while no record is being written. */
  readonly alone: <T>(task: () => Promise<T>) => Promise<T>
  /** The next records of a keyspace in the partition. */
  readonly rowsOf: (keyspace: Uint8Array, range: ByteRange) => Promise<RangePart>
  readonly dropRecords: () => Promise<void>
}

/** What whoever writes records asks of secondary indexes. */
export interface IndexUpkeep {
  /** Whether there are none. */
  readonly isIdle: boolean
  /** What has to be written with these changes of records; a promise only where values have to be waited for. Never fails. */
  entriesOf(changes: readonly RecordChange[]): IndexWrite | Promise<IndexWrite>
  /** Deletes the entries of a partition that is being deleted, around what deletes its records. Nothing of it is written meanwhile. */
  dropPartition(partition: PartitionId, drop: PartitionDrop): Promise<void>
}
