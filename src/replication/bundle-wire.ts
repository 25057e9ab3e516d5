import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { EMPTY_BYTES, equalBytes } from '../base/bytes.ts'
import { KEY_BYTES_MAX, KEYSPACE_BYTES_MAX } from '../model/key.ts'
import { type RecordBytes, recordHlc, STAMP_BYTES, STAMP_END, STAMP_START } from '../model/record.ts'
import type { KeyedRecord, RecordKey } from '../storage/record-store.ts'
import {
  mayHaveStored,
  assertOneStamp,
  type GetReply,
  type GetRequest,
  type PutReply,
  type PutRequest,
  readRecord,
  readRest,
  type StoredReply,
  UNIT_MAX,
  writeRest
} from './wire.ts'

/**
 * Requests of many operations in one message, and their answers in one reply, in the same order:
 *
 *     GETS    count · per read:  flags u8 (1: a known stamp follows, 2: of another keyspace than the one before) ·
 *                                partition u16 · [keyspace] · key · [stamp 15]
 *     PUTS    flags u8 (1: exempt from the epoch fence, 2: repairs) · count · per write or unit: flags u8 (2, 4: a unit) ·
 *                                partition u16 · [keyspace] · key · record · [rest of the unit: count · key · record …]
 *     reply   per operation: status u8 · …
 *
 * Whatever is out of the ordinary is answered by no more than its kind: the operation then goes on by itself.
 */
const KNOWN = 1
const OTHER_KEYSPACE = 2
const EXEMPT = 1
const REPAIR = 2
const UNIT = 4
/** Operations in one message. */
export const BUNDLE_MAX = 512
/** Bytes of one message of a bundle, roughly: what is large delays what is small behind it. */
export const BUNDLE_BYTES_MAX: number = 1024 * 1024
/** Room for what most messages of repairs come to. */
const REPAIRS_BYTES = 64 * 1024
/** Bytes of answers after which the rest of the reads are left to be asked by themselves. */
const REPLY_BYTES_MAX = 1024 * 1024

const Status = {
  RECORD: 0,
  NONE: 1,
  SAME: 2,
  STORED: 3,
  STORED_OVER: 4,
  STALE: 5,
  LATE: 6,
  FENCED: 7,
  FAILED: 8,
  STORED_UNIT: 9,
  REFUSED: 10
} as const

/** What a replica says to one read of several; `undefined` when it has no answer to give. */
export type ReadAnswer = GetReply | undefined

/**
 * What a replica says to one write of several. `behind`: it needs a later stamp than this. `refused`: it was not stored.
 * `failed`: storing it went wrong, so that it may have been stored or not.
 */
export type WriteAnswer =
  | StoredReply
  | { readonly kind: 'behind'; readonly hlc: number; readonly existed: boolean }
  | { readonly kind: 'fenced' }
  | { readonly kind: 'refused' }
  | { readonly kind: 'failed' }

/** What was answered to a write on this very node, as others would have heard it. */
export function writeAnswerOf(reply: PutReply | KilovoltError): WriteAnswer {
  if (reply instanceof KilovoltError) return { kind: mayHaveStored(reply) ? 'failed' : 'refused' }
  switch (reply.kind) {
    case 'stored':
      return reply
    case 'stale':
      return { kind: 'behind', hlc: recordHlc(reply.current), existed: true }
    case 'late':
      return { kind: 'behind', hlc: reply.floor, existed: false }
    case 'fenced':
      return { kind: 'fenced' }
  }
}

/** A read to be asked for, with what this node holds of it: replicas that have nothing newer answer in a byte. */
export interface ReadToAsk extends RecordKey {
  readonly own: RecordBytes | undefined
}

