import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { MemoryLevel } from 'memory-level'
import { HashTree, RecordDigest } from '../../../src/model/hash-tree.ts'
import { isMortal } from '../../../src/model/record.ts'
import { ApplyLoop } from '../../../src/storage/apply-loop.ts'
import { treeKey, treeRange } from '../../../src/storage/key-layout.ts'
import { LevelStore } from '../../../src/storage/level-store.ts'
import { dataKey } from '../../../src/storage/key-layout.ts'
import { TreeIndex } from '../../../src/storage/tree-index.ts'
import { loadTrees, saveTrees } from '../../../src/storage/tree-store.ts'
import { apply, place, record } from '../../conformance/record-store-suite.ts'
import { GatedStore, settled, Turns } from '../../support/gated-store.ts'

const PARTITION = 3
const PAGE = 4

describe('the index of hash trees', () => {
  let store: GatedStore
  let turns: Turns
  let index: TreeIndex
  let records: ApplyLoop
  /** Tombstones and records that expire, at the last scan. */
  let mortals: number

  beforeEach(async () => {
    store = new GatedStore(await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' })), true)
    start(true)
  })

  function start(isEmpty: boolean): void {
    turns = new Turns()
    index = new TreeIndex(64, isEmpty)
    records = new ApplyLoop({ store, clock: turns, trees: index })
  }

  async function write(key: string, hlc: number, value: string | undefined = 'x'): Promise<void> {
    const done = apply(records, place(PARTITION, key), record(hlc, value))
    await turns.turn()
    await done
  }

  function build(rest: () => Promise<boolean> = async () => true): Promise<void> {
    return index.build(PARTITION, after => records.page(PARTITION, after, PAGE), rest)
  }

  /** The tree that the records in the store make. */
  async function scanned(): Promise<HashTree> {
    const tree = new HashTree()
    const digest = new RecordDigest()
    mortals = 0
    for (const { keyspace, key, record: bytes } of await records.page(PARTITION, undefined, 10_000)) {
      tree.add(digest.name(dataKey(PARTITION, keyspace, key)), digest.of(bytes))
      if (isMortal(bytes)) mortals++
    }
    return tree
  }

  async function assertTrue(): Promise<void> {
    assert.deepEqual(index.rootOf(PARTITION), (await scanned()).root())
    assert.equal(index.mortalsIn(PARTITION), mortals)
  }

  it('knows that a new store is empty', async () => {
    assert.ok(index.isReady(PARTITION) && index.isComplete)
    await assertTrue()
    assert.deepEqual([...index.entries()], [])
  })

  it('does not count a record that is deleted while the page that shows it is being read', async () => {
    await write('a', 1)
    await write('b', 2)
    start(false)
    let removed = false
    await index.build(
      PARTITION,
      async after => {
        const page = await records.page(PARTITION, after, PAGE)
        if (!removed) {
          removed = true
          await new Promise<void>((resolve, reject) => {
            records.remove(place(PARTITION, 'a'), record(1, 'x'), error =>
              error === undefined ? resolve() : reject(error)
            )
            void turns.turn()
          })
        }
        return page
      },
      async () => true
    )
    await assertTrue()
    assert.equal(index.treeOf(PARTITION)!.count, 1)
  })

  it('follows what is written, overwritten, deleted and dropped', async () => {
    await write('a', 1)
    await write('a', 5, 'y')
    await write('b', 2)
    await write('b', 3, undefined)
    await write('a', 4, 'too old')
    await assertTrue()
    assert.equal(index.treeOf(PARTITION)!.count, 2)
    const dropped = records.dropPartition(PARTITION)
    await turns.turn()
    await dropped
    await assertTrue()
    assert.equal(index.treeOf(PARTITION)!.count, 0)
  })

  it('knows nothing of a store that was not closed, until it has read it', async () => {
    await write('a', 1)
    start(false)
    assert.equal(index.rootOf(PARTITION), undefined)
    await write('b', 2)
    assert.equal(index.rootOf(PARTITION), undefined)
    await build()
    await assertTrue()
    await write('c', 3)
    await assertTrue()
  })

  it('knows nothing any more of what a failed batch may have changed', async () => {
    await write('a', 1)
    store.held.add('batch')
    const failed = assert.rejects(apply(records, place(PARTITION, 'a'), record(2, 'y')))
    await turns.turn()
    store.fail()
    store.held.clear()
    await failed
    assert.equal(index.isReady(PARTITION), false)
    await build()
    await assertTrue()
  })

  it('makes a tree anew that does not fit what the store holds', async () => {
    await write('a', 1)
    start(true)
    await write('a', 2)
    assert.equal(index.isReady(PARTITION), false)
    await build()
    await assertTrue()
  })

  it('gives up when the partition is dropped, or when it is told to, while it reads', async () => {
    for (let i = 0; i < 20; i++) await write(`k${i}`, 1)
    start(false)
    await build(async () => false)
    assert.equal(index.isReady(PARTITION), false)
    await build(async () => {
      const dropped = records.dropPartition(PARTITION)
      await turns.turn()
      await dropped
      return true
    })
    await assertTrue()
    assert.equal(index.treeOf(PARTITION)!.count, 0)
  })

  it('has the same tree as the store whatever is written, and may fail, while it reads', async () => {
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.record({ kind: fc.constant('write' as const), key: fc.nat(30) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('turn' as const), key: fc.constant(0) }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('page' as const), key: fc.constant(0) }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('batch' as const), key: fc.constant(0) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('drop' as const), key: fc.constant(0) }) }
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(30), { maxLength: 20 }),
        fc.array(step, { maxLength: 60 }),
        async (at, steps) => {
          store = new GatedStore(await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' })), true)
          start(false)
          let hlc = 1
          for (const key of at) await write(`k${String(key).padStart(2, '0')}`, hlc++)
          store.held.add('page').add('batch')
          const building = build()
          const pending: Promise<unknown>[] = []
          for (const { kind, key } of steps) {
            if (kind === 'write') {
              const done = apply(records, place(PARTITION, `k${String(key).padStart(2, '0')}`), record(hlc++, 'x'))
              pending.push(done.catch(() => {}))
            } else if (kind === 'turn') await turns.turn()
            else if (kind === 'drop') pending.push(records.dropPartition(PARTITION).catch(() => {}))
            // Whatever waits first is let through: reads and writes in any order.
            else if (store.waiting[0] === kind) store.release()
            await settled()
          }
          store.held.clear()
          const all = { areOver: false }
          void Promise.allSettled([building, ...pending]).then(() => (all.areOver = true))
          // One who has waited for another may be the next to ask for a turn.
          for (let i = 0; i < 1000 && !all.areOver; i++) {
            store.release()
            await turns.turn()
          }
          assert.ok(all.areOver, 'something waits for ever')
          await building
          if (index.isReady(PARTITION)) await assertTrue()
          else await build().then(assertTrue)
        }
      ),
      { numRuns: 300 }
    )
  })

  describe('over a clean stop', () => {
    beforeEach(async () => {
      for (let i = 0; i < 20; i++) await write(`k${i}`, 1)
      await saveTrees(store, index)
      start(false)
    })

    it('has its trees again at once', async () => {
      await loadTrees(store, index, true)
      assert.ok(index.isComplete)
      await assertTrue()
      await write('k1', 2)
      await assertTrue()
    })

    it('takes nothing over after a crash, and leaves nothing for a later start', async () => {
      await loadTrees(store, index, false)
      assert.equal(index.isReady(PARTITION), false)
      assert.deepEqual(await store.page(treeRange(), 10), [])
      await loadTrees(store, index, true)
      assert.equal(index.isReady(PARTITION), false)
    })

    it('takes nothing over when a tree is damaged or gone', async () => {
      await store.batch([{ key: treeKey(PARTITION), value: new Uint8Array(9) }], { sync: false })
      await loadTrees(store, index, true)
      assert.equal(index.isReady(PARTITION), false)
      await build()
      for (let partition = 0; partition < 64; partition++) if (!index.isReady(partition)) index.dropped(partition)
      await saveTrees(store, index)
      await store.batch([{ key: treeKey(PARTITION), value: undefined }], { sync: false })
      start(false)
      await loadTrees(store, index, true)
      assert.equal(index.isReady(PARTITION), false)
    })

    it('takes nothing over, and starts all the same, when any bit of what was kept is another', async () => {
      const kept = await store.page(treeRange(), 10)
      assert.equal(kept.length, 2)
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(...kept), fc.nat(), fc.boolean(), async ([key, value], at, cuts) => {
          const bit = at % (value.length * 8)
          const spoilt = new Uint8Array(cuts ? value.subarray(0, bit >> 3) : value)
          if (!cuts) spoilt[bit >> 3]! ^= 1 << (bit & 7)
          const changes = kept.map(([other, whole]) => ({ key: other, value: other === key ? spoilt : whole }))
          await store.batch(changes, { sync: false })
          start(false)
          await loadTrees(store, index, true)
          assert.equal(index.isReady(PARTITION), false)
          assert.deepEqual(await store.page(treeRange(), 10), [])
        })
      )
    })

    it('takes no tree for that of another partition', async () => {
      const [tree] = await store.getMany([treeKey(PARTITION)])
      const changes = [
        { key: treeKey(PARTITION), value: undefined },
        { key: treeKey(PARTITION + 1), value: tree }
      ]
      await store.batch(changes, { sync: false })
      await loadTrees(store, index, true)
      assert.equal(index.isReady(PARTITION + 1), false)
    })
  })

  it('keeps nothing at a clean stop when it does not know every tree', async () => {
    start(false)
    await saveTrees(store, index)
    assert.deepEqual(await store.page(treeRange(), 10), [])
  })
})
