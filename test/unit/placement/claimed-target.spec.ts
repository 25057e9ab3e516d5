import assert from 'node:assert/strict'
import { claim, type ClaimInput } from '../../../src/placement/claim.ts'
import { ClaimedTarget } from '../../../src/placement/claimed-target.ts'
import { idFromBytes, type StoreId } from '../../../src/model/node-id.ts'

const store = (n: number): StoreId => idFromBytes(new Uint8Array(16).fill(n))
const members = (count: number): ClaimInput['members'] =>
  Array.from({ length: count }, (_, i) => ({ storeId: store(i + 1), weight: 1, zone: '' }))
const shape = { partitions: 64, replicas: 3 }
const three = claim({ current: undefined, members: members(3), ...shape })

describe('a claimed target', () => {
  it('is what the claim gives', () => {
    const input = { current: three, members: members(4), ...shape }
    assert.deepEqual(new ClaimedTarget().of(input), claim(input))
  })

  it('stays while rows go there one after the other', () => {
    const target = new ClaimedTarget()
    const first = target.of({ current: three, members: members(4), ...shape })
    for (const moved of [1, 20, 64]) {
      const current = three.map((row, i) => (i < moved ? [...first[i]!] : [...row]))
      assert.equal(target.of({ current, members: members(4).toReversed(), ...shape }), first)
    }
  })

  it('is claimed anew when a row is neither where it was nor where it goes', () => {
    const target = new ClaimedTarget()
    const first = target.of({ current: three, members: members(4), ...shape })
    const current = three.map((row, i) => (i === 7 ? row.slice(1) : row))
    const second = target.of({ current, members: members(4), ...shape })
    assert.notEqual(second, first)
    assert.deepEqual(second, claim({ current, members: members(4), ...shape }))
  })

  const others: readonly [string, ClaimInput['members']][] = [
    ['comes', members(5)],
    ['goes', members(3)],
    ['is replaced', [...members(3), { storeId: store(9), weight: 1, zone: '' }]],
    ['has another weight', members(4).map((one, i) => ({ ...one, weight: i === 0 ? 2 : 1 }))],
    ['moves to another zone', members(4).map((one, i) => ({ ...one, zone: i === 0 ? 'b' : 'a' }))]
  ]
  for (const [what, changed] of others) {
    it(`is claimed anew when a member ${what}`, () => {
      const target = new ClaimedTarget()
      const first = target.of({ current: three, members: members(4), ...shape })
      const input = { current: three, members: changed, ...shape }
      const second = target.of(input)
      assert.notEqual(second, first)
      assert.deepEqual(second, claim(input))
    })
  }
})
