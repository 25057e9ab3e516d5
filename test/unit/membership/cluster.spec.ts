import assert from 'node:assert/strict'
import type { PeerId } from '../../../src/model/node-id.ts'
import { MessageType } from '../../../src/transport/message-type.ts'
import { FakeCluster, type FakeNode, median, storeId } from './fake-cluster.ts'
import { addressOf } from './fake-network.ts'

/** Runs the same story on several seeds. */
async function onSeeds(seeds: number, story: (cluster: FakeCluster) => Promise<void>): Promise<void> {
  for (let seed = 1; seed <= seeds; seed++) {
    const cluster = new FakeCluster(seed)
    try {
      await story(cluster)
    } catch (error) {
      throw new Error(`with sim seed ${seed}: ${(error as Error).message}`, { cause: error })
    } finally {
      cluster.stop()
    }
  }
}

const others = (cluster: FakeCluster, ...but: FakeNode[]): FakeNode[] =>
  cluster.running().filter(node => !but.includes(node))

describe('membership of several nodes', function () {
  this.timeout(60_000)

  it('makes a join known to everybody, with one event each', () =>
    onSeeds(5, async cluster => {
      await cluster.form(6)
      for (const node of cluster.nodes) {
        for (const other of cluster.nodes) {
          assert.equal(node.count('member:joined', other), node === other ? 0 : 1)
          assert.equal(node.count('member:suspected', other), 0)
        }
      }
      assert.equal(new Set(cluster.views()).size, 1)
      const late = cluster.make()
      await late.start()
      const ms = await cluster.until(() => cluster.isWhole(), 2000, 'the join is known')
      assert.ok(ms < 1000, `the join took ${ms} ms`)
    }))

  for (const size of [3, 5, 10]) {
    it(`has everybody of ${size} nodes suspect a killed process within 1 s and bury it within 3 s`, async () => {
      const suspected: number[] = []
      const dead: number[] = []
      await onSeeds(12, async cluster => {
        await cluster.form(size)
        const victim = cluster.nodes[size - 1]!
        victim.transport.kill()
        const left = others(cluster, victim)
        suspected.push(
          await cluster.until(() => left.every(node => node.sees(victim) === 'suspect'), 1000, 'suspected')
        )
        const more = await cluster.until(() => left.every(node => node.sees(victim) === 'dead'), 2500, 'dead')
        dead.push(suspected.at(-1)! + more)
        await cluster.world.advance(5000)
        for (const node of left) {
          assert.equal(node.count('member:suspected', victim), 1)
          assert.equal(node.count('member:failed', victim), 1)
          for (const other of left) assert.equal(node.count('member:suspected', other), 0, 'a bystander was accused')
        }
      })
      console.log(
        `        ${size} nodes: suspected by all after ${Math.round(median(suspected))} ms (worst ${Math.round(Math.max(...suspected))}), ` +
          `dead to all after ${Math.round(median(dead))} ms (worst ${Math.round(Math.max(...dead))})`
      )
    })
  }

  it('notices the death of one of two nodes by the same deadlines', () =>
    onSeeds(8, async cluster => {
      await cluster.form(2)
      const [survivor, victim] = cluster.nodes as [FakeNode, FakeNode]
      victim.transport.kill()
      await cluster.until(() => survivor.sees(victim) === 'suspect', 1000, 'suspected')
      await cluster.until(() => survivor.sees(victim) === 'dead', 2500, 'dead')
    }))

  it('finds a machine that vanished without closing a connection by probing alone', async () => {
    const dead: number[] = []
    await onSeeds(12, async cluster => {
      await cluster.form(5)
      const victim = cluster.nodes[2]!
      victim.transport.vanish()
      dead.push(await cluster.until(() => others(cluster).every(node => node.sees(victim) === 'dead'), 10_000, 'dead'))
      for (const node of others(cluster)) {
        for (const other of others(cluster)) assert.equal(node.count('member:suspected', other), 0)
      }
    })
    console.log(`        dead to all after ${Math.round(median(dead))} ms (worst ${Math.round(Math.max(...dead))})`)
  })

  it('declares nobody dead in an hour with 1 % of all messages lost', async function () {
    this.timeout(120_000)
    for (const size of [3, 5]) {
      await onSeeds(1, async cluster => {
        await cluster.form(size)
        cluster.net.lossPerMille = 10
        await cluster.world.advance(3_600_000)
        for (const node of cluster.nodes) {
          assert.equal(node.told.filter(({ type }) => type === 'member:failed').length, 0)
        }
        cluster.net.lossPerMille = 0
        await cluster.until(() => cluster.isWhole() && new Set(cluster.views()).size === 1, 10_000, 'equal views')
      })
    }
  })

  it('keeps two nodes that cannot reach each other, as long as helpers reach both', () =>
    onSeeds(6, async cluster => {
      await cluster.form(4)
      const [, a, b] = cluster.nodes as [FakeNode, FakeNode, FakeNode, FakeNode]
      cluster.net.split([a.transport], [b.transport])
      await cluster.world.advance(60_000)
      for (const node of cluster.nodes) {
        for (const other of cluster.nodes) {
          assert.equal(node.count('member:suspected', other), 0, `${node.name} accused ${other.name}`)
        }
      }
      assert.equal(a.transport.isLinked(b.transport.self), false)
      assert.equal(new Set(cluster.views()).size, 1)
    }))

  it('keeps two nodes when only one way between them is blocked', () =>
    onSeeds(6, async cluster => {
      await cluster.form(4)
      const [, a, b] = cluster.nodes as [FakeNode, FakeNode, FakeNode, FakeNode]
      cluster.net.block(a.transport, b.transport)
      await cluster.world.advance(60_000)
      for (const node of cluster.nodes) {
        assert.equal(node.told.filter(({ type }) => type === 'member:failed').length, 0)
      }
      assert.ok(cluster.isWhole(), 'an accusation persists')
    }))

  for (const size of [3, 6]) {
    it(`has a process of ${size} that stood still for 3 s accuse nobody, and takes it back`, () =>
      onSeeds(15, async cluster => {
        await cluster.form(size)
        const stalled = cluster.nodes[1]!
        await cluster.world.advance(cluster.world.random.int(1000))
        stalled.clock.stall(3000)
        await cluster.world.advance(2900)
        assert.ok(others(cluster, stalled).every(node => node.sees(stalled) !== 'dead'))
        await cluster.world.advance(5000)
        assert.ok(cluster.isWhole(), 'somebody is still suspected')
        for (const node of cluster.nodes) {
          assert.equal(node.told.filter(({ type }) => type === 'member:failed').length, 0)
          for (const other of cluster.nodes) {
            if (other !== stalled)
              assert.equal(node.count('member:suspected', other), 0, `${node.name} accused ${other.name}`)
          }
        }
        await cluster.until(() => stalled.membership.healthMultiplier === 1, 20_000, 'trust in itself is back')
      }))
  }

  it('has one of two that stood still accuse nobody, with no helper to ask', () =>
    onSeeds(15, async cluster => {
      await cluster.form(2)
      const [stalled, other] = cluster.nodes as [FakeNode, FakeNode]
      // At the moment a probe is under way, if any.
      const pings = stalled.transport.requested.get(MessageType.PING)!
      await cluster.until(() => stalled.transport.requested.get(MessageType.PING)! > pings, 2000, 'a probe is sent')
      stalled.clock.stall(3000)
      await cluster.world.advance(10_000)
      assert.equal(stalled.count('member:suspected', other), 0)
      assert.equal(other.count('member:failed', stalled), 0)
      assert.ok(cluster.isWhole())
    }))

  it('does not bury on waking whoever refuted while the process stood still', async () => {
    let suspicions = 0
    await onSeeds(10, async cluster => {
      await cluster.form(4)
      const [, stalled, suspect] = cluster.nodes as [FakeNode, FakeNode, FakeNode]
      suspect.clock.stall(3000)
      // Some rounds come to it too late for this story.
      if (!(await cluster.world.run(() => stalled.sees(suspect) === 'suspect', { limitMs: 1900 }))) return
      suspicions++
      // Time for the confirmations, so that the suspicion ends during the pause.
      await cluster.world.advance(1000)
      stalled.clock.stall(5000)
      await cluster.world.advance(15_000)
      assert.equal(stalled.count('member:failed', suspect), 0)
      assert.ok(cluster.isWhole())
      for (const other of others(cluster, suspect)) assert.equal(stalled.count('member:suspected', other), 0)
    })
    assert.ok(suspicions > 5, `only ${suspicions} suspicions`)
  })

  it('has a process that stood still learn of a death it missed, and accuse no bystander', () =>
    onSeeds(8, async cluster => {
      await cluster.form(5)
      const stalled = cluster.nodes[1]!
      const victim = cluster.nodes[4]!
      stalled.clock.stall(3000)
      victim.transport.kill()
      await cluster.world.advance(10_000)
      for (const node of others(cluster)) {
        assert.equal(node.sees(victim), 'dead')
        for (const other of others(cluster, stalled)) assert.equal(node.count('member:suspected', other), 0)
      }
      assert.ok(cluster.isWhole())
    }))

  it('bears a whole cluster standing still together', () =>
    onSeeds(8, async cluster => {
      await cluster.form(4)
      for (const node of cluster.nodes) node.clock.stall(3000 + cluster.world.random.int(50))
      await cluster.world.advance(10_000)
      for (const node of cluster.nodes) {
        assert.equal(node.told.filter(({ type }) => type === 'member:suspected').length, 0)
      }
    }))

  it('has equal views after a split has healed', () =>
    onSeeds(6, async cluster => {
      await cluster.form(6)
      const left = cluster.nodes.slice(0, 2).map(({ transport }) => transport)
      const right = cluster.nodes.slice(2).map(({ transport }) => transport)
      cluster.net.split(left, right)
      const [a, , b] = cluster.nodes as [FakeNode, FakeNode, FakeNode]
      await cluster.until(
        () => a.sees(b) === 'dead' && b.sees(a) === 'dead',
        10_000,
        'each side has given up the other'
      )
      await cluster.world.advance(30_000)
      cluster.net.heal()
      await cluster.until(() => cluster.isWhole() && new Set(cluster.views()).size === 1, 15_000, 'equal views')
      assert.equal(a.count('member:returned', b), 1)
      assert.equal(a.count('member:joined', b), 1)
    }))

  it('finds together again after each side has forgotten the other', () =>
    onSeeds(2, async cluster => {
      await cluster.form(4)
      cluster.net.split(
        cluster.nodes.slice(0, 2).map(({ transport }) => transport),
        cluster.nodes.slice(2).map(({ transport }) => transport)
      )
      await cluster.world.advance(700_000)
      const [a, , b] = cluster.nodes as [FakeNode, FakeNode, FakeNode]
      assert.equal(a.sees(b), undefined)
      assert.equal(a.transport.kept.has(b.transport.self), false)
      cluster.net.heal()
      await cluster.until(() => cluster.isWhole() && new Set(cluster.views()).size === 1, 120_000, 'equal views')
      assert.equal(a.count('member:joined', b), 2)
    }))

  it('takes back a node that restarts with its store, before and after it was declared dead', () =>
    onSeeds(6, async cluster => {
      await cluster.form(4)
      for (const pauseMs of [200, 20_000]) {
        const old = cluster.nodes.findLast(({ store }) => store === storeId(3))!
        old.transport.kill()
        await cluster.world.advance(pauseMs)
        const again = cluster.make({ store: old.store, peer: old.transport.self, machine: old.clock })
        await again.start()
        await cluster.until(() => cluster.isWhole() && new Set(cluster.views()).size === 1, 5000, 'it is back')
        assert.ok(again.membership.self.incarnation > old.membership.self.incarnation)
        assert.equal(cluster.running()[0]!.membership.view.size, 4)
      }
    }))

  it('takes back a node whose clock has gone back by a year', () =>
    onSeeds(3, async cluster => {
      await cluster.form(3)
      const old = cluster.nodes[2]!
      old.transport.kill()
      await cluster.world.advance(20_000)
      const machine = cluster.world.clock('back', { offsetMs: -31_536_000_000 })
      await cluster.make({ store: old.store, peer: old.transport.self, machine }).start()
      await cluster.until(() => cluster.isWhole() && new Set(cluster.views()).size === 1, 5000, 'it is back')
    }))

  it('takes a restarted memory node for a stranger and lets the old one die', () =>
    onSeeds(6, async cluster => {
      await cluster.form(3)
      const old = cluster.nodes[2]!
      old.transport.kill()
      await cluster.world.advance(300)
      const stranger = cluster.make({ store: storeId(99), peer: 'peer-new' as PeerId })
      await stranger.start()
      await cluster.until(() => cluster.running().every(node => node.sees(old) === 'dead'), 8000, 'the old one is dead')
      assert.ok(cluster.isWhole())
      assert.equal(cluster.nodes[0]!.count('member:joined', stranger), 1)
    }))

  it('redials a store at the peer where it is now, and lets go of the one where it was', () =>
    onSeeds(2, async cluster => {
      await cluster.form(3)
      const old = cluster.nodes[2]!
      old.transport.kill()
      await cluster.world.advance(1000)
      const moved = cluster.make({ store: old.store, peer: 'peer-moved' as PeerId })
      await moved.start()
      await cluster.until(() => cluster.isWhole(), 5000, 'it is back')
      await cluster.world.advance(3000)
      for (const { transport } of cluster.nodes.slice(0, 2)) {
        assert.ok(transport.kept.has(moved.transport.self))
        assert.ok(!transport.kept.has(old.transport.self))
      }
    }))

  it('does not take the word of another store at the same peer for a sign of life', () =>
    onSeeds(4, async cluster => {
      await cluster.form(3)
      const old = cluster.nodes[2]!
      old.transport.kill()
      const stranger = cluster.make({ store: storeId(99), peer: old.transport.self })
      await stranger.start()
      await cluster.until(
        () => cluster.running().every(node => node.sees(old) === 'dead'),
        30_000,
        'the old one is dead'
      )
      assert.ok(cluster.isWhole())
    }))

  it('knows who left at once, accuses nobody of it, and forgets in the end', () =>
    onSeeds(4, async cluster => {
      await cluster.form(4)
      const leaver = cluster.nodes[3]!
      const promise = leaver.membership.leave(2000)
      leaver.discovery.stop()
      await cluster.world.settle(promise, { limitMs: 2000 })
      const left = cluster.nodes.slice(0, 3)
      assert.ok(left.every(node => node.sees(leaver) === 'left'))
      await leaver.transport.stop()
      await cluster.world.advance(10_000)
      assert.equal(leaver.clock.pending, 0)
      for (const node of left) {
        assert.equal(node.count('member:left', leaver), 1)
        assert.equal(node.count('member:suspected', leaver), 0)
        assert.equal(node.transport.kept.has(leaver.transport.self), false)
      }
      await cluster.world.advance(610_000)
      assert.ok(left.every(node => node.sees(leaver) === undefined))
      assert.equal(new Set(cluster.views()).size, 1)
    }))

  it('makes up by an exchange of views for news that gossip has lost', () =>
    onSeeds(4, async cluster => {
      await cluster.form(4)
      const [a, , , leaver] = cluster.nodes as [FakeNode, FakeNode, FakeNode, FakeNode]
      cluster.net.split([a.transport], [leaver.transport])
      await cluster.world.advance(5000)
      for (const { transport } of cluster.nodes) transport.publish = () => {}
      await cluster.world.settle(leaver.membership.leave(2000), { limitMs: 3000 })
      await leaver.transport.stop()
      await cluster.until(() => a.sees(leaver) === 'left', 10_000, 'the goodbye came by way of the others')
      assert.equal(a.count('member:failed', leaver), 0)
    }))

  it('has a goodbye end at its deadline when nobody answers', () =>
    onSeeds(2, async cluster => {
      await cluster.form(2)
      const [a, b] = cluster.nodes as [FakeNode, FakeNode]
      cluster.net.block(a.transport, b.transport)
      const fromMs = cluster.world.nowMs
      await cluster.world.settle(a.membership.leave(700), { limitMs: 5000 })
      assert.ok(cluster.world.nowMs - fromMs <= 710)
    }))

  it('spreads what a node announces, and a smaller epoch too when its cluster changes', () =>
    onSeeds(3, async cluster => {
      await cluster.form(5)
      const [a] = cluster.nodes as [FakeNode]
      const heard = (epoch: number): boolean =>
        cluster.nodes.every(node => node.membership.view.get(a.store)!.epoch === epoch)
      a.membership.announce({ epoch: 7 })
      assert.ok((await cluster.until(() => heard(7), 1000, 'the epoch is known')) <= 200)
      const clusterId = 'ab'.repeat(16) as never
      a.membership.announce({ clusterId, epoch: 3 })
      await cluster.until(() => heard(3), 1000, 'the smaller epoch is known')
      assert.ok(cluster.nodes.every(node => node.membership.view.get(a.store)!.clusterId === clusterId))
    }))

  it('does not say of each member what all have come to know at once: one or two tell, and heartbeats repeat it', () =>
    onSeeds(3, async cluster => {
      await cluster.form(5)
      const sent = (): number => cluster.nodes.reduce((sum, { transport }) => sum + transport.published, 0)
      const before = sent()
      for (let epoch = 1; epoch <= 40; epoch++) {
        for (const { membership } of cluster.nodes) membership.announce({ epoch })
        await cluster.world.advance(50)
      }
      // Two seconds: ten heartbeats, and eighty messages if everybody told.
      assert.ok(sent() - before < 50, `${sent() - before} messages`)
      const heard = (): boolean =>
        cluster.nodes.every(({ membership }) => [...membership.view.values()].every(({ epoch }) => epoch === 40))
      await cluster.until(heard, 2000, 'the last epoch of everybody is known to all')
    }))

  it('is told less by many members together than by five, and members know of a lost message all the same', () =>
    onSeeds(2, async cluster => {
      await cluster.form(10)
      const sent = (): number => cluster.nodes.reduce((sum, { transport }) => sum + transport.published, 0)
      await cluster.world.advance(10_000)
      const before = sent()
      await cluster.world.advance(40_000)
      // Each every eight seconds on average; five would have sent two hundred.
      assert.ok(sent() - before >= 30 && sent() - before <= 75, `${sent() - before} messages`)
      for (const { transport } of cluster.nodes) transport.publish = () => {}
      const [first] = cluster.nodes
      first!.membership.announce({ epoch: 9 })
      const heard = (): boolean =>
        cluster.nodes.every(({ membership }) => membership.view.get(first!.store)!.epoch === 9)
      await cluster.until(heard, 60_000, 'the epoch is known from answers to pings')
    }))

  it('says how late the event loop of another member runs', () =>
    onSeeds(2, async cluster => {
      await cluster.form(3)
      const [a, b] = cluster.nodes as [FakeNode, FakeNode]
      assert.equal(a.membership.lagMsOf(b.store), 0)
      b.clock.stall(250)
      await cluster.until(() => (a.membership.lagMsOf(b.store) ?? 0) >= 250, 3000, 'the lag is known')
      assert.equal(a.sees(b), 'alive')
      await cluster.until(() => a.membership.lagMsOf(b.store) === 0, 5000, 'the lag is over')
    }))

  it('loses no member and exchanges views at a bounded rate when gossip does not work at all', () =>
    onSeeds(2, async cluster => {
      await cluster.form(4)
      for (const { transport } of cluster.nodes) transport.publish = () => {}
      const victim = cluster.nodes[3]!
      victim.transport.kill()
      // Nobody hears of the others' accusations, so that each waits for as long as a lone accuser.
      await cluster.until(() => others(cluster).every(node => node.sees(victim) === 'dead'), 22_000, 'dead')
      const exchanges = (): number =>
        others(cluster).reduce((sum, { transport }) => sum + (transport.requested.get(MessageType.VIEW) ?? 0), 0)
      await cluster.world.advance(5000)
      const before = exchanges()
      await cluster.world.advance(60_000)
      assert.equal(exchanges() - before, 0, 'equal views were exchanged')
      cluster.nodes[0]!.membership.announce({ clusterId: 'cd'.repeat(16) as never })
      await cluster.until(() => new Set(cluster.views()).size === 1, 10_000, 'equal views')
      assert.ok(exchanges() - before <= 12, `${exchanges() - before} exchanges for one change`)
      assert.ok(cluster.isWhole())
    }))

  it('leaves no timer when it is stopped', () =>
    onSeeds(2, async cluster => {
      await cluster.form(3)
      const [, node] = cluster.nodes as [FakeNode, FakeNode]
      node.membership.stop()
      node.discovery.stop()
      await node.transport.stop()
      await cluster.world.advance(6000)
      assert.equal(node.clock.pending, 0)
      node.membership.stop()
      assert.equal(node.transport.addresses.length, 0)
      assert.equal(addressOf(node.transport.self).startsWith('/memory/'), true)
    }))
})
