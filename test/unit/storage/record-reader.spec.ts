import assert from 'node:assert/strict'
import { MemoryLevel } from 'memory-level'
import { KilovoltError } from '../../../src/base/errors.ts'
import { ALL_KEYS } from '../../../src/model/key-range.ts'
import { systemClock } from '../../../src/runtime/system-clock.ts'
import { Damage } from '../../../src/storage/damage.ts'
import { dataKey } from '../../../src/storage/key-layout.ts'
import { LevelStore } from '../../../src/storage/level-store.ts'
import { MemoryStore } from '../../../src/storage/memory-store.ts'
import { PackedRows } from '../../../src/codec/packed-rows.ts'
import { SEALED } from '../../../src/storage/record-form.ts'
import { RecordReader } from '../../../src/storage/record-reader.ts'
import type { Read, RecordKey } from '../../../src/storage/record-store.ts'
import type { Store } from '../../../src/storage/store.ts'
import { place, record, valueOf } from '../../conformance/record-store-suite.ts'
import { flipBit } from '../../support/flip-bit.ts'
import { GatedStore } from '../../support/gated-store.ts'

const KEYS = ['a', 'b', 'c', 'nothing'].map(key => place(1, key))

function storeKey({ partition, keyspace, key }: RecordKey): Uint8Array {
  return dataKey(partition, keyspace, key)
}

/** A value, the code of an error, or nothing. */
function told(read: Read): string | undefined {
  return read instanceof KilovoltError ? read.code : valueOf(read)
}

for (const [title, syncReadsMax] of [
  ['at once', Infinity],
  ['later', 0]
] as const) {
  describe(`a reader of records, over a database that reads ${title}`, () => {
    let store: GatedStore
    let damage: Damage
    let isOpen: boolean
    let reader: RecordReader

    beforeEach(async () => {
      store = new GatedStore(await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' }), { syncReadsMax }), true)
      damage = new Damage()
      isOpen = true
      const assertOpen = (): void => {
        if (!isOpen) throw new KilovoltError('KV_NODE_STOPPED', 'closed')
      }
      reader = new RecordReader({ store, form: SEALED, damage, assertOpen, isWritingUnit: () => false })
      for (const at of KEYS.slice(0, 3)) {
        const key = storeKey(at)
        const value = SEALED.seal(key, record(1, Buffer.from(at.key).toString()))
        await store.batch([{ key, value }], { sync: false })
      }
    })

    afterEach(() => store.close())

    it('reads several in one look-up, each in its place', async () => {
      const found = reader.getMany([...KEYS, KEYS[0]!])
      assert.equal(found instanceof Promise, syncReadsMax === 0)
      assert.deepEqual((await found).map(told), ['a', 'b', 'c', undefined, 'a'])
      assert.deepEqual([store.lookups, damage.found], [[5], 0])
    })

    it('gives an error in the place of a damaged record alone, and tells of it', async () => {
      await flipBit(store, storeKey(KEYS[1]!))
      assert.deepEqual((await reader.getMany(KEYS)).map(told), ['a', 'KV_CORRUPT', 'c', undefined])
      assert.deepEqual(
        damage.places().map(({ key }) => Buffer.from(key).toString()),
        ['b']
      )
      await assert.rejects(async () => reader.get(KEYS[1]!), { code: 'KV_CORRUPT' })
      assert.equal(valueOf(await reader.get(KEYS[2]!)), 'c')
      assert.deepEqual([damage.found, damage.left], [1, 1])
    })

    it('takes a record that has come to lie under another key for a damaged one', async () => {
      const value = new Uint8Array((await store.get(storeKey(KEYS[0]!)))!)
      await store.batch([{ key: storeKey(KEYS[2]!), value }], { sync: false })
      assert.deepEqual((await reader.getMany(KEYS)).map(told), ['a', 'b', 'KV_CORRUPT', undefined])
    })

    it('fails as a whole when nothing can be read', async () => {
      store.held.add('getMany')
      const found = Promise.resolve(reader.getMany(KEYS))
      store.fail(new KilovoltError('KV_STORAGE', 'no disk'))
      await assert.rejects(found, { code: 'KV_STORAGE' })
      assert.equal(damage.found, 0)
    })

    it('leaves what is damaged out of a page, and fills it up from what follows', async () => {
      await flipBit(store, storeKey(KEYS[0]!))
      const page = await reader.page(1, undefined, 2)
      assert.deepEqual(
        page.map(found => valueOf(found.record)),
        ['b', 'c']
      )
      isOpen = false
      await assert.rejects(reader.page(1, undefined, 2), { code: 'KV_NODE_STOPPED' })
    })

    it('stops looking for partitions when nothing may be read any more', async () => {
      assert.deepEqual(await reader.partitions(), [1])
      isOpen = false
      await assert.rejects(reader.partitions(), { code: 'KV_NODE_STOPPED' })
    })
  })
}

describe('a reader of records that packs a range', () => {
  for (const [title, open] of [
    ['is visited', async () => new MemoryStore(systemClock)],
    ['is read page by page', async () => LevelStore.open(new MemoryLevel())]
  ] as const) {
    it(`has what is damaged in its place, of a store that ${title}`, async () => {
      const store: Store = await open()
      assert.equal(store.visit !== undefined, title === 'is visited')
      const damage = new Damage()
      const reader = new RecordReader({
        store,
        form: SEALED,
        damage,
        assertOpen: () => {},
        isWritingUnit: () => false
      })
      for (const at of KEYS) {
        const value = SEALED.seal(storeKey(at), record(1, Buffer.from(at.key).toString()))
        await store.batch([{ key: storeKey(at), value }], { sync: false })
      }
      await flipBit(store, storeKey(KEYS[1]!))
      const rows = PackedRows.gather()
      const where = { partition: 1, keyspace: KEYS[0]!.keyspace, range: ALL_KEYS }
      const options = { limit: 3, maxBytes: Infinity, isReverse: false, wholeBytesMax: Infinity }
      const first = await reader.pack(rows, where, options)
      assert.deepEqual([first.from, first.to], [0, 3])
      const rest = await reader.pack(rows, { ...where, range: first.rest! }, options)
      assert.deepEqual([rest.from, rest.to, rest.rest], [3, 4, undefined])
      const found = Array.from({ length: 4 }, (_, i) => `${Buffer.from(rows.keyAt(i)).toString()} ${rows.isDamaged(i)}`)
      assert.deepEqual(found, ['a false', 'b true', 'c false', 'nothing false'])
      assert.equal(valueOf(rows.recordAt(2)), 'c')
      assert.equal(damage.found, 1)
      await store.close()
    })
  }
})
