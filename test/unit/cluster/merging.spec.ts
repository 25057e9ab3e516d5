import assert from 'node:assert/strict'
import type { Hash64 } from '../../../src/model/partition.ts'
import { loadHash64 } from '../../../src/runtime/hash.ts'
import type { MemberOptions } from '../../../src/testing/sim-cluster.ts'
import { ClusterLab } from '../../support/cluster-lab.ts'

const LARGE = ['a', 'b', 'c']
const SMALL = ['d', 'e']
const KEYS = 40

/** Two clusters of one name, founded on either side of a split, with records of their own in each. */
class Apart extends ClusterLab {
  async found(options: Partial<MemberOptions> & { readonly disk?: boolean } = {}): Promise<void> {
    for (const name of LARGE) this.add(name, options)
    for (const name of SMALL) this.add(name, { ...options, ...(name === 'd' ? { bootstrap: 'founder' } : {}) })
    this.cluster.network.split([LARGE, SMALL])
    this.start('a', 'd')
    await this.until('both are founded', () => this.cluster.nodes.length === 2)
    this.start(...LARGE, ...SMALL)
    const isWhole = (names: readonly string[]): boolean =>
      names.every(
        name =>
          this.cluster.node(name)?.core.cluster.phase === 'member' &&
          this.topology(name).members.size === names.length &&
          this.topology(name).rows.every(({ slots, change }) => change === undefined && slots.length === names.length)
      )
    await this.until('each has all its copies', () => isWhole(LARGE) && isWhole(SMALL))
    await this.fill('large', 'a')
    await this.fill('small', 'd')
  }

  async fill(prefix: string, name: string): Promise<void> {
    for (let i = 0; i < KEYS; i++) await this.world.settle(this.node(name).put(`${prefix}${i}`, `${i}`, 'quorum', 5000))
  }

  async assertFilled(prefix: string, name: string): Promise<void> {
    for (let i = 0; i < KEYS; i++) {
      const found = await this.world.settle(this.node(name).get(`${prefix}${i}`, 'quorum', 5000))
      assert.equal(found?.value, `${i}`, `${prefix}${i}`)
    }
  }

  /** They meet, and go on until these have learnt that the smaller one has ended: not an event further. */
  async dissolve(...names: readonly string[]): Promise<void> {
    this.cluster.network.heal()
    const isOver = (): boolean => names.every(name => this.node(name).core.cluster.isOver)
    assert.ok(await this.world.run(isOver, { limitMs: 60_000 }), 'the smaller cluster ends')
  }
}

describe('clusters that become one', () => {
  let hash: Hash64
  let lab: Apart

  before(async () => {
    hash = await loadHash64()
  })

  beforeEach(() => {
    lab = new Apart(hash)
  })

  afterEach(async () => {
    await lab.stop()
  })

  it('the smaller one goes over when the larger one is back before it was founded anew', async () => {
    await lab.found({ disk: true })
    await lab.dissolve(...SMALL)
    const { clusterId } = lab.topology('a')
    for (const name of LARGE) lab.cluster.crash(name)
    await lab.world.advance(30_000)
    lab.start(...LARGE)
    await lab.settled(...LARGE, ...SMALL)
    assert.equal(lab.topology('d').clusterId, clusterId)
    for (const prefix of ['large', 'small']) await lab.assertFilled(prefix, 'c')
  })

  it('a node that is restarted while it compares its copies for the last time does so again, then goes over', async () => {
    await lab.found({ disk: true })
    await lab.dissolve('d')
    const { conditions } = lab.cluster.network
    conditions.block('d', 'e')
    await lab.world.advance(500)
    assert.equal(lab.node('d').core.cluster.phase, 'joining')
    assert.ok(lab.node('d').core.cluster.isOver, 'it has gone nowhere')
    lab.cluster.crash('d')
    conditions.unblock('d', 'e')
    lab.start('d')
    await lab.settled(...LARGE, ...SMALL)
    for (const prefix of ['large', 'small']) await lab.assertFilled(prefix, 'd')
  })

  it('a node stops at once although what it asks for the last comparison is not answered', async () => {
    await lab.found({ disk: true })
    await lab.dissolve('d')
    lab.cluster.network.conditions.block('d', 'e')
    await lab.world.advance(500)
    assert.ok(lab.node('d').core.cluster.isOver, 'it has gone nowhere')
    const fromMs = lab.world.nowMs
    await lab.world.settle(lab.cluster.stop('d'))
    assert.ok(lab.world.nowMs - fromMs < 1000, `it took ${lab.world.nowMs - fromMs} ms`)
  })

  it('a node leaves while it still brings records along, and they are all there without it', async () => {
    await lab.found()
    lab.cluster.network.heal()
    const isBringing = (): boolean => {
      const { core } = lab.node('d')
      return lab.topology('d').members.get(core.storeId)?.status === 'arriving' && core.cluster.phase === 'member'
    }
    await lab.until('it brings records along', isBringing)
    await lab.world.settle(lab.cluster.leave('d', 60_000))
    await lab.settled(...LARGE, 'e')
    for (const prefix of ['large', 'small']) await lab.assertFilled(prefix, 'a')
  })

  it('a node that leaves on its way to the other one stops at once all the same', async () => {
    await lab.found({ disk: true })
    await lab.dissolve('d')
    lab.cluster.network.conditions.block('d', 'e')
    await lab.world.advance(500)
    const leaving = lab.node('d').core.cluster.leave(60_000)
    leaving.catch(() => {})
    await lab.world.advance(500)
    const fromMs = lab.world.nowMs
    await lab.world.settle(lab.cluster.stop('d'))
    assert.ok(lab.world.nowMs - fromMs < 1000, `it took ${lab.world.nowMs - fromMs} ms`)
    await assert.rejects(leaving, { code: 'KV_NODE_STOPPED' })
  })
})
