import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { KEY_BYTES_MAX, KEYSPACE_BYTES_MAX } from '../model/key.ts'
import type { ByteRange } from '../model/key-range.ts'
import { type PartitionId, PARTITIONS_MAX } from '../model/partition.ts'
import { assertRecordHead, isPlainRecord } from '../model/record.ts'
import { atOnce, type Steps } from '../runtime/slices.ts'
import { DAMAGED, PackedRows } from '../codec/packed-rows.ts'
import { readRecord, RECORD_BYTES_MAX } from './wire.ts'

/**
 * A page of a scan, asked of one node: the next rows of some of its partitions, merged.
 *
 *     SCAN   flags u8 (1: reverse, 2: bounded above, 4: exempt from the epoch fence, 8: rests) · keyspace · from · [to] ·
 *            rows varint · bytes varint · count · partitions u16 whose records are wanted whole ·
 *            count · partitions u16 of whose records the head is enough; in rising order, and each once · [rests varint]
 *     reply  epoch varint · count · partitions u16 that are refused · flags u8 (1: more follows) · [last key looked at] ·
 *            count · rows, as {@link PackedRows} has them
 */
const REVERSE = 1
const BOUNDED = 2
const EXEMPT = 4
const RESTS = 8
const MORE = 1
/** A bound may be the key that follows the longest one. */
const BOUND_BYTES_MAX = KEY_BYTES_MAX + 1
/** Most rows of a page. */
export const PAGE_ROWS_MAX = 16_384
/** Most bytes of keys and records of a page; one row is always let in. */
export const PAGE_BYTES_MAX: number = 4 * 1024 * 1024
/** Most that a node rests over a page, ms. */
export const PAGE_REST_MAX_MS: number = 250
const ROW_BYTES_MIN = 2
/** Of the lengths in a row, most often; a writer grows where it is not enough. */
const ROW_LENGTHS_BYTES = 6
/** Rows that are encoded or decoded in one step. */
const ROWS_AT_ONCE = 128

/** What of a keyspace is asked of a node. */
export interface ScanRequest {
  readonly keyspace: Uint8Array
  /** What has not been passed yet. */
  readonly range: ByteRange
  readonly isReverse: boolean
  /** Not bound to the rows' epoch: level `one` (rule C2). */
  readonly exempt: boolean
  /** Most records to look at, and most bytes to return. */
  readonly rows: number
  readonly bytes: number
  /** Partitions whose records are wanted whole, */
  readonly whole: readonly PartitionId[]
  /** and those of which all but the values is enough. */
  readonly heads: readonly PartitionId[]
  /** How long the node may rest in the midst of it for the sake of other requests, ms. */
  readonly restMaxMs: number
}

/** What a node says. */
export interface ScanPage {
  /** Its epoch. */
  readonly epoch: number
  /** Partitions of which it is no owner, or not in this epoch: none of their records are among the rows. */
  readonly refused: readonly PartitionId[]
  /** In the scan's order; tombstones and expired records included. */
  readonly rows: PackedRows
  /** The last key that was looked at: all rows up to it are there. `undefined`: the range is at its end. */
  readonly last: Uint8Array | undefined
}

