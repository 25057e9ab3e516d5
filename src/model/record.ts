import { compareBytes, EMPTY_BYTES, fromHex, toHex } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { hlcToMs } from './hlc.ts'
import { ACTOR_BYTES, type Actor } from './node-id.ts'
import type { Stamp } from './stamp.ts'

/**
 * A record is its bytes, the same on the wire and on disk, so that replicas compare and store without decoding:
 *
 *     offset  bytes  field
 *     0       1      flags: bits 0–1 format (1), bit 2 tombstone, bit 3 expiry present; the other bits must be zero
 *     1       7      hybrid time, big-endian
 *     8       8      actor
 *     16      6      expiry, Unix ms, big-endian; only when flagged
 *     16/22   …      value; empty in a tombstone
 *
 * 16 bytes of overhead, 22 with expiry.
 */
export type RecordBytes = Uint8Array & { readonly __brand?: 'RecordBytes' }

const FORMAT_MASK = 0b11
const FORMAT = 1
const TOMBSTONE = 0b100
const EXPIRY = 0b1000
const KNOWN_FLAGS = FORMAT_MASK | TOMBSTONE | EXPIRY

const HLC_AT = 1
const ACTOR_AT = 8
const EXPIRY_AT = 16
const VALUE_AT = 16
const VALUE_AT_WITH_EXPIRY = 22
/** Bytes of a stamp inside a record: from {@link STAMP_START} up to, not including, {@link STAMP_END}. */
export const STAMP_START: number = HLC_AT
/** End of the stamp inside a record. */
export const STAMP_END: number = ACTOR_AT + ACTOR_BYTES
/** Length of a stamp inside a record. */
export const STAMP_BYTES: number = STAMP_END - STAMP_START
/** Length of the shortest record. */
export const RECORD_BYTES_MIN: number = VALUE_AT

/** Length of the longest head of a record: all but its value. */
export const RECORD_HEAD_BYTES_MAX: number = VALUE_AT_WITH_EXPIRY

/** What a record is made of. */
export interface RecordParts {
  readonly stamp: Stamp
  /** The value; `undefined` makes a tombstone. */
  readonly value: Uint8Array | undefined
  /** Unix ms at which the record ends; `undefined` for never. */
  readonly expiresAt?: number | undefined
}

/** The bytes of a record. */
export function encodeRecord({ stamp, value, expiresAt }: RecordParts): RecordBytes {
  const valueAt = expiresAt === undefined ? VALUE_AT : VALUE_AT_WITH_EXPIRY
  const bytes = new Uint8Array(valueAt + (value?.length ?? 0))
  bytes[0] = FORMAT | (value === undefined ? TOMBSTONE : 0) | (expiresAt === undefined ? 0 : EXPIRY)
  writeStamp(bytes, stamp)
  if (expiresAt !== undefined) writeUint(bytes, EXPIRY_AT, 6, Math.max(0, Math.floor(expiresAt)))
  if (value !== undefined) bytes.set(value, valueAt)
  return bytes
}

/** A copy of the record under another stamp. What it expires at stays. */
export function restamp(record: RecordBytes, stamp: Stamp): RecordBytes {
  const bytes = new Uint8Array(record)
  writeStamp(bytes, stamp)
  return bytes
}

/**
 * A copy of a write under a later stamp. Its time to live counts from the new one: else a write from a machine whose clock
 * is behind would be over before it is stored.
 */
export function restampWrite(record: RecordBytes, stamp: Stamp): RecordBytes {
  const bytes = restamp(record, stamp)
  const expiresAt = recordExpiresAt(record)
  if (expiresAt !== undefined) {
    writeUint(bytes, EXPIRY_AT, 6, expiresAt + hlcToMs(stamp.hlc) - hlcToMs(recordHlc(record)))
  }
  return bytes
}

/**
 * Refuses what is not a record of a format that this version knows. To be called once on bytes from outside; the
 * other functions of this module trust their argument.
 *
 * @throws KilovoltError `KV_CORRUPT`
 */
export function assertRecord(bytes: Uint8Array): void {
  const problem = recordProblem(bytes)
  if (problem !== undefined) throw new KilovoltError('KV_CORRUPT', `not a record: ${problem}`)
}

/**
 * Refuses what is not the head of such a record: all of it but the value, as {@link recordHead} gives it.
 *
 * @throws KilovoltError `KV_CORRUPT`
 */
export function assertRecordHead(bytes: Uint8Array): void {
  const problem = recordProblem(bytes) ?? (recordHead(bytes).length === bytes.length ? undefined : 'it has a value')
  if (problem !== undefined) throw new KilovoltError('KV_CORRUPT', `not the head of a record: ${problem}`)
}

