import assert from 'node:assert/strict'
import type { PartitionId } from '../../../src/model/partition.ts'
import type { Topology } from '../../../src/placement/topology.ts'
import { WatchSource, type WatchSourceDeps } from '../../../src/replication/watch-source.ts'
import type { WatchReply, WatchRequest } from '../../../src/replication/watch-wire.ts'
import { ArrivalLog } from '../../../src/storage/arrival-log.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { store, topology } from '../cluster/fixtures.ts'

/** Partitions 0 … 3, those that are named owned by store 1. */
function owning(...partitions: PartitionId[]): Topology {
  const rows = Array.from({ length: 4 }, (_, partition) => ({
    slots: [store(partitions.includes(partition) ? 1 : 2)],
    change: undefined,
    rowEpoch: 1
  }))
  return topology([{ n: 1 }, { n: 2 }], { rows })
}

/** Store 1, of which it is asked what has arrived in partitions 0 … 2. */
class Bench {
  readonly clock: SimClock = new SimWorld().clock('n')
  readonly arrivals: ArrivalLog = new ArrivalLog({ wallMs: () => this.clock.wallMs(), horizonOf: () => 0 })
  /** Partitions of which it was looked at whether there are records that end. */
  readonly covered: PartitionId[] = []
  #topology: Topology = owning()
  readonly source: WatchSource = new WatchSource({
    self: store(1),
    arrivals: this.arrivals,
    trees: {
      mortalsIn: (partition: PartitionId) => {
        this.covered.push(partition)
        return 0
      }
    },
    horizons: { horizonOf: () => 0 },
    clock: this.clock,
    random: { bytes: (length: number) => new Uint8Array(length).fill(7) },
    topology: () => this.#topology
  } as unknown as WatchSourceDeps)

  own(...partitions: PartitionId[]): void {
    this.#topology = owning(...partitions)
    this.source.topologyChanged()
  }

  ask(position: WatchRequest['position'], waitMs = 0): Promise<WatchReply> {
    const request: WatchRequest = { position, wantsHorizons: false, waitMs, partitions: [0, 1, 2], filters: [] }
    return new Promise(resolve => this.source.watch('self', request, resolve))
  }
}

describe('the owner’s side of watching', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench()
  })

  afterEach(() => {
    bench.source.stop()
    assert.equal(bench.clock.pending, 0, 'no timer is left')
  })

  it('says what it owns now, to one that asks for the same as before too', async () => {
    bench.own(0, 1)
    const { strangers, ...position } = await bench.ask(undefined)
    assert.deepEqual(strangers, [2])
    const ask = async (): Promise<readonly PartitionId[]> => (await bench.ask(position)).strangers
    assert.deepEqual(await ask(), [2])
    bench.own(1, 2)
    assert.deepEqual(await ask(), [0])
    bench.own(0, 1, 2)
    assert.deepEqual(await ask(), [])
    assert.deepEqual(bench.covered, [0, 1, 2, 0], 'what comes to be owned is looked at for ends')
  })

  it('looks again for ends in what was lost and came back in one turn while somebody waited', async () => {
    bench.own(0, 1, 2)
    const { log, seq } = await bench.ask(undefined)
    const waiting = bench.ask({ log, seq }, 1000)
    bench.own(0, 1)
    bench.own(0, 1, 2)
    await Promise.resolve()
    const again = bench.ask({ log, seq }, 1000)
    bench.source.stop()
    await Promise.all([waiting, again])
    assert.deepEqual(bench.covered, [0, 1, 2, 2])
  })

  it('tells of a gap to one that stands where it stood before a partition was lost and came back', async () => {
    bench.own(0, 1, 2)
    const { log, seq } = await bench.ask(undefined)
    bench.own(0, 1)
    bench.own(0, 1, 2)
    const { gaps, ...now } = await bench.ask({ log, seq })
    assert.deepEqual(gaps, [2], 'what arrived elsewhere is in no log here')
    assert.deepEqual((await bench.ask(now)).gaps, [])
    bench.arrivals.expire({ partition: 0, keyspace: new Uint8Array(), key: Uint8Array.of(1) }, new Uint8Array(32))
    assert.deepEqual((await bench.ask({ log, seq })).gaps, [2])
  })

  it('tells of a gap to one that knows less than what came before a partition was owned', async () => {
    bench.own(0, 2)
    const { log, seq } = await bench.ask(undefined)
    bench.arrivals.expire({ partition: 0, keyspace: new Uint8Array(), key: Uint8Array.of(1) }, new Uint8Array(32))
    bench.own(0, 1, 2)
    const behind = await bench.ask({ log, seq })
    assert.deepEqual([behind.gaps, behind.strangers, behind.arrivals.length], [[1], [], 1])
    assert.deepEqual((await bench.ask(behind)).gaps, [])
  })
})
