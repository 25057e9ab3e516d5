import { copyPart } from '../base/bytes.ts'

/** Bytes of a key that make up a number: as many as a double holds exactly. */
const RANK_BYTES = 6
const PAST = 256 ** RANK_BYTES

/**
 * Numbers for keys that are merged in rising or, in reverse, in falling order: of two keys the one with the lesser number comes
 * first; two of the same number have to be compared. Keys of a page begin alike, most often with more than half of their bytes, and
 * a merge compares each a dozen times: a number for the few bytes behind what all have in common settles nearly all of that.
 */
export class KeyRank {
  readonly #common: Uint8Array
  readonly #sign: 1 | -1

  /** @param keys - of which most of those to come lie in between; at least one */
  constructor(keys: readonly Uint8Array[], isReverse: boolean) {
    const first = keys[0]!
    let length = first.length
    for (const key of keys) length = sharedBytes(first, key, length)
    this.#common = copyPart(first, 0, length)
    this.#sign = isReverse ? -1 : 1
  }

  /** The number of the key that lies here; of one that does not begin like the others, and hence comes after or before them all, too. */
  of(bytes: Uint8Array, from: number, to: number): number {
    const common = this.#common
    for (let i = 0; i < common.length; i++) {
      const difference = from + i < to ? bytes[from + i]! - common[i]! : -1
      if (difference !== 0) return difference < 0 ? -this.#sign : PAST * this.#sign
    }
    let rank = 0
    for (let at = from + common.length, end = at + RANK_BYTES; at < end; at++)
      rank = rank * 256 + (at < to ? bytes[at]! : 0)
    return rank * this.#sign
  }
}

/** How many bytes both begin with, at most so many. */
function sharedBytes(a: Uint8Array, b: Uint8Array, most: number): number {
  const end = Math.min(a.length, b.length, most)
  let shared = 0
  while (shared < end && a[shared] === b[shared]) shared++
  return shared
}
