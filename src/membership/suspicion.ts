/**
 * How long a member stays suspected before it is declared dead (Lifeguard, 2018, §4.2), as pure functions.
 *
 *     min     = 6 · probe interval · max(1, log10(members) − 1)    3 s up to a hundred members, 6 s for a thousand
 *             = 4 · probe interval · the same                      when nothing listens any more where the member was
 *     max     = 6 · min
 *     timeout = max − (max − min) · ln(c + 1) / ln(k + 1)          c of k confirmations; min at c ≥ k
 *     k       = min(2, alive members other than this node and the accused)
 *
 * A confirmation is an accusation by a further node that has probed for itself. Everybody notices the closed connection
 * of a killed process at once, so that within a second there are enough of them and the timeout is `min`. The minimum is
 * also longer than a pause of three seconds, in which a process cannot refute: it is accused about a second into the pause
 * and buried not before half a second after its end. It need not be when the machine refuses connections, as it does not
 * for a process that pauses. A single accuser whom nobody confirms has most likely a fault of its own and waits six times
 * as long. With two nodes there is nobody to ask, and the minimum applies.
 *
 * In the paper the minimum grows with the logarithm of the members from the first, as the time does that a rumour takes from
 * one to the next. Here whoever accuses or refutes tells everybody directly; what grows is the work of those who hear it.
 */

/** Probe intervals in the shortest suspicion, for up to a hundred members. */
const INTERVALS_MIN = 6
/** The same of a member whose process has ended by all appearances: it may be back in a moment, but not refute. */
const INTERVALS_ENDED = 4
/** The longest suspicion is so many times the shortest. */
const STRETCH = 6
/** Confirmations that make a suspicion as short as it gets. */
const CONFIRMATIONS_MAX = 2
/** What a member's longest patience is worth, in suspicions. */
const PATIENCE_MAX = 4

/** The shortest suspicion, ms. */
export function suspicionMinMs(members: number, probeIntervalMs: number, hasEnded: boolean): number {
  const intervals = hasEnded ? INTERVALS_ENDED : INTERVALS_MIN
  return Math.round(intervals * probeIntervalMs * Math.max(1, Math.log10(Math.max(1, members)) - 1))
}

/** How many confirmations there can be, at most two: one from each member that is alive and could probe for itself. */
export function confirmationsNeeded(witnesses: number): number {
  return Math.min(CONFIRMATIONS_MAX, Math.max(0, witnesses))
}

/** How long the suspicion lasts given its confirmations so far, ms. */
export function suspicionTimeoutMs(minMs: number, confirmations: number, needed: number): number {
  if (confirmations >= needed) return minMs
  const maxMs = minMs * STRETCH
  return Math.round(maxMs - ((maxMs - minMs) * Math.log(confirmations + 1)) / Math.log(needed + 1))
}

/**
 * Flap damping: by how much longer a member may stay suspected that keeps being accused and keeps refuting. It is
 * reachable after all, and burying and raising it in turns would move data for nothing.
 *
 * @param flaps - its refutations, each counting half as much every minute
 */
export function patience(flaps: number): number {
  return Math.min(PATIENCE_MAX, Math.max(1, Math.floor(flaps)))
}
