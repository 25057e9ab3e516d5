import assert from 'node:assert/strict'
import type { StoreId } from '../../../src/model/node-id.ts'
import { ANY_OWNER, HintStore } from '../../../src/storage/hint-store.ts'
import type { RecordKey, StoredRecord } from '../../../src/storage/record-store.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { record, valueOf } from '../../conformance/record-store-suite.ts'

const A = 'a'.repeat(32) as StoreId
const B = 'ff'.repeat(16) as StoreId

function place(partition: number, key: string): RecordKey {
  return { partition, keyspace: Buffer.from('ks'), key: Buffer.from(key) }
}

describe('the store of hints', () => {
  let world: SimWorld
  let disk: SimDisk
  let store: SimStore
  let hints: HintStore

  beforeEach(async () => {
    world = new SimWorld()
    disk = new SimDisk(world.random.fork('disk'), {})
    await open()
  })

  async function open(bytesMax = 10_000): Promise<void> {
    const clock = world.clock('n')
    store = new SimStore({ disk, clock })
    hints = new HintStore({ store, clock, floorOf: p => (p === 60 ? 100 : 0) }, { durability: 'os', bytesMax })
    await world.settle(hints.open())
  }

  const add = (target: StoreId, key: RecordKey, hlc: number, value: string): Promise<string> =>
    world.settle(new Promise(resolve => hints.add(target, key, record(hlc, value), e => resolve(e?.code ?? 'kept'))))

  async function all(target: StoreId): Promise<StoredRecord[]> {
    const found: StoredRecord[] = []
    for (const partition of await world.settle(hints.of(target).partitions())) {
      found.push(...(await world.settle(hints.of(target).page(partition, undefined, 1000))))
    }
    return found
  }

  it('keeps the newest record of a key for each target', async () => {
    assert.equal(await add(A, place(1, 'k'), 5, 'five'), 'kept')
    assert.equal(await add(A, place(1, 'k'), 7, 'seven'), 'kept')
    assert.equal(await add(A, place(1, 'k'), 6, 'six'), 'kept')
    assert.equal(await add(B, place(1, 'k'), 6, 'six'), 'kept')
    assert.equal(await add(ANY_OWNER, place(9, 'k'), 1, 'one'), 'kept')
    assert.deepEqual((await all(A)).map(valueOfStored), ['seven'])
    assert.deepEqual((await all(B)).map(valueOfStored), ['six'])
    assert.deepEqual(new Set(hints.targets), new Set([A, B, ANY_OWNER]))
    const { count, added } = hints.stats()
    assert.deepEqual([count, added], [3, 4])
  })

  it('is bounded also while nothing of a burst has come to the disk, and takes more when there is room again', async () => {
    const one = (target: StoreId, i: number): Promise<string> =>
      new Promise(resolve =>
        hints.add(target, place(1, `k${i}`), record(5, 'x'.repeat(984)), e => resolve(e?.code ?? 'kept'))
      )
    const burst = await world.settle(Promise.all(Array.from({ length: 30 }, (_, i) => one(i % 2 === 0 ? A : B, i))))
    const kept = burst.filter(outcome => outcome === 'kept').length
    assert.ok(kept > 5 && kept < 11, `${kept} of a thousand bytes each are kept`)
    assert.ok(hints.stats().bytes <= 10_000)
    for (const stored of await all(A)) await world.settle(hints.remove(A, stored, true))
    assert.equal(await world.settle(one(B, 99)), 'kept')
  })

  it('keeps a unit as one, and knows after a restart what is of it', async () => {
    const unit = (target: StoreId, hlc: number, ...keys: string[]): Promise<string> => {
      const [first, ...rest] = keys.map(key => ({ key: Buffer.from(key), record: record(hlc, `${key}${hlc}`) }))
      const at = place(1, keys[0]!)
      return world.settle(
        new Promise(resolve => hints.add(target, at, first!.record, e => resolve(e?.code ?? 'kept'), rest))
      )
    }
    const parts = async (): Promise<string[][]> => {
      const units = await world.settle(hints.unitsOf(A, await all(A)))
      return units
        .map(one => one.map(stored => valueOfStored(stored)!).toSorted())
        .toSorted((a, b) => (a[0]! < b[0]! ? -1 : 1))
    }
    await unit(A, 5, 'a', 'b', 'c', 'd')
    await add(A, place(1, 'single'), 6, 'single')
    await unit(A, 7, 'c', 'e')
    await add(A, place(1, 'd'), 8, 'd8')
    const expected = [['a5', 'b5'], ['c7', 'e7'], ['d8'], ['single']]
    assert.deepEqual(await parts(), expected)
    await world.settle(store.close())
    await open()
    assert.deepEqual(await parts(), expected)
    for (const stored of await all(A))
      if (valueOfStored(stored) !== 'a5') await world.settle(hints.remove(A, stored, true))
    assert.deepEqual(await parts(), [['a5']])
    await world.settle(store.close())
    await open(40)
    assert.equal(await unit(B, 9, 'x', 'y', 'z'), 'KV_OVERLOADED')
    assert.equal(hints.stats().dropped, 3)
    assert.deepEqual(await all(B), [])
  })

  it('keeps nothing of a past that is being settled, and says of which partitions it keeps something older', async () => {
    assert.equal(await add(A, place(60, 'k'), 100, 'late'), 'KV_OVERLOADED')
    assert.equal(await add(ANY_OWNER, place(60, 'k'), 101, 'in time'), 'kept')
    assert.equal(await add(B, place(8, 'k'), 50, 'old'), 'kept')
    assert.equal(hints.stats().dropped, 1)
    const upTo = async (hlc: number): Promise<number[]> =>
      [...(await world.settle(hints.partitionsUpTo(hlc)))].toSorted((a, b) => a - b)
    assert.deepEqual(await upTo(49), [])
    assert.deepEqual(await upTo(50), [8])
    assert.deepEqual(await upTo(101), [8, 60])
  })

  it('counts what is still being written among what it keeps', async () => {
    hints.add(A, place(3, 'k'), record(5, 'x'))
    assert.deepEqual([...(await world.settle(hints.partitionsUpTo(5)))], [3])
  })

  it('forgets what was handed over, but not what has come in its place meanwhile', async () => {
    await add(A, place(1, 'k'), 5, 'five')
    await add(A, place(1, 'l'), 5, 'l')
    const [five, l] = await all(A)
    await add(A, place(1, 'k'), 7, 'seven')
    await world.settle(hints.remove(A, five!, true))
    await world.settle(hints.remove(A, l!, false))
    await world.settle(hints.remove(A, l!, false))
    assert.deepEqual((await all(A)).map(valueOfStored), ['seven'])
    const { count, delivered, dropped } = hints.stats()
    assert.deepEqual([count, delivered, dropped], [1, 0, 1])
  })

  it('knows how much it holds, and refuses what finds no room', async () => {
    assert.equal(await add(A, place(1, 'k'), 5, 'x'.repeat(9000)), 'kept')
    assert.equal(await add(A, place(1, 'l'), 5, 'x'.repeat(2000)), 'KV_OVERLOADED')
    const { bytes, dropped } = hints.stats()
    assert.deepEqual([bytes, dropped], [9000 + 16 + 3, 1])
    const [stored] = await all(A)
    await world.settle(hints.remove(A, stored!, true))
    assert.equal(hints.stats().bytes, 0)
    assert.equal(await add(A, place(1, 'l'), 5, 'x'.repeat(2000)), 'kept')
  })

  it('has everything again after the end of its process', async () => {
    for (let i = 0; i < 20; i++) await add(i % 2 === 0 ? A : B, place(i, `k${i}`), 5, 'value')
    const { count, bytes } = hints.stats()
    disk.crash()
    await open()
    const { count: again, bytes: bytesAgain } = hints.stats()
    assert.deepEqual([again, bytesAgain], [count, bytes])
    assert.equal((await all(B)).length, 10)
  })

  it('says when something could not be stored', async () => {
    disk.set({ failPer10k: 10_000 })
    assert.equal(await add(A, place(1, 'k'), 5, 'v'), 'KV_STORAGE')
    const { count, dropped } = hints.stats()
    assert.deepEqual([count, dropped], [0, 1])
  })

  it('lies beside the records of its node and does not touch them', async () => {
    const key = Uint8Array.of(0x10, 0, 0, 0)
    await world.settle(store.batch([{ key, value: record(1, 'own') }], { sync: false }))
    await add(ANY_OWNER, place(0, ''), 5, 'v')
    await add('f'.repeat(32) as StoreId, place(0, ''), 5, 'v')
    disk.crash()
    await open()
    assert.equal(hints.stats().count, 2)
  })
})

function valueOfStored({ record: bytes }: StoredRecord): string | undefined {
  return valueOf(bytes)
}