export function encodeScan(request: ScanRequest): Uint8Array {
  const { keyspace, range, isReverse, exempt, rows, bytes, whole, heads, restMaxMs } = request
  const { from, to } = range
  const writer = new Writer(64 + keyspace.length + from.length + (to?.length ?? 0) + 2 * (whole.length + heads.length))
    .u8(
      (isReverse ? REVERSE : 0) | (to === undefined ? 0 : BOUNDED) | (exempt ? EXEMPT : 0) | (restMaxMs > 0 ? RESTS : 0)
    )
    .bytes(keyspace)
    .bytes(from)
  if (to !== undefined) writer.bytes(to)
  writer.varint(rows).varint(bytes)
  writePartitions(writer, whole)
  writePartitions(writer, heads)
  if (restMaxMs > 0) writer.varint(restMaxMs)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeScan(body: Uint8Array): ScanRequest {
  const reader = new Reader(body)
  const flags = reader.u8()
  const keyspace = reader.bytes(KEYSPACE_BYTES_MAX)
  const from = reader.bytes(BOUND_BYTES_MAX)
  const to = (flags & BOUNDED) === 0 ? undefined : reader.bytes(BOUND_BYTES_MAX)
  const rows = reader.varint()
  const bytes = reader.varint()
  if (rows === 0 || bytes === 0) throw new KilovoltError('KV_PROTOCOL', 'a page of nothing')
  const whole = readPartitions(reader)
  const heads = readPartitions(reader)
  // Each costs a read.
  const asWhole = new Set(whole)
  if (!isRising(whole) || !isRising(heads) || heads.some(partition => asWhole.has(partition)))
    throw new KilovoltError('KV_PROTOCOL', 'a partition is asked for twice, or out of order')
  return {
    keyspace,
    range: { from, to },
    isReverse: (flags & REVERSE) !== 0,
    exempt: (flags & EXEMPT) !== 0,
    rows: Math.min(rows, PAGE_ROWS_MAX),
    bytes: Math.min(bytes, PAGE_BYTES_MAX),
    whole,
    heads,
    restMaxMs: (flags & RESTS) === 0 ? 0 : Math.min(reader.varint(), PAGE_REST_MAX_MS)
  }
}

export function encodePage(page: ScanPage): Uint8Array {
  return atOnce(pageEncoding(page))
}

/** As {@link encodePage}, step by step: a whole page takes a millisecond and more. */
export function* pageEncoding({ epoch, refused, rows, last }: ScanPage): Steps<Uint8Array> {
  let bytes = 32 + 2 * refused.length + (last?.length ?? 0)
  for (let row = 0; row < rows.length; row++) bytes += rows.bytesOf(row) + ROW_LENGTHS_BYTES
  const writer = new Writer(bytes).varint(epoch)
  writePartitions(writer, refused)
  writer.u8(last === undefined ? 0 : MORE)
  if (last !== undefined) writer.bytes(last)
  writer.varint(rows.length)
  for (let row = 0; row < rows.length; row++) {
    rows.write(row, writer)
    if ((row + 1) % ROWS_AT_ONCE === 0) yield
  }
  return writer.finish()
}

/**
 * The page that the bytes are, of which it keeps views.
 *
 * @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT`
 */
export function decodePage(body: Uint8Array): ScanPage {
  return atOnce(pageDecoding(body))
}

/** As {@link decodePage}, step by step. */
export function* pageDecoding(body: Uint8Array): Steps<ScanPage> {
  const reader = new Reader(body)
  const epoch = reader.varint()
  const refused = readPartitions(reader)
  const last = (reader.u8() & MORE) === 0 ? undefined : reader.bytes(KEY_BYTES_MAX)
  const count = reader.count(PAGE_ROWS_MAX, ROW_BYTES_MIN)
  const rows = new PackedRows(body, count)
  while (rows.length < count) {
    readRow(rows, reader)
    if (rows.length % ROWS_AT_ONCE === 0) yield
  }
  return { epoch, refused, rows, last }
}

/** Takes in the row at which a reader of the same bytes stands. */
function readRow(rows: PackedRows, reader: Reader): void {
  const keyBytes = reader.skipBytes(KEY_BYTES_MAX)
  const keyTo = reader.offset
  const size = reader.varint()
  const length = Math.floor(size / 2)
  const isHead = size % 2 === 1
  const at = reader.offset
  if (size === DAMAGED) return rows.place(keyTo - keyBytes, keyTo, at, at, true)
  if (isHead) assertRecordHead(reader.raw(length))
  else if (length <= RECORD_BYTES_MAX && isPlainRecord(rows.bytes, at, length)) reader.skip(length)
  else readRecord(reader, length)
  rows.place(keyTo - keyBytes, keyTo, at, at + length, isHead)
}

/** A list of partitions, as scans and queries of indexes send it. */
export function writePartitions(writer: Writer, partitions: readonly PartitionId[]): void {
  writer.varint(partitions.length)
  for (const partition of partitions) writer.u16(partition)
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function readPartitions(reader: Reader): readonly PartitionId[] {
  const count = reader.count(PARTITIONS_MAX, 2)
  const partitions: PartitionId[] = []
  for (let i = 0; i < count; i++) partitions.push(reader.u16())
  return partitions
}

function isRising(partitions: readonly PartitionId[]): boolean {
  return partitions.every((partition, i) => i === 0 || partition > partitions[i - 1]!)
}
