import { equalBytes } from '../base/bytes.ts'
import type { KilovoltError } from '../base/errors.ts'
import {
  encodeSiblings,
  hasEitherSiblings,
  hasSiblings,
  isSpent,
  newest,
  type RecordBytes,
  recordHlc
} from '../model/record.ts'
import { foldedSet, joinSets, prunedSet, settledSet, siblingsOf } from '../model/sibling-set.ts'

/**
 * Makes a record of what is held; the held one itself when there is nothing to do. Called in the turn in which the record is
 * decided on, so that nothing comes between.
 */
export type Mint = (held: RecordBytes | undefined) => RecordBytes | KilovoltError

/** How records with siblings are let in. */
export interface SiblingRules {
  /** Hybrid time up to which the past of the partition is settled. */
  readonly horizon: number
  /** Whether it only comes from another copy: there what is missing need not have been overwritten. */
  readonly isCopy: boolean
  /** Whether this copy has all that it is to have. A coming owner takes over the horizon before the records. */
  readonly isWhole: boolean
  /** Whether siblings are joined. The simulator shows what happens otherwise. */
  readonly joins: boolean
}

/**
 * What is held when a record comes to another, one of which has siblings; `undefined` when all that comes lies in the settled
 * past and nothing is held (rule G1, for each sibling). One of the two themselves when nothing else comes of it.
 */
export function letIn(
  held: RecordBytes | undefined,
  offered: RecordBytes,
  { horizon, isCopy, isWhole, joins }: SiblingRules
): RecordBytes | undefined {
  if (held === undefined && (isCopy ? isSpent(offered, horizon) : recordHlc(offered) <= horizon)) return undefined
  if (!joins && held !== undefined) return newest(held, offered)
  const before = held && siblingsOf(held)
  const all = siblingsOf(offered)
  // What is left out counts as seen. Where it is only to come yet it would be kept out for good, and with it from all others.
  const some = isCopy || !isWhole ? all : settledSet(all, before, horizon)
  const joined = encodeSiblings(prunedSet(before === undefined ? some : joinSets(before, some), horizon))
  return held !== undefined && equalBytes(joined, held) ? held : equalBytes(joined, offered) ? offered : joined
}

/**
 * Actors of a record of which a part is settled that are kept, though they need not be: what was brought from another cluster is
 * known by its own old dots, which must not be forgotten as soon as the key is written.
 */
const ACTORS_KEPT = 256

/**
 * What is minted upon: a record whose past is settled forgets who has minted it. Where a part of it is, and names many, it forgets
 * those that minted that part, if this copy is whole.
 */
export function settledRecord(
  held: RecordBytes | undefined,
  { horizon, isWhole }: Pick<SiblingRules, 'horizon' | 'isWhole'>
): RecordBytes | undefined {
  if (held === undefined || horizon === 0 || !hasSiblings(held)) return held
  const set = siblingsOf(held)
  const isCrowded = isWhole && set.seen.size > ACTORS_KEPT
  const settled = recordHlc(held) <= horizon ? prunedSet(set, horizon) : isCrowded ? foldedSet(set, horizon) : set
  return settled === set ? held : encodeSiblings(settled)
}

/** Whether the two are joined, rather than that one takes the place of the other. */
export function isForSiblings(held: RecordBytes | undefined, offered: RecordBytes): boolean {
  return held === undefined ? hasSiblings(offered) : hasEitherSiblings(held, offered)
}
