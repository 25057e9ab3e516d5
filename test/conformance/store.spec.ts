import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { MemoryLevel } from 'memory-level'
import type { Clock } from '../../src/runtime/clock.ts'
import { systemClock } from '../../src/runtime/system-clock.ts'
import { ApplyLoop } from '../../src/storage/apply-loop.ts'
import type { ApplyLoopOptions } from '../../src/storage/apply-options.ts'
import { LevelStore } from '../../src/storage/level-store.ts'
import { MemoryStore } from '../../src/storage/memory-store.ts'
import { RecordCache } from '../../src/storage/record-cache.ts'
import type { Store } from '../../src/storage/store.ts'
import { SeededRandom } from '../../src/runtime/seeded-random.ts'
import type { SimClock } from '../../src/testing/sim-clock.ts'
import { type DiskOptions, SimDisk } from '../../src/testing/sim-disk.ts'
import { SimStore } from '../../src/testing/sim-store.ts'
import { SimWorld } from '../../src/testing/sim-world.ts'
import { describeRecordStore, type RecordStoreUnderTest } from './record-store-suite.ts'
import { describeStore } from './store-suite.ts'

async function recordsOver(
  store: Store,
  options?: ApplyLoopOptions,
  clock: Clock = systemClock,
  cacheBytes = 0
): Promise<RecordStoreUnderTest> {
  const cache = cacheBytes === 0 ? undefined : new RecordCache(cacheBytes)
  const records = new ApplyLoop({ store, clock, cache }, options)
  return {
    records,
    async close() {
      await records.close()
      await store.close()
    }
  }
}

/** A simulated world that goes on by itself, so that a suite written for real time can wait for it. */
class SimMachine {
  readonly #world = new SimWorld()
  readonly clock: SimClock = this.#world.clock('a')
  #disk: SimDisk
  #stopped = false
  #running: Promise<void> | undefined

  constructor(options: DiskOptions) {
    this.#disk = new SimDisk(new SeededRandom(1), options)
  }

  open(disk: SimDisk = this.#disk): Store {
    this.#disk = disk
    return new SimStore({ disk, clock: this.clock })
  }

  start(): void {
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await this.#world.run(() => this.#stopped)
      await new Promise<void>(resolve => systemClock.soon(resolve))
    }
  }
}

describe('stores', () => {
  let root: string
  let count = 0

  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'kilovolt-store-'))
  })

  after(async () => {
    await rm(root, { recursive: true, force: true })
  })

  function last(): string {
    return join(root, String(count))
  }

  function next(): string {
    count++
    return last()
  }

  describe('MemoryStore', () => {
    describeStore({ create: async () => new MemoryStore(systemClock) })
  })

  describe('LevelStore over memory-level', () => {
    describeStore({ create: () => LevelStore.open(new MemoryLevel({ storeEncoding: 'view' })) })
  })

  describe('LevelStore over memory-level as its users make it', () => {
    describeStore({ create: () => LevelStore.open(new MemoryLevel()) })
  })

  describe('LevelStore over classic-level', () => {
    describeStore({
      create: () => LevelStore.open(new ClassicLevel(next())),
      reopen: () => LevelStore.open(new ClassicLevel(last()))
    })
  })

  describe('LevelStore over classic-level, reading in the thread pool', () => {
    describeStore({
      create: () => LevelStore.open(new ClassicLevel(next()), { syncReadsMax: 0 }),
      reopen: () => LevelStore.open(new ClassicLevel(last()), { syncReadsMax: 0 })
    })
  })

  describe('LevelStore over a sublevel', () => {
    describeStore({ create: () => LevelStore.open(new MemoryLevel().sublevel('kilovolt')) })
  })

  describe('ApplyLoop over MemoryStore', () => {
    describeRecordStore(async () => recordsOver(new MemoryStore(systemClock)))
  })

  describe('ApplyLoop over memory-level', () => {
    describeRecordStore(async () => recordsOver(await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' }))))
  })

  describe('ApplyLoop over classic-level', () => {
    describeRecordStore(async () => recordsOver(await LevelStore.open(new ClassicLevel(next()))))
  })

  describe('ApplyLoop over classic-level, reading in the thread pool, synced, with small batches', () => {
    describeRecordStore(async () =>
      recordsOver(await LevelStore.open(new ClassicLevel(next()), { syncReadsMax: 0 }), {
        durability: 'fsync',
        batchMax: 7
      })
    )
  })

  for (const syncReadsMax of [undefined, 0]) {
    const reading = syncReadsMax === 0 ? ', reading in the thread pool' : ''
    for (const [title, cacheBytes] of [
      ['with a cache', 1024 * 1024],
      ['with room for a few records in its cache', 4096]
    ] as const) {
      describe(`ApplyLoop over classic-level ${title}${reading}`, () => {
        const options = syncReadsMax === undefined ? {} : { syncReadsMax }
        describeRecordStore(async () =>
          recordsOver(await LevelStore.open(new ClassicLevel(next()), options), {}, systemClock, cacheBytes)
        )
      })
    }
  }

  for (const [title, options] of [
    ['a simulated disk', {}],
    ['a simulated disk without synchronous reads', { syncReads: false }],
    ['simulated memory', { permanent: false }]
  ] as const) {
    describe(`SimStore over ${title}`, () => {
      const machine = new SimMachine(options)
      before(() => machine.start())
      after(() => machine.stop())
      describeStore({
        create: async () => machine.open(new SimDisk(new SeededRandom(1), options)),
        ...(!('permanent' in options) && { reopen: async () => machine.open() })
      })
    })

    describe(`ApplyLoop over ${title}`, () => {
      const machine = new SimMachine(options)
      before(() => machine.start())
      after(() => machine.stop())
      describeRecordStore(async () =>
        recordsOver(machine.open(new SimDisk(new SeededRandom(1), options)), {}, machine.clock)
      )
    })

    describe(`ApplyLoop over ${title}, with a cache`, () => {
      const machine = new SimMachine(options)
      before(() => machine.start())
      after(() => machine.stop())
      describeRecordStore(async () =>
        recordsOver(machine.open(new SimDisk(new SeededRandom(1), options)), {}, machine.clock, 1024 * 1024)
      )
    })
  }
})
