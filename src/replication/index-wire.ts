import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { INDEX_VALUE_BYTES_MAX } from '../model/index-value.ts'
import { KEY_BYTES_MAX, KEYSPACE_BYTES_MAX } from '../model/key.ts'
import type { ByteRange } from '../model/key-range.ts'
import type { PartitionId } from '../model/partition.ts'
import type { RoundPage } from './scan-round.ts'
import { PAGE_ROWS_MAX, readPartitions, writePartitions } from './scan-wire.ts'

/**
 * A page of a query, asked of one node: the next entries of an index that are of some of its partitions. An entry is an
 * encoded value with a key behind it.
 *
 *     INDEX  flags u8 (1: reverse, 2: bounded above) · keyspace · name · fingerprint 16 · from · [to] · rows varint ·
 *            count · partitions u16
 *     reply  epoch varint · count · partitions u16 that are refused · count · partitions u16 whose entries are not all there ·
 *            flags u8 (1: more follows) · [last entry looked at] · count · entries
 */
const REVERSE = 1
const BOUNDED = 2
const MORE = 1
const FINGERPRINT_BYTES = 16
const NAME_BYTES_MAX = 64
const ENTRY_BYTES_MAX = INDEX_VALUE_BYTES_MAX + KEY_BYTES_MAX
/** A bound may be the place that follows the longest entry. */
const BOUND_BYTES_MAX = ENTRY_BYTES_MAX + 1

/** What of an index is asked of a node. */
export interface IndexRequest {
  readonly keyspace: Uint8Array
  readonly name: string
  /** Of the index as whoever asks has defined it: another one's entries are others. */
  readonly fingerprint: Uint8Array
  /** What has not been passed yet. */
  readonly range: ByteRange
  readonly isReverse: boolean
  /** Most entries to return. */
  readonly rows: number
  readonly partitions: readonly PartitionId[]
}

/** What a node says; its rows are entries, in the order of the query. */
export interface IndexPage extends RoundPage<readonly Uint8Array[]> {
  readonly lacking: readonly PartitionId[]
}

export function encodeIndexRequest(request: IndexRequest): Uint8Array {
  const { keyspace, name, fingerprint, range, isReverse, rows, partitions } = request
  const { from, to } = range
  const writer = new Writer(128 + from.length + (to?.length ?? 0) + 2 * partitions.length)
    .u8((isReverse ? REVERSE : 0) | (to === undefined ? 0 : BOUNDED))
    .bytes(keyspace)
    .text(name)
    .raw(fingerprint)
    .bytes(from)
  if (to !== undefined) writer.bytes(to)
  writer.varint(rows)
  writePartitions(writer, partitions)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeIndexRequest(body: Uint8Array): IndexRequest {
  const reader = new Reader(body)
  const flags = reader.u8()
  const keyspace = reader.bytes(KEYSPACE_BYTES_MAX)
  const name = reader.text(NAME_BYTES_MAX)
  const fingerprint = reader.raw(FINGERPRINT_BYTES)
  const from = reader.bytes(BOUND_BYTES_MAX)
  const to = (flags & BOUNDED) === 0 ? undefined : reader.bytes(BOUND_BYTES_MAX)
  const rows = Math.min(reader.varint(), PAGE_ROWS_MAX)
  if (rows === 0) throw new KilovoltError('KV_PROTOCOL', 'a page of no entries')
  const isReverse = (flags & REVERSE) !== 0
  return { keyspace, name, fingerprint, range: { from, to }, isReverse, rows, partitions: readPartitions(reader) }
}

export function encodeIndexPage({ epoch, refused, lacking, rows, last }: IndexPage): Uint8Array {
  let bytes = 32 + 2 * (refused.length + lacking.length) + (last?.length ?? 0)
  for (const entry of rows) bytes += entry.length + 2
  const writer = new Writer(bytes).varint(epoch)
  writePartitions(writer, refused)
  writePartitions(writer, lacking)
  writer.u8(last === undefined ? 0 : MORE)
  if (last !== undefined) writer.bytes(last)
  writer.varint(rows.length)
  for (const entry of rows) writer.bytes(entry)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeIndexPage(body: Uint8Array): IndexPage {
  const reader = new Reader(body)
  const epoch = reader.varint()
  const refused = readPartitions(reader)
  const lacking = readPartitions(reader)
  const last = (reader.u8() & MORE) === 0 ? undefined : reader.bytes(ENTRY_BYTES_MAX)
  const rows: Uint8Array[] = []
  for (let left = reader.count(PAGE_ROWS_MAX); left > 0; left--) rows.push(reader.bytes(ENTRY_BYTES_MAX))
  return { epoch, refused, lacking, rows, last }
}
