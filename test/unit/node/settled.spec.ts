import assert from 'node:assert/strict'
import type { ClusterId, StoreId } from '../../../src/model/node-id.ts'
import type { View, ViewMember } from '../../../src/model/view.ts'
import { isSettled, joining, whatIsLeft } from '../../../src/node/settled.ts'
import { claim } from '../../../src/placement/claim.ts'
import type { Row, Topology } from '../../../src/placement/topology.ts'
import { CLUSTER, seen, store, topology } from '../cluster/fixtures.ts'

const THREE = [1, 2, 3].map(n => ({ n }))
const FOUR = [1, 2, 3, 4].map(n => ({ n }))

/** Rows as they are claimed for these members. */
function claimed(here: Topology): Row[] {
  const current = here.rows.map(({ slots }) => slots)
  const target = claim({ current, members: [...here.members.values()], partitions: 64, replicas: 3 })
  return target.map(slots => ({ slots, change: undefined, rowEpoch: 1 }))
}

/** A cluster of these members whose rows are where they belong. */
function standing(members: readonly { readonly n: number; readonly weight?: number }[]): Topology {
  const empty = topology(members, { slots: [] })
  return { ...empty, rows: claimed(empty) }
}

describe('whether a cluster is settled', () => {
  it('is so when every member holds its share', () => {
    assert.equal(isSettled(undefined), false)
    for (const members of [THREE.slice(0, 1), THREE, FOUR]) assert.equal(isSettled(standing(members)), true)
    assert.equal(isSettled(standing([...THREE, { n: 4, weight: 0 }])), true, 'who takes no share lacks none')
  })

  it('is not so while a row changes, or an owner is dead', () => {
    const here = standing(FOUR)
    const [first, ...others] = here.rows
    const change = { next: first!.slots, copies: [] }
    assert.equal(isSettled({ ...here, rows: [{ ...first!, change }, ...others] }), false)
    const isAlive = (id: StoreId): boolean => id !== store(2)
    assert.equal(isSettled(here, isAlive), false)
  })

  it('is not so while somebody who lives is on the way in', () => {
    const here = standing(THREE)
    const view = (more: Partial<ViewMember>): View => {
      const members = [seen(1, { clusterId: CLUSTER }), seen(4, more)]
      return new Map(members.map(member => [member.storeId, member]))
    }
    assert.deepEqual(joining(view({}), here), [store(4)], 'it looks for a cluster')
    assert.deepEqual(joining(view({ clusterId: CLUSTER }), here), [store(4)], 'it knows more than this node')
    assert.deepEqual(joining(view({}), standing(FOUR)), [])
    assert.deepEqual(joining(view({ status: 'dead' }), here), [])
    assert.deepEqual(joining(view({ clusterId: 'd'.repeat(32) as ClusterId }), here), [], 'it belongs to others')
    assert.deepEqual(joining(view({}), undefined), [])
  })

  it('is told with what is left', () => {
    const isAlive = (id: StoreId): boolean => id !== store(2)
    const all = (): boolean => true
    const here = standing(THREE)
    const [first, ...others] = here.rows
    const change = { next: first!.slots, copies: [] }
    const newcomer = new Map([[store(4), seen(4)]])
    const few = { ...here, rows: here.rows.map(row => ({ ...row, slots: row.slots.slice(1) })) }
    const left = [
      whatIsLeft(undefined, all),
      whatIsLeft({ ...here, rows: [{ ...first!, change }, ...others] }, all),
      whatIsLeft(few, all),
      whatIsLeft(here, isAlive),
      whatIsLeft(here, all, newcomer),
      whatIsLeft({ ...here, members: standing(FOUR).members }, all),
      whatIsLeft(topology([{ n: 1, weight: 0 }]), all),
      whatIsLeft(here, all)
    ]
    assert.deepEqual(left, [
      'this node does not know the cluster yet',
      '1 of 64 partitions move',
      '64 of 64 partitions have fewer than 3 copies',
      '02020202 is not there, and may come back',
      '04040404 is on the way in',
      '04040404 has no data yet',
      'no member takes data',
      undefined
    ])
  })

  it('is not so between two waves of moves, when nothing is under way and a newcomer has a part of its share', () => {
    const before = standing(THREE)
    const here = { ...before, members: standing(FOUR).members }
    const after = claimed(here)
    assert.equal(isSettled(here), false, 'it has nothing yet')
    const moving = after.flatMap(({ slots }, partition) => (slots.includes(store(4)) ? [partition] : []))
    const wave = new Set(moving.slice(0, -1))
    const between = here.rows.map((row, partition) => (wave.has(partition) ? after[partition]! : row))
    assert.equal(isSettled({ ...here, rows: between }), false)
    assert.equal(isSettled({ ...here, rows: after }), true)
  })

  it('is not so while somebody who leaves has anything left', () => {
    const here = standing(FOUR)
    const members = new Map(here.members)
    members.set(store(4), { ...members.get(store(4))!, status: 'leaving' })
    assert.equal(isSettled({ ...here, members }), false)
    const left = { ...here, members }
    const rows = claimed({ ...left, members: standing(THREE).members })
    assert.equal(isSettled({ ...left, rows }), true)
  })
})
