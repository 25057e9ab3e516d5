import assert from 'node:assert/strict'
import { MemoryLevel } from 'memory-level'
import type { KilovoltError } from '../../../src/base/errors.ts'
import { ApplyLoop } from '../../../src/storage/apply-loop.ts'
import { GuardedStore } from '../../../src/storage/guarded-store.ts'
import { LevelStore } from '../../../src/storage/level-store.ts'
import { TreeIndex } from '../../../src/storage/tree-index.ts'
import { place, record } from '../../conformance/record-store-suite.ts'
import { GatedStore, settled, Turns } from '../../support/gated-store.ts'

describe('the guard of a store', () => {
  let store: GatedStore
  let guard: GuardedStore
  let records: ApplyLoop
  let trees: TreeIndex
  let turns: Turns
  let nowMs: number
  let told: string[]

  beforeEach(async () => {
    nowMs = 1000
    told = []
    store = new GatedStore(await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' })))
    const onReadOnly = ({ code }: KilovoltError): void => void told.push(code)
    guard = new GuardedStore(store, { monotonicMs: () => nowMs }, { onReadOnly, onWritable: () => told.push('ok') })
    trees = new TreeIndex(64, true)
    turns = new Turns()
    records = new ApplyLoop({ store: guard, clock: turns, trees })
  })

  /** How a write ends whose batch fails with this, or not at all. */
  async function write(key: string, failure?: Error): Promise<string> {
    let outcome = 'pending'
    const batches = store.batches.length
    if (failure !== undefined) store.held.add('batch')
    records.apply(place(1, key), record(1, key), (error, result) => {
      outcome = (error as KilovoltError | undefined)?.code ?? result!.outcome
    })
    await turns.turn()
    if (failure !== undefined && store.batches.length > batches) store.fail(failure)
    store.held.delete('batch')
    await settled()
    return outcome
  }

  const FULL = new Error('no space left on device')

  it('refuses writes at once after one has failed, and says so once', async () => {
    assert.equal(await write('a'), 'applied')
    assert.equal(await write('b', FULL), 'KV_STORAGE')
    const batches = store.batches.length
    assert.equal(await write('c'), 'KV_READ_ONLY')
    assert.equal(await write('d'), 'KV_READ_ONLY')
    assert.equal(store.batches.length, batches, 'the medium is left alone')
    assert.deepEqual(told, ['KV_STORAGE'])
    assert.match(guard.failure!.message, /no space left/u)
  })

  it('tries once a second, and takes writes again when one succeeds', async () => {
    await write('a', FULL)
    nowMs += 1000
    assert.equal(await write('b', FULL), 'KV_STORAGE')
    assert.equal(await write('c'), 'KV_READ_ONLY')
    nowMs += 1000
    assert.equal(await write('d'), 'applied')
    assert.equal(await write('e'), 'applied')
    assert.deepEqual(told, ['KV_STORAGE', 'ok'])
    assert.equal(guard.failure, undefined)
  })

  it('goes on reading', async () => {
    await write('a')
    await write('b', FULL)
    assert.ok((await records.get(place(1, 'a'))) !== undefined)
    assert.equal((await records.page(1, undefined, 10)).length, 1)
  })

  it('keeps the hash trees of what it did not try to write', async () => {
    await write('a')
    await write('b', FULL)
    assert.equal(trees.isReady(1), false, 'whether the failed batch was written is not known')
    await trees.build(
      1,
      after => records.page(1, after, 10),
      async () => true
    )
    assert.equal(await write('c'), 'KV_READ_ONLY')
    assert.equal(trees.isReady(1), true)
    nowMs += 1000
    await write('d')
    assert.equal(trees.treeOf(1)!.count, 2)
  })
})
