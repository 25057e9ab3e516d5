import assert from 'node:assert/strict'
import type { Hash64 } from '../../../src/model/partition.ts'
import { loadHash64 } from '../../../src/runtime/hash.ts'
import { metaKey } from '../../../src/storage/key-layout.ts'
import type { MemberOptions } from '../../../src/testing/sim-cluster.ts'
import { ClusterLab } from '../../support/cluster-lab.ts'

const LARGE = ['a', 'b', 'c']
const SMALL = ['d', 'e']
const KEYS = 40
/** Where a store says in which clusters its node was. */
const FORMER_KEY = metaKey(Uint8Array.of(1))

/** Two clusters of one name, founded on either side of a split, with records of their own in each. */
class Apart extends ClusterLab {
  async found(
    options: Partial<MemberOptions> & { readonly disk?: boolean } = {},
    small: readonly string[] = SMALL,
    large: readonly string[] = LARGE
  ): Promise<void> {
    for (const name of large) this.add(name, { ...options, bootstrap: name === 'a' ? 'founder' : 'others' })
    for (const name of small) this.add(name, { ...options, ...(name === 'd' ? { bootstrap: 'founder' } : {}) })
    this.cluster.network.split([large, small])
    this.start('a')
    // Of two that are as large the older one stays.
    await this.until('the first is founded', () => this.cluster.nodes.length === 1)
    this.start('d')
    await this.until('both are founded', () => this.cluster.nodes.length === 2)
    this.start(...large, ...small)
    const isWhole = (names: readonly string[]): boolean =>
      names.every(
        name =>
          this.cluster.node(name)?.core.cluster.phase === 'member' &&
          this.topology(name).members.size === names.length &&
          this.topology(name).rows.every(({ slots, change }) => change === undefined && slots.length === names.length)
      )
    await this.until('each has all its copies', () => isWhole(large) && isWhole(small))
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

  /** They meet, and go on until the larger one expects the other's only member, which has not heard of that: not an event further. */
  async expect(large: readonly string[]): Promise<void> {
    await this.found({ disk: true }, ['d'], large)
    // Only from its second start on it looks for others.
    await this.world.settle(this.cluster.stop('d'))
    this.start('d')
    await this.until('it is back', () => this.cluster.node('d')?.core.cluster.leader !== undefined)
    this.cluster.network.heal()
    const isExpected = (): boolean => this.topology('a').members.get(this.node('d').core.storeId)?.status === 'arriving'
    assert.ok(await this.world.run(isExpected, { limitMs: 60_000 }), 'the larger cluster expects the other')
    assert.ok(!this.node('d').core.cluster.isOver)
  }

  /** The only member of the smaller cluster, with records of its own, learns that this has ended, and is cut off. */
  async strand(): Promise<void> {
    await this.found({}, ['d'])
    await this.dissolve('d')
    this.cluster.network.split([LARGE, ['d']])
  }

  /** Nobody can take in those of the smaller cluster any more, and they found theirs again. */
  async foundAgain(): Promise<void> {
    const { clusterId } = this.topology('d')
    for (const name of LARGE) this.cluster.crash(name)
    await this.settled(...SMALL)
    assert.notEqual(this.topology('d').clusterId, clusterId)
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

  it('the smaller one is founded anew when the larger one has ended for good just after it', async () => {
    await lab.found()
    await lab.dissolve(...SMALL)
    const phases: string[] = []
    for (const name of SMALL) lab.node(name).core.cluster.on('phase', phase => phases.push(phase))
    const { rows } = lab.topology('d')
    await lab.foundAgain()
    assert.deepEqual(
      lab.topology('e').rows.map(({ slots }) => slots),
      rows.map(({ slots }) => slots),
      'all stays where it is'
    )
    await lab.assertFilled('small', 'e')
    await lab.fill('again', 'd')
    await lab.assertFilled('again', 'e')
    // Nobody was on the way a second time.
    assert.deepEqual(phases, ['member', 'member'])
  })

  it('nothing is lost when the larger one is back after the smaller one was founded anew', async () => {
    await lab.found({ disk: true })
    await lab.dissolve(...SMALL)
    await lab.foundAgain()
    await lab.fill('again', 'd')
    lab.start(...LARGE)
    await lab.settled(...LARGE, ...SMALL)
    for (const prefix of ['large', 'small', 'again']) await lab.assertFilled(prefix, 'b')
  })

  it('a cluster that is back, and was to take in one that was founded anew, joins it when that has grown', async () => {
    await lab.found({ disk: true })
    await lab.dissolve(...SMALL)
    await lab.foundAgain()
    const grown = ['f', 'g', 'h']
    for (const name of grown) lab.add(name, { disk: true })
    lab.start(...grown)
    await lab.settled(...SMALL, ...grown)
    const { clusterId } = lab.topology('d')
    lab.start(...LARGE)
    // Without a word about those whom it was to take in it would wait for them for ten minutes.
    await lab.settled(...LARGE, ...SMALL, ...grown)
    assert.equal(lab.topology('a').clusterId, clusterId)
    for (const prefix of ['large', 'small']) await lab.assertFilled(prefix, 'f')
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

  it('a node that is restarted in its first second, on its way already, brings its records along all the same', async () => {
    lab.start(...LARGE.map(name => (lab.add(name, { bootstrap: name === 'a' ? 'founder' : 'others' }), name)))
    await lab.settled(...LARGE)
    lab.add('d', { disk: true, bootstrap: 'founder' })
    lab.add('k', { bootstrap: 'others' })
    lab.start('d')
    const fromMs = lab.world.nowMs
    assert.ok(await lab.world.run(() => lab.cluster.node('d') !== undefined, { limitMs: 1000 }), 'it is founded')
    await lab.fill('small', 'd')
    // Whoever knows both shows them to each other.
    lab.start('k')
    const { disk } = lab.cluster.machine('d')
    assert.ok(await lab.world.run(() => disk.get(FORMER_KEY) !== undefined, { limitMs: 1000 }), 'it is on its way')
    assert.ok(lab.world.nowMs - fromMs < 1000, 'its log is not in the store as a matter of course')
    lab.cluster.crash('d')
    lab.start('d')
    const isBack = (): boolean =>
      [...lab.topology('c').members.values()].some(({ volatile, status }) => !volatile && status === 'up')
    // Without the note what it holds would pass for copies of this cluster, and be given to one owner only.
    let isNoted = true
    const watch = (): boolean => isBack() || ((isNoted &&= disk.get(FORMER_KEY) !== undefined), false)
    assert.ok(await lab.world.run(watch, { limitMs: 60_000 }), 'it is in')
    assert.ok(isNoted, 'all the while it knew that it had been in another cluster')
    for (const name of ['b', 'c']) await lab.assertFilled('small', name)
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

  it('a node that is alone on its way to the other one, and cut off, cannot leave before it has brought its records along', async () => {
    await lab.strand()
    const { cluster } = lab.node('d').core
    await assert.rejects(lab.world.settle(cluster.leave(3000)), { code: 'KV_TIMEOUT' })
    assert.equal(cluster.phase, 'joining', 'it goes on with its way')
    lab.cluster.network.heal()
    await lab.world.settle(lab.cluster.leave('d', 60_000))
    await lab.settled(...LARGE)
    for (const prefix of ['large', 'small']) await lab.assertFilled(prefix, 'a')
  })

  it('a node that is alone on its way to the other one, and cut off, stays when its leave is given up', async () => {
    await lab.strand()
    const abort = new AbortController()
    const leaving = lab.node('d').core.cluster.leave(60_000, abort.signal)
    leaving.catch(() => {})
    await lab.world.advance(500)
    abort.abort()
    await assert.rejects(lab.world.settle(leaving), { code: 'KV_ABORTED' })
    lab.cluster.network.heal()
    await lab.settled(...LARGE, 'd')
    for (const prefix of ['large', 'small']) await lab.assertFilled(prefix, 'a')
  })

  it('a node that is alone on its way to the other one has not left when it is stopped meanwhile', async () => {
    await lab.strand()
    const leaving = lab.node('d').core.cluster.leave(60_000)
    leaving.catch(() => {})
    await lab.world.advance(500)
    await lab.world.settle(lab.cluster.stop('d'))
    await assert.rejects(leaving, { code: 'KV_NODE_STOPPED' })
  })

  it('a node that cannot leave on its way says so in time, although nobody is there to be told that it stays', async () => {
    await lab.found()
    await lab.dissolve(...SMALL)
    lab.cluster.network.split([LARGE, ['d'], ['e']])
    const fromMs = lab.world.nowMs
    await assert.rejects(lab.world.settle(lab.node('e').core.cluster.leave(3000)), { code: 'KV_TIMEOUT' })
    assert.ok(lab.world.nowMs - fromMs < 3100, `it took ${lab.world.nowMs - fromMs} ms`)
    lab.cluster.network.heal()
    await lab.settled(...LARGE, ...SMALL)
    for (const prefix of ['large', 'small']) await lab.assertFilled(prefix, 'a')
  })

  it('the only member of a cluster leaves when somebody is expected there, and hands its records over to that one first', async () => {
    await lab.expect(['a'])
    await lab.world.settle(lab.cluster.leave('a', 60_000))
    await lab.settled('d')
    for (const prefix of ['large', 'small']) await lab.assertFilled(prefix, 'd')
  })

  it('the only member of a cluster that leaves still lets those come who did not hear that they are expected', async () => {
    await lab.expect(['a'])
    lab.cluster.network.split([['a'], ['d']])
    const leaving = lab.cluster.leave('a', 60_000)
    await lab.world.advance(5000)
    assert.ok(!lab.node('d').core.cluster.isOver, 'the grant is lost')
    lab.cluster.network.heal()
    await lab.world.settle(leaving)
    await lab.settled('d')
    for (const prefix of ['large', 'small']) await lab.assertFilled(prefix, 'd')
  })

  it('the only member of a cluster stays when those who are expected do not come in time, and says so', async () => {
    await lab.expect(['a'])
    lab.cluster.network.split([['a'], ['d']])
    const { cluster } = lab.node('a').core
    await assert.rejects(lab.world.settle(cluster.leave(3000)), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'KV_TIMEOUT')
      for (const part of ['1 ', 'another cluster', 'stop()']) assert.ok(error.message.includes(part), error.message)
      return true
    })
    assert.equal(cluster.phase, 'member')
    const { reasons } = lab.node('a').core.safeToStop()
    assert.ok(
      reasons.some(reason => reason.includes('another cluster')),
      reasons.join()
    )
    lab.cluster.network.heal()
    await lab.settled('a', 'd')
    for (const prefix of ['large', 'small']) await lab.assertFilled(prefix, 'a')
  })

  it('all members of a cluster that leave together wait for those who are expected', async () => {
    await lab.expect(['a', 'b'])
    lab.cluster.network.split([['a', 'b'], ['d']])
    const leaving = Promise.all([lab.cluster.leave('a', 60_000), lab.cluster.leave('b', 60_000)])
    await lab.world.advance(5000)
    lab.cluster.network.heal()
    await lab.world.settle(leaving)
    await lab.settled('d')
    for (const prefix of ['large', 'small']) await lab.assertFilled(prefix, 'd')
  })

  it('a member that leaves while others stay waits for nobody who is expected, and they expect it on', async () => {
    await lab.expect(['a', 'b'])
    lab.cluster.network.split([['a', 'b'], ['d']])
    await lab.world.settle(lab.cluster.leave('a', 10_000))
    assert.equal(lab.topology('b').members.get(lab.node('d').core.storeId)?.status, 'arriving')
    await lab.assertFilled('large', 'b')
    lab.cluster.network.heal()
    await lab.settled('b', 'd')
    for (const prefix of ['large', 'small']) await lab.assertFilled(prefix, 'd')
  })

  it('a member that is to leave, and was away when its cluster dissolved, goes over first', async () => {
    await lab.found()
    lab.cluster.network.heal()
    lab.cluster.network.split([[...LARGE, 'd'], ['e']])
    const leaving = lab.cluster.leave('e', 60_000)
    const { clusterId } = lab.topology('a')
    await lab.until('the other has gone over', () => lab.topology('d').clusterId === clusterId)
    lab.cluster.network.heal()
    await lab.world.settle(leaving)
    await lab.settled(...LARGE, 'd')
    for (const prefix of ['large', 'small']) await lab.assertFilled(prefix, 'a')
  })

  for (const phase of ['member', 'leaving'] as const) {
    it(`a newcomer that asks a node in phase ${phase} to be let in while its cluster ends joins the other one`, async () => {
      await lab.found()
      lab.add('n')
      const { conditions } = lab.cluster.network
      for (const other of [...LARGE, 'd']) {
        conditions.block('n', other)
        conditions.block(other, 'n')
      }
      // Whatever is proposed there comes to the leader only when that has ended the log.
      conditions.block('e', 'd')
      lab.start('n')
      const leaving = phase === 'leaving' ? lab.cluster.leave('e', 60_000) : undefined
      await lab.world.advance(1000)
      for (const large of LARGE) {
        for (const small of SMALL) {
          conditions.unblock(large, small)
          conditions.unblock(small, large)
        }
      }
      const isOver = (): boolean => lab.node('d').core.cluster.isOver
      assert.ok(await lab.world.run(isOver, { limitMs: 7000 }), 'the smaller cluster ends')
      assert.equal(lab.node('e').core.cluster.phase, phase)
      assert.ok(!lab.node('e').core.cluster.isOver, 'it has not heard of the end')
      conditions.unblock('e', 'd')
      await lab.world.advance(2000)
      lab.cluster.network.heal()
      await lab.until('it has joined', () => lab.cluster.node('n') !== undefined)
      assert.equal(lab.node('n').process.generation, 0, 'it did not have to start again')
      await lab.world.settle(leaving ?? Promise.resolve())
      await lab.settled(...LARGE, 'd', 'n', ...(phase === 'leaving' ? [] : ['e']))
      for (const prefix of ['large', 'small']) await lab.assertFilled(prefix, 'n')
    })
  }

  it('a node that brings records along is restarted when the cluster it comes to has ended, and goes on to the third', async () => {
    for (const name of ['f', 'g']) lab.add(name, { disk: true, bootstrap: 'others' })
    const large = [...LARGE, 'f', 'g']
    const third = ['m', 'n']
    const { network } = lab.cluster
    network.split([large, SMALL, third])
    await lab.found({ disk: true })
    lab.start('f', 'g')
    for (const name of third) lab.add(name, { disk: true, ...(name === 'm' ? { bootstrap: 'founder' } : {}) })
    network.split([large, SMALL, third])
    lab.start('m')
    await lab.until('the third is founded', () => lab.cluster.node('m') !== undefined)
    lab.start('n')
    await lab.until('all have joined', () => lab.cluster.nodes.length === 9)
    await lab.fill('third', 'm')
    network.heal()
    network.split([large, [...SMALL, ...third]])
    // One of the third has come and the cluster may dissolve again, while the other one gets nowhere with its records.
    network.conditions.starve('n', lab.world.nowUs + 40_000_000)
    const statusOf = (name: string): string | undefined =>
      lab.topology('d').members.get(lab.node(name).core.storeId)?.status
    await lab.until('one has come, the other not', () => statusOf('m') === 'up' && statusOf('n') === 'arriving')
    network.heal()
    const { cluster } = lab.node('n').core
    const hasEnded = (): boolean => cluster.isOver && cluster.topology?.clusterId === lab.topology('d').clusterId
    assert.ok(await lab.world.run(hasEnded, { limitMs: 60_000 }), 'it hears of the end')
    assert.equal(statusOf('n'), 'arriving')
    // It gets no answer, and so is still closing when all others have gone on, and when its log is stored.
    network.split([['n'], [...large, ...SMALL, 'm']])
    await lab.world.advance(1500)
    assert.equal(cluster.phase, 'joining')
    lab.cluster.crash('n')
    const { clusterId } = lab.topology('a')
    await lab.until('the others have gone on', () =>
      ['d', 'e', 'm'].every(name => lab.topology(name).clusterId === clusterId)
    )
    network.heal()
    lab.start('n')
    await lab.settled(...large, ...SMALL, ...third)
    for (const prefix of ['large', 'small', 'third']) await lab.assertFilled(prefix, 'a')
  })
})
