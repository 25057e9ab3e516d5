import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { MemoryLevel } from 'memory-level'
import { KilovoltError } from '../../../src/base/errors.ts'
import { utf8 } from '../../../src/base/bytes.ts'
import type { RecordBytes } from '../../../src/model/record.ts'
import { ApplyLoop } from '../../../src/storage/apply-loop.ts'
import { Damage } from '../../../src/storage/damage.ts'
import { HintStore } from '../../../src/storage/hint-store.ts'
import { dataKey, hintPrefix } from '../../../src/storage/key-layout.ts'
import { LevelStore } from '../../../src/storage/level-store.ts'
import type { ApplyResult, StoredRecord } from '../../../src/storage/record-store.ts'
import { SetAside } from '../../../src/storage/set-aside.ts'
import { TreeIndex } from '../../../src/storage/tree-index.ts'
import { apply, place, record, valueOf } from '../../conformance/record-store-suite.ts'
import { flipBit } from '../../support/flip-bit.ts'
import { GatedStore, Turns } from '../../support/gated-store.ts'
import { store as storeId } from '../cluster/fixtures.ts'

const PARTITION = 3
const CORRUPT = { code: 'KV_CORRUPT' }
/** What is stamped up to here may have been stored when damage is found. */
const LATEST = 100

