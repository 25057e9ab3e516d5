import type { Random } from './random.ts'

/** xoshiro128** (Blackman and Vigna, 2018), seeded through splitmix32 from a label: 32-bit integers only. */
export class SeededRandom implements Random {
  readonly #label: string
  readonly #s: Uint32Array

  constructor(seed: string | number) {
    this.#label = String(seed)
    let h = 0x811c9dc5
    for (let i = 0; i < this.#label.length; i++) h = Math.imul(h ^ this.#label.charCodeAt(i), 0x01000193)
    this.#s = new Uint32Array(4)
    for (let i = 0; i < 4; i++) {
      h = (h + 0x9e3779b9) | 0
      let z = h
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b)
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
      this.#s[i] = (z ^ (z >>> 16)) >>> 0
    }
  }

  int(bound: number): number {
    // Multiply-shift; the bias of 2^-32 · bound does not matter to a simulation.
    return Math.floor((this.#next() / 0x1_0000_0000) * bound)
  }

  chance(num: number, den: number): boolean {
    return this.int(den) < num
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    for (let i = 0; i < length; i++) bytes[i] = this.#next() & 0xff
    return bytes
  }

  fork(label: string): Random {
    return new SeededRandom(`${this.#label}/${label}`)
  }

  #next(): number {
    const s = this.#s
    const s1 = s[1]!
    const m = Math.imul(s1, 5)
    const result = Math.imul((m << 7) | (m >>> 25), 9) >>> 0
    const t = s1 << 9
    s[2]! ^= s[0]!
    s[3]! ^= s1
    s[1]! ^= s[2]!
    s[0]! ^= s[3]!
    s[2]! ^= t
    const s3 = s[3]!
    s[3] = (s3 << 11) | (s3 >>> 21)
    return result
  }
}
