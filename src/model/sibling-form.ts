import { readUint, toHex, fromHex, writeUint } from '../base/bytes.ts'
import {
  byteAt,
  type Causality,
  causalityBytes,
  corrupt,
  covers,
  DOT_BYTES,
  latestSeen,
  readCausality,
  readDot,
  writeCausality,
  writeDot
} from './causality.ts'
import { compareStamps, type Stamp } from './stamp.ts'

/** One value of several that were written without having seen each other. */
export interface Sibling {
  /** The write that made it. */
  readonly dot: Stamp
  /** Name that its coordinator gave to the write, 16 hexadecimal digits; `undefined` when nobody will ask for it again. */
  readonly id: string | undefined
  /** Unix ms at which it ends; `undefined` for never. */
  readonly expiresAt: number | undefined
  readonly packed: boolean
  readonly value: Uint8Array
}

/** What a record with siblings holds: what has been seen of the key, and what is left of it, by their dots. */
export interface SiblingSet extends Causality {
  readonly siblings: readonly Sibling[]
}

/** What the head of a record says of its siblings. */
export interface SiblingSummary {
  /** The latest write that was seen. */
  readonly stamp: Stamp
  /** Nothing is left: the key is deleted. */
  readonly isEmpty: boolean
  /** When the last of them ends; `undefined` when one of them does not. */
  readonly expiresAt: number | undefined
}

const PACKED = 1
const EXPIRY = 2
const ID = 4
const KNOWN_FLAGS = PACKED | EXPIRY | ID
const ID_BYTES = 8
const EXPIRY_BYTES = 6
const LENGTH_BYTES = 4
/** Most that are kept of one key, whatever was minted: each owner mints no more than 64. */
const COUNT_MAX = 4096
/** Length of {@link writeDigest}. */
export const DIGEST_BYTES = 8

/**
 * The body of a record with siblings, behind its head:
 *
 *     what was seen (see `causality.ts`) · count u16 ·
 *     per sibling, by their dots: flags u8 (1: packed, 2: expires, 4: an id) · time 7 · actor 8 · [id 8] · [expiry 6] ·
 *     length u32 · then the values
 *
 * All but the values says what the set is, as a dot is never used twice: the digest in the head is of that.
 */
export function siblingBytes(set: SiblingSet): number {
  let bytes = clockBytes(set)
  for (const { value } of set.siblings) bytes += value.length
  return bytes
}

/** Length of all but the values. */
export function clockBytes(set: SiblingSet): number {
  let bytes = causalityBytes(set) + 2
  for (const { id, expiresAt } of set.siblings) {
    bytes += 1 + DOT_BYTES + (id === undefined ? 0 : ID_BYTES) + (expiresAt === undefined ? 0 : EXPIRY_BYTES)
    bytes += LENGTH_BYTES
  }
  return bytes
}

/** Writes it from there on. */
export function writeSiblings(bytes: Uint8Array, from: number, set: SiblingSet): void {
  let at = writeCausality(bytes, from, set)
  writeUint(bytes, at, 2, set.siblings.length)
  at += 2
  for (const { dot, id, expiresAt, packed, value } of set.siblings) {
    bytes[at++] = (packed ? PACKED : 0) | (expiresAt === undefined ? 0 : EXPIRY) | (id === undefined ? 0 : ID)
    at = writeDot(bytes, at, dot)
    if (id !== undefined) {
      bytes.set(fromHex(id)!, at)
      at += ID_BYTES
    }
    if (expiresAt !== undefined) {
      writeUint(bytes, at, EXPIRY_BYTES, expiresAt)
      at += EXPIRY_BYTES
    }
    writeUint(bytes, at, LENGTH_BYTES, value.length)
    at += LENGTH_BYTES
  }
  for (const { value } of set.siblings) {
    bytes.set(value, at)
    at += value.length
  }
}

/**
 * Reads what {@link writeSiblings} has written; the values are views.
 *
 * @throws KilovoltError `KV_CORRUPT`
 */
