import { drawKeys, isPut, type Level, type Load, keysOf } from './load.ts'

/** What operations can be run against: kilovolt, or one of the limits that it is compared with. */
export const TARGETS = [
  'kilovolt',
  'documents',
  'packedDocuments',
  'database',
  'map',
  'frames',
  'singleFrames',
  'tcpFrames'
] as const
export type TargetName = (typeof TARGETS)[number]

/** The operations of a target. A limit that has no levels does the same at all of them. */
export interface Target {
  fill(keys: readonly string[], value: Uint8Array): Promise<void>
  get(key: string, level: Level): Promise<unknown>
  put(key: string, value: Uint8Array, level: Level): Promise<unknown>
  getMany(keys: readonly string[], level: Level): Promise<unknown>
  putMany(keys: readonly string[], value: Uint8Array, level: Level): Promise<unknown>
  /** Whether this process has a copy of the key; where that is no question, it has. */
  owns?(key: string): boolean
  close?(): Promise<void>
}

/** The operation of each number that makes up a load, against a target that has all keys of the load already. */
export function operationOf(target: Target, load: Load): (i: number) => Promise<unknown> {
  const { mix, level, valueBytes, many, caller } = load
  const keys = keysOf(load).filter(key => caller === 'any' || (target.owns?.(key) ?? true) === (caller === 'owner'))
  const keyOf = drawKeys(keys, load.spread)
  const value = new Uint8Array(valueBytes).fill(118)
  switch (mix) {
    case 'get':
      return i => target.get(keyOf(i), level)
    case 'put':
      return i => target.put(keyOf(i), value, level)
    case '50/50':
    case '95/5':
      return i => (isPut(mix, i) ? target.put(keyOf(i), value, level) : target.get(keyOf(i), level))
    case 'getMany':
    case 'batch': {
      const run = (i: number): readonly string[] => Array.from({ length: many }, (_, k) => keyOf(i * many + k))
      if (mix === 'getMany') return i => target.getMany(run(i), level)
      return i => target.putMany(run(i), value, level)
    }
  }
}

/** Keys that one operation of a load is about. */
export function keysAtOnce({ mix, many }: Load): number {
  return mix === 'getMany' || mix === 'batch' ? many : 1
}
