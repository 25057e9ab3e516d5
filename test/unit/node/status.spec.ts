import assert from 'node:assert/strict'
import type { Liveness, View, ViewMember } from '../../../src/model/view.ts'
import { describeStatus, type NodeStatus, type StatusInput } from '../../../src/node/status.ts'
import type { Row, Topology } from '../../../src/placement/topology.ts'
import { store, topology } from '../cluster/fixtures.ts'
import { NO_CACHE } from '../../../src/storage/record-store.ts'

const THREE = topology([{ n: 1 }, { n: 2 }, { n: 3 }])
const FIGURES = { applied: 0, stale: 0, batches: 0, pending: 0, corrupt: 0, corruptLeft: 0, cache: NO_CACHE }

/** What node 1 says of a cluster whose members gossip holds to be in these states. */
function status(
  states: Readonly<Record<number, Liveness>>,
  here: Topology | undefined = THREE,
  more: Partial<StatusInput> = {}
): NodeStatus {
  const view: View = new Map(
    Object.entries(states).map(([n, state]) => [
      store(Number(n)),
      { storeId: store(Number(n)), status: state } as ViewMember
    ])
  )
  return describeStatus({
    id: store(1),
    cluster: 'test',
    isStopped: false,
    meta: { phase: 'member', leader: store(1), topology: here },
    view,
    isLinked: () => false,
    operations: { reads: 0, writes: 0, failed: 0, timedOut: 0, restamped: 0, readRepairs: 0 },
    transfer: { recordsCopied: 0, bytesCopied: 0, partitionsCopied: 0 },
    repair: { completedAt: undefined, differences: 0, mended: 0, bytes: 0 },
    purge: { completedAt: undefined, blockedBy: [], purged: 0, expired: 0, setAside: 0 },
    hints: { count: 0, bytes: 0, added: 0, delivered: 0, dropped: 0 },
    indexes: [],
    storage: FIGURES,
    permanent: false,
    readOnly: undefined,
    openedClean: undefined,
    transport: {} as StatusInput['transport'],
    healthMultiplier: 1,
    ...more
  })
}

describe('the health of a node', () => {
  it('is ok when all members live and nothing moves', () => {
    const { health, members, partitions } = status({ 1: 'alive', 2: 'alive', 3: 'alive' })
    assert.equal(health, 'ok')
    assert.deepEqual(members, { alive: 3, suspect: 0, dead: 0 })
    assert.deepEqual(partitions, { total: 64, owned: 64, changing: 0, underReplicated: 0, withoutQuorum: 0 })
  })

  it('is degraded while a member is suspect, dead, or not heard of', () => {
    for (const state of ['suspect', 'dead'] as const) {
      assert.equal(status({ 1: 'alive', 2: 'alive', 3: state }).health, 'degraded', state)
    }
    const alone = status({ 1: 'alive', 2: 'alive' })
    assert.deepEqual([alone.health, alone.members], ['degraded', { alive: 2, suspect: 0, dead: 1 }])
    const weightless = topology([{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4, weight: 0 }])
    const { health, partitions } = status({ 1: 'alive', 2: 'alive', 3: 'alive', 4: 'dead' }, weightless)
    assert.deepEqual([health, partitions.underReplicated], ['degraded', 0])
  })

  it('counts on whom it is linked with before gossip has told of them, as after a restart of all', () => {
    const peer = THREE.members.get(store(2))!.peerId
    const { health, members, partitions } = status({ 1: 'alive' }, THREE, { isLinked: other => other === peer })
    assert.deepEqual([health, partitions.withoutQuorum, partitions.underReplicated], ['degraded', 0, 64])
    assert.deepEqual(members, { alive: 2, suspect: 0, dead: 1 })
    assert.equal(status({ 1: 'alive' }, THREE, { isLinked: () => true }).health, 'ok')
    // What gossip says counts more than an old link.
    const dead = status({ 1: 'alive', 2: 'dead', 3: 'dead' }, THREE, { isLinked: () => true })
    assert.deepEqual([dead.health, dead.members], ['unavailable', { alive: 1, suspect: 0, dead: 2 }])
  })

  it('is unavailable once it is stopped, and its phase says so, unless it has left', () => {
    const all = { 1: 'alive', 2: 'alive', 3: 'alive' } as const
    for (const phase of ['provisional', 'joining', 'member', 'leaving', 'left'] as const) {
      const meta = { phase, leader: undefined, topology: THREE }
      const stopped = status(all, THREE, { isStopped: true, meta })
      assert.deepEqual([stopped.phase, stopped.health], [phase === 'left' ? 'left' : 'stopped', 'unavailable'])
    }
  })

  it('is degraded while a cluster of fewer nodes than copies grows', () => {
    const one = topology([{ n: 1 }])
    const { health, partitions } = status({ 1: 'alive', 2: 'alive', 3: 'dead' }, one)
    assert.deepEqual([health, partitions.underReplicated], ['degraded', 64])
    assert.equal(status({ 1: 'alive' }, one).partitions.underReplicated, 0)
  })

  it('is degraded while the store refuses writes', () => {
    const { health, storage } = status({ 1: 'alive', 2: 'alive', 3: 'alive' }, THREE, { readOnly: 'no space left' })
    assert.deepEqual([health, storage.readOnly], ['degraded', 'no space left'])
  })

  it('is ok again when the dead are members no more', () => {
    assert.equal(status({ 1: 'alive', 2: 'alive', 3: 'alive', 4: 'dead', 5: 'left' }).health, 'ok')
  })

  it('is degraded while a partition moves', () => {
    const moving: Row = {
      slots: [store(1), store(2)],
      change: { next: [store(1), store(2), store(3)], copies: [{ to: store(3), from: [store(1)] }] },
      rowEpoch: 9
    }
    const here = { ...THREE, rows: THREE.rows.map((row, i) => (i === 0 ? moving : row)) }
    const { health, partitions } = status({ 1: 'alive', 2: 'alive', 3: 'alive' }, here)
    assert.deepEqual([health, partitions.changing, partitions.underReplicated], ['degraded', 1, 1])
  })

  it('is unavailable when some partition has no living quorum, or the node is no member', () => {
    const { health, partitions } = status({ 1: 'alive', 2: 'dead', 3: 'dead' })
    assert.deepEqual([health, partitions.withoutQuorum], ['unavailable', 64])
    const meta = { phase: 'joining', leader: undefined, topology: THREE } as const
    assert.equal(status({ 1: 'alive', 2: 'alive', 3: 'alive' }, THREE, { meta }).health, 'unavailable')
    const nowhere = { ...status({}, undefined, { meta: { ...meta, phase: 'provisional', topology: undefined } }) }
    assert.deepEqual([nowhere.health, nowhere.partitions.total, nowhere.epoch], ['unavailable', 0, 0])
  })
})