function recordProblem(bytes: Uint8Array): string | undefined {
  if (bytes.length < RECORD_BYTES_MIN) return `${bytes.length} bytes are too few`
  const flags = bytes[0]!
  if ((flags & FORMAT_MASK) !== FORMAT) return `format ${flags & FORMAT_MASK} is unknown`
  if ((flags & ~KNOWN_FLAGS) !== 0) return `flags 0x${flags.toString(16)} are unknown`
  // Seven bytes hold 56 bits; a safe integer holds 53.
  if (bytes[HLC_AT]! > 0x1f) return 'its time is out of range'
  const valueAt = (flags & EXPIRY) === 0 ? VALUE_AT : VALUE_AT_WITH_EXPIRY
  if (bytes.length < valueAt) return 'its expiry is cut off'
  if ((flags & TOMBSTONE) !== 0 && bytes.length !== valueAt) return 'a tombstone with a value'
  return undefined
}

/** Whether the record says "deleted". */
export function isTombstone(record: RecordBytes): boolean {
  return (record[0]! & TOMBSTONE) !== 0
}

/** Hybrid time of the record. */
export function recordHlc(record: RecordBytes): number {
  return readUint(record, HLC_AT, 7)
}

/** Version of the record. */
export function recordStamp(record: RecordBytes): Stamp {
  return { hlc: recordHlc(record), actor: toHex(record.subarray(ACTOR_AT, STAMP_END)) as Actor }
}

/** Unix ms at which the record ends, or `undefined`. */
export function recordExpiresAt(record: RecordBytes): number | undefined {
  return (record[0]! & EXPIRY) === 0 ? undefined : readUint(record, EXPIRY_AT, 6)
}

/** The value, as a view into the record; `undefined` for a tombstone. */
export function recordValue(record: RecordBytes): Uint8Array | undefined {
  if (isTombstone(record)) return undefined
  return record.subarray(recordHeadBytes(record))
}

/** All but the value: flags, stamp and expiry, as a view into the record. */
export function recordHead(record: RecordBytes): Uint8Array {
  return record.subarray(0, recordHeadBytes(record))
}

/** Length of {@link recordHead}. */
export function recordHeadBytes(record: RecordBytes): number {
  return (record[0]! & EXPIRY) === 0 ? VALUE_AT : VALUE_AT_WITH_EXPIRY
}

/** Whether a reader sees a value: neither deleted nor expired at `nowMs`. */
export function isLive(record: RecordBytes | undefined, nowMs: number): record is RecordBytes {
  if (record === undefined || isTombstone(record)) return false
  const expiresAt = recordExpiresAt(record)
  return expiresAt === undefined || expiresAt > nowMs
}

/**
 * Whether the record says no more than that nothing is there, to everybody, once a partition's horizon has reached this
 * hybrid time: it was written by then, and it says "deleted" or had expired by then. The horizon is half a minute in the
 * past, so that whoever asks on a slow clock sees it as expired too.
 */
export function isSpent(record: RecordBytes, horizon: number): boolean {
  return recordHlc(record) <= horizon && !isLive(record, hlcToMs(horizon))
}

/** Whether the record will be spent some day. */
export function isMortal(record: RecordBytes): boolean {
  return (record[0]! & (TOMBSTONE | EXPIRY)) !== 0
}

/** Order of two records' versions: hybrid time, then actor. */
export function compareRecordStamps(a: RecordBytes, b: RecordBytes): number {
  for (let i = STAMP_START; i < STAMP_END; i++) {
    const difference = a[i]! - b[i]!
    if (difference !== 0) return difference
  }
  return 0
}

/** Whether the bytes are the stamp of the record. */
export function hasStamp(record: RecordBytes, stamp: Uint8Array): boolean {
  for (let i = 0; i < STAMP_BYTES; i++) if (record[STAMP_START + i] !== stamp[i]) return false
  return stamp.length === STAMP_BYTES
}

/**
 * The one comparator: positive when `a` is newer. A total order, so that replicas converge whatever arrives in which
 * order: version first; equal versions (which only a fault can make) by all their bytes, expiry and value included.
 */
export function compareRecords(a: RecordBytes, b: RecordBytes): number {
  return compareRecordStamps(a, b) || compareBytes(a, b)
}

/** The newer of two records: commutative, associative, idempotent. */
export function newest(a: RecordBytes | undefined, b: RecordBytes | undefined): RecordBytes | undefined {
  if (a === undefined) return b
  if (b === undefined) return a
  return compareRecords(a, b) >= 0 ? a : b
}

function writeStamp(bytes: Uint8Array, { hlc, actor }: Stamp): void {
  writeUint(bytes, HLC_AT, 7, hlc)
  if (actor !== lastActor.actor) lastActor = { actor, bytes: fromHex(actor)! }
  bytes.set(lastActor.bytes, ACTOR_AT)
}

/** A node stamps all its records with one actor: its bytes are worked out once. */
let lastActor: { readonly actor: Actor | undefined; readonly bytes: Uint8Array } = {
  actor: undefined,
  bytes: EMPTY_BYTES
}

function writeUint(bytes: Uint8Array, at: number, width: number, value: number): void {
  let rest = value
  for (let i = at + width - 1; i >= at; i--) {
    bytes[i] = rest % 256
    rest = Math.floor(rest / 256)
  }
}

function readUint(bytes: Uint8Array, at: number, width: number): number {
  let value = 0
  for (let i = at; i < at + width; i++) value = value * 256 + bytes[i]!
  return value
}
