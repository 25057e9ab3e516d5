import { equalBytes } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { KEY_BYTES_MAX, KEYSPACE_BYTES_MAX } from '../model/key.ts'
import { type PartitionId, PARTITIONS_MAX } from '../model/partition.ts'
import { STAMP_BYTES } from '../model/record.ts'
import type { Arrival } from '../storage/arrival-log.ts'
import type { StoredRecord } from '../storage/record-store.ts'
import { FILTERS_MAX, type WatchFilter } from './watch-filter.ts'
import { readRecord } from './wire.ts'

/**
 * What a node that watches and an owner say to each other:
 *
 *     WATCH   flags u8 (1: a position follows, 2: horizons wanted) · [log 8 · number] · wait ms · partitions · filters
 *             → log 8 · number reached · expired until · gaps · strangers · n × (partition u16 · horizon) · n × arrival
 *     REWIND  partition u16 · low · expired since · flags u8 (1: a place follows) · [keyspace · key] · filters
 *             → horizon · flags u8 (1: a place follows) · [keyspace · key] · n × (flags u8 (1: expired) · keyspace · key · record)
 *
 *     partitions  n × difference to the one before
 *     filters     n × (flags u8 (1: a whole key) · keyspace · prefix)
 *     arrival     flags u8 (1: expired, 2: former stamp follows, 4: another keyspace than before follows)
 *                 · difference of numbers · partition u16 · [keyspace] · key · [stamp 15] · record
 */
export interface WatchRequest {
  /** Where to go on; `undefined`: from now on. */
  readonly position: { readonly log: Uint8Array; readonly seq: number } | undefined
  readonly wantsHorizons: boolean
  /** How long to wait when there is nothing to tell, ms. */
  readonly waitMs: number
  /** In rising order. */
  readonly partitions: readonly PartitionId[]
  /** What is of interest; nothing: everything. */
  readonly filters: readonly WatchFilter[]
}

/** What has arrived. */
export interface WatchReply {
  readonly log: Uint8Array
  /** Everything up to this number has been told, or is of no interest. */
  readonly seq: number
  /** Unix ms: what expired until then is among what was told up to that number; 0: not known. */
  readonly expiredUntil: number
  /** Partitions of which something may be missing before the number reached. */
  readonly gaps: readonly PartitionId[]
  /** Partitions that this node does not own. */
  readonly strangers: readonly PartitionId[]
  /** All that is stamped at or below is among what was told up to that number, or was here before. */
  readonly horizons: readonly (readonly [PartitionId, horizon: number])[]
  readonly arrivals: readonly Arrival[]
}

/** Asks for the records of a partition that may have been missed. */
export interface RewindRequest {
  readonly partition: PartitionId
  /** Records stamped later are wanted; */
  readonly low: number
  /** and those that have expired after this, Unix ms. */
  readonly expiredSince: number
  readonly after: RewindPlace | undefined
  readonly filters: readonly WatchFilter[]
}

/** Where in a partition. */
export interface RewindPlace {
  readonly keyspace: Uint8Array
  readonly key: Uint8Array
}

/** Some of them. */
export interface RewindReply {
  /** What was purged is stamped at or below this. */
  readonly horizon: number
  /** Where to go on; `undefined` at the end. */
  readonly reached: RewindPlace | undefined
  readonly records: readonly (StoredRecord & { readonly expired: boolean })[]
}

/** Length of a log's id, bytes. */
export const LOG_ID_BYTES = 8
const POSITION = 1
const HORIZONS = 2
const EXPIRED = 1
const PREVIOUS = 2
const KEYSPACE = 4
const ARRIVALS_MAX = 65_536
/** Expected by readers of lists: a number of this many bytes at least. */
const ARRIVAL_BYTES_MIN = 20

