import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { Horizons } from '../../../src/storage/horizons.ts'
import { settledKey } from '../../../src/storage/key-layout.ts'
import { seal } from '../../../src/storage/sealed.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

describe('floors and horizons', () => {
  let world: SimWorld
  let disk: SimDisk
  let horizons: Horizons

  beforeEach(async () => {
    world = new SimWorld()
    disk = new SimDisk(world.random.fork('disk'), { permanent: true })
    await open()
  })

  async function open(): Promise<void> {
    horizons = new Horizons(new SimStore({ disk, clock: world.clock('n') }), 64)
    await world.settle(horizons.open())
  }

  function of(partition: number): [floor: number, horizon: number, isPurged: boolean] {
    return [horizons.floorOf(partition), horizons.horizonOf(partition), horizons.isPurged(partition)]
  }

  it('are nothing at first, also of partitions that do not exist', () => {
    assert.deepEqual(of(5), [0, 0, true])
    assert.deepEqual(of(64), [0, 0, true])
    assert.deepEqual(horizons.unpurged, [])
  })

  it('never go back, and a floor is never below a horizon', async () => {
    await world.settle(horizons.raiseFloors([5, 6], 100))
    await world.settle(horizons.raiseFloors([5], 90))
    assert.deepEqual(of(5), [100, 0, true])
    await world.settle(horizons.raiseHorizons([5], 120))
    await world.settle(horizons.raiseHorizons([5], 110))
    assert.deepEqual(of(5), [120, 120, false])
    assert.deepEqual(of(6), [100, 0, true])
    assert.deepEqual(horizons.unpurged, [5])
    await world.settle(horizons.setPurged(5, 110))
    assert.deepEqual(of(5), [120, 120, false], 'there is more to purge since')
    await world.settle(horizons.setPurged(5, 120))
    assert.deepEqual(of(5), [120, 120, true])
  })

  it('are not purged further than they are settled, though a purge ends after all was forgotten', async () => {
    await world.settle(horizons.raiseHorizons([5], 80))
    const reset = horizons.reset()
    await world.settle(Promise.all([reset, horizons.setPurged(5, 80)]))
    assert.deepEqual(of(5), [0, 0, true])
    disk.release()
    await open()
    assert.deepEqual(of(5), [0, 0, true])
  })

  it('keep a floor that is raised while all else is being forgotten, whether or not it is higher than before', async () => {
    await world.settle(horizons.raiseFloors([5, 6, 7], 100))
    const reset = horizons.reset()
    const raised = Promise.all([horizons.raiseFloors([5], 90), horizons.raiseFloors([6], 120)])
    await world.settle(Promise.all([reset, raised]))
    assert.deepEqual([of(5)[0], of(6)[0], of(7)[0]], [90, 120, 0])
    disk.crash({ machine: true })
    await open()
    assert.deepEqual([of(5)[0], of(6)[0], of(7)[0]], [90, 120, 0])
  })

  it('count for the floor at once, and for the horizon when it is stored', async () => {
    const floors = horizons.raiseFloors([5], 100)
    const raised = horizons.raiseHorizons([5], 80)
    assert.deepEqual(of(5), [100, 0, true])
    await world.settle(Promise.all([floors, raised]))
    assert.deepEqual(of(5), [100, 80, false])
  })

  it('are stored before anybody is told so, though an earlier attempt has failed or is under way', async () => {
    disk.release()
    const store = new SimStore({ disk, clock: world.clock('m') })
    const batch = store.batch.bind(store)
    let isFull = true
    store.batch = (...given) => (isFull ? Promise.reject(new Error('the disk is full')) : batch(...given))
    const tried = new Horizons(store, 64)
    await world.settle(assert.rejects(tried.raiseFloors([5], 100), { code: 'KV_STORAGE' }))
    await world.settle(assert.rejects(tried.raiseFloors([5], 90), { code: 'KV_STORAGE' }))
    isFull = false
    await world.settle(tried.raiseFloors([5], 90))
    disk.release()
    await open()
    assert.equal(horizons.floorOf(5), 100, 'what is in force is what is stored')
    const first = horizons.raiseFloors([6], 200)
    let isFirstDone = false
    void first.then(() => (isFirstDone = true))
    await world.settle(horizons.raiseFloors([6], 150))
    assert.ok(isFirstDone)
  })

  it('survive the end of the machine', async () => {
    await world.settle(horizons.raiseFloors([5], 100))
    await world.settle(horizons.raiseHorizons([5], 80))
    await world.settle(horizons.setPurged(5, 80))
    await world.settle(horizons.raiseFloors([63], 7))
    await world.settle(horizons.sync())
    disk.crash({ machine: true })
    await open()
    assert.deepEqual(of(5), [100, 80, true])
    assert.deepEqual(of(63), [7, 0, true])
  })

  it('are not counted when they cannot be stored', async () => {
    disk.set({ failPer10k: 10_000 })
    await assert.rejects(world.settle(horizons.raiseHorizons([5], 80)), { code: 'KV_STORAGE' })
    assert.equal(horizons.horizonOf(5), 0)
    disk.set({ failPer10k: 0 })
    await world.settle(horizons.raiseHorizons([5], 80))
    assert.equal(horizons.horizonOf(5), 80)
  })

  const put = (partition: number, value: Uint8Array): void => {
    disk.release()
    disk.write({ changes: [{ key: settledKey(partition), value }] }, true)
  }

  it('refuse a store that does not tell them any more, whichever bit is flipped and wherever it ends', async () => {
    await world.settle(horizons.raiseFloors([5], 100_000))
    const whole = disk.get(settledKey(5))!
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length * 8 - 1), async bit => {
        const spoilt = new Uint8Array(whole)
        spoilt[bit >> 3]! ^= 1 << (bit & 7)
        for (const damaged of [spoilt, whole.subarray(0, bit >> 3)]) {
          put(5, damaged)
          await assert.rejects(open(), { code: 'KV_CORRUPT', message: /settled/u })
        }
      })
    )
    put(5, whole)
    await open()
    assert.deepEqual(of(5), [100_000, 0, true])
  })

  it('are not taken from another partition, nor from a value that cannot be read', async () => {
    await world.settle(horizons.raiseFloors([5], 100))
    put(6, disk.get(settledKey(5))!)
    await assert.rejects(open(), { code: 'KV_CORRUPT' })
    put(6, seal(settledKey(6), Uint8Array.of(1, 0x80)).value)
    await assert.rejects(open(), { code: 'KV_CORRUPT' })
  })
})
