import assert from 'node:assert/strict'
import { MemoryLevel } from 'memory-level'
import { type KilovoltError, isKilovoltError } from '../../../src/base/errors.ts'
import { LevelStore, type LevelDatabase } from '../../../src/storage/level-store.ts'

/** A database that cannot be opened, in the way abstract-level reports it. */
function broken(cause: Error): LevelDatabase {
  return {
    status: 'closed',
    supports: {},
    open: () =>
      Promise.reject(
        Object.assign(new Error('Database failed to open', { cause }), { code: 'LEVEL_DATABASE_NOT_OPEN' })
      ),
    close: () => Promise.resolve()
  }
}

describe('LevelStore', () => {
  it('takes a database that is open, opening or closed', async () => {
    const opening = new MemoryLevel()
    const open = new MemoryLevel()
    await open.open()
    const closed = new MemoryLevel()
    await closed.open()
    await closed.close()
    for (const database of [opening, open, closed]) {
      const store = await LevelStore.open(database)
      assert.equal(database.status, 'open')
      assert.equal(store.permanent, false)
      await store.close()
      assert.equal(database.status, 'closed')
    }
  })

  it('reads synchronously where the database can, up to the length it was told', async () => {
    const store = await LevelStore.open(new MemoryLevel(), { syncReadsMax: 2 })
    assert.ok(Array.isArray(store.getMany([Uint8Array.of(1), Uint8Array.of(2)])))
    const later = store.getMany([1, 2, 3].map(byte => Uint8Array.of(byte)))
    assert.ok(later instanceof Promise)
    assert.deepEqual(await later, [undefined, undefined, undefined])
    await store.close()
  })

  it('says that a locked database is in use, and of any other failure what the database said', async () => {
    const locked = Object.assign(new Error('IO error: lock /x/LOCK: already held by process'), { code: 'LEVEL_LOCKED' })
    await assert.rejects(LevelStore.open(broken(locked)), { code: 'KV_STORAGE_IN_USE' })
    const failure = await LevelStore.open(broken(new Error('no space left on device'))).then(
      () => assert.fail(),
      (error: unknown) => error as KilovoltError
    )
    assert.ok(isKilovoltError(failure, 'KV_STORAGE'))
    assert.match(failure.message, /no space left on device/u)
    assert.ok(failure.cause instanceof Error)
  })

  it('refuses a database that keeps text only, and leaves it closed', async () => {
    const database = new MemoryLevel({ storeEncoding: 'utf8' })
    await assert.rejects(LevelStore.open(database), { code: 'KV_STORAGE', message: /bytes/u })
    assert.equal(database.status, 'closed')
  })
})
