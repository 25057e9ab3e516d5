import assert from 'node:assert/strict'
import fc from 'fast-check'
import { MemoryLevel } from 'memory-level'
import { utf8 } from '../../../src/base/bytes.ts'
import { hlcFromMs } from '../../../src/model/hlc.ts'
import { ApplyLoop } from '../../../src/storage/apply-loop.ts'
import type { ApplyLoopOptions } from '../../../src/storage/apply-options.ts'
import { Damage } from '../../../src/storage/damage.ts'
import { dataKey } from '../../../src/storage/key-layout.ts'
import { LevelStore } from '../../../src/storage/level-store.ts'
import type { ApplyResult, RecordStore } from '../../../src/storage/record-store.ts'
import { apply, place, record, valueOf } from '../../conformance/record-store-suite.ts'
import { GatedStore, settled, Turns } from '../../support/gated-store.ts'

const PLACE = { partition: 1, keyspace: utf8('') }

async function newLoop(options?: ApplyLoopOptions, permanent = false) {
  const store = new GatedStore(await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' })), permanent)
  const turns = new Turns()
  const damage = new Damage({ latest: () => 100 })
  return { store, turns, damage, records: new ApplyLoop({ store, clock: turns, damage }, options) }
}

function applyUnit(records: RecordStore, hlc: number, ...keys: string[]): Promise<readonly ApplyResult[]> {
  const writes = keys.map(key => ({ key: utf8(key), record: record(hlc, `${key}@${hlc}`) }))
  return new Promise((resolve, reject) =>
    records.applyUnit(PLACE, writes, (error, results) => (error === undefined ? resolve(results!) : reject(error)))
  )
}

const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `k${i}`)

