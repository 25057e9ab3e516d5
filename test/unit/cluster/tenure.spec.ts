import assert from 'node:assert/strict'
import type { RowRef } from '../../../src/cluster/commands.ts'
import { MetaLog } from '../../../src/cluster/meta-log.ts'
import { MetaState } from '../../../src/cluster/meta-state.ts'
import { Tenure } from '../../../src/cluster/tenure.ts'
import type { Membership } from '../../../src/membership/membership.ts'
import type { ClusterId, StoreId } from '../../../src/model/node-id.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import type { Transport } from '../../../src/transport/transport.ts'
import type { Mover } from '../../../src/cluster/cluster.ts'
import { CARE, CLUSTER, found, member, store } from './fixtures.ts'

const OTHER = 'd'.repeat(32) as ClusterId

/** Store 1, alone in the world. */
class Bench {
  readonly world: SimWorld = new SimWorld()
  readonly clock = this.world.clock('n')
  readonly store: SimStore = new SimStore({
    disk: new SimDisk(this.world.random.fork('disk'), { permanent: true }),
    clock: this.clock
  })
  readonly log: MetaLog = new MetaLog({ store: this.store, clock: this.clock, logger: silentLogger })
  readonly leaders: (StoreId | undefined)[] = []
  readonly reported: RowRef[] = []

  tenure(): Tenure {
    const mover: Pick<Mover, 'copy' | 'held' | 'drop'> = {
      copy: async () => {},
      held: async () => [],
      drop: async () => {}
    }
    return new Tenure(
      {
        // The slices that it uses.
        transport: { handle: () => {}, send: () => {}, isRefusing: () => false } as unknown as Transport,
        membership: { view: new Map(), statusOf: () => undefined } as unknown as Membership,
        mover: mover as Mover,
        store: this.store,
        clock: this.clock,
        random: this.world.random.fork('tenure'),
        logger: silentLogger,
        rules: SOUND_RULES,
        log: this.log,
        giveBack: async () => {},
        peerOf: () => undefined,
        onLeader: leader => void this.leaders.push(leader),
        report: rows => void this.reported.push(...rows)
      },
      { ...CARE, self: store(1) }
    )
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return this.world.settle(promise, { limitMs: 10_000 })
  }
}

describe('the time of a node in one cluster', () => {
  let bench: Bench
  let tenure: Tenure

  beforeEach(async () => {
    bench = new Bench()
    tenure = bench.tenure()
    await bench.settle(tenure.found(found()))
  })

  afterEach(async () => {
    await bench.settle(tenure.stop())
    await bench.settle(bench.log.stop())
    assert.equal(bench.clock.pending, 0, 'no timer is left')
  })

  it('begins with a group of which it is the only voter, and a cluster that its first command founds', () => {
    assert.equal(bench.log.topology?.clusterId, CLUSTER)
    assert.deepEqual(tenure.group.members().voters, [store(1)])
    assert.ok(tenure.group.isLeader)
    assert.equal(bench.leaders.at(-1), store(1))
  })

  it('commits what is proposed, and tells at which epoch', async () => {
    const epoch = await bench.settle(tenure.propose({ kind: 'addMember', member: member(2), former: [] }))
    assert.equal(bench.log.epoch, epoch)
    assert.ok(bench.log.topology!.members.has(store(2)))
  })

  it('looks after members as the leader', async () => {
    bench.log.on('topology', topology => tenure.copier.follow(topology))
    await bench.settle(tenure.propose({ kind: 'addMember', member: member(2), former: [] }))
    const moves = (): boolean => bench.log.topology!.rows.some(({ change }) => change !== undefined)
    assert.ok(await bench.world.run(moves, { limitMs: 10_000 }), 'the new member is given its share')
  })

  it('looks after nothing any more when the cluster has dissolved: its log has ended', async () => {
    const { epoch } = bench.log
    await bench.settle(tenure.propose({ kind: 'dissolve', into: OTHER, epoch }))
    const last = bench.log.epoch
    assert.equal(bench.log.kinship.dissolvedInto, OTHER)
    await bench.settle(tenure.propose({ kind: 'addMember', member: member(2), former: [] }))
    assert.ok(!bench.log.topology!.members.has(store(2)))
    await bench.world.advance(60_000)
    assert.equal(bench.log.epoch, last + 1)
  })

  it('is not begun twice on one store', async () => {
    const second = bench.tenure()
    await assert.rejects(bench.settle(second.found(found({ clusterId: OTHER }))), { code: 'KV_CONFIG' })
    await bench.settle(second.stop())
  })

  it('makes room for the next one, in another cluster, when it has ended', async () => {
    bench.log.close()
    await bench.settle(tenure.stop())
    const cleared = await bench.settle(Tenure.cleared(bench.store))
    assert.ok(cleared.length > 0)
    tenure = bench.tenure()
    await bench.settle(bench.log.adopt(new MetaState(), cleared))
    await bench.settle(tenure.found(found({ clusterId: OTHER })))
    assert.equal(bench.log.topology?.clusterId, OTHER)
    assert.ok(bench.log.epoch < 5, 'its log begins anew')
  })
})
