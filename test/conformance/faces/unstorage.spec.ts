import assert from 'node:assert/strict'
import { isKilovoltError } from 'kilovolt'
import { createTestCluster } from 'kilovolt/testing'
import { createDriver } from 'kilovolt/unstorage'
import { createStorage, prefixStorage, restoreSnapshot, snapshot, type Storage } from 'unstorage'
import { CLUSTERS, Turns } from '../../support/turns.ts'

/** unstorage's own driver tests are not published; these ask for what those ask for, of the real `createStorage`. */
for (const cluster of CLUSTERS) {
  describe(`unstorage over ${cluster.title}`, () => {
    const turns = new Turns()
    before(() => turns.start(cluster))
    after(() => turns.stop())

    let keyspace = ''
    /** A storage over the next node and the test's keyspace. */
    const open = (): Storage => createStorage({ driver: createDriver(turns.next(), { keyspace }) })
    let storage: Storage
    beforeEach(() => {
      keyspace = `unstorage-${turns.number}`
      storage = open()
    })

    it('has no item at first, and null in its place', async () => {
      assert.equal(await storage.hasItem('a'), false)
      assert.equal(await storage.getItem('a'), null)
      assert.equal(await storage.getItemRaw('a'), null)
      assert.deepEqual(await storage.getItems(['a', 'b']), [
        { key: 'a', value: null },
        { key: 'b', value: null }
      ])
    })

    it('gives back each type that unstorage serialises, through another node too', async () => {
      const values = ['text', '', 'ünï', '123', 7, true, false, null, { a: [1, { b: 2 }] }, ['x']]
      for (const [i, value] of values.entries()) await storage.setItem(`types:${i}`, value)
      const other = open()
      for (const [i, value] of values.entries()) {
        // Text that looks like a number is read as one by unstorage, whatever the driver.
        assert.deepEqual(await other.getItem(`types:${i}`), value === '123' ? 123 : value)
      }
    })

    it('overwrites, removes, and removes what is not there', async () => {
      await storage.setItem('k', 'one')
      await storage.setItem('k', 'two')
      assert.equal(await open().getItem('k'), 'two')
      await storage.removeItem('k')
      await storage.removeItem('k')
      assert.equal(await open().hasItem('k'), false)
      await storage.setItem('k', 'three')
      await storage.setItem('k', undefined as unknown as string)
      assert.equal(await storage.hasItem('k'), false)
    })

    it('stores and returns raw bytes as they are', async () => {
      const bytes = new Uint8Array([0, 1, 2, 255, 128, 10])
      await storage.setItemRaw('raw', bytes)
      assert.deepEqual(new Uint8Array((await open().getItemRaw<Buffer>('raw')) as Buffer), bytes)
      await storage.setItemRaw('raw', bytes.buffer)
      assert.deepEqual(new Uint8Array((await storage.getItemRaw<Buffer>('raw')) as Buffer), bytes)
      await storage.setItemRaw('raw', 'text')
      assert.equal(await storage.getItem('raw'), 'text')
      await assert.rejects(storage.setItemRaw('raw', { not: 'bytes' }), TypeError)
      await assert.rejects(storage.setItemRaw('raw', null), TypeError)
    })

    it('sets and gets many at once', async () => {
      await storage.setItems([
        { key: 'many:a', value: 'one' },
        { key: 'many/b', value: 'two' }
      ])
      assert.deepEqual(await open().getItems(['many:a', 'many:b', 'many:c']), [
        { key: 'many:a', value: 'one' },
        { key: 'many:b', value: 'two' },
        { key: 'many:c', value: null }
      ])
    })

    it('lists full keys below a base, and to a depth', async () => {
      for (const key of ['s1:a', 's1:b:c', 's2:a', 's10:a', 'top']) await storage.setItem(key, 1)
      const other = open()
      assert.deepEqual((await other.getKeys()).toSorted(), ['s10:a', 's1:a', 's1:b:c', 's2:a', 'top'].toSorted())
      assert.deepEqual((await other.getKeys('s1')).toSorted(), ['s1:a', 's1:b:c'])
      assert.deepEqual(await other.getKeys('s1:b'), ['s1:b:c'])
      assert.deepEqual(await other.getKeys('nothing'), [])
      assert.deepEqual((await other.getKeys('', { maxDepth: 0 })).toSorted(), ['top'])
      assert.deepEqual((await other.getKeys('s1', { maxDepth: 1 })).toSorted(), ['s1:a'])
    })

    it('clears what is empty, what is below a base, and all', async () => {
      await storage.clear()
      for (const key of ['s1:a', 's1:b', 's2:a']) await storage.setItem(key, 1)
      // `storage.clear('s1')` only ever asks drivers that are mounted below s1.
      await createDriver(turns.next(), { keyspace }).clear('s1:')
      assert.deepEqual(await storage.getKeys(), ['s2:a'])
      await storage.clear()
      assert.deepEqual(await open().getKeys(), [])
    })

    it('keeps meta data out of the keys', async () => {
      await storage.setItem('doc', 'text')
      await storage.setMeta('doc', { mtime: new Date(0), author: 'ada' })
      assert.deepEqual({ ...(await open().getMeta('doc')) }, { mtime: new Date(0), author: 'ada' })
      assert.deepEqual(await storage.getKeys(), ['doc'])
      await storage.removeItem('doc', { removeMeta: true })
      assert.deepEqual({ ...(await storage.getMeta('doc')) }, {})
    })

    it('can be mounted below another storage, and be prefixed, saved and restored', async () => {
      const outer = createStorage()
      outer.mount('cluster', createDriver(turns.next(), { keyspace }))
      await outer.setItem('cluster:a:b', 'mounted')
      assert.equal(await storage.getItem('a:b'), 'mounted')
      assert.deepEqual(await outer.getKeys('cluster'), ['cluster:a:b'])
      const inner = prefixStorage<string>(storage, 'a')
      assert.equal(await inner.getItem('b'), 'mounted')
      assert.deepEqual(await inner.getKeys(), ['b'])
      const saved = await snapshot(storage, 'a')
      await storage.clear()
      await restoreSnapshot(storage, saved, 'copy')
      assert.equal(await storage.getItem('copy:b'), 'mounted')
      await outer.unmount('cluster')
      assert.equal(await storage.getItem('copy:b'), 'mounted', 'the node goes on')
    })

    it('tells watchers of what is changed through the same storage', async () => {
      const events: string[] = []
      const unwatch = await storage.watch((event, key) => void events.push(`${event} ${key}`))
      await storage.setItem('w:a', 1)
      await storage.removeItem('w:a')
      await unwatch()
      await storage.setItem('w:b', 1)
      assert.deepEqual(events, ['update w:a', 'remove w:a'])
    })

    it('keeps to what is below its base, as other drivers do', async () => {
      for (const key of ['top', 'a:b', 'app1:c', 'app:x:y']) await storage.setItem(key, 'outside')
      for (const base of ['app', 'app:', '/app/']) {
        const driver = createDriver(turns.next(), { keyspace, base })
        const inner = createStorage({ driver })
        const events: string[] = []
        const unwatch = await inner.watch((event, key) => void events.push(`${event} ${key}`))
        await inner.setItem('one', 1)
        await inner.setItems([{ key: 'two:a', value: 'text' }])
        await inner.setItemRaw('raw', Uint8Array.of(1))
        assert.deepEqual(await storage.getItem('app:one'), 1)
        assert.equal(await storage.getItem('app:two:a'), 'text')
        assert.equal(await inner.hasItem('one'), true)
        assert.equal(await inner.hasItem('top'), false)
        assert.deepEqual(await inner.getItems(['one', 'top']), [
          { key: 'one', value: 1 },
          { key: 'top', value: null }
        ])
        assert.deepEqual(new Uint8Array((await inner.getItemRaw<Buffer>('raw')) as Buffer), Uint8Array.of(1))
        assert.deepEqual((await inner.getKeys()).toSorted(), ['one', 'raw', 'two:a', 'x:y'])
        assert.deepEqual(await inner.getKeys('two'), ['two:a'])
        await inner.removeItem('one')
        assert.equal(await storage.hasItem('app:one'), false)
        await unwatch()
        // Of `setItems` unstorage tells nobody when a driver can do that at once.
        assert.deepEqual(events, ['update one', 'update raw', 'remove one'])
        const outer = createStorage()
        outer.mount('cluster', driver)
        assert.deepEqual(await outer.getKeys('cluster:two'), ['cluster:two:a'])
        await driver.clear('two:')
        assert.deepEqual((await inner.getKeys()).toSorted(), ['raw', 'x:y'])
        await inner.clear()
        assert.deepEqual((await storage.getKeys()).toSorted(), ['a:b', 'app1:c', 'top'])
        await storage.setItem('app:x:y', 'outside')
      }
    })

    it('disposes of nothing that is the app’s', async () => {
      await storage.setItem('kept', 1)
      await storage.dispose()
      assert.equal(await open().getItem('kept'), 1)
    })
  })
}

