import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { MemoryLevel } from 'memory-level'
import { systemClock } from '../../src/runtime/system-clock.ts'
import { ApplyLoop, type ApplyLoopOptions } from '../../src/storage/apply-loop.ts'
import { LevelStore } from '../../src/storage/level-store.ts'
import type { Store } from '../../src/storage/store.ts'
import { describeRecordStore, type RecordStoreUnderTest } from './record-store-suite.ts'
import { describeStore } from './store-suite.ts'

async function recordsOver(store: Store, options?: ApplyLoopOptions): Promise<RecordStoreUnderTest> {
  const records = new ApplyLoop({ store, clock: systemClock }, options)
  return {
    records,
    async close() {
      await records.close()
      await store.close()
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
})