export function encodeGets(reads: readonly ReadToAsk[]): Uint8Array {
  const writer = new Writer(reads.length * 48 + 8).varint(reads.length)
  let before: Uint8Array = EMPTY_BYTES
  for (const read of reads) {
    const { own } = read
    writePlace(writer, read, before, own === undefined ? 0 : KNOWN)
    if (own !== undefined) writer.range(own, STAMP_START, STAMP_END)
    before = read.keyspace
  }
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeGets(bytes: Uint8Array): GetRequest[] {
  const reader = new Reader(bytes)
  const place = new PlaceReader(reader)
  const requests: GetRequest[] = []
  for (let left = reader.count(BUNDLE_MAX, 4); left > 0; left--) {
    const { flags, partition, keyspace, key } = place.next()
    const known = (flags & KNOWN) === 0 ? undefined : reader.raw(STAMP_BYTES)
    requests.push({ partition, keyspace, key, exempt: false, known })
  }
  return requests
}

export function encodePuts(requests: readonly PutRequest[], exempt: boolean): Uint8Array {
  let size = 8
  for (const { record, rest } of requests) size += record.length + 48 + (rest === undefined ? 0 : sizeOf(rest))
  const writer = new Writer(size).u8(exempt ? EXEMPT : 0).varint(requests.length)
  let before: Uint8Array = EMPTY_BYTES
  for (const request of requests) {
    const { rest } = request
    writePlace(writer, request, before, rest === undefined ? 0 : UNIT)
    writer.bytes(request.record)
    if (rest !== undefined) writeRest(writer, rest)
    before = request.keyspace
  }
  return writer.finish()
}

/**
 * A `PUTS` of repairs that is written one by one: no object for any, as those would live until it is answered, and garbage that
 * has lived is dear to collect.
 */
export class RepairsWriter {
  readonly #writer = new Writer(REPAIRS_BYTES)
  #count = 0
  #keyspace: Uint8Array = EMPTY_BYTES

  get count(): number {
    return this.#count
  }

  /** Whether it has room for a record and its key. */
  hasRoomFor(record: RecordBytes, key: Uint8Array): boolean {
    const isFull = this.#writer.length + key.length + record.length > BUNDLE_BYTES_MAX
    return this.#count === 0 || (this.#count < BUNDLE_MAX && !isFull)
  }

  /** Copies all that it is given. */
  add(place: RecordKey, record: RecordBytes): void {
    writePlace(this.#writer, place, this.#keyspace, 0)
    this.#writer.bytes(record)
    this.#keyspace = place.keyspace
    this.#count++
  }

  finish(): Uint8Array {
    const all = this.#writer.finish()
    return new Writer(all.length + 8).u8(REPAIR).varint(this.#count).raw(all).finish()
  }
}

/** @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT` */
export function decodePuts(bytes: Uint8Array): PutRequest[] {
  const reader = new Reader(bytes)
  const place = new PlaceReader(reader)
  const requests: PutRequest[] = []
  const flagsOfAll = reader.u8()
  const exempt = (flagsOfAll & EXEMPT) !== 0
  const repair = (flagsOfAll & REPAIR) !== 0
  for (let left = reader.count(BUNDLE_MAX, 4); left > 0; left--) {
    const { flags, partition, keyspace, key } = place.next()
    const record = readRecord(reader, reader.varint())
    const rest = (flags & UNIT) === 0 ? undefined : readRest(reader)
    if (rest !== undefined) assertOneStamp(record, rest)
    requests.push({ partition, keyspace, key, record, exempt, repair, rest })
  }
  return requests
}

export function encodeReadAnswers(answers: readonly ReadAnswer[]): Uint8Array {
  const writer = new Writer(answers.length * 2 + 64)
  for (const answer of answers) {
    const kind = writer.length > REPLY_BYTES_MAX ? undefined : answer?.kind
    switch (kind) {
      case 'record':
        writer.u8(Status.RECORD).bytes((answer as { readonly record: Uint8Array }).record)
        break
      case 'none':
        writer.u8(Status.NONE).varint((answer as { readonly horizon: number }).horizon)
        break
      case 'same':
        writer.u8(Status.SAME)
        break
      case 'fenced':
      case undefined:
        writer.u8(Status.FAILED)
        break
    }
  }
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT` */
export function decodeReadAnswers(bytes: Uint8Array, count: number): ReadAnswer[] {
  return readEach(new Reader(bytes), count, readReadAnswer)
}

function readReadAnswer(reader: Reader): ReadAnswer {
  const status = reader.u8()
  switch (status) {
    case Status.RECORD:
      return { kind: 'record', record: readRecord(reader, reader.varint()) }
    case Status.NONE:
      return { kind: 'none', horizon: reader.varint() }
    case Status.SAME:
      return SAME
    case Status.FAILED:
      return undefined
    default:
      throw new KilovoltError('KV_PROTOCOL', `an answer to a read of status ${status}`)
  }
}

export function encodeWriteAnswers(answers: readonly WriteAnswer[]): Uint8Array {
  const writer = new Writer(answers.length + 16)
  for (const answer of answers) {
    switch (answer.kind) {
      case 'stored':
        if (answer.rest === undefined) writer.u8(answer.existed ? Status.STORED_OVER : Status.STORED)
        else
          writer
            .u8(Status.STORED_UNIT)
            .u8(answer.existed ? 1 : 0)
            .bytes(answer.rest)
        break
      case 'behind':
        writer.u8(answer.existed ? Status.STALE : Status.LATE).varint(answer.hlc)
        break
      case 'fenced':
        writer.u8(Status.FENCED)
        break
      case 'refused':
        writer.u8(Status.REFUSED)
        break
      case 'failed':
        writer.u8(Status.FAILED)
        break
    }
  }
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeWriteAnswers(bytes: Uint8Array, count: number): WriteAnswer[] {
  return readEach(new Reader(bytes), count, readWriteAnswer)
}

function readWriteAnswer(reader: Reader): WriteAnswer {
  const status = reader.u8()
  switch (status) {
    case Status.STORED:
      return STORED
    case Status.STORED_OVER:
      return STORED_OVER
    case Status.STORED_UNIT:
      return { kind: 'stored', existed: reader.u8() !== 0, rest: reader.bytes(UNIT_MAX) }
    case Status.STALE:
    case Status.LATE:
      return { kind: 'behind', hlc: reader.varint(), existed: status === Status.STALE }
    case Status.FENCED:
      return { kind: 'fenced' }
    case Status.REFUSED:
      return { kind: 'refused' }
    case Status.FAILED:
      return { kind: 'failed' }
    default:
      throw new KilovoltError('KV_PROTOCOL', `an answer to a write of status ${status}`)
  }
}

function readEach<T>(reader: Reader, count: number, read: (reader: Reader) => T): T[] {
  const items: T[] = []
  for (let i = 0; i < count; i++) items.push(read(reader))
  return items
}

function sizeOf(rest: readonly KeyedRecord[]): number {
  let size = 4
  for (const { key, record } of rest) size += key.length + record.length + 8
  return size
}

const SAME = { kind: 'same' } as const
const STORED = { kind: 'stored', existed: false } as const
const STORED_OVER = { kind: 'stored', existed: true } as const

function writePlace(writer: Writer, { partition, keyspace, key }: RecordKey, before: Uint8Array, flags: number): void {
  const isSame = keyspace === before || equalBytes(keyspace, before)
  writer.u8(flags | (isSame ? 0 : OTHER_KEYSPACE)).u16(partition)
  if (!isSame) writer.bytes(keyspace)
  writer.bytes(key)
}

/** Reads what {@link writePlace} has written, one after the other, without an object for each. */
class PlaceReader implements RecordKey {
  flags = 0
  partition = 0
  keyspace: Uint8Array = EMPTY_BYTES
  key: Uint8Array = EMPTY_BYTES
  readonly #reader: Reader

  constructor(reader: Reader) {
    this.#reader = reader
  }

  next(): this {
    const reader = this.#reader
    this.flags = reader.u8()
    this.partition = reader.u16()
    if ((this.flags & OTHER_KEYSPACE) !== 0) this.keyspace = reader.bytes(KEYSPACE_BYTES_MAX)
    this.key = reader.bytes(KEY_BYTES_MAX)
    return this
  }
}
