import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { KEY_BYTES_MAX, KEYSPACE_BYTES_MAX, VALUE_BYTES_MAX } from '../model/key.ts'
import { assertRecord, compareRecordStamps, hasSiblings, type RecordBytes, STAMP_BYTES } from '../model/record.ts'
import type { KeyedRecord, RecordKey } from '../storage/record-store.ts'

/**
 * Requests and replies between coordinator and replica. A request names the record's place first, so that the replica
 * can check the epoch of the row before it looks at anything else:
 *
 *     PUT   partition u16 · keyspace · key · flags u8 (1: exempt from the epoch fence, 2: repair, 4: of a unit) ·
 *           [rest of the unit: count · per write: key · record] · record
 *     GET   partition u16 · keyspace · key · flags u8 (1: exempt, 2: a known stamp follows) · [stamp 15]
 *     reply status u8 · …
 */
const EXEMPT = 1
const REPAIR = 2
const UNIT = 4
const KNOWN = 2
export const RECORD_BYTES_MAX: number = VALUE_BYTES_MAX + 64
/** Of a record with siblings: a message has no room for more. Seven owners may mint all they may of one key. */
const SIBLINGS_RECORD_BYTES_MAX = 15 * 1024 * 1024
/** Most writes of a unit: they are stored in one turn of the event loop, some ms of it. */
export const UNIT_MAX = 4096
/** Most bytes of keys and values of a unit: it is one message, which has a bound. */
export const UNIT_BYTES_MAX: number = 12 * 1024 * 1024

// Objects are written out, field by field, on the way of every operation: V8 takes a hundred times as long to spread one.

/** A write as it travels. */
export interface PutRequest extends RecordKey {
  readonly record: RecordBytes
  /** Not bound to the row's epoch: level `one` (rule C2). */
  readonly exempt: boolean
  /** Acknowledged elsewhere already: its stamp is not judged as a fresh one (rule D2). */
  readonly repair: boolean
  /** The rest of its unit: writes of the same partition, keyspace and stamp that a replica stores with it or not at all. */
  readonly rest?: readonly KeyedRecord[] | undefined
}

/** A read as it travels. */
export interface GetRequest extends RecordKey {
  readonly exempt: boolean
  /** Stamp bytes of the newest record that the coordinator has; a replica with nothing newer answers "same". */
  readonly known: Uint8Array | undefined
}

/** Whether a write that failed so may be stored all the same: a database that fails does not say how far it came. */
export function mayHaveStored({ code }: KilovoltError): boolean {
  return code === 'KV_STORAGE'
}

/** What a replica says to a write. */
export type PutReply =
  | StoredReply
  /** Of a unit: whatever of it is newest is stored, and this is the newest of what was in the way of the others. */
  | { readonly kind: 'stale'; readonly current: RecordBytes }
  /** The write is new and stamped in the past that is settled already: it needs a later stamp than this. */
  | { readonly kind: 'late'; readonly floor: number }
  | Fenced

/** A replica has stored a write, or a unit. */
export interface StoredReply {
  readonly kind: 'stored'
  /** Whether a live value was there before. */
  readonly existed: boolean
  /** The same of the rest of a unit: 1 or 0 for each. */
  readonly rest?: Uint8Array
}

/** What a replica says to a read. */
export type GetReply =
  | { readonly kind: 'record'; readonly record: RecordBytes }
  /** Nothing is held. What is stamped at or below the horizon was held once, and overwritten by what has been purged. */
  | { readonly kind: 'none'; readonly horizon: number }
  | { readonly kind: 'same' }
  | Fenced

/** The request's epoch is too old for the row, or this node is no replica of it: refresh and ask again. */
export interface Fenced {
  readonly kind: 'fenced'
  /** Epoch of the replica. */
  readonly epoch: number
}

/** First byte of a reply. */
export const Status = {
  STORED: 0,
  STORED_OVER: 1,
  STALE: 2,
  FENCED: 3,
  RECORD: 4,
  NONE: 5,
  SAME: 6,
  LATE: 7,
  STORED_UNIT: 8,
  MINTED: 9,
  MINTED_OVER: 10
} as const

export function encodePut({ partition, keyspace, key, record, exempt, repair, rest }: PutRequest): Uint8Array {
  const writer = place(record.length, partition, keyspace, key).u8(
    (exempt ? EXEMPT : 0) | (repair ? REPAIR : 0) | (rest === undefined ? 0 : UNIT)
  )
  if (rest !== undefined) writeRest(writer, rest)
  return writer.raw(record).finish()
}

/** @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT` */
export function decodePut(bytes: Uint8Array): PutRequest {
  const reader = new Reader(bytes)
  const partition = reader.u16()
  const keyspace = reader.bytes(KEYSPACE_BYTES_MAX)
  const key = reader.bytes(KEY_BYTES_MAX)
  const flags = reader.u8()
  const exempt = (flags & EXEMPT) !== 0
  const repair = (flags & REPAIR) !== 0
  const rest = (flags & UNIT) === 0 ? undefined : readRest(reader)
  const record = readRecord(reader)
  if (rest !== undefined) assertOneStamp(record, rest)
  return { partition, keyspace, key, exempt, repair, record, rest }
}

