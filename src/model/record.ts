import { compareBytes, EMPTY_BYTES, fromHex, partOf, readUint, toHex, writeUint } from '../base/bytes.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import { hlcToMs } from './hlc.ts'
import { VALUE_BYTES_MAX } from './key.ts'
import { ACTOR_BYTES, type Actor } from './node-id.ts'
import {
  clockBytes,
  DIGEST_BYTES,
  hasDigest,
  readSiblings,
  siblingBytes,
  type SiblingSet,
  summaryOf,
  writeDigest,
  writeSiblings
} from './sibling-form.ts'
import { compareStamps, type Stamp } from './stamp.ts'

/**
 * A record is its bytes, the same on the wire and on disk, so that replicas compare and store without decoding:
 *
 *     offset  bytes  field
 *     0       1      flags: bits 0–1 format (1), bit 2 tombstone, bit 3 expiry present, bit 4 value packed, bit 5 siblings;
 *                    the other bits must be zero
 *     1       7      hybrid time, big-endian
 *     8       8      actor
 *     16      6      expiry, Unix ms, big-endian; only when flagged
 *     16/22   8      digest of the siblings; only when flagged
 *     16 … 30 …      value; empty in a tombstone; when packed, what `codec/packed.ts` makes of it; the siblings when flagged
 *
 * 16 bytes of overhead, 22 with expiry. A packed value begins with its length, 3 bytes, and is shorter than that.
 *
 * The head of a record with siblings speaks for all of them: the stamp is that of the latest write that was seen, it is a
 * tombstone when no sibling is left, and has an expiry, the last of theirs, when each of them has one. Two sets may have the
 * same stamp and differ, as a write that is older than the latest may come late: the digest tells, wherever heads are compared.
 */
export type RecordBytes = Uint8Array & { readonly __brand?: 'RecordBytes' }

const FORMAT_MASK = 0b11
const FORMAT = 1
const TOMBSTONE = 0b100
const EXPIRY = 0b1000
const PACKED = 0b1_0000
const SIBLINGS = 0b10_0000
const KNOWN_FLAGS = FORMAT_MASK | TOMBSTONE | EXPIRY | PACKED | SIBLINGS

const HLC_AT = 1
/** Seven bytes hold 56 bits; a safe integer holds 53. */
const HLC_FIRST_MAX = 0x1f
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
export const RECORD_HEAD_BYTES_MAX: number = VALUE_AT_WITH_EXPIRY + DIGEST_BYTES

/** Bytes at the beginning of a packed value: its length. */
export const PACKED_HEAD_BYTES = 3

/** What a record is made of. */
export interface RecordParts {
  readonly stamp: Stamp
  /** The value; `undefined` makes a tombstone. */
  readonly value: Uint8Array | undefined
  /** Unix ms at which the record ends; `undefined` for never. */
  readonly expiresAt?: number | undefined
  /** Whether the value is packed; it is a value then. */
  readonly packed?: boolean | undefined
}

/** The bytes of a record. */
export function encodeRecord({ stamp, value, expiresAt, packed }: RecordParts): RecordBytes {
  const valueAt = expiresAt === undefined ? VALUE_AT : VALUE_AT_WITH_EXPIRY
  const bytes = new Uint8Array(valueAt + (value?.length ?? 0))
  const kind = value === undefined ? TOMBSTONE : packed === true ? PACKED : 0
  bytes[0] = FORMAT | kind | (expiresAt === undefined ? 0 : EXPIRY)
  writeStamp(bytes, stamp)
  if (expiresAt !== undefined) writeUint(bytes, EXPIRY_AT, 6, Math.max(0, Math.floor(expiresAt)))
  if (value !== undefined) bytes.set(value, valueAt)
  return bytes
}

