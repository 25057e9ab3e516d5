import { EMPTY_BYTES, equalBytes } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { KEY_BYTES_MAX, KEYSPACE_BYTES_MAX } from '../model/key.ts'
import { assertRecord } from '../model/record.ts'
import type { PartitionId } from '../model/partition.ts'
import type { StoredRecord } from '../storage/record-store.ts'

/** A position in a partition: the last record that has arrived. */
export interface CopyCursor {
  readonly keyspace: Uint8Array
  readonly key: Uint8Array
}

/** What the new owner asks a source: the records after a position. */
export interface CopyRequest {
  readonly partition: PartitionId
  /** Epoch of the change, which the source applies before it answers (rule C3). */
  readonly epoch: number
  readonly after: CopyCursor | undefined
}

/** Records in order. */
export interface CopyPage {
  /** Hybrid times below which the source takes nothing new, and up to which its past is settled: they hold for the copy too. */
  readonly floor: number
  readonly horizon: number
  /** Whether nothing comes after these. */
  readonly isLast: boolean
  readonly records: readonly StoredRecord[]
}

const RECORDS_MAX = 65_536

export function encodeCopyRequest({ partition, epoch, after }: CopyRequest): Uint8Array {
  const writer = new Writer(64)
    .u16(partition)
    .varint(epoch)
    .bool(after !== undefined)
  if (after !== undefined) writer.bytes(after.keyspace).bytes(after.key)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeCopyRequest(bytes: Uint8Array): CopyRequest {
  const reader = new Reader(bytes)
  const partition = reader.u16()
  const epoch = reader.varint()
  const after = reader.bool()
    ? { keyspace: new Uint8Array(reader.bytes(KEYSPACE_BYTES_MAX)), key: new Uint8Array(reader.bytes(KEY_BYTES_MAX)) }
    : undefined
  return { partition, epoch, after }
}

export function encodeCopyPage({ floor, horizon, isLast, records }: CopyPage): Uint8Array {
  let size = 32
  for (const { keyspace, key, record } of records) size += keyspace.length + key.length + record.length + 12
  const writer = new Writer(size).varint(floor).varint(horizon).bool(isLast).varint(records.length)
  for (const { keyspace, key, record } of records) writer.bytes(keyspace).bytes(key).bytes(record)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT` */
export function decodeCopyPage(bytes: Uint8Array, partition: PartitionId): CopyPage {
  const reader = new Reader(bytes)
  const floor = reader.varint()
  const horizon = reader.varint()
  const isLast = reader.bool()
  const records: StoredRecord[] = []
  let keyspace: Uint8Array = EMPTY_BYTES
  for (let left = reader.count(RECORDS_MAX, 3); left > 0; left--) {
    // Most have the keyspace of the one before: one view does for all of them.
    const name = reader.bytes(KEYSPACE_BYTES_MAX)
    if (!equalBytes(name, keyspace)) keyspace = name
    const key = reader.bytes(KEY_BYTES_MAX)
    const record = reader.bytes()
    assertRecord(record)
    records.push({ partition, keyspace, key, record })
  }
  if (reader.remaining > 0) throw new KilovoltError('KV_PROTOCOL', 'a page of records has a tail')
  return { floor, horizon, isLast, records }
}