describe('a store with damaged records', () => {
  let store: GatedStore
  let turns: Turns
  let trees: TreeIndex
  let records: ApplyLoop
  let found: string[]
  let horizon: number

  beforeEach(async () => {
    store = new GatedStore(await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' })), true)
    turns = new Turns()
    trees = new TreeIndex(64, true)
    found = []
    horizon = 0
    const damage = new Damage({ latest: () => LATEST, trees, onFound: key => found.push(keyOf(key)) })
    records = new ApplyLoop({ store, clock: turns, trees, damage, horizonOf: () => horizon })
  })

  const keyOf = (storeKey: Uint8Array): string => Buffer.from(storeKey.subarray(4)).toString()

  const damage = (key: string): Promise<void> => flipBit(store, dataKey(PARTITION, utf8(''), utf8(key)))

  async function turned<T>(promise: Promise<T>): Promise<T> {
    promise.catch(() => {})
    await turns.turn()
    return promise
  }

  const write = (key: string, hlc: number, value: string | undefined = `${key}@${hlc}`): Promise<ApplyResult> =>
    turned(apply(records, place(PARTITION, key), record(hlc, value)))

  const promised = (
    method: 'copy' | 'remove' | 'heal',
    key: string,
    bytes: RecordBytes | undefined
  ): Promise<ApplyResult> =>
    turned(
      new Promise((resolve, reject) => {
        records[method](place(PARTITION, key), bytes!, (error, result) =>
          error === undefined ? resolve(result!) : reject(error)
        )
      })
    )

  const read = async (key: string): Promise<string | undefined> => valueOf(await records.get(place(PARTITION, key)))

  const page = async (limit: number, maxBytes?: number): Promise<string[]> =>
    (await records.page(PARTITION, undefined, limit, maxBytes)).map(({ record: bytes }) => valueOf(bytes)!)

  const left = (): readonly [number, number] => [records.stats().corrupt, records.stats().corruptLeft]

  it('finds one that is read, says so once, and never takes it for nothing', async () => {
    await write('a', 1)
    await write('b', 1)
    await damage('a')
    for (let i = 0; i < 3; i++) await assert.rejects(async () => read('a'), CORRUPT)
    assert.equal(await read('b'), 'b@1')
    assert.deepEqual([found, left()], [['a'], [1, 1]])
  })

  it('finds one whose database reads later', async () => {
    await write('a', 1)
    await damage('a')
    store.held.add('get')
    const reading = Promise.resolve(records.get(place(PARTITION, 'a')))
    store.held.clear()
    store.release()
    await assert.rejects(reading, CORRUPT)
    assert.deepEqual(found, ['a'])
  })

  it('does not take one for damaged that was healed while it was being read', async () => {
    await write('a', 1)
    const key = dataKey(PARTITION, utf8(''), utf8('a'))
    const whole = (await store.get(key))!
    await damage('a')
    const rotten = (await store.get(key))!
    await store.batch([{ key, value: whole }], { sync: false })
    /** Has the next read bring what lay there when it began. */
    const slow = <K extends 'get' | 'getMany' | 'page'>(method: K, stale: ReturnType<GatedStore[K]>): void => {
      const original = store[method]
      store[method] = (() => {
        store[method] = original
        return stale
      }) as GatedStore[K]
    }
    const own = { ...place(PARTITION, 'a') }
    slow('get', Promise.resolve(rotten))
    assert.equal(valueOf(await records.get(own)), 'a@1')
    slow('getMany', Promise.resolve([rotten]))
    assert.deepEqual(
      (await records.getMany([own])).map(one => valueOf(one as RecordBytes)),
      ['a@1']
    )
    slow('page', Promise.resolve([[key, rotten]] as const))
    assert.deepEqual(
      (await records.page(PARTITION, undefined, 10)).map(one => valueOf(one.record)),
      ['a@1']
    )
    assert.deepEqual(found, [])
  })

  it('K1: keeps it from being replaced by what it may have been newer than', async () => {
    await write('a', 50)
    await damage('a')
    const refused = { code: 'KV_CORRUPT', details: { newerThan: LATEST } }
    await assert.rejects(write('a', 49), refused)
    await assert.rejects(write('a', LATEST), refused)
    await assert.rejects(promised('copy', 'a', record(LATEST, 'x')), refused)
    await assert.rejects(promised('remove', 'a', record(50, 'a@50')), refused)
    await assert.rejects(async () => read('a'), CORRUPT)
    assert.deepEqual(await write('a', LATEST + 1, 'new'), { outcome: 'applied', current: undefined })
    assert.equal(await read('a'), 'new')
    assert.deepEqual([found, left()], [['a'], [1, 0]])
  })

  it('refuses the mutations of its key alone, until one of them takes its place', async () => {
    await write('a', 50)
    await damage('a')
    const offers = [49, LATEST + 2, LATEST + 1].map(hlc => apply(records, place(PARTITION, 'a'), record(hlc, 'x')))
    const other = apply(records, place(PARTITION, 'b'), record(1, 'x'))
    const outcomes = await turned(Promise.allSettled([...offers, other]))
    assert.deepEqual(
      outcomes.map(end =>
        end.status === 'fulfilled' ? end.value.outcome : end.reason instanceof KilovoltError && end.reason.code
      ),
      ['KV_CORRUPT', 'applied', 'stale', 'applied']
    )
  })

  it('heals it by what is proven to be the newest, though that lies below the horizon', async () => {
    await write('a', 50)
    await damage('a')
    horizon = 90
    assert.deepEqual(await promised('heal', 'a', record(50, 'a@50')), { outcome: 'applied', current: undefined })
    assert.equal(await read('a'), 'a@50')
    // What is missing is another matter (G1), and what is whole is as for any offer.
    assert.equal((await promised('heal', 'b', record(50, 'x'))).outcome, 'settled')
    assert.equal((await promised('heal', 'a', record(49, 'x'))).outcome, 'stale')
    assert.equal((await promised('heal', 'a', undefined)).outcome, 'stale')
    assert.equal(await read('a'), 'a@50')
  })

  it('heals it by nothing, when no copy holds it, or what there is would be purged', async () => {
    await write('a', 50)
    await write('b', 50)
    await damage('a')
    await damage('b')
    horizon = 60
    await promised('heal', 'a', undefined)
    await promised('heal', 'b', record(55, undefined))
    assert.deepEqual([await read('a'), await read('b')], [undefined, undefined])
    assert.deepEqual([await store.get(dataKey(PARTITION, utf8(''), utf8('a'))), left()], [undefined, [2, 0]])
  })

  it('leaves it out of pages, and goes on where all of a page is damaged', async () => {
    const keys = Array.from({ length: 40 }, (_, i) => `k${String(i).padStart(2, '0')}`)
    for (const key of keys) await write(key, 1)
    for (const key of [...keys.slice(0, 12), keys[20]!, keys[39]!]) await damage(key)
    const whole = [...keys.slice(12, 20), ...keys.slice(21, 39)].map(key => `${key}@1`)
    assert.deepEqual(await page(100), whole)
    assert.deepEqual(await page(5), whole.slice(0, 5), 'a short page would be taken for the last one')
    assert.deepEqual(await page(9), whole.slice(0, 9))
    assert.deepEqual(await page(100, 1), whole.slice(0, 1), 'an empty page would be')
    assert.deepEqual(left(), [14, 14])
  })

  it('leaves it out of the tree, which is right again when it is healed', async () => {
    await write('a', 1)
    await write('b', 1)
    await damage('a')
    await assert.rejects(async () => read('a'), CORRUPT)
    assert.equal(trees.isReady(PARTITION), false)
    const build = (): Promise<void> =>
      trees.build(
        PARTITION,
        after => records.page(PARTITION, after, 1),
        async () => true
      )
    await build()
    assert.equal(trees.treeOf(PARTITION)!.count, 1)
    await assert.rejects(async () => read('a'), CORRUPT)
    assert.ok(trees.isReady(PARTITION), 'a tree was made anew for what it does not count')
    await promised('heal', 'a', record(1, 'a@1'))
    const kept = trees.rootOf(PARTITION)
    trees.forget(PARTITION)
    await build()
    assert.deepEqual(trees.rootOf(PARTITION), kept)
    assert.equal(kept!.count, 2)
  })

  it('makes a tree that finds it in one go, unless it has counted it already', async () => {
    for (const key of ['a', 'b', 'c']) await write(key, 1)
    await damage('b')
    trees.forget(PARTITION)
    const build = (rest: () => Promise<boolean>): Promise<void> =>
      trees.build(PARTITION, after => records.page(PARTITION, after, 1), rest)
    await build(async () => true)
    assert.equal(trees.treeOf(PARTITION)?.count, 2)
    trees.forget(PARTITION)
    let pages = 0
    await build(async () => {
      if (++pages === 2) {
        await damage('a')
        await assert.rejects(async () => read('a'), CORRUPT)
      }
      return true
    })
    assert.equal(trees.isReady(PARTITION), false)
  })

  it('forgets it when it is dropped with its partition', async () => {
    await write('a', 1)
    await damage('a')
    await assert.rejects(async () => read('a'), CORRUPT)
    await turned(records.dropPartition(PARTITION))
    assert.deepEqual([await read('a'), left()], [undefined, [1, 0]])
  })

  it('takes a copy that was damaged for whole again when the database reads it well after all', async () => {
    await write('a', 1)
    await damage('a')
    await assert.rejects(async () => read('a'), CORRUPT)
    await damage('a')
    assert.equal(await read('a'), 'a@1')
    assert.equal((await write('a', 2)).outcome, 'applied')
    assert.deepEqual(left(), [1, 0])
  })

  it('answers with what was written or with KV_CORRUPT, whichever bit is flipped', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string(), fc.nat(), async (value, at) => {
        const key = dataKey(PARTITION, utf8(''), utf8('p'))
        await store.batch([{ key, value: undefined }], { sync: false })
        await write('p', 1, value)
        const stored = new Uint8Array((await store.get(key))!)
        const bit = at % (stored.length * 8)
        stored[bit >> 3]! ^= 1 << (bit & 7)
        await store.batch([{ key, value: stored }], { sync: false })
        await assert.rejects(async () => read('p'), CORRUPT)
        assert.deepEqual(await page(10), [])
      })
    )
  })

  describe('that are kept for others', () => {
    const target = storeId(2)
    const key = Buffer.concat([hintPrefix(target), dataKey(PARTITION, utf8(''), utf8('h'))])
    let told: string[]
    let hints: HintStore

    beforeEach(async () => {
      told = []
      await open()
    })

    async function open(): Promise<void> {
      const onDamage = (at: Uint8Array): void => void told.push(keyOf(at))
      hints = new HintStore({ store, clock: turns, onDamage }, { durability: 'os', bytesMax: 10_000 })
      await hints.open()
    }

    const add = (hlc: number, name = 'h'): Promise<KilovoltError | undefined> =>
      turned(new Promise(resolve => hints.add(target, place(PARTITION, name), record(hlc, 'hint'), resolve)))
    const page = (): Promise<readonly StoredRecord[]> => hints.of(target).page(PARTITION, undefined, 10)
    const figures = (): number[] => {
      const { count, added, delivered, dropped } = hints.stats()
      return [count, added, delivered, dropped]
    }

    it('are told, dropped, and not counted any more', async () => {
      await add(5)
      await add(5, 'i')
      await flipBit(store, key)
      assert.deepEqual((await page()).length, 1)
      await turns.turn()
      assert.deepEqual([told, figures()], [['h'], [1, 2, 0, 1]])
      assert.equal(await store.get(key), undefined)
      await page()
      assert.deepEqual(told, ['h'])
    })

    it('are dropped at the start as well, and not found at the next one', async () => {
      await add(5)
      await add(5, 'i')
      await flipBit(store, key)
      await open()
      await turns.turn()
      assert.deepEqual([told, figures()], [['h'], [1, 0, 0, 1]])
      await open()
      assert.deepEqual([told, hints.targets], [['h'], [target]])
    })

    it('leave nobody for whom something is kept when there was no other', async () => {
      await add(5)
      await flipBit(store, key)
      await page()
      await turns.turn()
      assert.deepEqual([hints.targets, hints.countOf(target)], [[], 0])
    })

    it('are replaced by anything, and counted once', async () => {
      await add(5)
      await flipBit(store, key)
      assert.equal(await add(4), undefined)
      await turns.turn()
      const [kept] = await page()
      assert.equal(valueOf(kept?.record), 'hint')
      assert.deepEqual([told, figures()], [['h'], [1, 2, 0, 1]])
      await turned(hints.remove(target, kept!, true))
      assert.deepEqual(figures(), [0, 2, 1, 1])
    })

    it('are gone once when they rot while they are handed over', async () => {
      await add(5)
      const [kept] = await page()
      await flipBit(store, key)
      await turned(hints.remove(target, kept!, true))
      await turns.turn()
      assert.equal(await store.get(key), undefined)
      assert.deepEqual(figures(), [0, 1, 1, 0])
    })

    it('stay where they are, and are found by the next start, when the disk takes no write', async () => {
      await add(5)
      await flipBit(store, key)
      store.held.add('batch')
      await page()
      await turns.turn()
      assert.ok(store.fail())
      store.held.clear()
      await turns.turn()
      await open()
      await turns.turn()
      assert.deepEqual(
        [told, figures()],
        [
          ['h', 'h'],
          [0, 0, 0, 1]
        ]
      )
      assert.equal(await store.get(key), undefined)
    })
  })

  it('finds what was set aside', async () => {
    const told: string[] = []
    const aside = new SetAside({ store, clock: turns, onDamage: key => told.push(keyOf(key)) })
    await turned(aside.add(place(PARTITION, 'x'), record(1, 'x')))
    await turned(aside.add(place(PARTITION, 'y'), record(1, 'y')))
    await flipBit(store, Buffer.concat([Uint8Array.of(0x17), dataKey(PARTITION, utf8(''), utf8('x'))]))
    const values: (string | undefined)[] = []
    for await (const { record: bytes } of aside.entries()) values.push(valueOf(bytes))
    assert.deepEqual([values, told], [['y'], ['x']])
  })
})

describe('a list of damaged records', () => {
  it('is bounded: the oldest are found anew', function () {
    this.timeout(20_000)
    const damage = new Damage()
    const key = (i: number): Uint8Array => dataKey(1, utf8(''), utf8(String(i)))
    for (let i = 0; i <= 100_000; i++) damage.add(key(i))
    assert.deepEqual([damage.found, damage.left], [100_001, 100_000])
    damage.add(key(100_000))
    assert.equal(damage.found, 100_001)
    damage.add(key(0))
    assert.equal(damage.found, 100_002)
  })
})
