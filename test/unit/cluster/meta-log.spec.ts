import assert from 'node:assert/strict'
import fc from 'fast-check'
import { MetaLog } from '../../../src/cluster/meta-log.ts'
import { encodeCommand } from '../../../src/cluster/wire.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import type { ClusterId } from '../../../src/model/node-id.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { metaKey } from '../../../src/storage/key-layout.ts'
import { seal } from '../../../src/storage/sealed.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { CLUSTER, found, member, store } from './fixtures.ts'

const SNAPSHOT_KEY = metaKey(Uint8Array.of(0))

class Bench {
  readonly world: SimWorld = new SimWorld()
  readonly #disk = new SimDisk(this.world.random.fork('disk'), {})
  readonly #store = new SimStore({ disk: this.#disk, clock: this.world.clock('disk') })

  /** Logs over one store, as after a restart. */
  log(): MetaLog {
    return this.#log(this.#store)
  }

  /** A log over a store of its own. */
  other(): MetaLog {
    return this.#log(this.#newStore())
  }

  get snapshot(): Uint8Array {
    return this.#disk.get(SNAPSHOT_KEY)!
  }

  /** Another value in the place of the copy in the store, as after a restart. */
  putSnapshot(value: Uint8Array): void {
    this.#disk.write({ changes: [{ key: SNAPSHOT_KEY, value }] }, true)
  }

  failWrites(): void {
    this.#disk.set({ failPer10k: 10_000 })
  }

  #log(store: SimStore): MetaLog {
    return new MetaLog({ store, clock: this.world.clock('n'), logger: silentLogger })
  }

  #newStore(): SimStore {
    return new SimStore({ disk: new SimDisk(this.world.random.fork('disk'), {}), clock: this.world.clock('disk') })
  }
}

function founded(log: MetaLog, clusterId: ClusterId = CLUSTER): MetaLog {
  log.apply(1, undefined)
  log.apply(2, encodeCommand(found({ clusterId })))
  return log
}

function addMembers(log: MetaLog, from: number, to: number): void {
  for (let n = from; n <= to; n++)
    log.apply(log.epoch + 1, encodeCommand({ kind: 'addMember', member: member(n), former: [] }))
}

