/** Timeout before the first answer, ms. */
const PROBE_TIMEOUT_INITIAL_MS = 500
/**
 * Shortest timeout, ms. Far above a round trip on a local network: it covers a garbage collection or a busy moment of
 * the other process, which are no failures.
 */
const PROBE_TIMEOUT_MIN_MS = 300
/** Longest timeout, ms: the round trip to the other side of the earth several times over. */
const PROBE_TIMEOUT_MAX_MS = 1000

/** Learns the round trip to one member, as RFC 6298 does: timeout = smoothed time + 4 · smoothed deviation, bounded. */
export class RoundTrip {
  #meanMs: number | undefined
  #deviationMs = 0

  /** Takes note of one answered probe. */
  sample(ms: number): void {
    if (this.#meanMs === undefined) {
      this.#meanMs = ms
      this.#deviationMs = ms / 2
      return
    }
    this.#deviationMs += (Math.abs(ms - this.#meanMs) - this.#deviationMs) / 4
    this.#meanMs += (ms - this.#meanMs) / 8
  }

  /** How long to wait for an answer, ms. */
  get timeoutMs(): number {
    if (this.#meanMs === undefined) return PROBE_TIMEOUT_INITIAL_MS
    const wanted = Math.ceil(this.#meanMs + 4 * this.#deviationMs)
    return Math.min(PROBE_TIMEOUT_MAX_MS, Math.max(PROBE_TIMEOUT_MIN_MS, wanted))
  }
}
