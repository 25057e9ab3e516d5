const PPM = 1_000_000
/** Where monotonic time begins: not at 0, which code may take for "never". */
const FIRST_US = 1_000_000

/** The fastest or slowest an oscillator may run (2 %); real ones stay below 0.02 %. */
export const DRIFT_PPM_MAX = 20_000

/** How a machine's clock differs from true time. */
export interface OscillatorOptions {
  /** What the wall clock shows too much, ms. Default 0. */
  readonly offsetMs?: number
  /** Parts in a million that the clock runs too fast. Default 0, at most ±20,000. */
  readonly driftPpm?: number
}

/**
 * The clock of one machine: it survives the processes on it. Integer microseconds; a later true time never gives an
 * earlier monotonic time, whatever is changed when.
 */
export class Oscillator {
  readonly #epochMs: number
  #offsetMs: number
  #driftPpm: number
  #baseTrueUs = 0
  #baseLocalUs = FIRST_US

  /** @param epochMs - Unix ms at true time 0 */
  constructor(epochMs: number, { offsetMs = 0, driftPpm = 0 }: OscillatorOptions = {}) {
    this.#epochMs = epochMs
    this.#offsetMs = Math.trunc(offsetMs)
    this.#driftPpm = clampDrift(driftPpm)
  }

  /** Parts in a million that this clock runs too fast. */
  get driftPpm(): number {
    return this.#driftPpm
  }

  /** Monotonic microseconds at a true time. */
  localUs(trueUs: number): number {
    const elapsed = trueUs - this.#baseTrueUs
    return this.#baseLocalUs + elapsed + Math.floor((elapsed * this.#driftPpm) / PPM)
  }

  /** Wall clock, Unix ms, at a true time. */
  wallMs(trueUs: number): number {
    return this.#epochMs + this.#offsetMs + Math.floor((this.localUs(trueUs) - FIRST_US) / 1000)
  }

  /** The first true time, not before `trueUs`, at which the monotonic clock has gone on by `localUs`. */
  dueUs(trueUs: number, localUs: number): number {
    const due = this.localUs(trueUs) + localUs
    let at = trueUs + Math.floor((localUs * PPM) / (PPM + this.#driftPpm))
    while (this.localUs(at) < due) at++
    return at
  }

  /** Runs at another speed from now on. Timers that are set already keep their true time. */
  drift(trueUs: number, driftPpm: number): void {
    this.#baseLocalUs = this.localUs(trueUs)
    this.#baseTrueUs = trueUs
    this.#driftPpm = clampDrift(driftPpm)
  }

  /** Sets the wall clock forward, or back by a negative number. Monotonic time does not notice. */
  jump(ms: number): void {
    this.#offsetMs += Math.trunc(ms)
  }
}

function clampDrift(ppm: number): number {
  return Math.max(-DRIFT_PPM_MAX, Math.min(DRIFT_PPM_MAX, Math.trunc(ppm)))
}
