import assert from 'node:assert/strict'
import { createDeferred } from '../../../src/base/deferred.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { Command } from '../../../src/cluster/commands.ts'
import { Fate } from '../../../src/cluster/fates.ts'
import { Former } from '../../../src/cluster/former.ts'
import { Kinship } from '../../../src/cluster/kinship.ts'
import { MetaState } from '../../../src/cluster/meta-state.ts'
import { Migration } from '../../../src/cluster/migration.ts'
import type { Tenure } from '../../../src/cluster/tenure.ts'
import { encodeCommand } from '../../../src/cluster/wire.ts'
import type { ClusterId, StoreId } from '../../../src/model/node-id.ts'
import type { Liveness, ViewMember } from '../../../src/model/view.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { SeededRandom } from '../../../src/runtime/seeded-random.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { CLUSTER, found, member, seen, store, topology } from './fixtures.ts'

const WINNER = 'd'.repeat(32) as ClusterId
const THIRD = 'e'.repeat(32) as ClusterId

/** The state of a cluster of which store 9 is the only member. */
function stateOf(clusterId: ClusterId): MetaState {
  const state = new MetaState()
  state.apply(1, encodeCommand(found({ clusterId, member: member(9) })))
  return state
}

/** Store 1 on its way out of a cluster that has dissolved; what the others do is the test's. */
class Bench {
  readonly world: SimWorld = new SimWorld()
  readonly clock = this.world.clock('n')
  readonly stopped: AbortController = new AbortController()
  readonly former: Former = new Former(
    new SimStore({ disk: new SimDisk(this.world.random.fork('disk'), {}), clock: this.clock })
  )
  readonly view: Map<StoreId, ViewMember> = new Map()
  readonly kinship: Kinship = new Kinship()
  readonly founded: Command[] = []
  /** The epoch of the log that was in the store before the note was. */
  settledBefore: number | undefined
  adopted: MetaState | undefined
  arrivals = 0
  isFirst = true
  compareAll: () => Promise<readonly StoreId[]> = async () => []
  fates: () => Promise<readonly (Fate | undefined)[]> = async () => []
  fetch: (onEnded: (cluster: ClusterId) => void) => Promise<MetaState> = () => Promise.reject(unreachable())
  readonly migration: Migration

  constructor() {
    this.kinship.dissolve(WINNER)
    const own = topology([{ n: 1 }, { n: 2 }])
    const tenure = { start: async () => {}, found: async (command: Command) => void this.founded.push(command) }
    const { view, kinship, former, clock, stopped } = this
    const settle = async (epoch: number): Promise<void> => {
      if (!former.has(CLUSTER)) this.settledBefore = epoch
    }
    const adopt = async (state: MetaState): Promise<void> => void (this.adopted = state)
    this.migration = new Migration({
      clock,
      random: new SeededRandom('n'),
      logger: silentLogger,
      membership: { view },
      log: { topology: own, epoch: own.epoch, kinship, snapshot: () => new Uint8Array([7]), settle, adopt },
      former,
      peers: { fetchState: (_except, _preferred, onEnded) => this.fetch(onEnded) },
      fates: { ofOwn: () => this.fates(), isFirst: () => this.isFirst },
      mover: { compareAll: () => this.compareAll(), forgetPast: async () => {} },
      rules: SOUND_RULES,
      stopped: stopped.signal,
      onLeave: () => {},
      begin: enter => enter(tenure as unknown as Tenure, []),
      onArrival: () => void this.arrivals++
    })
  }

  see(n: number, clusterId: ClusterId, status: Liveness = 'alive'): void {
    this.view.set(store(n), seen(n, { clusterId, status }))
  }

  /** Lets the way go on until it is over. */
  async settled(limitMs: number): Promise<void> {
    await this.world.settle(this.migration.settled(), { limitMs })
  }
}

function unreachable(): KilovoltError {
  return new KilovoltError('KV_UNREACHABLE', 'no member of another cluster is linked', { retryable: true })
}

