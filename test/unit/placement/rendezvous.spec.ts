import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { rankByRendezvous, rendezvousScore, scoreOf, storeHash } from '../../../src/placement/rendezvous.ts'
import { storeIdOf } from './claim-figures.ts'

const stores = Array.from({ length: 10 }, (_, i) => storeIdOf(1, i))

describe('rankByRendezvous', () => {
  it('gives the same order whatever the order it is given', () => {
    fc.assert(
      fc.property(fc.nat(4095), fc.shuffledSubarray(stores), (partition, some) => {
        assert.deepEqual(rankByRendezvous(partition, [...some].reverse()), rankByRendezvous(partition, some))
      })
    )
  })

  it('keeps the order of the others when one is gone: its work is shared out, nobody else’s moves', () => {
    fc.assert(
      fc.property(fc.nat(4095), fc.constantFrom(...stores), (partition, gone) => {
        assert.deepEqual(
          rankByRendezvous(
            partition,
            stores.filter(id => id !== gone)
          ),
          rankByRendezvous(partition, stores).filter(id => id !== gone)
        )
      })
    )
  })

  it('puts each store first about equally often', () => {
    const firsts = new Map<string, number>()
    for (let partition = 0; partition < 4096; partition++) {
      const first = rankByRendezvous(partition, stores)[0]!
      firsts.set(first, (firsts.get(first) ?? 0) + 1)
    }
    // Mean 410 with a deviation of 19.
    for (const store of stores) assert.ok(Math.abs(firsts.get(store)! - 410) < 115, `${firsts.get(store)}`)
  })
})

describe('rendezvousScore', () => {
  it('is the score of the kept hash', () => {
    for (const store of stores) assert.equal(scoreOf(77, storeHash(store)), rendezvousScore(77, store))
  })

  it('is what it was on every machine before', () => {
    const store = storeIdOf(1, 0)
    assert.deepEqual(
      [0, 1, 255, 4095].map(partition => rendezvousScore(partition, store)),
      [651_621_020, 1_524_749_217, 2_123_651_190, 3_335_541_283]
    )
  })
})