export function encodeWatch(request: WatchRequest): Uint8Array {
  const { position, wantsHorizons, waitMs, partitions, filters } = request
  const writer = new Writer(64 + partitions.length * 2)
  writer.u8((position === undefined ? 0 : POSITION) | (wantsHorizons ? HORIZONS : 0))
  if (position !== undefined) writer.raw(position.log).varint(position.seq)
  writer.varint(waitMs)
  writePartitions(writer, partitions)
  writeFilters(writer, filters)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeWatch(bytes: Uint8Array): WatchRequest {
  const reader = new Reader(bytes)
  const flags = reader.u8()
  const position =
    (flags & POSITION) === 0 ? undefined : { log: new Uint8Array(reader.raw(LOG_ID_BYTES)), seq: reader.varint() }
  const waitMs = reader.varint()
  const partitions = readPartitions(reader)
  return { position, wantsHorizons: (flags & HORIZONS) !== 0, waitMs, partitions, filters: readFilters(reader) }
}

export function encodeWatchReply(reply: WatchReply): Uint8Array {
  const { log, seq, expiredUntil, gaps, strangers, horizons, arrivals } = reply
  const writer = new Writer(64 + horizons.length * 10 + arrivals.length * 96).raw(log).varint(seq).varint(expiredUntil)
  writePartitions(writer, gaps)
  writePartitions(writer, strangers)
  writer.varint(horizons.length)
  for (const [partition, horizon] of horizons) writer.u16(partition).varint(horizon)
  writer.varint(arrivals.length)
  let before = 0
  let keyspace: Uint8Array = new Uint8Array(0)
  for (const arrival of arrivals) {
    const { previous, expired } = arrival
    const isOther = !equalBytes(keyspace, arrival.keyspace)
    keyspace = arrival.keyspace
    writer.u8((expired ? EXPIRED : 0) | (previous === undefined ? 0 : PREVIOUS) | (isOther ? KEYSPACE : 0))
    writer.varint(arrival.seq - before).u16(arrival.partition)
    before = arrival.seq
    if (isOther) writer.bytes(keyspace)
    writer.bytes(arrival.key)
    if (previous !== undefined) writer.raw(previous)
    writer.bytes(arrival.record)
  }
  return writer.finish()
}

/** Bytes are views into the input. @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT` */
export function decodeWatchReply(bytes: Uint8Array): WatchReply {
  const reader = new Reader(bytes)
  const log = reader.raw(LOG_ID_BYTES)
  const seq = reader.varint()
  const expiredUntil = reader.varint()
  const gaps = readPartitions(reader)
  const strangers = readPartitions(reader)
  const horizons: (readonly [PartitionId, number])[] = []
  for (let left = reader.count(PARTITIONS_MAX, 3); left > 0; left--) horizons.push([reader.u16(), reader.varint()])
  const arrivals: Arrival[] = []
  let before = 0
  let keyspace: Uint8Array = new Uint8Array(0)
  for (let left = reader.count(ARRIVALS_MAX, ARRIVAL_BYTES_MIN); left > 0; left--) {
    const flags = reader.u8()
    before += reader.varint()
    const partition = reader.u16()
    if ((flags & KEYSPACE) !== 0) keyspace = reader.bytes(KEYSPACE_BYTES_MAX)
    const key = reader.bytes(KEY_BYTES_MAX)
    const previous = (flags & PREVIOUS) === 0 ? undefined : reader.raw(STAMP_BYTES)
    const record = readRecord(reader, reader.varint())
    arrivals.push({ seq: before, partition, keyspace, key, record, expired: (flags & EXPIRED) !== 0, previous })
  }
  return { log, seq, expiredUntil, gaps, strangers, horizons, arrivals }
}

export function encodeRewind({ partition, low, expiredSince, after, filters }: RewindRequest): Uint8Array {
  const writer = new Writer(64).u16(partition).varint(low).varint(expiredSince)
  writePlace(writer, after)
  writeFilters(writer, filters)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeRewind(bytes: Uint8Array): RewindRequest {
  const reader = new Reader(bytes)
  const partition = reader.u16()
  const low = reader.varint()
  const expiredSince = reader.varint()
  const after = readPlace(reader)
  return { partition, low, expiredSince, after, filters: readFilters(reader) }
}

export function encodeRewindReply({ horizon, reached, records }: RewindReply): Uint8Array {
  const writer = new Writer(64 + records.length * 96).varint(horizon)
  writePlace(writer, reached)
  writer.varint(records.length)
  for (const { keyspace, key, record, expired } of records)
    writer
      .u8(expired ? EXPIRED : 0)
      .bytes(keyspace)
      .bytes(key)
      .bytes(record)
  return writer.finish()
}

/** Bytes are views into the input. @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT` */
export function decodeRewindReply(bytes: Uint8Array, partition: PartitionId): RewindReply {
  const reader = new Reader(bytes)
  const horizon = reader.varint()
  const reached = readPlace(reader)
  const records: (StoredRecord & { readonly expired: boolean })[] = []
  for (let left = reader.count(ARRIVALS_MAX, ARRIVAL_BYTES_MIN); left > 0; left--) {
    const expired = (reader.u8() & EXPIRED) !== 0
    const keyspace = reader.bytes(KEYSPACE_BYTES_MAX)
    const key = reader.bytes(KEY_BYTES_MAX)
    records.push({ partition, keyspace, key, record: readRecord(reader, reader.varint()), expired })
  }
  return { horizon, reached, records }
}

function writePartitions(writer: Writer, partitions: readonly PartitionId[]): void {
  writer.varint(partitions.length)
  let before = 0
  for (const partition of partitions) {
    writer.varint(partition - before)
    before = partition
  }
}

function readPartitions(reader: Reader): PartitionId[] {
  const partitions: PartitionId[] = []
  let before = 0
  for (let left = reader.count(PARTITIONS_MAX); left > 0; left--) {
    const difference = reader.varint()
    if (difference === 0 && partitions.length > 0)
      throw new KilovoltError('KV_PROTOCOL', `partition ${before} is named twice`)
    before += difference
    if (before >= PARTITIONS_MAX) throw new KilovoltError('KV_PROTOCOL', `there is no partition ${before}`)
    partitions.push(before)
  }
  return partitions
}

function writeFilters(writer: Writer, filters: readonly WatchFilter[]): void {
  writer.varint(filters.length)
  for (const { keyspace, prefix, isKey } of filters) writer.bool(isKey).bytes(keyspace).bytes(prefix)
}

/** Copies: filters are kept while their sender waits. */
function readFilters(reader: Reader): WatchFilter[] {
  const filters: WatchFilter[] = []
  for (let left = reader.count(FILTERS_MAX, 3); left > 0; left--) {
    const isKey = reader.bool()
    const keyspace = new Uint8Array(reader.bytes(KEYSPACE_BYTES_MAX))
    filters.push({ isKey, keyspace, prefix: new Uint8Array(reader.bytes(KEY_BYTES_MAX)) })
  }
  return filters
}

function writePlace(writer: Writer, place: RewindPlace | undefined): void {
  writer.bool(place !== undefined)
  if (place !== undefined) writer.bytes(place.keyspace).bytes(place.key)
}

function readPlace(reader: Reader): RewindPlace | undefined {
  if (!reader.bool()) return undefined
  return {
    keyspace: new Uint8Array(reader.bytes(KEYSPACE_BYTES_MAX)),
    key: new Uint8Array(reader.bytes(KEY_BYTES_MAX))
  }
}
