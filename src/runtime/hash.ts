import xxhash from 'xxhash-wasm'
import type { Hash64 } from '../model/partition.ts'

/**
 * A 64-bit xxHash (XXH64, seed 0).
 *
 * Each call makes its own instance: a fifth of a millisecond the first time, a fifteenth after it, and one page of memory
 * (64 KiB, more after a long input). That is cheap enough to share nothing behind the caller's back: load it once for a
 * node, or once for a whole simulation, and pass the function on.
 */
export async function loadHash64(): Promise<Hash64> {
  const api = await xxhash()
  return bytes => api.h64Raw(bytes)
}
