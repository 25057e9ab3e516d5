import assert from 'node:assert/strict'
import { MemoryLevel } from 'memory-level'
import { utf8 } from '../../../src/base/bytes.ts'
import { Emitter } from '../../../src/base/emitter.ts'
import { encodeIndexValue } from '../../../src/model/index-value.ts'
import type { CoreEvents } from '../../../src/node/node-core.ts'
import { Indexing, type IndexingDeps } from '../../../src/node/indexing.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Clock } from '../../../src/runtime/clock.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { systemClock } from '../../../src/runtime/system-clock.ts'
import { ApplyLoop } from '../../../src/storage/apply-loop.ts'
import { indexRange, KeyKind } from '../../../src/storage/key-layout.ts'
import { LevelStore } from '../../../src/storage/level-store.ts'
import type { IndexDefinition } from '../../../src/storage/stored-index.ts'
import { apply, record } from '../../conformance/record-store-suite.ts'

const KS = utf8('ks')

function definition(
  name: string,
  valuesOf: IndexDefinition['valuesOf'] = () => [encodeIndexValue(1)]
): IndexDefinition {
  return { keyspace: KS, name, fingerprint: new Uint8Array(16), valuesOf }
}

describe('the indexes of a node', () => {
  let store: LevelStore
  let indexing: Indexing
  let records: ApplyLoop
  let events: Emitter<CoreEvents>
  /** What is to happen a minute later, or more. */
  let later: (() => void)[]
  let delaysMs: number[]

  async function start(isNew: boolean): Promise<void> {
    later = []
    delaysMs = []
    events = new Emitter()
    indexing = new Indexing({ store, partitions: 8, logger: silentLogger, rules: SOUND_RULES, events })
    records = new ApplyLoop({ store, clock: systemClock, indexes: indexing.indexes })
    const clock: Clock = {
      ...systemClock,
      after: (delayMs, fn) => {
        if (delayMs < 60_000) return systemClock.after(delayMs, fn)
        later.push(fn)
        delaysMs.push(delayMs)
        return { cancel: () => later.splice(later.indexOf(fn), 1) }
      }
    }
    indexing.listen(
      {
        clock,
        records,
        logger: silentLogger,
        transport: { handle: () => {} },
        pace: { turn: (work: () => Promise<unknown>) => work() },
        rules: SOUND_RULES
      } as unknown as IndexingDeps,
      { requestTimeoutMs: 1000 }
    )
    await indexing.open(isNew)
  }

  async function stop(): Promise<void> {
    await indexing.stop()
    await records.close()
  }

  async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
    while (!(await isSo())) await new Promise(resolve => setTimeout(resolve, 1))
  }

  const isReady = (): boolean => indexing.status().every(({ state }) => state === 'ready')
  const known = async (): Promise<number> => (await store.page(indexRange(), 100)).length

  beforeEach(async () => {
    store = await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' }))
    await start(true)
  })
  afterEach(() => stop())

  it('are forgotten when they are not defined any more, while others of their keyspace are', async () => {
    indexing.define(KS, [definition('a'), definition('b')])
    await until(isReady)
    assert.deepEqual([await known(), later.length], [2, 0])
    await stop()
    await start(false)
    assert.equal(later.length, 0)
    indexing.define(KS, [definition('a')])
    indexing.define(KS, [definition('a')])
    assert.equal(later.length, 1)
    later[0]!()
    await until(async () => (await known()) === 1)
    assert.deepEqual([indexing.find(KS, 'a')?.name, indexing.find(KS, 'b')], ['a', undefined])
  })

  it('are forgotten an hour after their keyspace was opened without any', async () => {
    indexing.define(KS, [definition('a'), definition('b')])
    await until(isReady)
    await stop()
    await start(false)
    indexing.define(KS, [])
    indexing.define(KS, [])
    assert.deepEqual(delaysMs, [3_600_000])
    indexing.define(KS, [definition('b')])
    assert.deepEqual(delaysMs, [3_600_000, 60_000], 'sooner, when others of it are defined')
    assert.equal(later.length, 1)
    later[0]!()
    await until(async () => (await known()) === 1)
    assert.equal(indexing.find(KS, 'b')?.name, 'b')
    await stop()
    await start(false)
    indexing.define(KS, [])
    later[0]!()
    await until(async () => (await known()) === 0)
    assert.equal(
      (await store.page({ gte: Uint8Array.of(KeyKind.INDEX_ENTRY), lt: Uint8Array.of(KeyKind.RAFT_LOG) }, 1)).length,
      0
    )
    indexing.define(KS, [definition('a')])
    await until(() => isReady() && indexing.status().length === 1)
  })

  it('are kept when they are defined within that time, and nothing is left to happen after a stop', async () => {
    indexing.define(KS, [definition('a'), definition('b')])
    await until(isReady)
    await stop()
    await start(false)
    indexing.define(KS, [definition('a')])
    indexing.define(KS, [definition('b')])
    later[0]!()
    assert.equal(indexing.status().length, 2)
    await stop()
    await start(false)
    indexing.define(KS, [definition('a')])
    await stop()
    assert.equal(later.length, 0)
    indexing.define(KS, [definition('c')])
    assert.equal(later.length, 0)
  })

  it('tell what their code could not do, once, and how far they are', async () => {
    const failures: unknown[] = []
    events.on('index-failed', detail => failures.push(detail))
    const error = new Error('bad')
    indexing.define(KS, [
      definition('a', () => {
        throw error
      })
    ])
    await until(isReady)
    for (const key of ['x', 'y']) await apply(records, { partition: 1, keyspace: KS, key: utf8(key) }, record(1, 'v'))
    assert.deepEqual(failures, [{ keyspace: 'ks', index: 'a', key: utf8('x'), error }])
    assert.deepEqual(indexing.status(), [
      { keyspace: 'ks', index: 'a', state: 'ready', partitions: 8, ready: 8, built: 0, failed: 2 }
    ])
  })
})
