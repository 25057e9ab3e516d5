import assert from 'node:assert/strict'
import type { StoreId } from '../../../src/model/node-id.ts'
import { adviseStop, type StopAdvice } from '../../../src/node/safe-to-stop.ts'
import type { Row, Topology } from '../../../src/placement/topology.ts'
import { ANY_OWNER } from '../../../src/storage/hint-store.ts'
import { store, topology } from '../cluster/fixtures.ts'

const MEMBERS = [1, 2, 3, 4].map(n => ({ n }))

/** What node 1 advises when these are dead. */
function advise(
  here: Topology | undefined,
  dead: readonly number[] = [],
  hints: ReadonlyMap<StoreId, number> = new Map(),
  strays = 0
): StopAdvice {
  const gone = new Set(dead.map(store))
  return adviseStop({
    self: store(1),
    topology: here,
    isAlive: id => !gone.has(id),
    hints: { targets: [...hints.keys()], countOf: target => hints.get(target) ?? 0 },
    strays: new Set(Array(strays).keys())
  })
}

describe('whether a node may be stopped', () => {
  it('is so when the others are a quorum of all it owns', () => {
    assert.deepEqual(advise(topology(MEMBERS)), { safe: true, reasons: [] })
    assert.equal(advise(topology(MEMBERS, { slots: [2, 3, 4] }), [2, 3]).safe, true, 'it owns nothing there')
    assert.equal(advise(topology(MEMBERS), [4]).safe, true, 'who is dead owns nothing of it')
    assert.equal(advise(undefined).safe, true, 'it is no member')
  })

  it('is not so while a node that comes from another cluster brings its records along', () => {
    const others = topology([2, 3, 4].map(n => ({ n })))
    const { safe, reasons } = advise(others, [], new Map(), 5)
    assert.deepEqual([safe, reasons], [false, ['it brings 5 partitions along, which their owners have not got yet']])
    assert.equal(advise(others).safe, true)
    assert.equal(
      advise(topology(MEMBERS), [], new Map(), 5).safe,
      true,
      'the others have what a member holds of theirs'
    )
  })

  it('is not so for the only one who is there when others are expected from another cluster', () => {
    const expected = [2, 3].map(n => ({ n, status: 'arriving' as const }))
    assert.deepEqual(advise(topology([{ n: 1 }, ...expected], { slots: [1] })).reasons, [
      'it has the only copy of 64 partitions',
      'only it is there for 2 nodes that are expected from another cluster'
    ])
    const withDead = topology([{ n: 1 }, { n: 4 }, ...expected], { slots: [1] })
    assert.equal(advise(withDead, [4]).reasons.length, 2)
    assert.equal(advise(withDead).reasons.length, 1, 'they come to the other one')
  })

  it('is not so when another owner is missing', () => {
    const { safe, reasons } = advise(topology(MEMBERS), [2])
    assert.deepEqual([safe, reasons], [false, ['64 partitions would be without a quorum']])
  })

  it('is not so when it has the only copy, or one of two', () => {
    assert.deepEqual(advise(topology(MEMBERS, { slots: [1] })).reasons, ['it has the only copy of 64 partitions'])
    assert.equal(advise(topology(MEMBERS, { slots: [1, 2] })).safe, false)
  })

  it('is not so while a partition moves to it or from it, or it keeps what no owner has', () => {
    const moving: Row = {
      slots: [2, 3, 4].map(store),
      change: { next: [1, 3, 4].map(store), copies: [{ to: store(1), from: [store(2)] }] },
      rowEpoch: 3
    }
    const { reasons } = advise(topology(MEMBERS, { rows: [moving] }), [], new Map([[ANY_OWNER, 7]]))
    assert.deepEqual(reasons, ['1 partitions are moving to or from it', 'it keeps 7 records that no owner has'])
  })

  it('is not so while others that live have not got what they missed, as this may be the only copy', () => {
    const hints = new Map([
      [store(2), 4],
      [store(4), 2]
    ])
    assert.deepEqual(advise(topology(MEMBERS), [4], hints).reasons, [
      'it keeps 4 records that owners have missed, and are about to get'
    ])
    assert.equal(advise(topology(MEMBERS), [4], new Map([[store(4), 2]])).safe, true, 'nobody can get it now')
  })
})