/** The bytes of a record with siblings. */
export function encodeSiblings(set: SiblingSet): RecordBytes {
  const { stamp, isEmpty, expiresAt } = summaryOf(set)
  const digestAt = expiresAt === undefined ? VALUE_AT : VALUE_AT_WITH_EXPIRY
  const bodyAt = digestAt + DIGEST_BYTES
  const bytes = new Uint8Array(bodyAt + siblingBytes(set))
  bytes[0] = FORMAT | SIBLINGS | (isEmpty ? TOMBSTONE : 0) | (expiresAt === undefined ? 0 : EXPIRY)
  writeStamp(bytes, stamp)
  if (expiresAt !== undefined) writeUint(bytes, EXPIRY_AT, 6, expiresAt)
  writeSiblings(bytes, bodyAt, set)
  writeDigest(bytes, digestAt, bodyAt, bodyAt + clockBytes(set))
  return bytes
}

/**
 * What a record with siblings holds; values are views.
 *
 * @throws KilovoltError `KV_CORRUPT` for one that did not pass {@link assertRecord}
 */
export function siblingsIn(record: RecordBytes): SiblingSet {
  return readSiblings(record, recordHeadBytes(record))
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
  const problem = headProblem(bytes) ?? bodyProblem(bytes)
  if (problem !== undefined) throw new KilovoltError('KV_CORRUPT', `not a record: ${problem}`)
}

/**
 * Refuses what is not the head of such a record: all of it but the value, as {@link recordHead} gives it.
 *
 * @throws KilovoltError `KV_CORRUPT`
 */
export function assertRecordHead(bytes: Uint8Array): void {
  const problem = headProblem(bytes) ?? (recordHeadBytes(bytes) === bytes.length ? undefined : 'it has a value')
  if (problem !== undefined) throw new KilovoltError('KV_CORRUPT', `not the head of a record: ${problem}`)
}

/**
 * Whether what lies here is a record of one value as it is, that never expires, or the head of one: most are, and nothing more
 * has to be checked of those.
 */
export function isPlainRecord(bytes: Uint8Array, at: number, length: number): boolean {
  return length >= RECORD_BYTES_MIN && bytes[at] === FORMAT && bytes[at + HLC_AT]! <= HLC_FIRST_MAX
}

function headProblem(bytes: Uint8Array): string | undefined {
  if (bytes.length < RECORD_BYTES_MIN) return `${bytes.length} bytes are too few`
  const flags = bytes[0]!
  if ((flags & FORMAT_MASK) !== FORMAT) return `format ${flags & FORMAT_MASK} is unknown`
  if ((flags & ~KNOWN_FLAGS) !== 0) return `flags 0x${flags.toString(16)} are unknown`
  if (bytes[HLC_AT]! > HLC_FIRST_MAX) return 'its time is out of range'
  const valueAt = recordHeadBytes(bytes)
  if (bytes.length < valueAt) return 'its head is cut off'
  if ((flags & (SIBLINGS | PACKED)) === (SIBLINGS | PACKED)) return 'siblings that are packed together'
  if ((flags & TOMBSTONE) === 0) return undefined
  if ((flags & PACKED) !== 0) return 'a tombstone that is packed'
  if ((flags & SIBLINGS) !== 0) return (flags & EXPIRY) === 0 ? undefined : 'nothing that expires'
  return bytes.length === valueAt ? undefined : 'a tombstone with a value'
}

function bodyProblem(bytes: Uint8Array): string | undefined {
  const flags = bytes[0]!
  if ((flags & (PACKED | SIBLINGS)) === 0) return undefined
  return (flags & PACKED) === 0 ? siblingsProblem(bytes) : packedProblem(partOf(bytes, recordHeadBytes(bytes)))
}

/** What the head says must be so, or what is stored could not be told from what another has. */
function siblingsProblem(bytes: Uint8Array): string | undefined {
  try {
    const set = siblingsIn(bytes)
    for (const { packed, value } of set.siblings) {
      const problem = packed ? packedProblem(value) : undefined
      if (problem !== undefined) return problem
    }
    const { stamp, isEmpty, expiresAt } = summaryOf(set)
    if (compareStamps(recordStamp(bytes), stamp) !== 0) return 'its stamp is not that of its siblings'
    if (isTombstone(bytes) !== isEmpty) return 'its siblings are not what its head says'
    if (recordExpiresAt(bytes) !== expiresAt) return 'its expiry is not that of its siblings'
    const bodyAt = recordHeadBytes(bytes)
    const isSame = hasDigest(bytes, bodyAt - DIGEST_BYTES, bodyAt, bodyAt + clockBytes(set))
    return isSame ? undefined : 'its digest is not that of its siblings'
  } catch (error) {
    return messageOf(error)
  }
}

