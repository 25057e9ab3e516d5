import assert from 'node:assert/strict'
import { MemoryLevel } from 'memory-level'
import { KilovoltError } from '../../../src/base/errors.ts'
import { Damage } from '../../../src/storage/damage.ts'
import { dataKey } from '../../../src/storage/key-layout.ts'
import { LevelStore } from '../../../src/storage/level-store.ts'
import { SEALED } from '../../../src/storage/record-form.ts'
import { RecordReader } from '../../../src/storage/record-reader.ts'
import type { Read, RecordKey } from '../../../src/storage/record-store.ts'
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
