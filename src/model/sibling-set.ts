import { compareBytes, equalBytes } from '../base/bytes.ts'
import { type Causality, covers, latestSeen, unite } from './causality.ts'
import type { Actor } from './node-id.ts'
import {
  encodeRecord,
  encodeSiblings,
  hasEitherSiblings,
  hasSiblings,
  isPacked,
  isTombstone,
  newest,
  type RecordBytes,
  recordExpiresAt,
  recordHlc,
  recordStamp,
  recordValue,
  siblingsIn
} from './record.ts'
import type { Sibling, SiblingSet } from './sibling-form.ts'
import { compareStamps, type Stamp } from './stamp.ts'

/** Most siblings that an owner mints of one key. What several owners have minted apart may be more together. */
export const SIBLINGS_MAX = 64
/**
 * Most bytes of the values of one key that an owner mints. Less than a value may have elsewhere: what the owners have minted
 * apart travels in one message when it has come together.
 */
export const SIBLING_BYTES_MAX: number = 2 * 1024 * 1024

/** A write to be minted. Without a value it deletes. */
export interface SiblingWrite {
  /** What its author has seen, and takes the place of; `undefined` for nothing. */
  readonly context: Causality | undefined
  readonly dot: Stamp
  readonly id: string | undefined
  readonly value: Uint8Array | undefined
  readonly packed: boolean
  readonly expiresAt: number | undefined
}

/** What a record holds; one without siblings has seen all that is stamped before it, and holds what it says. */
export function siblingsOf(record: RecordBytes): SiblingSet {
  if (hasSiblings(record)) return siblingsIn(record)
  const dot = recordStamp(record)
  const value = recordValue(record)
  if (value === undefined) return { base: dot, seen: NOBODY, siblings: [] }
  const sibling = { dot, id: undefined, expiresAt: recordExpiresAt(record), packed: isPacked(record), value }
  return { base: dot, seen: NOBODY, siblings: [sibling] }
}

/**
 * What two have together: a sibling stays when both have it, or when the one that has it not has not seen it. Commutative,
 * associative and idempotent.
 */
export function joinSets(a: SiblingSet, b: SiblingSet): SiblingSet {
  const siblings: Sibling[] = []
  let j = 0
  for (const mine of a.siblings) {
    while (j < b.siblings.length && compareStamps(b.siblings[j]!.dot, mine.dot) < 0) keep(b.siblings[j++]!, a, siblings)
    const other = b.siblings[j]
    if (other === undefined || compareStamps(other.dot, mine.dot) !== 0) {
      keep(mine, b, siblings)
      continue
    }
    siblings.push(same(mine, other))
    j++
  }
  while (j < b.siblings.length) keep(b.siblings[j++]!, a, siblings)
  return { ...unite(a, b), siblings }
}

/**
 * Two records under one key, joined: the newer one when neither has siblings. What it comes to is one of the two itself
 * when the other has nothing to add to it.
 */
export function joinRecords(a: RecordBytes, b: RecordBytes): RecordBytes {
  if (!hasEitherSiblings(a, b)) return newest(a, b)!
  if (a === b || equalBytes(a, b)) return a
  const joined = encodeSiblings(joinSets(siblingsOf(a), siblingsOf(b)))
  return equalBytes(joined, a) ? a : equalBytes(joined, b) ? b : joined
}

/** Whether a record has all that another says: nothing would be added by joining them. */
export function holdsAll(record: RecordBytes, other: RecordBytes): boolean {
  return joinRecords(record, other) === record || record === other
}

/** What is held after a write: what its author has seen goes, and the write comes to what is left. */
export function mintedSet(held: SiblingSet | undefined, write: SiblingWrite): SiblingSet {
  const { context, dot, id, value, packed, expiresAt } = write
  const before = held ?? NOTHING_HELD
  const siblings = before.siblings.filter(sibling => context === undefined || !covers(context, sibling.dot))
  if (value !== undefined) siblings.push({ dot, id, expiresAt, packed, value })
  const seen = unite(context === undefined ? before : unite(before, context), {
    base: undefined,
    seen: new Map([[dot.actor, dot.hlc]])
  })
  return { ...seen, siblings: siblings.toSorted((a, b) => compareStamps(a.dot, b.dot)) }
}

