/**
 * Hybrid logical clocks (Kulkarni et al. 2014) in one JavaScript safe integer:
 *
 *     hlc = (ms since 2020-01-01T00:00:00Z) × 4096 + counter
 *
 * 41 + 12 = 53 bits: exact until 2089, 4.1 million stamps a second; past that the counter borrows the next
 * millisecond. The state is pure: what the machine's clock says is an argument.
 */

/** 2020-01-01T00:00:00Z in Unix milliseconds. */
export const HLC_EPOCH_MS = 1_577_836_800_000
/** Stamps in one millisecond. */
export const HLC_COUNTERS_PER_MS = 4096

/** The smallest hybrid time of a wall-clock millisecond. */
export function hlcFromMs(wallMs: number): number {
  return Math.max(0, Math.floor(wallMs) - HLC_EPOCH_MS) * HLC_COUNTERS_PER_MS
}

/** The wall-clock millisecond of a hybrid time. */
export function hlcToMs(hlc: number): number {
  return Math.floor(hlc / HLC_COUNTERS_PER_MS) + HLC_EPOCH_MS
}

/** A hybrid clock's state: the greatest time it has issued or seen. Never goes back, whatever the wall clock does. */
export class HybridClock {
  #last: number

  /** @param last - nothing at or below this is ever issued */
  constructor(last = 0) {
    this.#last = last
  }

  /** The greatest time issued or seen. */
  get last(): number {
    return this.#last
  }

  /** A time greater than every one issued or seen before. */
  tick(wallMs: number): number {
    this.#last = Math.max(this.#last + 1, hlcFromMs(wallMs))
    return this.#last
  }

  /** Takes note of a time seen elsewhere: what is issued from now on is greater. */
  observe(hlc: number): void {
    if (hlc > this.#last) this.#last = hlc
  }
}