describe('the applied log of the meta group', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench()
  })

  it('brings a member that lags to the same topology, by entries or by a snapshot', () => {
    const ahead = founded(bench.log())
    addMembers(ahead, 2, 20)
    for (const epoch of [0, 2, 10, 20, 21]) {
      const behind = bench.other()
      if (epoch > 0) founded(behind)
      addMembers(behind, 2, epoch - 1)
      behind.applyDelta(ahead.encodeDelta(behind.epoch))
      assert.deepEqual(behind.topology, ahead.topology)
    }
    const stranger = bench.other()
    stranger.applyDelta(ahead.encodeDelta(-1))
    assert.deepEqual(stranger.topology, ahead.topology)
  })

  it('tells topologies in order, each once, whichever way entries come', () => {
    const ahead = founded(bench.log())
    addMembers(ahead, 2, 9)
    const behind = founded(bench.other())
    const epochs: number[] = []
    behind.on('topology', ({ epoch }) => epochs.push(epoch))
    addMembers(behind, 2, 3)
    const delta = ahead.encodeDelta(2)
    behind.applyDelta(delta)
    behind.applyDelta(delta)
    assert.deepEqual(epochs, [3, 4, 5, 6, 7, 8, 9, 10])
  })

  it('never skips an entry that is missing', () => {
    const ahead = founded(bench.log())
    addMembers(ahead, 2, 9)
    const behind = founded(bench.other())
    behind.applyDelta(ahead.encodeDelta(5))
    assert.equal(behind.epoch, 2)
  })

  it('sends what is long in several parts', () => {
    const ahead = founded(bench.log())
    const addresses = Array.from({ length: 32 }, (_, i) => `/dns4/${String(i).padStart(200, 'x')}/tcp/1`)
    for (let i = 0; i < 300; i++)
      ahead.apply(ahead.epoch + 1, encodeCommand({ kind: 'addMember', member: member(2, { addresses }), former: [] }))
    const behind = founded(bench.other())
    for (let round = 0; behind.epoch < ahead.epoch; round++) {
      assert.ok(round < 5)
      const delta = ahead.encodeDelta(behind.epoch)
      assert.ok(delta.length <= 1024 * 1024 + 64 * 1024, `${delta.length} bytes`)
      behind.applyDelta(delta)
    }
    assert.deepEqual(behind.topology, ahead.topology)
  })

  it('does not take over the state of another cluster', () => {
    const own = founded(bench.log())
    const other = founded(bench.other(), 'd'.repeat(32) as ClusterId)
    addMembers(other, 2, 9)
    const { topology } = own
    own.applyDelta(other.encodeDelta(-1))
    assert.deepEqual(own.topology, topology)
  })

  it('stays where it is at a command that it cannot read, and for ever', () => {
    const log = founded(bench.log())
    for (let i = 0; i < 2; i++) assert.throws(() => log.apply(3, Uint8Array.of(200, 1, 2)), { code: 'KV_PROTOCOL' })
    assert.equal(log.epoch, 2)
  })

  it('takes a delta whole or as far as it goes, and never half a snapshot', () => {
    const ahead = founded(bench.log())
    addMembers(ahead, 2, 5)
    const whole = ahead.encodeDelta(-1)
    fc.assert(
      fc.property(fc.nat(whole.length - 1), cut => {
        const behind = bench.other()
        try {
          behind.applyDelta(whole.subarray(0, cut))
          assert.fail('a cut snapshot was taken')
        } catch (error) {
          assert.ok(isKilovoltError(error, 'KV_PROTOCOL'), String(error))
        }
        assert.equal(behind.topology, undefined)
        assert.equal(behind.epoch, 0)
      })
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), bytes => {
        try {
          bench.other().applyDelta(bytes)
        } catch (error) {
          assert.ok(isKilovoltError(error, 'KV_PROTOCOL'), String(error))
        }
      })
    )
  })

  it('is in the store within a second or so, so that a member starts without asking', async () => {
    const log = founded(bench.log())
    addMembers(log, 2, 4)
    await bench.world.advance(1500)
    const again = bench.log()
    assert.equal(await bench.world.settle(again.load()), true)
    assert.deepEqual(again.topology, log.topology)
    assert.ok(again.topology?.members.has(store(4)))
  })

  it('says when a restart cannot forget an epoch, and writes no more often than that needs', async () => {
    const log = founded(bench.log())
    addMembers(log, 2, 4)
    await bench.world.settle(log.settle(4))
    addMembers(log, 5, 5)
    // The first one has stored epoch 5 as well.
    await bench.world.settle(Promise.all([log.settle(4), log.settle(5)]))
    const again = bench.log()
    await bench.world.settle(again.load())
    assert.equal(again.epoch, 5)
    await assert.rejects(log.settle(7), RangeError)
  })

  it('does not say so when it cannot be stored', async () => {
    const log = founded(bench.log())
    bench.failWrites()
    await assert.rejects(bench.world.settle(log.settle(2)), { code: 'KV_STORAGE' })
    await bench.world.settle(log.flush())
  })

  it('is in the store at once when flushed, and last of all when stopped', async () => {
    const log = founded(bench.log())
    await bench.world.settle(log.flush())
    const early = bench.log()
    await bench.world.settle(early.load())
    assert.equal(early.epoch, 2)
    addMembers(log, 2, 4)
    await bench.world.settle(log.stop())
    const late = bench.log()
    await bench.world.settle(late.load())
    assert.equal(late.epoch, 5)
  })

  it('never begins with a state in the store that is not what was written', async () => {
    const log = founded(bench.log())
    addMembers(log, 2, 4)
    await bench.world.settle(log.settle(5))
    const whole = bench.snapshot
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length * 8 - 1), fc.boolean(), async (bit, cuts) => {
        const spoilt = new Uint8Array(cuts ? whole.subarray(0, bit >> 3) : whole)
        if (!cuts) spoilt[bit >> 3]! ^= 1 << (bit & 7)
        bench.putSnapshot(spoilt)
        const again = bench.log()
        await assert.rejects(bench.world.settle(again.load()), { code: 'KV_CORRUPT', message: /with an empty store/u })
        assert.deepEqual([again.epoch, again.topology], [0, undefined])
      })
    )
    bench.putSnapshot(seal(SNAPSHOT_KEY, Uint8Array.of(3, 7)).value)
    await assert.rejects(bench.world.settle(bench.log().load()), { code: 'KV_CORRUPT' })
    bench.putSnapshot(whole)
    const again = bench.log()
    await bench.world.settle(again.load())
    assert.deepEqual(again.topology, log.topology)
  })

  it('keeps the state of a cluster that it goes over to as it keeps its own', async () => {
    const log = founded(bench.log())
    log.close()
    const other = founded(bench.other(), 'd'.repeat(32) as ClusterId)
    await bench.world.settle(log.adopt(MetaLog.readState(other.encodeDelta(-1)), []))
    const again = bench.log()
    assert.equal(await bench.world.settle(again.load()), true)
    assert.deepEqual(again.topology, other.topology)
  })
})
