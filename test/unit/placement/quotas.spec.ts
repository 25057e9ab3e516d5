import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { type ClaimMember, fairShares, quotas, zoneCaps } from '../../../src/placement/quotas.ts'
import { clusterOf, storeIdOf } from './claim-figures.ts'

const members: fc.Arbitrary<ClaimMember[]> = fc
  .array(fc.record({ weight: fc.constantFrom(0.1, 0.5, 1, 2, 3, 64), zone: fc.nat(4) }), {
    minLength: 1,
    maxLength: 12
  })
  .map(list => list.map(({ weight, zone }, i) => ({ storeId: storeIdOf(3, i), weight, zone: `z${zone}` })))
const slots = fc.integer({ min: 1, max: 6 })

const sum = (list: readonly number[]): number => list.reduce((total, n) => total + n, 0)

/** Totals by zone of something that each member has. */
function byZone(list: readonly ClaimMember[], amounts: readonly number[]): Map<string, number> {
  const totals = new Map<string, number>()
  for (const [i, { zone }] of list.entries()) totals.set(zone, (totals.get(zone) ?? 0) + amounts[i]!)
  return totals
}

describe('zoneCaps', () => {
  it('are the smallest with which a row still finds its slots', () => {
    fc.assert(
      fc.property(members, slots, (list, wanted) => {
        const caps = zoneCaps(list, wanted)
        const n = Math.min(wanted, list.length)
        assert.ok(sum([...caps.values()]) >= n)
        const greatest = Math.max(...caps.values())
        assert.ok(greatest === 1 || sum([...caps.values()].map(cap => Math.min(cap, greatest - 1))) < n)
        for (const [zone, cap] of caps) assert.ok(cap <= list.filter(member => member.zone === zone).length)
      })
    )
  })
})

describe('fairShares', () => {
  it('add up to all slots, within what members and zones may hold', () => {
    fc.assert(
      fc.property(members, slots, (list, wanted) => {
        const shares = fairShares(list, 256, wanted)
        assert.ok(Math.abs(sum(shares) - 256 * Math.min(wanted, list.length)) < 1e-6)
        assert.ok(shares.every(share => share > 0 && share <= 256 + 1e-6))
        const caps = zoneCaps(list, wanted)
        for (const [zone, share] of byZone(list, shares)) assert.ok(share <= 256 * caps.get(zone)! + 1e-6)
      })
    )
  })

  it('are in proportion to the weights where no limit binds', () => {
    const list = clusterOf(6, 1, [1, 2])
    assert.deepEqual(fairShares(list, 300, 1), [100 / 3, 200 / 3, 100 / 3, 200 / 3, 100 / 3, 200 / 3])
  })

  it('share out among the others what a heavy member cannot hold', () => {
    assert.deepEqual(fairShares(clusterOf(3, 1, [100, 1, 1]), 256, 2), [256, 128, 128])
  })
})

describe('quotas', () => {
  it('are whole, add up to all slots, and are within one of the fair shares where zones leave it', () => {
    fc.assert(
      fc.property(members, slots, fc.array(fc.nat(256), { minLength: 12, maxLength: 12 }), (list, wanted, held) => {
        const result = quotas(list, 256, wanted, held)
        const shares = fairShares(list, 256, wanted)
        assert.equal(sum(result), 256 * Math.min(wanted, list.length))
        assert.ok(result.every(quota => Number.isInteger(quota) && quota >= 0 && quota <= 256))
        for (const [i, quota] of result.entries()) assert.ok(Math.abs(quota - shares[i]!) < 1 + 1e-6)
        const caps = zoneCaps(list, wanted)
        for (const [zone, quota] of byZone(list, result)) assert.ok(quota <= 256 * caps.get(zone)!)
      })
    )
  })

  it('give the spare slots to those who hold them already', () => {
    const list = clusterOf(3, 1)
    // 256 / 3 = 85.3: one of the three has 86.
    for (const keeper of [0, 1, 2]) {
      const held = [0, 1, 2].map(i => (i === keeper ? 86 : 85))
      assert.deepEqual(quotas(list, 256, 1, held), held)
    }
  })
})
