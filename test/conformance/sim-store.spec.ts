import { SeededRandom } from '../../src/runtime/seeded-random.ts'
import type { Store } from '../../src/storage/store.ts'
import { SimDisk } from '../../src/testing/sim-disk.ts'
import { SimStore } from '../../src/testing/sim-store.ts'
import { SimWorld } from '../../src/testing/sim-world.ts'
import { describeStore } from './store-suite.ts'

for (const { title, permanent, syncReads } of [
  { title: 'on disk', permanent: true, syncReads: false },
  { title: 'in memory', permanent: false, syncReads: true }
]) {
  describe(`a simulated store ${title}`, () => {
    const world = new SimWorld()
    let disk: SimDisk
    let over = false
    let running: Promise<unknown>

    before(() => {
      running = world.run(() => over, { limitMs: Infinity, idle: true })
    })

    after(async () => {
      over = true
      await running
    })

    const open = async (): Promise<Store> => new SimStore({ disk, clock: world.clock('a') })
    const create = async (): Promise<Store> => {
      disk = new SimDisk(new SeededRandom(1), { permanent, syncReads })
      return open()
    }
    describeStore(permanent ? { create, reopen: open } : { create })
  })
}
