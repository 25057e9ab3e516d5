import assert from 'node:assert/strict'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Row } from '../../../src/placement/topology.ts'
import { Routes } from '../../../src/replication/routes.ts'
import { peer, store, storeNumber, topology } from '../cluster/fixtures.ts'

const MEMBERS = [1, 2, 3, 4].map(n => ({ n }))

function routes(row: Row, self: number): Routes {
  return new Routes(topology(MEMBERS, { rows: [row] }), store(self), SOUND_RULES)
}

describe('the route of an operation', () => {
  const still: Row = { slots: [1, 2, 3].map(store), change: undefined, rowEpoch: 1 }
  const moving: Row = { ...still, change: { next: [1, 2, 4].map(store), copies: [] } }

  it('begins with oneself, who needs no peer', () => {
    const { replicas, locals, peers, sets } = routes(still, 2).of(0, false)
    assert.deepEqual(replicas, [2, 1, 3].map(store))
    assert.deepEqual(peers, [undefined, 'peer-1', 'peer-3'])
    assert.equal(locals, 1)
    assert.deepEqual(sets, [still.slots])
  })

  it('is the owners for who is none of them', () => {
    for (const ownersOnly of [true, false]) {
      const { replicas, locals } = routes(still, 4).of(0, ownersOnly)
      assert.deepEqual([replicas, locals], [still.slots, 0])
    }
  })

  it('has the others by their names, or for one copy in the order of the row', () => {
    const row: Row = { ...still, slots: [3, 4, 1, 2].map(store) }
    for (const [self, byName, byRow] of [
      [4, [4, 1, 2, 3], [4, 3, 1, 2]],
      [7, [1, 2, 3, 4], [3, 4, 1, 2]]
    ] as const) {
      const all = routes(row, self)
      const [many, one] = [all.of(0, false), all.of(0, true)]
      assert.deepEqual([many.replicas, one.replicas], [byName.map(store), byRow.map(store)])
      for (const { replicas, peers } of [many, one]) {
        assert.deepEqual(
          peers,
          replicas.map(id => (id === store(self) ? undefined : peer(storeNumber(id))))
        )
      }
    }
    assert.deepEqual(row.slots, [3, 4, 1, 2].map(store), 'the row itself is left as it is')
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