describe('unstorage and time', () => {
  it('expires items by their own ttl or the driver’s, in seconds, on every node', async () => {
    const cluster = await createTestCluster(3, { seed: 23 })
    const first = createStorage({ driver: createDriver(cluster.node(0), { ttl: 10 }) })
    const second = createStorage({ driver: createDriver(cluster.node(1)) })
    await cluster.run(
      Promise.all([
        first.setItem('soon', 1, { ttl: 2 }),
        first.setItem('later', 1),
        first.setItem('never', 1, { ttl: 0 }),
        first.setItemRaw('raw', 'x', { ttl: 2 }),
        first.setItems([{ key: 'many', value: 1, options: { ttl: 2 } }])
      ])
    )
    const keys = async (): Promise<string[]> => (await cluster.run(second.getKeys())).toSorted()
    assert.deepEqual(await keys(), ['later', 'many', 'never', 'raw', 'soon'])
    await cluster.advance(2100)
    assert.deepEqual(await keys(), ['later', 'never'])
    assert.equal(await cluster.run(second.getItem('soon')), null)
    await cluster.advance(8000)
    assert.deepEqual(await keys(), ['never'])
    await cluster.stop()
  })

  it('rejects with the library’s own errors', async () => {
    const cluster = await createTestCluster(1, { seed: 24 })
    const storage = createStorage({ driver: createDriver(cluster.node(0)) })
    await cluster.stop()
    await assert.rejects(storage.getItem('a'), error => isKilovoltError(error, 'KV_NODE_STOPPED'))
    await assert.rejects(storage.getKeys(), error => isKilovoltError(error, 'KV_NODE_STOPPED'))
  })

  it('takes what is longer than a keyspace can tell for for ever, and refuses what is no time', async () => {
    const cluster = await createTestCluster(1, { seed: 27 })
    const node = cluster.node(0)
    for (const ttl of [Number.MAX_SAFE_INTEGER, 1e12, Infinity, 0, 0.5]) {
      const storage = createStorage({ driver: createDriver(node, { ttl }) })
      await cluster.run(storage.setItem('a', 1))
      await cluster.run(createStorage({ driver: createDriver(node) }).setItem('b', 1, { ttl }))
      const left = (await cluster.run(node.keyspace('unstorage').getEntry('a')))!.ttl
      assert.equal(left === undefined, ttl !== 0.5, String(ttl))
    }
    for (const ttl of [-1, Number.NaN, '60', 5n, null]) {
      assert.throws(
        () => createDriver(node, { ttl: ttl as number }),
        error => isKilovoltError(error, 'KV_CONFIG') && error.message.includes('"ttl"')
      )
    }
    await cluster.stop()
  })

  it('refuses options that nobody knows, and says which was meant', () => {
    const node = { keyspace: () => assert.fail() }
    assert.throws(
      () => createDriver(node, { Ttl: 3 } as object),
      error => isKilovoltError(error, 'KV_CONFIG') && error.message.includes('did you mean "ttl"')
    )
    assert.throws(
      () => createDriver(node, { base: 5 } as object),
      error => isKilovoltError(error, 'KV_CONFIG')
    )
    assert.throws(
      () => createDriver(node, 'x' as unknown as object),
      error => isKilovoltError(error, 'KV_CONFIG')
    )
  })
})
