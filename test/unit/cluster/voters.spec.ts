import assert from 'node:assert/strict'
import { chooseVoters, voterTarget } from '../../../src/cluster/voters.ts'
import type { StoreId } from '../../../src/model/node-id.ts'
import type { Topology } from '../../../src/placement/topology.ts'
import { store, topology } from './fixtures.ts'

const numbers = (n: number): { n: number }[] => Array.from({ length: n }, (_, i) => ({ n: i + 1 }))

function choose(of: Topology, voters: readonly number[], dead: Readonly<Record<number, number>> = {}): number[] {
  const deadForMs = (id: StoreId): number => Object.entries(dead).find(([n]) => store(Number(n)) === id)?.[1] ?? 0
  const chosen = chooseVoters({ topology: of, voters: voters.map(store), leader: store(voters[0]!), deadForMs })
  return chosen.map(id => Number.parseInt(id.slice(0, 2), 16)).toSorted((a, b) => a - b)
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
})
