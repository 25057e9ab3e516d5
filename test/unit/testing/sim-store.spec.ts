import assert from 'node:assert/strict'
import { utf8 } from '../../../src/base/bytes.ts'
import { SeededRandom } from '../../../src/runtime/seeded-random.ts'
import { type DiskOptions, SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

function machine(seed: number, options?: DiskOptions) {
  const world = new SimWorld({ seed })
  const disk = new SimDisk(new SeededRandom(seed), options)
  const clock = world.clock('a')
  return { world, disk, clock, store: new SimStore({ disk, clock }) }
}

const put = (key: string, value: string) => ({ key: utf8(key), value: utf8(value) })

describe('the simulated store', () => {
  it('takes virtual time to write, more to sync', async () => {
    const { world, store } = machine(1, { writeMinMs: 2, writeMeanMs: 0, syncMs: 5 })
    await world.settle(store.batch([put('a', '1')], { sync: false }))
    assert.equal(world.nowMs, 2)
    await world.settle(store.batch([put('a', '1')], { sync: true }))
    assert.equal(world.nowMs, 9)
  })

  it('keeps after a crash of the process all that was acknowledged, and of the rest a leading part', async () => {
    const left = new Set<number>()
    for (let seed = 0; seed < 40; seed++) {
      const { world, disk, clock, store } = machine(seed)
      await world.settle(store.batch([put('acknowledged', '')], { sync: false }))
      for (let i = 0; i < 4; i++) void store.batch([put(`a${i}`, ''), put(`b${i}`, '')], { sync: false })
      clock.kill()
      disk.crash()
      const keys = disk.keys({ gte: utf8(''), lt: undefined }).map(key => Buffer.from(key).toString())
      assert.ok(keys.includes('acknowledged'))
      const batches = (keys.length - 1) / 2
      for (let i = 0; i < 4; i++) {
        assert.equal(keys.includes(`a${i}`), i < batches)
        assert.equal(keys.includes(`b${i}`), i < batches)
      }
      left.add(batches)
    }
    assert.deepEqual(
      [...left].toSorted((a, b) => a - b),
      [0, 1, 2, 3, 4]
    )
  })

  it('may lose unsynced batches, the last ones first, when the machine crashes, and never a synced one', async () => {
    const left = new Set<number>()
    for (let seed = 0; seed < 60; seed++) {
      const { world, disk, clock, store } = machine(seed)
      await world.settle(store.batch([put('k', '-1')], { sync: true }))
      for (let i = 0; i < 4; i++)
        await world.settle(store.batch([put('k', String(i)), put(`k${i}`, '')], { sync: false }))
      clock.kill()
      disk.crash({ machine: true })
      const value = Number(Buffer.from(disk.get(utf8('k'))!).toString())
      assert.equal(disk.size, value + 2)
      left.add(value)
    }
    assert.deepEqual(
      [...left].toSorted((a, b) => a - b),
      [-1, 0, 1, 2, 3]
    )
  })

  it('forgets everything with its process when it is in memory', async () => {
    const { world, disk, clock, store } = machine(1, { permanent: false })
    assert.equal(store.permanent, false)
    await world.settle(store.batch([put('a', '1')], { sync: true }))
    clock.kill()
    disk.crash()
    assert.equal(disk.size, 0)
  })

  it('belongs to one process at a time', () => {
    const { world, disk, clock } = machine(1)
    const next = world.clock('a')
    assert.throws(() => new SimStore({ disk, clock: next }), { code: 'KV_STORAGE_IN_USE' })
    clock.kill()
    disk.crash()
    assert.ok(new SimStore({ disk, clock: next }))
  })

  it('fails writes when told to, and keeps nothing of them', async () => {
    const { world, disk, store } = machine(1, { failPer10k: 10_000 })
    await assert.rejects(world.settle(store.batch([put('a', '1')], { sync: false })), { code: 'KV_STORAGE' })
    assert.equal(disk.size, 0)
  })

  it('shares no memory with its caller', async () => {
    const { world, store } = machine(1)
    const change = put('a', '1')
    const written = store.batch([change], { sync: false })
    change.value.fill(0)
    await world.settle(written)
    const [value] = await store.getMany([utf8('a')])
    assert.deepEqual(value, utf8('1'))
    value.fill(0)
    assert.deepEqual(await store.getMany([utf8('a')]), [utf8('1')])
  })
})
