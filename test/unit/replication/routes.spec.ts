import assert from 'node:assert/strict'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Row } from '../../../src/placement/topology.ts'
import { Routes } from '../../../src/replication/routes.ts'
import { store, topology } from '../cluster/fixtures.ts'

const MEMBERS = [1, 2, 3, 4].map(n => ({ n }))

function routes(row: Row, self: number): Routes {
  return new Routes(topology(MEMBERS, { rows: [row] }), store(self), SOUND_RULES)
}

describe('the route of an operation', () => {
  const still: Row = { slots: [1, 2, 3].map(store), change: undefined, rowEpoch: 1 }
  const moving: Row = { ...still, change: { next: [1, 2, 4].map(store), copies: [] } }

  it('begins with oneself, who needs no peer', () => {
    const { replicas, peers, sets } = routes(still, 2).of(0, false)
    assert.deepEqual(replicas, [2, 1, 3].map(store))
    assert.deepEqual(peers, [undefined, 'peer-1', 'peer-3'])
    assert.deepEqual(sets, [still.slots])
  })

  it('is the owners in their order for who is none of them', () => {
    assert.deepEqual(routes(still, 4).of(0, false).replicas, still.slots)
  })

  it('leads to the coming owners too while the row changes, but not for one copy', () => {
    const both = routes(moving, 1)
    assert.deepEqual(both.of(0, false).replicas, [1, 2, 3, 4].map(store))
    assert.deepEqual(both.of(0, false).sets, [still.slots, moving.change!.next])
    assert.deepEqual(both.of(0, true).replicas, still.slots)
  })

  it('has no peer for an owner that is no member any more', () => {
    const row: Row = { ...still, slots: [1, 2, 7].map(store) }
    assert.deepEqual(routes(row, 1).of(0, false).peers, [undefined, 'peer-2', undefined])
  })

  it('is steady while the row is at rest and each replica has a bit of its own', () => {
    assert.equal(routes(still, 1).of(0, false).isSteady, true)
    assert.equal(routes(still, 4).of(0, true).isSteady, true)
    assert.equal(routes(moving, 1).of(0, false).isSteady, false)
    assert.equal(routes(moving, 1).of(0, true).isSteady, false)
    const twice: Row = { ...still, slots: [2, 3, 2].map(store) }
    assert.equal(routes(twice, 1).of(0, false).isSteady, false)
    const of = (count: number): Row => ({ ...still, slots: Array.from({ length: count }, (_, i) => store(i + 2)) })
    assert.equal(routes(of(31), 1).of(0, false).isSteady, true)
    assert.equal(routes(of(32), 1).of(0, false).isSteady, false)
  })

  it('is worked out once', () => {
    const once = routes(still, 1)
    assert.equal(once.of(0, true), once.of(0, true))
    assert.equal(once.of(0, false), once.of(0, false))
  })
})
