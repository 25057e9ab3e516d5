/** The only source of chance. Integer arithmetic only, so that a seed means the same on every machine. */
export interface Random {
  /** A whole number from 0 up to, not including, `bound` (1 … 2^32). */
  int(bound: number): number
  /** True `num` times out of `den` on average. */
  chance(num: number, den: number): boolean
  /** `length` random bytes. */
  bytes(length: number): Uint8Array
  /** A stream of its own for one component: a draw added here does not shift the draws made there. */
  fork(label: string): Random
}

/** Shuffles in place (Fisher–Yates) and returns the array. */
export function shuffle<T>(random: Random, items: T[]): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = random.int(i + 1)
    const item = items[i]!
    items[i] = items[j]!
    items[j] = item
  }
  return items
}

/** `delay` plus or minus up to a quarter, so that many nodes do not act at the same instant. */
export function jitter(random: Random, delayMs: number): number {
  const quarter = Math.floor(delayMs / 4)
  return delayMs - quarter + (quarter === 0 ? 0 : random.int(2 * quarter + 1))
}
