/** Skew of the distribution, as in YCSB: the most frequent of 10,000 keys gets a tenth of all operations. */
const THETA = 0.99

/**
 * Draws numbers of which few are frequent, as keys are in practice: the n-th with a frequency proportional to
 * 1 / n^0.99. The formula is that of Gray et al., "Quickly generating billion-record synthetic databases" (SIGMOD 1994,
 * section 3.2), which YCSB uses (Cooper et al., "Benchmarking cloud serving systems with YCSB", SoCC 2010).
 */
export class Zipfian {
  readonly #count: number
  readonly #zeta: number
  readonly #eta: number

  /** @param count - numbers are from 0, the most frequent, up to, not including, this */
  constructor(count: number) {
    this.#count = count
    this.#zeta = zeta(count)
    this.#eta = (1 - (2 / count) ** (1 - THETA)) / (1 - zeta(2) / this.#zeta)
  }

  /** @param u - a number from 0 up to, not including, 1, all equally likely */
  next(u: number): number {
    const uz = u * this.#zeta
    if (uz < 1) return 0
    if (uz < 1 + 0.5 ** THETA) return Math.min(1, this.#count - 1)
    const rank = Math.floor(this.#count * (this.#eta * u - this.#eta + 1) ** (1 / (1 - THETA)))
    return Math.min(rank, this.#count - 1)
  }
}

function zeta(count: number): number {
  let sum = 0
  for (let n = 1; n <= count; n++) sum += 1 / n ** THETA
  return sum
}