/** Nothing may come out of a record that is larger than a value, and nothing is packed that does not get smaller by it. */
function packedProblem(packed: Uint8Array): string | undefined {
  if (packed.length <= PACKED_HEAD_BYTES) return 'its packed value is cut off'
  const length = packedBytesOf(packed)
  if (length > VALUE_BYTES_MAX) return `a packed value of ${length} bytes, where the limit is ${VALUE_BYTES_MAX}`
  return length > packed.length ? undefined : 'a packed value that is no smaller than the value'
}

/** Whether the record says "deleted". */
export function isTombstone(record: RecordBytes): boolean {
  return (record[0]! & TOMBSTONE) !== 0
}

/** Hybrid time of the record. */
export function recordHlc(record: RecordBytes): number {
  return readUint(record, HLC_AT, 7)
}

/** The same, of a record that lies somewhere in these bytes. */
export function recordHlcAt(bytes: Uint8Array, at: number): number {
  return readUint(bytes, at + HLC_AT, 7)
}

/** Version of the record. */
export function recordStamp(record: RecordBytes): Stamp {
  return { hlc: recordHlc(record), actor: toHex(partOf(record, ACTOR_AT, STAMP_END)) as Actor }
}

/** Unix ms at which the record ends, or `undefined`. */
export function recordExpiresAt(record: RecordBytes): number | undefined {
  return (record[0]! & EXPIRY) === 0 ? undefined : readUint(record, EXPIRY_AT, 6)
}

/** Whether the record holds siblings, and not one value. */
export function hasSiblings(record: RecordBytes): boolean {
  return (record[0]! & SIBLINGS) !== 0
}

/** Whether one of two records holds siblings: then they are joined, and neither takes the place of the other. */
export function hasEitherSiblings(a: RecordBytes, b: RecordBytes): boolean {
  return ((a[0]! | b[0]!) & SIBLINGS) !== 0
}

/** Whether the value of the record is packed. */
export function isPacked(record: RecordBytes): boolean {
  return (record[0]! & PACKED) !== 0
}

/** Length of the value that comes out of a packed one. */
export function packedBytesOf(packed: Uint8Array): number {
  return readUint(packed, 0, PACKED_HEAD_BYTES)
}

/**
 * The value as it is stored (see {@link isPacked}), a part of the record; `undefined` for a tombstone. Of a record with
 * siblings it is all of them: `sibling-set.ts` knows their values.
 */
export function recordValue(record: RecordBytes): Uint8Array | undefined {
  if (isTombstone(record)) return undefined
  return partOf(record, recordHeadBytes(record))
}

/** All but the value: flags, stamp and expiry: a part of the record. */
export function recordHead(record: RecordBytes): Uint8Array {
  return partOf(record, 0, recordHeadBytes(record))
}

/** Length of {@link recordHead}. */
export function recordHeadBytes(record: RecordBytes): number {
  return headBytesOf(record[0]!)
}

/** The same, by the first byte of the record. */
export function headBytesOf(first: number): number {
  const flags = first & (EXPIRY | SIBLINGS)
  if (flags === 0) return VALUE_AT
  return ((flags & EXPIRY) === 0 ? VALUE_AT : VALUE_AT_WITH_EXPIRY) + ((flags & SIBLINGS) === 0 ? 0 : DIGEST_BYTES)
}

/** A copy of a record's head that is a record by itself, without a value: how that was kept says nothing then. */
export function bareHead(record: RecordBytes): RecordBytes {
  const bytes = record.slice(0, (record[0]! & EXPIRY) === 0 ? VALUE_AT : VALUE_AT_WITH_EXPIRY)
  bytes[0]! &= ~(PACKED | SIBLINGS)
  return bytes
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

/** The newer of two records without siblings: commutative, associative, idempotent. Others are joined: see `sibling-set.ts`. */
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
