import assert from 'node:assert/strict'
import { SeededRandom } from '../../src/runtime/seeded-random.ts'
import { Zipfian } from './zipfian.ts'

describe('zipfian keys of the bench', () => {
  const COUNT = 1000
  const DRAWS = 200_000

  it('are as frequent as 1 / rank^0.99 says, for the first as for many together', () => {
    const random = new SeededRandom('zipfian')
    const zipfian = new Zipfian(COUNT)
    const seen = new Uint32Array(COUNT)
    for (let i = 0; i < DRAWS; i++) seen[zipfian.next(random.int(2 ** 32) / 2 ** 32)]!++
    const weights = Array.from({ length: COUNT }, (_, i) => 1 / (i + 1) ** 0.99)
    const sum = (values: Iterable<number>): number => [...values].reduce((a, b) => a + b, 0)
    const near = (part: readonly [number, number], within: number): void => {
      const expected = sum(weights.slice(...part)) / sum(weights)
      const found = sum(seen.subarray(...part)) / DRAWS
      assert.ok(Math.abs(found / expected - 1) < within, `${part.join(' … ')}: ${found}, not ${expected}`)
    }
    near([0, 1], 0.03)
    near([1, 2], 0.05)
    // Beyond the second the formula is an integral in place of the sum.
    near([0, 10], 0.05)
    near([10, 100], 0.1)
    near([100, 1000], 0.1)
  })

  it('stay within bounds at both ends', () => {
    for (const count of [1, 2, 3, 10_000]) {
      const zipfian = new Zipfian(count)
      for (const u of [0, 0.5, 1 - 2 ** -32]) {
        const index = zipfian.next(u)
        assert.ok(Number.isInteger(index) && index >= 0 && index < count, `${index} of ${count} at ${u}`)
      }
    }
  })
})
