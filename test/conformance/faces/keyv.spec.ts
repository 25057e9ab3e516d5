import assert from 'node:assert/strict'
import { keyvApiTests, keyvIteratorTests, keyvNamespaceTest, keyvValueTests } from '@keyv/test-suite'
import { createCache } from 'cache-manager'
import { Cacheable } from 'cacheable'
import { isKilovoltError } from 'kilovolt'
import { KilovoltKeyv } from 'kilovolt/keyv'
import { createTestCluster } from 'kilovolt/testing'
import { Keyv } from 'keyv'
import { Keyv as Keyv6 } from 'keyv-6'
import { createExpect, type Expect } from '../../support/expect.ts'
import { CLUSTERS, Turns } from '../../support/turns.ts'

type Case = (context: { readonly expect: Expect }) => unknown

/** As much of vitest as the suite uses, in mocha's terms. */
const vitest = {
  beforeEach: (fn: () => Promise<void>) => beforeEach(fn),
  afterEach: (fn: () => Promise<void>) => afterEach(fn),
  it: (title: string, fn: Case) =>
    it(title, async () => {
      const expect = createExpect()
      await fn({ expect })
      expect.finish()
    })
}

type Group = (test: typeof vitest, keyv: typeof Keyv, store: () => KilovoltKeyv) => void

/** Keyv's own tests, as they are published, but those of compression, which ask nothing of a store. */
const GROUPS: readonly (readonly [title: string, group: unknown])[] = [
  ['its methods', keyvApiTests],
  ['its values', keyvValueTests],
  ['its namespaces', keyvNamespaceTest],
  ['its iterator', keyvIteratorTests]
]

for (const cluster of CLUSTERS) {
  describe(`Keyv over ${cluster.title}`, () => {
    const turns = new Turns()
    before(() => turns.start(cluster))
    after(() => turns.stop())

    for (const [name, group] of GROUPS) {
      describe(`passes Keyv’s own suite: ${name}`, () => {
        ;(group as Group)(vitest, Keyv, () => new KilovoltKeyv(turns.next()))
      })
    }

    it('finds through one node what was set through another', async () => {
      const [a, b] = [new Keyv(new KilovoltKeyv(turns.next())), new Keyv(new KilovoltKeyv(turns.next()))]
      assert.deepEqual(
        await a.setMany([
          { key: 'm1', value: 1 },
          { key: 'm2', value: [2], ttl: 60_000 }
        ]),
        [true, true]
      )
      assert.deepEqual(await b.getMany(['m1', 'm2', 'm3']), [1, [2], undefined])
      assert.deepEqual(await b.hasMany(['m1', 'm3']), [true, false])
      assert.equal(await b.delete(['m1', 'm2']), true)
      assert.equal(await a.delete(['m1', 'm2']), false)
    })

    it('serves Keyv 6, through its bridge', async () => {
      const a = new Keyv6({ store: new KilovoltKeyv(turns.next()), namespace: 'six' })
      const b = new Keyv6({ store: new KilovoltKeyv(turns.next()), namespace: 'six' })
      const other = new Keyv6({ store: new KilovoltKeyv(turns.next()), namespace: 'other' })
      await other.set('k', 'stays')
      assert.equal(await a.set('k', { v: 1 }), true)
      assert.deepEqual(
        await a.setMany([
          { key: 'l', value: 2 },
          { key: 'm', value: 3, ttl: 60_000 }
        ]),
        [true, true]
      )
      assert.deepEqual(await b.get('k'), { v: 1 })
      assert.deepEqual(await b.getMany(['k', 'l', 'm', 'n']), [{ v: 1 }, 2, 3, undefined])
      assert.deepEqual(await b.hasMany(['m', 'n']), [true, false])
      const entries = []
      for await (const entry of b.iterator()) entries.push(entry)
      assert.deepEqual(entries, [
        ['k', { v: 1 }],
        ['l', 2],
        ['m', 3]
      ])
      assert.equal(await b.delete('k'), true)
      assert.equal(await a.delete('k'), false)
      assert.deepEqual(await a.deleteMany(['l', 'm']), [true, true])
      assert.equal(await a.set('again', 1), true)
      await b.clear()
      assert.equal(await a.get('again'), undefined)
      assert.equal(await other.get('k'), 'stays')
    })

    it('serves cache-manager', async () => {
      const caches = [1, 2].map(() => createCache({ stores: [new Keyv({ store: new KilovoltKeyv(turns.next()) })] }))
      const [a, b] = caches as [ReturnType<typeof createCache>, ReturnType<typeof createCache>]
      let computed = 0
      const compute = async (): Promise<{ n: number }> => ({ n: ++computed })
      assert.deepEqual(await a.wrap('cm:w', compute, 60_000), { n: 1 })
      assert.deepEqual(await b.wrap('cm:w', compute, 60_000), { n: 1 }, 'computed once for both')
      await a.mset([
        { key: 'cm:1', value: 1 },
        { key: 'cm:2', value: 2, ttl: 60_000 }
      ])
      assert.deepEqual(await b.mget(['cm:1', 'cm:2', 'cm:3']), [1, 2, undefined])
      await b.mdel(['cm:1', 'cm:2'])
      assert.equal(await a.get('cm:1'), undefined)
      await b.clear()
      assert.equal(await a.get('cm:w'), undefined)
    })

    it('serves cacheable, as the layer that processes share', async () => {
      const layer = (): Keyv => new Keyv({ store: new KilovoltKeyv(turns.next(), { keyspace: 'cacheable' }) })
      const [a, b] = [new Cacheable({ secondary: layer() }), new Cacheable({ secondary: layer() })]
      await a.set('k', { v: 1 }, '1h')
      assert.deepEqual(await b.get('k'), { v: 1 })
      assert.deepEqual(await b.getMany(['k', 'none']), [{ v: 1 }, undefined])
      await a.delete('k')
      assert.equal(await new Cacheable({ secondary: layer() }).get('k'), undefined)
    })
  })
}

