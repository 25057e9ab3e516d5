/** Multiplier of a node that trusts itself least. */
const HEALTH_MULTIPLIER_MAX = 8
/** A loop that is later than this counts against the node's own health, ms. */
const LATE_MS = 200
/** A loop that is later than this has stood still, ms. */
const STALLED_MS = 1000

/**
 * A node's suspicion of itself (Lifeguard, 2018, §4.1): a score from 0 to 7 that stretches its probe interval and its
 * probe timeouts by 1 to 8. What the node misses (answers that its helpers should have given, whatever the state of the
 * probed member) and what its event loop loses raise the score; every answered probe lowers it by one.
 *
 * Unlike in the paper, being refuted does not raise it: our suspicions are raised on closed connections too, which say
 * nothing of the accuser's health.
 */
export class Awareness {
  #score = 0

  /** 1 (healthy) to 8. */
  get multiplier(): number {
    return 1 + this.#score
  }

  /** A probe was answered in time. */
  answered(): void {
    this.#add(-1)
  }

  /** An answer that did not depend on the probed member failed to come. */
  missed(): void {
    this.#add(1)
  }

  /** The event loop was so late, ms. */
  lagged(lagMs: number): void {
    this.#add(lagPenalty(lagMs))
  }

  #add(change: number): void {
    this.#score = Math.min(HEALTH_MULTIPLIER_MAX - 1, Math.max(0, this.#score + change))
  }
}

/** How much a late event loop adds to the score: nothing below 200 ms, 1 up to a second, 3 beyond. */
export function lagPenalty(lagMs: number): number {
  if (lagMs < LATE_MS) return 0
  return lagMs < STALLED_MS ? 1 : 3
}
