import assert from 'node:assert/strict'
import fc from 'fast-check'
import { chooseVoters, voterTarget } from '../../../src/cluster/voters.ts'
import type { StoreId } from '../../../src/model/node-id.ts'
import type { MemberStatus, Topology } from '../../../src/placement/topology.ts'
import { numbers, store, storeNumber, topology } from './fixtures.ts'

function choose(of: Topology, voters: readonly number[], dead: Readonly<Record<number, number>> = {}): number[] {
  const deadForMs = (id: StoreId): number => Object.entries(dead).find(([n]) => store(Number(n)) === id)?.[1] ?? 0
  const chosen = chooseVoters({ topology: of, voters: voters.map(store), leader: store(voters[0]!), deadForMs })
  return chosen.map(storeNumber).toSorted((a, b) => a - b)
}

describe('voters', () => {
  it('are one, three or five, as members grow', () => {
    assert.deepEqual([1, 2, 3, 4, 5, 50].map(voterTarget), [1, 1, 3, 3, 5, 5])
    assert.deepEqual(choose(topology(numbers(1)), [1]), [1])
    assert.deepEqual(choose(topology(numbers(2)), [1]), [1])
    assert.deepEqual(choose(topology(numbers(3)), [1]), [1, 2, 3])
    assert.deepEqual(choose(topology(numbers(4)), [1, 2, 3]), [1, 2, 3])
    assert.deepEqual(choose(topology(numbers(9)), [1, 2, 3]), [1, 2, 3, 4, 5])
  })

  it('prefer disk to memory, then a zone that has none, then who joined first', () => {
    const disk = topology([{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4, volatile: false }])
    assert.deepEqual(choose(disk, [1]), [1, 2, 4])
    const zones = topology([
      { n: 1, zone: 'a' },
      { n: 2, zone: 'a' },
      { n: 3, zone: 'a' },
      { n: 4, zone: 'b' }
    ])
    assert.deepEqual(choose(zones, [1]), [1, 2, 4])
  })

  it('replace a dead one after 5 s in memory and 30 s on disk, not before', () => {
    const memory = topology(numbers(4))
    assert.deepEqual(choose(memory, [1, 2, 3], { 2: 4900 }), [1, 2, 3])
    assert.deepEqual(choose(memory, [1, 2, 3], { 2: 5000 }), [1, 3, 4])
    const disk = topology(numbers(4).map(member => ({ ...member, volatile: false })))
    assert.deepEqual(choose(disk, [1, 2, 3], { 2: 29_000 }), [1, 2, 3])
    assert.deepEqual(choose(disk, [1, 2, 3], { 2: 30_000 }), [1, 3, 4])
  })

  it('lose who leaves or is evicted', () => {
    const of = topology([{ n: 1 }, { n: 2, status: 'leaving' }, { n: 3 }, { n: 4 }])
    assert.deepEqual(choose(of, [1, 2, 3]), [1, 3, 4])
  })

  it('never become a group that could not answer', () => {
    assert.deepEqual(choose(topology(numbers(3)), [1, 2, 3], { 2: 60_000, 3: 60_000 }), [1])
    assert.deepEqual(choose(topology(numbers(5)), [1, 2, 3, 4, 5], { 3: 100, 4: 100, 5: 100 }), [1, 2, 3, 4, 5])
  })

  it('are never an even number, so a dead one without successor leaves with another', () => {
    assert.deepEqual(choose(topology(numbers(3)), [1, 2, 3], { 3: 10_000 }).length % 2, 1)
  })

  it('on disk are not given up for nobody: the log of a dead one comes back', () => {
    const three = topology(numbers(3).map(one => ({ ...one, volatile: false })))
    assert.deepEqual(choose(three, [1, 2, 3], { 3: 600_000 }), [1, 2, 3])
    const four = topology(numbers(4).map(one => ({ ...one, volatile: false })))
    assert.deepEqual(choose(four, [1, 2, 3], { 3: 600_000 }), [1, 2, 4])
    const gone = topology([
      { n: 1, volatile: false },
      { n: 2, volatile: false },
      { n: 3, volatile: false, status: 'leaving' }
    ])
    assert.deepEqual(choose(gone, [1, 2, 3]), [1])
  })

  it('shrink to the living, and to those on disk, before the others', () => {
    const of = topology([{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4, volatile: false }])
    assert.deepEqual(choose(of, [1, 2, 3, 4], { 2: 1000 }), [1, 3, 4])
  })

  it('have no member that is not in the log', () => {
    assert.deepEqual(choose(topology([{ n: 1 }, { n: 2 }, { n: 3 }]), [1, 2, 9]), [1, 2, 3])
  })

  it('are settled in one step: choosing again changes nothing, and a majority is alive', () => {
    const anyMember = fc.record({
      volatile: fc.boolean(),
      zone: fc.constantFrom('a', 'b', 'c'),
      status: fc.constantFrom<MemberStatus>('up', 'up', 'up', 'down', 'leaving', 'evicted'),
      deadMs: fc.constantFrom(0, 0, 0, 1000, 10_000, 60_000)
    })
    fc.assert(
      fc.property(fc.array(anyMember, { minLength: 1, maxLength: 8 }), fc.nat(), (members, draw) => {
        const of = topology(members.map((one, i) => ({ ...one, n: i + 1 })))
        const dead = Object.fromEntries(members.map(({ deadMs }, i) => [i + 1, i === 0 ? 0 : deadMs]))
        const before = members.map((_, i) => i + 1).filter(n => n === 1 || (draw >> n) % 2 === 1)
        const after = choose(of, before, dead)
        assert.ok(after.length > 0 && new Set(after).size === after.length)
        if (after.join() === before.join()) return
        assert.ok(after.filter(n => dead[n] === 0).length * 2 > after.length)
        assert.equal(after.length % 2, 1)
        const leader = after.includes(1) ? 1 : after.find(n => dead[n] === 0)!
        assert.deepEqual(choose(of, [leader, ...after.filter(n => n !== leader)], dead), after)
      })
    )
  })
})
