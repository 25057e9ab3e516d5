import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { type PartitionId, PARTITIONS_MAX } from '../model/partition.ts'

/**
 * What is said in a round of purging:
 *
 *     CLOSE    stamp · n × partition u16                    → n × partition of which something older is still on its way
 *     SEAL     stamp · n × (partition u16 · row epoch)      → n × partition whose row is another one by now
 *     HORIZON  as SEAL                                      → as SEAL
 */
export interface CloseRequest {
  /** Nothing new is to be taken that is stamped at or below this hybrid time. */
  readonly stamp: number
  readonly partitions: readonly PartitionId[]
}

/** A step that holds for the owners of one row epoch only. */
export interface SettleRequest {
  readonly stamp: number
  readonly rows: readonly SettledRow[]
}

/** A row that does not change, at the epoch since which it has not. */
export interface SettledRow {
  readonly partition: PartitionId
  readonly rowEpoch: number
}

export function encodeClose({ stamp, partitions }: CloseRequest): Uint8Array {
  return writePartitions(new Writer(16 + partitions.length * 2).varint(stamp), partitions).finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeClose(bytes: Uint8Array): CloseRequest {
  const reader = new Reader(bytes)
  return { stamp: reader.varint(), partitions: readPartitions(reader) }
}

export function encodeSettle({ stamp, rows }: SettleRequest): Uint8Array {
  const writer = new Writer(16 + rows.length * 6).varint(stamp).varint(rows.length)
  for (const { partition, rowEpoch } of rows) writer.u16(partition).varint(rowEpoch)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeSettle(bytes: Uint8Array): SettleRequest {
  const reader = new Reader(bytes)
  const stamp = reader.varint()
  const rows: SettledRow[] = []
  for (let left = reader.count(PARTITIONS_MAX, 3); left > 0; left--)
    rows.push({ partition: reader.u16(), rowEpoch: reader.varint() })
  return { stamp, rows }
}

export function encodePartitions(partitions: readonly PartitionId[]): Uint8Array {
  return writePartitions(new Writer(4 + partitions.length * 2), partitions).finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodePartitions(bytes: Uint8Array): readonly PartitionId[] {
  return readPartitions(new Reader(bytes))
}

function writePartitions(writer: Writer, partitions: readonly PartitionId[]): Writer {
  writer.varint(partitions.length)
  for (const partition of partitions) writer.u16(partition)
  return writer
}

function readPartitions(reader: Reader): PartitionId[] {
  const partitions: PartitionId[] = []
  for (let left = reader.count(PARTITIONS_MAX, 2); left > 0; left--) partitions.push(reader.u16())
  return partitions
}