describe('the way from one cluster to another', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench()
  })

  afterEach(async () => {
    bench.stopped.abort()
    await bench.settled(100)
    assert.equal(bench.clock.pending, 0, 'no timer is left')
  })

  it('leads into the other cluster, and notes before that the store may hold what is not of that one', async () => {
    const state = stateOf(WINNER)
    bench.fetch = async () => {
      assert.deepEqual(bench.former.clusters, [CLUSTER])
      assert.equal(bench.settledBefore, 10, 'with the log that tells which cluster that was')
      return state
    }
    bench.migration.depart('dissolved')
    assert.ok(bench.migration.isUnderWay)
    await bench.settled(5000)
    assert.equal(bench.adopted, state)
    assert.equal(bench.arrivals, 1)
    assert.ok(!bench.migration.isUnderWay)
  })

  it('leads into a cluster founded anew when nobody of another one was there for a minute', async () => {
    bench.see(1, CLUSTER)
    bench.see(2, CLUSTER)
    bench.see(9, WINNER, 'dead')
    bench.migration.depart('dissolved')
    await bench.world.advance(59_000)
    assert.equal(bench.founded.length, 0)
    await bench.settled(5000)
    const [command] = bench.founded
    assert.ok(command?.kind === 'refound' && command.clusterId !== CLUSTER)
    assert.deepEqual(command.state, new Uint8Array([7]), 'it goes on from what its cluster was')
    assert.equal(bench.arrivals, 1)
    assert.ok(bench.former.isEmpty, 'what the store holds is in its place')
  })

  it('keeps in mind what is to be brought along from a third cluster when its own is founded anew', async () => {
    await bench.world.settle(bench.former.add(THIRD))
    bench.migration.depart('dissolved')
    await bench.settled(65_000)
    assert.equal(bench.founded.length, 1)
    assert.deepEqual(bench.former.clusters, [THIRD])
  })

  it('waits on while somebody of another cluster is there, and a minute from when that was last so', async () => {
    bench.see(9, WINNER)
    bench.migration.depart('dissolved')
    await bench.world.advance(120_000)
    bench.see(9, WINNER, 'suspect')
    await bench.world.advance(120_000)
    bench.see(9, WINNER, 'dead')
    await bench.world.advance(58_000)
    assert.equal(bench.founded.length, 0)
    await bench.settled(5000)
    assert.equal(bench.founded.length, 1)
  })

  it('does not wait for those whose cluster has ended as well', async () => {
    bench.see(9, WINNER)
    bench.fetch = async onEnded => {
      onEnded(WINNER)
      throw unreachable()
    }
    bench.migration.depart('dissolved')
    await bench.settled(65_000)
    assert.equal(bench.founded.length, 1)
  })

  it('leaves founding to the first of those who wait', async () => {
    bench.isFirst = false
    bench.migration.depart('dissolved')
    await bench.world.advance(300_000)
    assert.equal(bench.founded.length, 0)
    bench.fetch = async () => stateOf(WINNER)
    await bench.settled(5000)
    assert.equal(bench.founded.length, 0)
    assert.equal(bench.arrivals, 1)
  })

  it('waits until copies were compared with all who are there, and says so', async () => {
    bench.see(2, CLUSTER)
    let missed: readonly StoreId[] = [store(2)]
    bench.compareAll = async () => missed
    bench.migration.depart('dissolved')
    await bench.world.advance(5000)
    assert.ok(!bench.migration.isClosed)
    let fate: Fate = Fate.CLOSING
    bench.fates = async () => [fate]
    missed = []
    await bench.world.advance(1000)
    assert.ok(bench.migration.isClosed)
    assert.deepEqual(bench.former.clusters, [], 'it waits for the others')
    fate = Fate.CLOSED
    bench.fetch = async () => stateOf(WINNER)
    await bench.settled(1000)
    assert.equal(bench.arrivals, 1)
  })

  it('waits a minute for that at most', async () => {
    bench.see(2, CLUSTER)
    bench.compareAll = async () => [store(2)]
    bench.fetch = async () => stateOf(WINNER)
    bench.migration.depart('dissolved')
    await bench.world.advance(59_000)
    assert.equal(bench.arrivals, 0)
    await bench.settled(2000)
    assert.equal(bench.arrivals, 1)
  })

  for (const what of ['compareAll', 'fates', 'fetch'] as const) {
    it(`ends at once when the node stops and ${what} has no answer`, async () => {
      bench[what] = () => createDeferred<never>().promise
      bench.migration.depart('dissolved')
      await bench.world.advance(1000)
      assert.ok(bench.migration.isUnderWay)
      bench.stopped.abort()
      const fromMs = bench.world.nowMs
      await bench.settled(20_000)
      assert.ok(bench.world.nowMs - fromMs < 10)
      assert.equal(bench.arrivals, 0)
    })
  }

  describe('that was broken off by a restart', () => {
    beforeEach(async () => {
      await bench.world.settle(bench.former.add(CLUSTER))
    })

    it('is gone on with, and needs no comparison', async () => {
      bench.compareAll = () => assert.fail('the earlier life has compared')
      const coming = bench.migration.comeOverInTime(5000, undefined)
      assert.ok(bench.migration.isClosed, 'nobody has to wait for it')
      await bench.world.advance(1000)
      bench.fetch = async () => stateOf(WINNER)
      await bench.world.settle(coming)
      assert.equal(bench.arrivals, 1)
      assert.ok(!bench.migration.isClosed)
    })

    it('says after joinTimeoutMs where it was on its way to, and that it may be tried again', async () => {
      bench.see(9, WINNER)
      const cause = unreachable()
      bench.fetch = () => Promise.reject(cause)
      await assert.rejects(bench.world.settle(bench.migration.comeOverInTime(5000, undefined)), (error: Error) => {
        assert.ok(error instanceof KilovoltError)
        assert.equal(error.code, 'KV_JOIN_TIMEOUT')
        assert.ok(error.retryable)
        assert.equal(error.cause, cause)
        for (const part of [CLUSTER, WINNER, '5000 ms', 'start one of its members'])
          assert.ok(error.message.includes(part), `${error.message} says ${part}`)
        return true
      })
      assert.equal(bench.arrivals, 0)
    })

    it('ends in a cluster founded anew when there is time for that', async () => {
      await bench.world.settle(bench.migration.comeOverInTime(70_000, undefined), { limitMs: 62_000 })
      assert.equal(bench.founded.length, 1)
      assert.equal(bench.arrivals, 1)
    })

    it('is given up at once when the node stops, though nobody answers', async () => {
      bench.fetch = () => createDeferred<never>().promise
      const coming = bench.migration.comeOverInTime(5000, undefined)
      coming.catch(() => {})
      await bench.world.advance(100)
      bench.stopped.abort()
      await assert.rejects(bench.world.settle(coming, { limitMs: 10 }), { code: 'KV_NODE_STOPPED' })
    })

    it('is given up with the signal of the start', async () => {
      const abort = new AbortController()
      const coming = bench.migration.comeOverInTime(5000, abort.signal)
      coming.catch(() => {})
      await bench.world.advance(100)
      abort.abort()
      await assert.rejects(bench.world.settle(coming, { limitMs: 100 }), { code: 'KV_ABORTED' })
    })
  })
})
