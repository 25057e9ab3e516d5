import type { Actor } from './node-id.ts'

/** The version of a record: hybrid time and who gave it. Never used twice. */
export interface Stamp {
  readonly hlc: number
  readonly actor: Actor
}

/** Total order of versions: hybrid time first, actor as the tie-break. */
export function compareStamps(a: Stamp, b: Stamp): number {
  if (a.hlc !== b.hlc) return a.hlc - b.hlc
  return a.actor < b.actor ? -1 : a.actor > b.actor ? 1 : 0
}

/** A stamp as text; texts are ordered as stamps are. */
export function formatStamp({ hlc, actor }: Stamp): string {
  return `${hlc.toString(16).padStart(14, '0')}-${actor}`
}

/**
 * The version right after another one: every version that is later than that one is later than this one too, whoever gave it.
 * Actors are 64 random bits, so that the next number is nobody's.
 */
export function successorOf(base: Stamp): Stamp {
  return advanced(base, 1n)
}

/** How many successors of a version, one after the other, are known to be that. */
const SUCCESSORS_MAX = 1024n

/** Whether a version comes after another by no more than some {@link successorOf}. */
export function isNextTo(later: Stamp, base: Stamp): boolean {
  const ahead = BigInt(`0x${later.actor}`) - BigInt(`0x${base.actor}`)
  return later.hlc === base.hlc && ahead >= 0n && ahead <= SUCCESSORS_MAX
}

const CLAIM_BITS = 16n
const CLAIM_SPAN = 2 ** 32

/**
 * A version after another one, and before all that is stamped later than that: of those who make a new value of the same one,
 * whoever came first has the later version, and so keeps its place. What comes second is stale, and its writer told so.
 *
 * @param base - version of what the value is made of
 * @param fresh - a new stamp of who makes it: says when, and who
 */
export function claimOn(base: Stamp, fresh: Stamp): Stamp {
  const earliness = CLAIM_SPAN - 1 - (fresh.hlc % CLAIM_SPAN)
  const who = BigInt(`0x${fresh.actor.slice(0, 4)}`)
  return advanced(base, (BigInt(earliness) << CLAIM_BITS) + who + 2n)
}

function advanced({ hlc, actor }: Stamp, by: bigint): Stamp {
  const digits = (BigInt(`0x${actor}`) + by).toString(16).padStart(actor.length, '0')
  return digits.length > actor.length
    ? { hlc: hlc + 1, actor: digits.slice(1) as Actor }
    : { hlc, actor: digits as Actor }
}
