import assert from 'node:assert/strict'
import { crc32 } from 'node:zlib'
import * as fc from 'fast-check'
import { MemoryLevel } from 'memory-level'
import { utf8 } from '../../../src/base/bytes.ts'
import { Writer } from '../../../src/codec/writer.ts'
import { SeededRandom } from '../../../src/runtime/seeded-random.ts'
import {
  ceilingChange,
  closeIdentity,
  openIdentity,
  PEER_KEY_BYTES_MAX,
  STORE_FORMAT,
  type Identity
} from '../../../src/storage/identity.ts'
import { identityKey } from '../../../src/storage/key-layout.ts'
import { LevelStore } from '../../../src/storage/level-store.ts'
import type { StoreEntry } from '../../../src/storage/store.ts'
import { GatedStore } from '../../support/gated-store.ts'

const ALL = { gte: new Uint8Array(0), lt: undefined }
const FIELD_COUNT = 5

/** A store that says it is permanent, over a database in memory. */
async function permanentStore(): Promise<GatedStore> {
  return new GatedStore(await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' })), true)
}

function open(store: GatedStore, seed = 1): Promise<Identity> {
  return openIdentity(store, { random: new SeededRandom(seed), createPeerKey: async () => utf8(`key ${seed}`) })
}

async function everything(store: GatedStore): Promise<readonly StoreEntry[]> {
  return store.page(ALL, 1000)
}

describe('the identity of a store', () => {
  it('is written in one synced batch when the store is empty, and found again afterwards', async () => {
    const store = await permanentStore()
    const created = await open(store)
    assert.equal(store.batches.length, 1)
    assert.equal(store.batches[0]!.sync, true)
    assert.deepEqual(
      { ...created, peerKey: Buffer.from(created.peerKey).toString() },
      {
        storeId: created.storeId,
        actor: created.storeId.slice(0, 16),
        peerKey: 'key 1',
        created: true,
        openedClean: true,
        ceiling: 0
      }
    )
    assert.match(created.storeId, /^[0-9a-f]{32}$/u)
    await closeIdentity(store, 77)
    const again = await open(store, 2)
    assert.deepEqual(again, { ...created, created: false, ceiling: 77 })
  })

  it('tells a store that was not closed in good order', async () => {
    const store = await permanentStore()
    await open(store)
    assert.equal((await open(store)).openedClean, false)
    await store.batch([ceilingChange(5)], { sync: true })
    const third = await open(store)
    assert.deepEqual([third.openedClean, third.ceiling], [false, 5])
    await closeIdentity(store, 5)
    assert.equal((await open(store)).openedClean, true)
    assert.equal((await open(store)).openedClean, false)
    assert.ok(store.batches.every(({ sync }) => sync))
  })

  it('is new at each start of a store in memory, which loses what it held', async () => {
    const store = new GatedStore(await LevelStore.open(new MemoryLevel()))
    const first = await open(store, 1)
    await store.batch([{ key: Uint8Array.of(0x10, 0, 0, 0), value: utf8('old') }], { sync: false })
    await closeIdentity(store, 9)
    const second = await open(store, 2)
    assert.notEqual(second.storeId, first.storeId)
    assert.deepEqual([second.created, second.openedClean, second.ceiling], [true, true, 0])
    assert.equal((await everything(store)).length, FIELD_COUNT)
  })

  it('leaves nothing behind when the private key cannot be made', async () => {
    const store = await permanentStore()
    const random = new SeededRandom(1)
    await assert.rejects(
      openIdentity(store, { random, createPeerKey: () => Promise.reject(new Error('no key')) }),
      /no key/u
    )
    for (const length of [0, PEER_KEY_BYTES_MAX + 1]) {
      const createPeerKey = async (): Promise<Uint8Array> => new Uint8Array(length)
      await assert.rejects(openIdentity(store, { random, createPeerKey }), { code: 'KV_INTERNAL' })
    }
    assert.deepEqual(await everything(store), [])
  })

  it('refuses a database that something else has written to, whether in memory or on disk', async () => {
    for (const permanent of [true, false]) {
      const store = new GatedStore(await LevelStore.open(new MemoryLevel()), permanent)
      await store.batch([{ key: utf8('foreign'), value: utf8('x') }], { sync: false })
      await assert.rejects(open(store), { code: 'KV_STORAGE_FORMAT', message: /something else wrote it/u })
      assert.equal((await everything(store)).length, 1)
    }
  })

  it('refuses a format of a later version, with instructions, and writes nothing', async () => {
    const store = await permanentStore()
    await open(store)
    assert.equal(STORE_FORMAT, 1)
    const payload = Uint8Array.of(0, 2)
    const value = new Writer().raw(payload).u32(crc32(payload)).finish()
    await store.batch([{ key: identityKey(0), value }], { sync: false })
    const before = store.batches.length
    await assert.rejects(open(store), { code: 'KV_STORAGE_FORMAT', message: /upgrade kilovolt/u })
    assert.equal(store.batches.length, before)
  })

  it('never starts afresh over an identity that cannot be read', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(FIELD_COUNT - 1), fc.nat(1000), fc.nat(7), async (field, byte, bit) => {
        const store = await permanentStore()
        await open(store)
        const [value] = (await store.getMany([identityKey(field)])) as [Uint8Array]
        const damaged = new Uint8Array(value)
        damaged[byte % damaged.length]! ^= 1 << bit
        const cut = value.subarray(0, byte % value.length)
        for (const bad of [damaged, cut, undefined]) {
          await store.batch([{ key: identityKey(field), value: bad }], { sync: false })
          const before = store.batches.length
          await assert.rejects(open(store), { code: 'KV_CORRUPT' })
          assert.equal(store.batches.length, before)
        }
      }),
      { numRuns: 60 }
    )
  })

  it('is left as it is when the store does not suit its node, which is asked of one that was used only', async () => {
    const store = await permanentStore()
    const deps = { random: new SeededRandom(1), createPeerKey: async () => utf8('key') }
    const accept = (): Promise<void> => Promise.reject(new Error('another cluster'))
    await openIdentity(store, { ...deps, accept })
    await closeIdentity(store, 5)
    const before = store.batches.length
    await assert.rejects(openIdentity(store, { ...deps, accept }), /another cluster/u)
    assert.equal(store.batches.length, before)
    assert.equal((await openIdentity(store, deps)).openedClean, true)
  })

  it('hands on a failure of the database, and is whole or absent after it', async () => {
    const store = await permanentStore()
    store.held.add('batch')
    const opening = open(store)
    while (!store.fail()) await Promise.resolve()
    await assert.rejects(opening, /on fire/u)
    assert.deepEqual(await everything(store), [])
  })
})
