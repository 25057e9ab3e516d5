/**
 * How long a member stays suspected before it is declared dead (Lifeguard, 2018, §4.2), as pure functions.
 *
 *     min     = 6 · probe interval · max(1, log10(members))        3 s up to ten members, 6 s for a hundred
 *     max     = 6 · min
 *     timeout = max − (max − min) · ln(c + 1) / ln(k + 1)          c of k confirmations; min at c ≥ k
 *     k       = min(2, alive members other than this node and the accused)
 *
 * A confirmation is an accusation by a further node that has probed for itself. Everybody notices the closed connection
 * of a killed process at once, so that within a second there are enough of them and the timeout is `min`: a second to
 * accuse and three to bury keep the promise of five. The minimum is also longer than a pause of three seconds, in which
 * a process cannot refute: it is accused about half a second into the pause and buried not before half a second after
 * its end. A single accuser whom nobody confirms has most likely a fault of its own and waits six times as long. With
 * two nodes there is nobody to ask, and the minimum applies.
 */

/** Probe intervals in the shortest suspicion, for up to ten members. */
const INTERVALS_MIN = 6
/** The longest suspicion is so many times the shortest. */
const STRETCH = 6
/** Confirmations that make a suspicion as short as it gets. */
const CONFIRMATIONS_MAX = 2
/** What a member's longest patience is worth, in suspicions. */
const PATIENCE_MAX = 4

/** The shortest suspicion, ms; grows with the logarithm of the members, as does the time that a rumour takes to spread. */
export function suspicionMinMs(members: number, probeIntervalMs: number): number {
  return Math.round(INTERVALS_MIN * probeIntervalMs * Math.max(1, Math.log10(Math.max(1, members))))
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
