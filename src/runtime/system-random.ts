import { randomBytes, randomInt } from 'node:crypto'
import type { Random } from './random.ts'

/** The machine's cryptographic source. */
export const systemRandom: Random = {
  int: bound => randomInt(bound),
  chance: (num, den) => randomInt(den) < num,
  bytes: length => new Uint8Array(randomBytes(length)),
  fork: () => systemRandom
}