export function readSiblings(bytes: Uint8Array, from: number): SiblingSet {
  const { causality, end } = readCausality(bytes, from)
  let at = end
  if (bytes.length < at + 2) throw corrupt('siblings are cut off')
  const count = readUint(bytes, at, 2)
  at += 2
  if (count > COUNT_MAX) throw corrupt(`${count} siblings`)
  const heads: (Omit<Sibling, 'value'> & { readonly length: number })[] = []
  for (let i = 0; i < count; i++) {
    const flags = byteAt(bytes, at++)
    if ((flags & ~KNOWN_FLAGS) !== 0) throw corrupt(`flags 0x${flags.toString(16)} of a sibling are unknown`)
    const dot = readDot(bytes, at)
    at += DOT_BYTES
    const more = ((flags & ID) === 0 ? 0 : ID_BYTES) + ((flags & EXPIRY) === 0 ? 0 : EXPIRY_BYTES) + LENGTH_BYTES
    if (bytes.length < at + more) throw corrupt('a sibling is cut off')
    const id = (flags & ID) === 0 ? undefined : toHex(bytes.subarray(at, (at += ID_BYTES)))
    const expiresAt = (flags & EXPIRY) === 0 ? undefined : readUint(bytes, at, EXPIRY_BYTES)
    if (expiresAt !== undefined) at += EXPIRY_BYTES
    const length = readUint(bytes, at, LENGTH_BYTES)
    at += LENGTH_BYTES
    const before = heads.at(-1)
    if (before !== undefined && compareStamps(before.dot, dot) >= 0) throw corrupt('siblings that are out of order')
    if (!covers(causality, dot)) throw corrupt('a sibling that was not seen')
    heads.push({ dot, id, expiresAt, packed: (flags & PACKED) !== 0, length })
  }
  const siblings: Sibling[] = []
  for (const { length, dot, id, expiresAt, packed } of heads) {
    if (bytes.length < at + length) throw corrupt('a value is cut off')
    siblings.push({ dot, id, expiresAt, packed, value: bytes.subarray(at, (at += length)) })
  }
  if (at !== bytes.length) throw corrupt(`${bytes.length - at} bytes too many`)
  return { ...causality, siblings }
}

/**
 * What its record's head says.
 *
 * @throws KilovoltError `KV_CORRUPT` when nothing was seen
 */
export function summaryOf(set: SiblingSet): SiblingSummary {
  const stamp = latestSeen(set)
  if (stamp === undefined) throw corrupt('nothing was seen')
  let expiresAt: number | undefined = 0
  for (const sibling of set.siblings) {
    expiresAt =
      sibling.expiresAt === undefined || expiresAt === undefined ? undefined : Math.max(expiresAt, sibling.expiresAt)
  }
  const isEmpty = set.siblings.length === 0
  return { stamp, isEmpty, expiresAt: isEmpty ? undefined : expiresAt }
}

/** Writes 64 bits to a place, by which two sets that differ can be told apart. */
export function writeDigest(bytes: Uint8Array, at: number, from: number, end: number): void {
  const { hi, lo } = digestOf(bytes, from, end)
  writeUint(bytes, at, 4, hi)
  writeUint(bytes, at + 4, 4, lo)
}

/** Whether such a digest lies there. */
export function hasDigest(bytes: Uint8Array, at: number, from: number, end: number): boolean {
  const { hi, lo } = digestOf(bytes, from, end)
  return readUint(bytes, at, 4) === hi && readUint(bytes, at + 4, 4) === lo
}

/**
 * A name of 64 bits, as 16 hexadecimal digits, made of a stamp. As no stamp is ever given out twice, no two of them have the
 * same but by the chance of one in 2^64.
 */
export function nameOf(stamp: Stamp): string {
  const bytes = new Uint8Array(DOT_BYTES + DIGEST_BYTES)
  writeDot(bytes, 0, stamp)
  writeDigest(bytes, DOT_BYTES, 0, DOT_BYTES)
  return toHex(bytes.subarray(DOT_BYTES))
}

function digestOf(bytes: Uint8Array, from: number, end: number): { readonly hi: number; readonly lo: number } {
  let hi = 0x9e3779b9 | 0
  let lo = (end - from) | 0
  for (let i = from; i < end; i++) {
    hi = Math.imul((hi << 13) | (hi >>> 19), 5) ^ Math.imul(bytes[i]! + lo, 0x85ebca6b)
    lo = Math.imul((lo << 17) | (lo >>> 15), 9) ^ Math.imul(bytes[i]! + hi, 0xc2b2ae35)
  }
  hi = Math.imul(hi ^ (hi >>> 16), 0x85ebca6b)
  lo = Math.imul(lo ^ (lo >>> 15) ^ hi, 0xc2b2ae35)
  return { hi: (hi ^ (hi >>> 13)) >>> 0, lo: (lo ^ (lo >>> 16)) >>> 0 }
}