describe('the records of a unit', () => {
  it('are written in one batch, however small batches are otherwise', async () => {
    const { store, turns, records } = await newLoop({ batchMax: 4, batchBytesMax: 200 })
    const before = names(3).map(key => apply(records, place(1, key), record(1, 'x')))
    const unit = applyUnit(records, 2, ...names(40))
    const after = apply(records, place(1, 'k0'), record(3, 'x'))
    while (turns.waiting > 0) await turns.turn()
    await Promise.all([...before, after])
    assert.equal((await unit).length, 40)
    assert.deepEqual(
      store.batches.map(({ changes }) => changes.length),
      [40, 1]
    )
  })

  it('are written alone each where that is switched off, to show what it would do', async () => {
    const { store, turns, records } = await newLoop({ batchMax: 1, keepsUnits: false })
    const unit = applyUnit(records, 2, ...names(3))
    while (turns.waiting > 0) await turns.turn()
    await unit
    assert.equal(store.batches.length, 3)
  })

  it('yield each to what is newer at its key, and are all told what was there', async () => {
    const { turns, records } = await newLoop()
    const newer = apply(records, place(1, 'b'), record(9, 'newer'))
    const unit = applyUnit(records, 5, 'a', 'b', 'c')
    await turns.turn()
    await newer
    assert.deepEqual(
      (await unit).map(({ outcome, current }) => [outcome, valueOf(current)]),
      [
        ['applied', undefined],
        ['stale', 'newer'],
        ['applied', undefined]
      ]
    )
    const again = applyUnit(records, 5, 'a', 'b', 'c')
    await turns.turn()
    assert.deepEqual(
      (await again).map(({ outcome }) => outcome),
      ['same', 'stale', 'same']
    )
  })

  it('are none of them taken when a damaged record lies in the way of one, and all when it can be none newer', async () => {
    const { store, turns, damage, records } = await newLoop({}, true)
    await store.batch([{ key: dataKey(1, utf8(''), utf8('b')), value: Uint8Array.of(1, 2, 3) }], { sync: false })
    store.batches.length = 0
    const refused = applyUnit(records, 50, 'a', 'b', 'c')
    await turns.turn()
    await assert.rejects(refused, { code: 'KV_CORRUPT' })
    assert.equal(store.batches.length, 0)
    assert.equal(damage.left, 1)
    const alone = applyUnit(records, 50, 'a', 'c')
    const later = applyUnit(records, 101, 'a', 'b', 'c')
    await turns.turn()
    assert.equal((await alone).length, 2)
    assert.equal((await later).length, 3)
    assert.equal(damage.left, 0)
  })

  it('all fail when the batch does', async () => {
    const { store, turns, records } = await newLoop()
    store.held.add('batch')
    const unit = applyUnit(records, 1, 'a', 'b')
    await turns.turn()
    store.fail()
    await assert.rejects(unit, { code: 'KV_STORAGE' })
    assert.equal(await records.get(place(1, 'a')), undefined)
  })

  it('are refused as one when there is no room for all of them', async () => {
    const { turns, records } = await newLoop({ pendingMax: 3 })
    await assert.rejects(applyUnit(records, 1, ...names(4)), { code: 'KV_OVERLOADED' })
    const first = applyUnit(records, 1, 'a', 'b')
    await assert.rejects(applyUnit(records, 1, 'c', 'd'), { code: 'KV_OVERLOADED' })
    assert.equal(records.stats().pending, 2)
    await turns.turn()
    await first
    const second = applyUnit(records, 1, 'c', 'd', 'e')
    await turns.turn()
    assert.equal((await second).length, 3)
  })

  it('wait together while their partition is being dropped', async () => {
    const { store, turns, records } = await newLoop({ batchMax: 1 })
    store.held.add('clear')
    const drop = records.dropPartition(1)
    const unit = applyUnit(records, 2, 'a', 'b')
    await settled()
    assert.equal(turns.waiting, 0)
    store.release()
    await drop
    while (turns.waiting > 0) await turns.turn()
    assert.equal((await unit).length, 2)
    assert.deepEqual(
      store.batches.map(({ changes }) => changes.length),
      [2]
    )
  })

  it('are read as of one moment while they are being written to a disk, and only then', async () => {
    const { store, turns, records } = await newLoop({}, true)
    const read = async (): Promise<boolean> => {
      await records.getMany([place(1, 'a'), place(1, 'b')])
      return store.asOne.at(-1)!
    }
    store.held.add('batch')
    const unit = applyUnit(records, hlcFromMs(1), 'a', 'b')
    assert.equal(await read(), false)
    await turns.turn()
    assert.equal(await read(), true)
    store.release()
    await unit
    assert.equal(await read(), false)
    const single = apply(records, place(1, 'a'), record(hlcFromMs(2), 'x'))
    await turns.turn()
    assert.equal(await read(), false)
    store.release()
    await single
  })

  it('are never split over batches, whatever else is offered', async () => {
    const offers = fc.array(fc.record({ size: fc.integer({ min: 1, max: 9 }), turn: fc.boolean() }), { maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(offers, fc.integer({ min: 1, max: 8 }), async (list, batchMax) => {
        const { store, turns, records } = await newLoop({ batchMax })
        const done: Promise<unknown>[] = []
        for (const [hlc, { size, turn }] of list.entries()) {
          done.push(applyUnit(records, hlc + 1, ...names(size)))
          if (turn && turns.waiting > 0) await turns.turn()
        }
        while (turns.waiting > 0) await turns.turn()
        await Promise.all(done)
        const held = new Map<string, number>()
        for (const { changes } of store.batches) {
          for (const { key, value } of changes) {
            held.set(Buffer.from(key.subarray(4)).toString(), Number(valueOf(value)!.split('@')[1]))
          }
          // Of each unit that is seen all is there, or something newer.
          for (const hlc of new Set(held.values())) {
            for (const key of names(list[hlc - 1]!.size)) assert.ok((held.get(key) ?? 0) >= hlc, `${key} of ${hlc}`)
          }
        }
      }),
      { numRuns: 100 }
    )
  })
})
