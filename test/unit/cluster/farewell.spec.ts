import assert from 'node:assert/strict'
import { isKilovoltError } from '../../../src/base/errors.ts'
import type { ClusterPhase } from '../../../src/cluster/cluster.ts'
import { Farewell } from '../../../src/cluster/farewell.ts'
import { Kinship } from '../../../src/cluster/kinship.ts'
import type { ClusterId } from '../../../src/model/node-id.ts'
import type { Topology } from '../../../src/placement/topology.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { member, store, topology } from './fixtures.ts'

const WINNER = 'd'.repeat(32) as ClusterId

/** Store 1, the only member of its cluster, leaves; what becomes of the cluster meanwhile is the test's. */
class Bench {
  readonly world: SimWorld = new SimWorld()
  readonly stopped: AbortController = new AbortController()
  readonly phases: ClusterPhase[] = []
  readonly log: { topology: Topology | undefined; kinship: Kinship } = {
    topology: topology([{ n: 1 }]),
    kinship: new Kinship()
  }
  readonly migration = { isUnderWay: false }
  /** What the others may lack. */
  owed: number | undefined = 0
  rejoins = 0
  renewals = 0
  readonly farewell: Farewell

  constructor() {
    const { log, migration, stopped } = this
    this.farewell = new Farewell(
      {
        clock: this.world.clock('n'),
        logger: silentLogger,
        log,
        former: { isEmpty: true },
        peers: { propose: async () => {}, pull: async () => {} },
        migration,
        reentry: { rejoin: async () => void this.rejoins++, renew: async () => void this.renewals++ },
        stopped: stopped.signal,
        describe: () => member(1),
        isKnown: () => log.topology?.members.has(store(1)) === true,
        owed: () => this.owed,
        become: phase => this.become(phase)
      },
      { self: store(1) }
    )
  }

  become(phase: ClusterPhase): void {
    if (phase !== this.phases.at(-1)) this.phases.push(phase)
    // As a node does that finds itself a member where the log has ended.
    if (phase === 'member' && this.log.kinship.dissolvedInto !== undefined) this.migration.isUnderWay = true
  }

  leave(timeoutMs = 3000): Promise<void> {
    return this.world.settle(this.farewell.run(timeoutMs, undefined))
  }
}

describe('leaving a cluster', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench()
  })

  it('ends at once for the only member', async () => {
    await bench.leave()
    assert.deepEqual(bench.phases, ['leaving', 'left'])
  })

  it('waits for those who are expected when nobody else is there, and for them to take what the node has', async () => {
    bench.log.topology = topology([{ n: 1 }, { n: 2, status: 'arriving' }])
    let isOver = false
    const leaving = bench.farewell.run(30_000, undefined).then(() => (isOver = true))
    await bench.world.advance(5000)
    assert.ok(!isOver, 'nobody is there')
    bench.log.topology = topology([{ n: 1 }, { n: 2 }])
    await bench.world.advance(5000)
    assert.ok(!isOver, 'it is not known that the other has taken over')
    bench.log.topology = topology([{ n: 2 }])
    await bench.world.settle(leaving)
    assert.deepEqual(bench.phases, ['leaving', 'left'])
  })

  it('ends with KV_TIMEOUT when those who are expected do not come, and says what may be done', async () => {
    bench.log.topology = topology([
      { n: 1 },
      { n: 2, status: 'arriving' },
      { n: 3, status: 'arriving' },
      { n: 4, status: 'evicted' }
    ])
    await assert.rejects(bench.leave(), (error: Error) => {
      assert.ok(isKilovoltError(error, 'KV_TIMEOUT'))
      for (const part of ['2 nodes', 'another cluster', 'stop()'])
        assert.ok(error.message.includes(part), `${error.message} says ${part}`)
      return true
    })
    assert.deepEqual(bench.phases, ['leaving', 'member'])
  })

  it('waits until the others have what only the node has, also when it is struck from the log', async () => {
    bench.log.topology = topology([{ n: 2 }, { n: 3 }])
    bench.owed = undefined
    let isOver = false
    const leaving = bench.farewell.run(30_000, undefined).then(() => (isOver = true))
    await bench.world.advance(2000)
    assert.ok(!isOver, 'it does not know what it has')
    bench.owed = 3
    await bench.world.advance(2000)
    assert.ok(!isOver)
    bench.owed = 0
    await bench.world.settle(leaving)
    assert.deepEqual([bench.phases.at(-1), bench.rejoins], ['left', 0])
  })

  it('ends with KV_TIMEOUT when nobody takes what it has; the node comes back into the log', async () => {
    bench.log.topology = topology([{ n: 2 }, { n: 3 }])
    bench.owed = 3
    await assert.rejects(bench.leave(), { code: 'KV_TIMEOUT' })
    assert.deepEqual([bench.phases, bench.renewals], [['leaving', 'member'], 1])
  })

  it('hands over to nobody when all the others leave as well', async () => {
    bench.log.topology = topology([{ n: 2, status: 'leaving' }])
    bench.owed = 3
    await bench.leave()
    assert.equal(bench.phases.at(-1), 'left')
  })

  it('waits for nobody who is expected once others have taken over', async () => {
    bench.log.topology = topology([{ n: 2 }, { n: 3, status: 'arriving' }])
    await bench.leave()
    assert.equal(bench.phases.at(-1), 'left')
  })

  it('goes on when the node has come to another cluster while it asked to leave', async () => {
    bench.log.topology = topology([{ n: 1 }, { n: 2 }])
    const leaving = bench.farewell.run(30_000, undefined)
    await bench.world.advance(100)
    bench.become('member')
    await bench.world.advance(100)
    assert.equal(bench.phases.at(-1), 'leaving')
    bench.log.topology = topology([{ n: 2 }])
    await bench.world.settle(leaving)
  })

  it('does not end before the node is in the cluster that takes in its own', async () => {
    bench.log.kinship.dissolve(WINNER)
    await assert.rejects(bench.leave(), { code: 'KV_TIMEOUT' })
    assert.deepEqual(bench.phases, ['leaving', 'member', 'leaving', 'joining'])
  })

  it('does not end while the node has closed one log, and has not begun the next', async () => {
    bench.migration.isUnderWay = true
    bench.log.topology = undefined
    await assert.rejects(bench.leave(), { code: 'KV_TIMEOUT' })
    assert.equal(bench.phases.at(-1), 'member')
  })

  it('ends with KV_NODE_STOPPED when the node stops on its way, and it has not left', async () => {
    bench.log.kinship.dissolve(WINNER)
    const leaving = bench.leave()
    leaving.catch(() => {})
    bench.stopped.abort()
    await assert.rejects(leaving, { code: 'KV_NODE_STOPPED' })
    assert.ok(!bench.phases.includes('left'))
  })
})
