import assert from 'node:assert/strict'
import { SetAside } from '../../../src/storage/set-aside.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { record, valueOf } from '../../conformance/record-store-suite.ts'

describe('what was set aside', () => {
  let world: SimWorld
  let disk: SimDisk
  let aside: SetAside

  beforeEach(async () => {
    world = new SimWorld()
    disk = new SimDisk(world.random.fork('disk'), { permanent: true })
    await open()
  })

  async function open(): Promise<void> {
    const clock = world.clock('n')
    aside = new SetAside({ store: new SimStore({ disk, clock }), clock })
    await world.settle(aside.open())
  }

  const add = (partition: number, key: string, hlc: number, value: string): Promise<void> =>
    world.settle(aside.add({ partition, keyspace: Buffer.from('ks'), key: Buffer.from(key) }, record(hlc, value)))

  async function all(): Promise<string[]> {
    const found: string[] = []
    const list = async (): Promise<void> => {
      for await (const entry of aside.entries())
        found.push(`${entry.partition} ${Buffer.from(entry.key).toString()} ${valueOf(entry.record)}`)
    }
    await world.settle(list())
    return found
  }

  it('is kept, of one key the newest, also by a later life', async () => {
    await add(3, 'a', 5, 'five')
    await add(3, 'a', 7, 'seven')
    await add(3, 'a', 6, 'six')
    await add(9, 'b', 1, 'one')
    assert.equal(aside.count, 2)
    assert.deepEqual(await all(), ['3 a seven', '9 b one'])
    disk.crash()
    await open()
    assert.equal(aside.count, 2)
    assert.deepEqual(await all(), ['3 a seven', '9 b one'])
  })

  it('is gone when it is not wanted any more', async () => {
    for (let i = 0; i < 50; i++) await add(i % 5, `k${i}`, 1, 'x')
    assert.equal(aside.count, 50)
    await world.settle(aside.clear())
    assert.equal(aside.count, 0)
    assert.deepEqual(await all(), [])
  })
})
