import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { Gossip, INCARNATION_MAX, MEMBERS_MAX, type Rumour } from '../../../src/membership/gossip.ts'
import type { ClusterId, PeerId, StoreId } from '../../../src/model/node-id.ts'
import type { Liveness, ViewMember } from '../../../src/model/view.ts'
import { storeId } from './fake-cluster.ts'

const SELF = storeId(0)
const A = storeId(1)
const RETENTION_MS = 600_000

function member(store: StoreId, more: Partial<ViewMember> = {}): ViewMember {
  return {
    storeId: store,
    peerId: `peer-${store.slice(-4)}` as PeerId,
    addresses: ['/memory/x'],
    incarnation: 10,
    status: 'alive',
    clusterId: undefined,
    epoch: 0,
    ...more
  }
}

function rumour(store: StoreId, more: Partial<ViewMember> = {}, accusers: readonly StoreId[] = [], ageMs = 0): Rumour {
  return { member: member(store, more), ageMs, accusers }
}

function gossip(more: Partial<ViewMember> = {}): Gossip {
  return new Gossip(member(SELF, more))
}

describe('gossip', () => {
  it('refutes whatever is said against its own node, and only that', () => {
    for (const status of ['suspect', 'dead', 'left'] as const) {
      const own = gossip()
      assert.deepEqual(own.hear(0, [rumour(SELF, { status, incarnation: 9 })]).changes, [])
      const { changes, publish } = own.hear(0, [rumour(SELF, { status })])
      assert.equal(own.self.incarnation, 11)
      assert.equal(own.self.status, 'alive')
      assert.equal(changes.length, 1)
      assert.deepEqual(publish, [{ member: own.self, ageMs: 0, accusers: [] }])
      assert.deepEqual(own.hear(0, [rumour(SELF, { status })]).publish, [])
    }
  })

  it('outbids a former life with a later incarnation, another peer id, or a later epoch', () => {
    for (const [claim, expected] of [
      [{ incarnation: 5000 }, 5001],
      [{ peerId: 'another' as PeerId }, 11],
      [{ epoch: 3 }, 11],
      [{ incarnation: INCARNATION_MAX - 1 }, INCARNATION_MAX]
    ] as const) {
      const own = gossip()
      own.hear(0, [rumour(SELF, claim)])
      assert.equal(own.self.incarnation, expected)
      assert.equal(own.self.peerId, member(SELF).peerId)
    }
  })

  it('stays departed once it has said goodbye', () => {
    const own = gossip()
    assert.equal(own.leave().publish.length, 1)
    own.hear(0, [rumour(SELF, { status: 'suspect' })])
    assert.equal(own.self.incarnation, 10)
    own.hear(0, [rumour(SELF, { status: 'suspect', incarnation: 12 })])
    assert.deepEqual([own.self.status, own.self.incarnation], ['left', 13])
    assert.deepEqual(own.leave().changes, [])
  })

  it('counts accusers of the present incarnation only, each once', () => {
    const own = gossip()
    own.hear(0, [rumour(A)])
    assert.equal(own.hear(0, [rumour(A, { status: 'suspect' }, [storeId(2)])]).changes.length, 1)
    const again = own.hear(0, [rumour(A, { status: 'suspect' }, [storeId(3)])])
    assert.deepEqual([again.changes.length, again.accused.length], [0, 1])
    assert.equal(own.hear(0, [rumour(A, { status: 'suspect' }, [storeId(2)])]).accused.length, 0)
    assert.deepEqual([...own.accusersOf(A)], [storeId(2), storeId(3)])
    own.hear(0, [rumour(A, { status: 'suspect', epoch: 4 }, [storeId(4)])])
    assert.equal(own.accusersOf(A).size, 3)
    own.hear(0, [rumour(A, { incarnation: 11 })])
    own.hear(0, [rumour(A, { incarnation: 11, status: 'suspect' }, [storeId(5)])])
    assert.deepEqual([...own.accusersOf(A)], [storeId(5)])
  })

  it('accuses and buries only the incarnation that was meant', () => {
    const own = gossip()
    own.hear(0, [rumour(A)])
    assert.deepEqual(own.accuse(0, A, 9).publish, [])
    assert.deepEqual(own.bury(0, A, 10).publish, [])
    const accusation = own.accuse(0, A, 10)
    assert.deepEqual(accusation.publish, [rumour(A, { status: 'suspect' }, [SELF])])
    assert.equal(own.get(A)!.status, 'suspect')
    own.hear(0, [rumour(A, { incarnation: 11 })])
    assert.deepEqual(own.bury(0, A, 10).publish, [])
    assert.equal(own.get(A)!.status, 'alive')
    own.accuse(0, A, 11)
    assert.equal(own.bury(5, A, 11).publish[0]!.member.status, 'dead')
    assert.deepEqual(own.accuse(5, A, 11).publish, [])
    assert.deepEqual(own.accuse(5, storeId(77), 1).publish, [])
  })

  it('does not raise the dead by what was true before', () => {
    const own = gossip()
    own.hear(0, [rumour(A, { status: 'dead' })])
    for (const status of ['alive', 'suspect'] as const) {
      assert.deepEqual(own.hear(1, [rumour(A, { status }), rumour(A, { status, incarnation: 3 })]).changes, [])
    }
    own.hear(2, [rumour(A, { incarnation: 11 })])
    assert.equal(own.get(A)!.status, 'alive')
  })

  it('forgets the dead after ten minutes, counted from their death and not from when it was heard of', () => {
    const own = gossip()
    own.hear(0, [rumour(A, { status: 'dead' }, [], 200_000), rumour(storeId(2), { status: 'left' })])
    own.hear(1000, [rumour(storeId(2), { status: 'left' }, [], 300_000)])
    assert.equal(own.expire(RETENTION_MS - 301_000).changes.length, 0)
    assert.equal(own.expire(RETENTION_MS - 299_000).changes[0]?.before?.storeId, storeId(2))
    assert.equal(own.expire(RETENTION_MS - 200_001).changes.length, 0)
    assert.equal(own.expire(RETENTION_MS - 200_000).changes[0]?.before?.storeId, A)
    assert.equal(own.view.size, 1)
  })

  it('neither tells nor counts nor takes up a memory in its last tenth', () => {
    const own = gossip()
    const before = own.digest(0)
    own.hear(0, [rumour(A, { status: 'dead' })])
    assert.notEqual(own.digest(1), before)
    assert.equal(own.rumours(RETENTION_MS * 0.9 - 1).length, 2)
    const [, dead] = own.rumours(RETENTION_MS * 0.9 - 1)
    assert.equal(dead!.ageMs, RETENTION_MS * 0.9 - 1)
    assert.equal(own.rumours(RETENTION_MS * 0.9).length, 1)
    assert.equal(own.digest(RETENTION_MS * 0.9), before)
    assert.equal(own.get(A)!.status, 'dead')
    const other = gossip()
    other.hear(0, [rumour(A, { status: 'dead' }, [], RETENTION_MS * 0.9)])
    assert.equal(other.get(A), undefined)
  })

  it('is bounded: a newcomer takes the place of the longest dead, or none', () => {
    const own = gossip()
    own.hear(
      0,
      Array.from({ length: MEMBERS_MAX - 1 }, (_, i) =>
        rumour(storeId(i + 1), i < 2 ? { status: 'dead' } : {}, [], i === 1 ? 5000 : 0)
      )
    )
    assert.equal(own.view.size, MEMBERS_MAX)
    const { changes } = own.hear(1, [rumour(storeId(9001))])
    assert.equal(changes[0]!.before!.storeId, storeId(2))
    assert.equal(own.view.size, MEMBERS_MAX)
    assert.deepEqual(own.hear(1, [rumour(storeId(9002), { status: 'dead' })]).changes, [])
    own.hear(1, [rumour(storeId(9003))])
    assert.deepEqual(own.hear(1, [rumour(storeId(9004))]).changes, [])
    assert.equal(own.view.size, MEMBERS_MAX)
  })

  it('raises its incarnation for news that an earlier report could hide, and not for a later epoch', () => {
    const own = gossip()
    own.announce({ epoch: 5 })
    assert.deepEqual([own.self.incarnation, own.self.epoch], [10, 5])
    assert.deepEqual(own.announce({ epoch: 5 }).changes, [])
    own.announce({ clusterId: 'aa'.repeat(16) as ClusterId, epoch: 6 })
    assert.equal(own.self.incarnation, 11)
    own.announce({ epoch: 2 })
    assert.deepEqual([own.self.incarnation, own.self.epoch], [12, 2])
    own.announce({ addresses: ['/memory/y'] })
    assert.equal(own.self.incarnation, 13)
  })

  it('shows views that do not change', () => {
    const own = gossip()
    const { view } = own
    own.hear(0, [rumour(A)])
    assert.equal(view.size, 1)
    assert.equal(own.view.size, 2)
    assert.equal(own.view, own.view)
  })

  const anyRumour = fc
    .record({
      store: fc.integer({ min: 1, max: 4 }).map(storeId),
      incarnation: fc.nat(3),
      status: fc.constantFrom<Liveness>('alive', 'suspect', 'dead', 'left'),
      epoch: fc.nat(2),
      peerId: fc.constantFrom('p' as PeerId, 'q' as PeerId),
      accusers: fc.array(fc.integer({ min: 5, max: 7 }).map(storeId), { maxLength: 2 }),
      ageMs: fc.nat(1000)
    })
    .map(({ store, accusers, ageMs, ...facts }): Rumour => ({ member: member(store, facts), ageMs, accusers }))

  it('comes to the same view and digest whatever the order and repetition of rumours', () => {
    fc.assert(
      fc.property(fc.array(anyRumour, { maxLength: 20 }), fc.nat(), (rumours, seed) => {
        const one = gossip()
        const two = gossip()
        for (const heard of rumours) one.hear(0, [heard])
        const shuffled = [...rumours, ...rumours].sort(
          (a, b) => ((a.ageMs * 7919 + seed) % 101) - ((b.ageMs * 7919 + seed) % 101)
        )
        two.hear(0, shuffled)
        const sorted = (view: Gossip['view']): unknown =>
          [...view.values()].toSorted((a, b) => (a.storeId < b.storeId ? -1 : 1))
        assert.deepEqual(sorted(one.view), sorted(two.view))
        assert.equal(one.digest(0), two.digest(0))
      })
    )
  })

  it('tells of each change once, and its changes lead from the old view to the new', () => {
    fc.assert(
      fc.property(fc.array(fc.array(anyRumour, { maxLength: 5 }), { maxLength: 8 }), steps => {
        const own = gossip()
        const mirror = new Map(own.view)
        for (const [i, rumours] of steps.entries()) {
          for (const { before, after } of own.hear(i, rumours).changes) {
            const { storeId } = (after ?? before)!
            assert.deepEqual(mirror.get(storeId), before)
            assert.notDeepEqual(before, after)
            if (after === undefined) mirror.delete(storeId)
            else mirror.set(storeId, after)
          }
          assert.deepEqual(new Map(own.view), mirror)
        }
      })
    )
  })

  it('makes two views equal by one exchange', () => {
    fc.assert(
      fc.property(fc.array(anyRumour, { maxLength: 15 }), fc.array(anyRumour, { maxLength: 15 }), (a, b) => {
        const one = new Gossip(member(storeId(100)))
        const two = new Gossip(member(storeId(101)))
        one.hear(0, a)
        two.hear(0, b)
        two.hear(0, one.rumours(0))
        one.hear(0, two.rumours(0))
        assert.equal(one.digest(0), two.digest(0))
        assert.deepEqual(new Map(one.view), new Map([...one.view.keys()].map(store => [store, two.view.get(store)!])))
      })
    )
  })
})