export function encodeGet({ partition, keyspace, key, exempt, known }: GetRequest): Uint8Array {
  const writer = place(STAMP_BYTES, partition, keyspace, key).u8((exempt ? EXEMPT : 0) | (known ? KNOWN : 0))
  return (known === undefined ? writer : writer.raw(known)).finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeGet(bytes: Uint8Array): GetRequest {
  const reader = new Reader(bytes)
  const partition = reader.u16()
  const keyspace = reader.bytes(KEYSPACE_BYTES_MAX)
  const key = reader.bytes(KEY_BYTES_MAX)
  const flags = reader.u8()
  const known = (flags & KNOWN) === 0 ? undefined : reader.raw(STAMP_BYTES)
  return { partition, keyspace, key, exempt: (flags & EXEMPT) !== 0, known }
}

export function encodePutReply(reply: PutReply): Uint8Array {
  switch (reply.kind) {
    case 'stored':
      return reply.rest === undefined
        ? Uint8Array.of(reply.existed ? Status.STORED_OVER : Status.STORED)
        : new Writer(reply.rest.length + 8)
            .u8(Status.STORED_UNIT)
            .u8(reply.existed ? 1 : 0)
            .bytes(reply.rest)
            .finish()
    case 'stale':
      return new Writer(reply.current.length + 1).u8(Status.STALE).raw(reply.current).finish()
    case 'late':
      return new Writer(9).u8(Status.LATE).varint(reply.floor).finish()
    case 'fenced':
      return encodeFenced(reply)
  }
}

/** @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT` */
export function decodePutReply(bytes: Uint8Array): PutReply {
  const reader = new Reader(bytes)
  const status = reader.u8()
  switch (status) {
    case Status.STORED:
    case Status.STORED_OVER:
      return { kind: 'stored', existed: status === Status.STORED_OVER }
    case Status.STORED_UNIT:
      return { kind: 'stored', existed: reader.u8() !== 0, rest: reader.bytes(UNIT_MAX) }
    case Status.STALE:
      return { kind: 'stale', current: readRecord(reader) }
    case Status.LATE:
      return { kind: 'late', floor: reader.varint() }
    case Status.FENCED:
      return { kind: 'fenced', epoch: reader.varint() }
    default:
      throw new KilovoltError('KV_PROTOCOL', `a reply to a write of status ${status}`)
  }
}

export function encodeGetReply(reply: GetReply): Uint8Array {
  switch (reply.kind) {
    case 'record':
      return new Writer(reply.record.length + 1).u8(Status.RECORD).raw(reply.record).finish()
    case 'none':
      return reply.horizon === 0
        ? Uint8Array.of(Status.NONE)
        : new Writer(9).u8(Status.NONE).varint(reply.horizon).finish()
    case 'same':
      return Uint8Array.of(Status.SAME)
    case 'fenced':
      return encodeFenced(reply)
  }
}

/** @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT` */
export function decodeGetReply(bytes: Uint8Array): GetReply {
  const reader = new Reader(bytes)
  const status = reader.u8()
  switch (status) {
    case Status.RECORD:
      return { kind: 'record', record: readRecord(reader) }
    case Status.NONE:
      return { kind: 'none', horizon: reader.remaining === 0 ? 0 : reader.varint() }
    case Status.SAME:
      return { kind: 'same' }
    case Status.FENCED:
      return { kind: 'fenced', epoch: reader.varint() }
    default:
      throw new KilovoltError('KV_PROTOCOL', `a reply to a read of status ${status}`)
  }
}

export function encodeFenced({ epoch }: Fenced): Uint8Array {
  return new Writer(9).u8(Status.FENCED).varint(epoch).finish()
}

/** The beginning of a request, with room for more. */
export function place(more: number, partition: number, keyspace: Uint8Array, key: Uint8Array): Writer {
  return new Writer(2 + 2 + keyspace.length + 2 + key.length + 1 + more).u16(partition).bytes(keyspace).bytes(key)
}

/** All of a unit but its first write. */
export function writeRest(writer: Writer, rest: readonly KeyedRecord[]): void {
  writer.varint(rest.length)
  for (const { key, record } of rest) writer.bytes(key).bytes(record)
}

/** @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT` */
export function readRest(reader: Reader): KeyedRecord[] {
  const rest: KeyedRecord[] = []
  for (let left = reader.count(UNIT_MAX, 18); left > 0; left--) {
    rest.push({ key: reader.bytes(KEY_BYTES_MAX), record: readRecord(reader, reader.varint()) })
  }
  return rest
}

/**
 * That is by what hints of a unit are known to belong together.
 *
 * @throws KilovoltError `KV_PROTOCOL`
 */
export function assertOneStamp(first: RecordBytes, rest: readonly KeyedRecord[]): void {
  for (const { record } of rest) {
    if (compareRecordStamps(first, record) !== 0) throw new KilovoltError('KV_PROTOCOL', 'a unit of several stamps')
  }
}

/** @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT` */
export function readRecord(reader: Reader, length: number = reader.remaining): RecordBytes {
  if (length > SIBLINGS_RECORD_BYTES_MAX) throw new KilovoltError('KV_PROTOCOL', `a record of ${length} bytes`)
  const record = reader.raw(length)
  if (length > RECORD_BYTES_MAX && !hasSiblings(record)) {
    throw new KilovoltError('KV_PROTOCOL', `a record of ${length} bytes`)
  }
  assertRecord(record)
  return record
}