/**
 * What may be let in of siblings that are offered (rule G1, for each of them): what lies at or below the horizon and is not
 * held was overwritten.
 */
export function settledSet(offered: SiblingSet, held: SiblingSet | undefined, horizon: number): SiblingSet {
  const isHeld = ({ dot }: Sibling): boolean =>
    dot.hlc > horizon || held?.siblings.some(other => compareStamps(other.dot, dot) === 0) === true
  return offered.siblings.every(isHeld) ? offered : { ...offered, siblings: offered.siblings.filter(isHeld) }
}

/**
 * The same, when all of it lies in the settled past: then every owner has it, and whatever is missing in it stays out for that.
 * Who minted what is of no use to anybody any more, nor are the names of the writes.
 */
export function prunedSet(set: SiblingSet, horizon: number): SiblingSet {
  const latest = latestSeen(set)
  if (latest === undefined || latest.hlc > horizon) return set
  return { base: latest, seen: NOBODY, siblings: set.siblings.map(sibling => ({ ...sibling, id: undefined })) }
}

/**
 * As {@link prunedSet}, where a part of what was seen is settled: one stamp says that, whoever minted it. A key that is written
 * all the time would else name every owner of all its life. Only for who has all that is settled.
 */
export function foldedSet(set: SiblingSet, horizon: number): SiblingSet {
  let { base } = set
  for (const [actor, hlc] of set.seen) {
    if (hlc <= horizon && (base === undefined || compareStamps({ hlc, actor }, base) > 0)) base = { hlc, actor }
  }
  if (base === set.base) return set
  return { ...unite(set, { base, seen: NOBODY }), siblings: set.siblings }
}

/** A record without those of its siblings that lie at or below a horizon, as some owner has none of them. */
export function unsettled(record: RecordBytes, horizon: number): RecordBytes | undefined {
  if (recordHlc(record) <= horizon) return undefined
  if (!hasSiblings(record)) return record
  const set = siblingsIn(record)
  const left = settledSet(set, undefined, horizon)
  return left === set ? record : encodeSiblings(left)
}

/** The siblings that are there for a reader, the newest last. */
export function liveSiblings({ siblings }: SiblingSet, nowMs: number): readonly Sibling[] {
  return siblings.filter(({ expiresAt }) => expiresAt === undefined || expiresAt > nowMs)
}

/**
 * The newest of the siblings of a live record, which is what those see who know of none. When all have ended since it was read,
 * the newest of those.
 */
export function latestValue(record: RecordBytes, nowMs: number): Sibling {
  const { siblings } = siblingsOf(record)
  return siblings.findLast(({ expiresAt }) => expiresAt === undefined || expiresAt > nowMs) ?? siblings.at(-1)!
}

/** A record as those see it who know of no siblings: with the newest of them alone, if there is one, under the stamp of all. */
export function newestAlone(record: RecordBytes, nowMs: number): RecordBytes {
  if (!hasSiblings(record)) return record
  if (isTombstone(record)) return encodeRecord({ stamp: recordStamp(record), value: undefined })
  const { value, packed, expiresAt } = latestValue(record, nowMs)
  return encodeRecord({ stamp: recordStamp(record), value, packed, expiresAt })
}

const NOBODY: ReadonlyMap<Actor, number> = new Map()
const NOTHING_HELD: SiblingSet = { base: undefined, seen: NOBODY, siblings: [] }

function keep(sibling: Sibling, other: Causality, siblings: Sibling[]): void {
  if (!covers(other, sibling.dot)) siblings.push(sibling)
}

/** One of two that are the same write. They differ when the name of one is forgotten already; or by a fault, and then by all bytes. */
function same(a: Sibling, b: Sibling): Sibling {
  if (a.id === b.id && a.value === b.value) return a
  const order =
    compareBytes(a.value, b.value) ||
    Number(a.packed) - Number(b.packed) ||
    (a.expiresAt ?? Infinity) - (b.expiresAt ?? Infinity) ||
    0
  const one = order >= 0 ? a : b
  const id = a.id === undefined || b.id === undefined ? undefined : a.id > b.id ? a.id : b.id
  return one.id === id ? one : { ...one, id }
}
