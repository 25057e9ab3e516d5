import { SeededRandom } from '../../src/runtime/seeded-random.ts'
import { Zipfian } from './zipfian.ts'

/** Which operations a load is made of; `50/50` and `95/5` are gets and puts. */
export const MIXES = ['get', 'put', '50/50', '95/5', 'getMany', 'batch'] as const
export type Mix = (typeof MIXES)[number]
export const LEVELS = ['one', 'quorum', 'all'] as const
export type Level = (typeof LEVELS)[number]
/** How often which key is used. */
export const SPREADS = ['uniform', 'zipfian'] as const
export type Spread = (typeof SPREADS)[number]
/** Keys of which copies the coordinating node is among the owners, is not, or either. */
export type Caller = 'any' | 'owner' | 'stranger'

/** What is asked for, again and again. */
export interface Load {
  readonly mix: Mix
  readonly level: Level
  readonly valueBytes: number
  readonly spread: Spread
  /** Keys of one `getMany` or `batch`. */
  readonly many: number
  readonly caller: Caller
}

/** A load where nothing else is said. */
export const USUAL_LOAD: Load = {
  mix: 'get',
  level: 'quorum',
  valueBytes: 100,
  spread: 'uniform',
  many: 100,
  caller: 'any'
}

/**
 * How often: a closed loop keeps so many operations in flight, each followed by the next when it is done; an open loop
 * begins so many a second, whether or not the earlier ones are done.
 */
export type Pace = { readonly seconds: number } & ({ readonly inFlight: number } | { readonly perSecond: number })

/** Bytes of a key. */
export const KEY_BYTES = 16
const KEYS_MAX = 10_000
/** What the values of all keys may take together, so that three copies of everything fit in memory. */
const VALUES_BYTES_MAX = 64 * 1024 * 1024
/** Keys are drawn beforehand, so that drawing is not measured; a power of two. */
const DRAWN = 1 << 16

/** All keys of a load. */
export function keysOf({ valueBytes }: Load): readonly string[] {
  const count = Math.min(KEYS_MAX, Math.max(1, Math.floor(VALUES_BYTES_MAX / valueBytes)))
  return Array.from({ length: count }, (_, i) => `key:${String(i).padStart(KEY_BYTES - 4, '0')}`)
}

/** The key of each operation by its number; the same each time. */
export function drawKeys(keys: readonly string[], spread: Spread): (i: number) => string {
  const random = new SeededRandom('bench')
  const zipfian = new Zipfian(keys.length)
  const drawn = Array.from({ length: DRAWN }, () => {
    const index = spread === 'uniform' ? random.int(keys.length) : zipfian.next(random.int(2 ** 32) / 2 ** 32)
    return keys[index]!
  })
  return i => drawn[i % DRAWN]!
}

/** Whether the operation of that number writes. */
export function isPut(mix: Mix, i: number): boolean {
  switch (mix) {
    case 'put':
    case 'batch':
      return true
    case '50/50':
      return i % 2 === 0
    case '95/5':
      return i % 20 === 0
    case 'get':
    case 'getMany':
      return false
  }
}
