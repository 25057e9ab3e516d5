import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { Awareness, lagPenalty } from '../../../src/membership/awareness.ts'
import { RoundTrip } from '../../../src/membership/round-trip.ts'
import { confirmationsNeeded, patience, suspicionMinMs, suspicionTimeoutMs } from '../../../src/membership/suspicion.ts'

describe('the timeout of a suspicion', () => {
  const minima: readonly (readonly [members: number, minMs: number])[] = [
    [1, 3000],
    [2, 3000],
    [3, 3000],
    [10, 3000],
    [100, 3000],
    [320, 4515],
    [1000, 6000]
  ]
  for (const [members, minMs] of minima) {
    it(`is at least ${minMs} ms with ${members} members probed every 500 ms`, () => {
      assert.equal(suspicionMinMs(members, 500, false), minMs)
    })
  }

  it('is a third shorter when nothing listens any more where the member was', () => {
    for (const [members, minMs] of minima) assert.equal(suspicionMinMs(members, 500, true), Math.round((minMs * 2) / 3))
  })

  const timeouts: readonly (readonly [confirmations: number, needed: number, timeoutMs: number])[] = [
    [0, 0, 3000],
    [5, 0, 3000],
    [0, 1, 18_000],
    [1, 1, 3000],
    [0, 2, 18_000],
    [1, 2, 8536],
    [2, 2, 3000],
    [9, 2, 3000]
  ]
  for (const [confirmations, needed, timeoutMs] of timeouts) {
    it(`is ${timeoutMs} ms with ${confirmations} of ${needed} confirmations`, () => {
      assert.equal(suspicionTimeoutMs(3000, confirmations, needed), timeoutMs)
    })
  }

  it('needs no more confirmations than there are witnesses, and two at most', () => {
    assert.deepEqual([-1, 0, 1, 2, 3, 100].map(confirmationsNeeded), [0, 0, 1, 2, 2, 2])
  })

  it('never grows with a confirmation and never leaves its bounds', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20_000 }), fc.nat(10), fc.nat(10), (minMs, confirmations, needed) => {
        const timeoutMs = suspicionTimeoutMs(minMs, confirmations, needed)
        assert.ok(timeoutMs >= minMs && timeoutMs <= 6 * minMs)
        assert.ok(suspicionTimeoutMs(minMs, confirmations + 1, needed) <= timeoutMs)
      })
    )
  })

  it('is longer for members that keep refuting, four times at most', () => {
    assert.deepEqual([0, 0.9, 1, 1.99, 2, 3.5, 4, 1000].map(patience), [1, 1, 1, 1, 2, 3, 4, 4])
  })
})

describe('a node’s suspicion of itself', () => {
  it('rises by what it misses and by how late its loop runs, and falls by every answer', () => {
    const awareness = new Awareness()
    assert.equal(awareness.multiplier, 1)
    awareness.missed()
    awareness.lagged(3000)
    assert.equal(awareness.multiplier, 5)
    awareness.answered()
    assert.equal(awareness.multiplier, 4)
  })

  it('stays from 1 to 8', () => {
    const awareness = new Awareness()
    awareness.answered()
    assert.equal(awareness.multiplier, 1)
    for (let i = 0; i < 20; i++) awareness.lagged(5000)
    assert.equal(awareness.multiplier, 8)
    for (let i = 0; i < 20; i++) awareness.answered()
    assert.equal(awareness.multiplier, 1)
  })

  it('does not mind a loop that is less than 200 ms late', () => {
    assert.deepEqual([0, 199, 200, 999, 1000, 60_000].map(lagPenalty), [0, 0, 1, 1, 3, 3])
  })
})

describe('the timeout of a probe', () => {
  it('is 500 ms before the first answer and 300 ms on a fast network', () => {
    const roundTrip = new RoundTrip()
    assert.equal(roundTrip.timeoutMs, 500)
    for (let i = 0; i < 20; i++) roundTrip.sample(2)
    assert.equal(roundTrip.timeoutMs, 300)
  })

  it('follows a slow network up to a second, and comes back', () => {
    const roundTrip = new RoundTrip()
    for (let i = 0; i < 50; i++) roundTrip.sample(i % 2 === 0 ? 350 : 450)
    assert.ok(roundTrip.timeoutMs > 500 && roundTrip.timeoutMs < 700, `${roundTrip.timeoutMs}`)
    for (let i = 0; i < 50; i++) roundTrip.sample(5000)
    assert.equal(roundTrip.timeoutMs, 1000)
    for (let i = 0; i < 100; i++) roundTrip.sample(2)
    assert.equal(roundTrip.timeoutMs, 300)
  })
})