describe('KilovoltKeyv', () => {
  it('lets what expires go on every node, whether Keyv asks for it or not', async () => {
    const cluster = await createTestCluster(3, { seed: 23 })
    const [a, b] = [new KilovoltKeyv(cluster.node(0)), new KilovoltKeyv(cluster.node(1))]
    await cluster.run(Promise.all([a.set('soon', '1', 300), a.set('never', '2'), a.set('also', '3', Infinity)]))
    await cluster.run(
      a.setMany([
        { key: 'many', value: '4', ttl: 299.5 },
        { key: 'past', value: '5', ttl: -1 }
      ])
    )
    await cluster.run(b.set('never', '2', undefined))
    assert.deepEqual(await cluster.run(b.hasMany(['soon', 'never', 'also', 'many', 'past'])), [
      true,
      true,
      true,
      true,
      false
    ])
    await cluster.advance(400)
    assert.deepEqual(await cluster.run(b.hasMany(['soon', 'never', 'also', 'many'])), [false, true, true, false])
    await cluster.run(a.set('never', '6', -1))
    assert.equal(await cluster.run(b.has('never')), false, 'what has expired takes away what was there')
    await cluster.stop()
  })

  it('clears its namespace, or all when it has none', async () => {
    const cluster = await createTestCluster(1, { seed: 24 })
    const store = new KilovoltKeyv(cluster.node(0))
    await cluster.run(Promise.all(['a:1', 'a:2', 'ab:1', 'b:1'].map(key => store.set(key, key))))
    store.namespace = 'a'
    await cluster.run(store.clear())
    const keys = async (): Promise<string[]> => {
      const found: string[] = []
      for await (const [key] of store.iterator()) found.push(key)
      return found
    }
    assert.deepEqual(await cluster.run(keys()), ['ab:1', 'b:1'])
    store.namespace = ''
    await cluster.run(store.clear())
    assert.deepEqual(await cluster.run(keys()), [])
    await cluster.stop()
  })

  it('keeps namespaces apart that do not begin with one another and a colon', async () => {
    const cluster = await createTestCluster(1, { seed: 28 })
    const [outer, inner, other, apart] = (['a', 'a:b', 'ab', 'a:b'] as const).map(
      (namespace, i) =>
        new Keyv({ store: new KilovoltKeyv(cluster.node(0), i === 3 ? { keyspace: 'own' } : {}), namespace })
    ) as [Keyv, Keyv, Keyv, Keyv]
    for (const keyv of [outer, inner, other, apart]) await cluster.run(keyv.set('k', 1))
    await cluster.run(outer.clear())
    // What the guide warns of: `b:k` of `a` is `k` of `a:b`.
    assert.equal(await cluster.run(inner.get('k')), undefined)
    assert.deepEqual([await cluster.run(other.get('k')), await cluster.run(apart.get('k'))], [1, 1])
    await cluster.stop()
  })

  it('refuses options that nobody knows, and says which was meant', () => {
    const node = { keyspace: () => assert.fail() }
    assert.throws(
      () => new KilovoltKeyv(node, { consistancy: 'one' } as object),
      error => isKilovoltError(error, 'KV_CONFIG') && error.message.includes('did you mean "consistency"')
    )
  })

  it('refuses what no serializer has made', async () => {
    const cluster = await createTestCluster(1, { seed: 25 })
    const store = new KilovoltKeyv(cluster.node(0))
    await assert.rejects(store.set('a', { value: 1 }), TypeError)
    await assert.rejects(store.setMany([{ key: 'a', value: 1 }]), TypeError)
    await cluster.stop()
  })

  it('tells Keyv of each failure once, also of a get that Keyv 5 takes for a miss', async () => {
    const cluster = await createTestCluster(1, { seed: 26 })
    const five = new Keyv(new KilovoltKeyv(cluster.node(0)))
    const six = new Keyv6({ store: new KilovoltKeyv(cluster.node(0)) })
    const strict = new Keyv({ store: new KilovoltKeyv(cluster.node(0)), throwOnErrors: true })
    await cluster.stop()
    for (const keyv of [five, six as unknown as Keyv]) {
      const errors: unknown[] = []
      keyv.on('error', (error: unknown) => void errors.push(error))
      assert.equal(await keyv.get('a'), undefined)
      assert.equal(await keyv.set('a', 1), false)
      assert.equal(await keyv.delete('a'), false)
      await keyv.clear()
      assert.equal(errors.length, 4)
      assert.ok(errors.every(error => isKilovoltError(error, 'KV_NODE_STOPPED')))
    }
    await assert.rejects(strict.get('a'), error => isKilovoltError(error, 'KV_NODE_STOPPED'))
    // What the guide says of the other methods of Keyv 5, with and without `throwOnErrors`.
    for (const keyv of [five, strict]) {
      const errors: unknown[] = []
      keyv.on('error', (error: unknown) => void errors.push(error))
      const reads = [keyv.getMany(['a']), keyv.has('a'), keyv.hasMany(['a']), keyv.getManyRaw(['a'])]
      for (const read of reads) await assert.rejects(read, error => isKilovoltError(error, 'KV_NODE_STOPPED'))
      assert.equal(errors.length, 0)
      await assert.rejects(keyv.getRaw('a'), error => isKilovoltError(error, 'KV_NODE_STOPPED'))
      assert.equal(errors.length, 1)
    }
    const errors: unknown[] = []
    five.on('error', (error: unknown) => void errors.push(error))
    assert.deepEqual(await five.setMany([{ key: 'a', value: 1 }]), [false])
    assert.equal(await five.deleteMany(['a']), false)
    assert.equal(errors.length, 2)
  })
})
