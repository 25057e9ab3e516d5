import assert from 'node:assert/strict'
import { isKilovoltError } from '../../../src/base/errors.ts'
import type { PutOptions } from '../../../src/node/keyspace.ts'
import type { Node } from '../../../src/node/node.ts'
import { createTestCluster, type TestCluster } from '../../../src/testing/test-cluster.ts'

/** Method: three nodes on virtual time, so that a value can be looked at the ms before it ends and the ms it does. */
describe('expiry', () => {
  let cluster: TestCluster
  let a: Node
  let b: Node
  before(async () => {
    cluster = await createTestCluster(3, { seed: 'expiry' })
    a = cluster.node(0)
    b = cluster.node(1)
  })
  after(() => cluster.stop())

  const run = <T>(promise: Promise<T>): Promise<T> => cluster.run(promise)
  const isConfig = (error: unknown): boolean => isKilovoltError(error, 'KV_CONFIG') && /ttl/u.test(error.message)

  it('ends a value on all nodes, at all levels, for all ways to look at it', async () => {
    await run(a.put('k', 1, { ttl: 1000 }))
    await cluster.advance(900)
    for (const consistency of ['one', 'quorum', 'all'] as const) assert.equal(await run(b.get('k', { consistency })), 1)
    const entry = await run(b.getEntry('k'))
    assert.ok(entry?.ttl !== undefined && entry.ttl > 0 && entry.ttl <= 100, String(entry?.ttl))
    await cluster.advance(150)
    for (const node of [a, b, cluster.node(2)]) {
      for (const consistency of ['one', 'quorum', 'all'] as const) {
        assert.equal(await run(node.get('k', { consistency })), undefined)
        assert.equal(await run(node.has('k', { consistency })), false)
        assert.equal(await run(node.getEntry('k', { consistency })), undefined)
        assert.deepEqual(await run(node.getMany(['k'], { consistency })), [undefined])
      }
    }
    assert.equal(await run(b.delete('k')), false)
  })

  it('tells nobody who deletes that there was a value, in a batch of calls neither, at any level', async () => {
    for (const consistency of ['one', 'quorum', 'all', 'any'] as const) {
      const keys = Array.from({ length: 8 }, (_, i) => `${consistency}-${i}`)
      await run(Promise.all(keys.map(key => a.put(key, 1, { ttl: 50 }))))
      const lasting = `${consistency}-lasting`
      await run(a.put(lasting, 1))
      await cluster.advance(60)
      const found = await run(Promise.all([...keys, lasting].map(key => b.delete(key, { consistency }))))
      assert.deepEqual(found, [...keys.map(() => false), true], consistency)
    }
  })

  it('counts as little as a deletion does when it is newer than what is written at `one`', async () => {
    cluster.jumpClock(2, -8000)
    const keys = Array.from({ length: 6 }, (_, i) => `newer-${i}`)
    await run(Promise.all(keys.map(key => a.put(key, 1, { consistency: 'all' }))))
    await cluster.advance(2000)
    await run(Promise.all(keys.map(key => a.delete(key, { consistency: 'one' }))))
    await cluster.advance(20)
    // It has heard of nothing that is later than the puts, so its deletions are older than the others.
    const late = keys.map(key => cluster.node(2).delete(key, { consistency: 'one' }))
    assert.deepEqual(
      await run(Promise.all(late)),
      keys.map(() => false)
    )
    cluster.jumpClock(2, 8000)
  })

  it('belongs to the keyspace, unless a call names its own, or none', async () => {
    const sessions = a.keyspace<number>('sessions', { ttl: 500 })
    await run(
      sessions.batch([
        { type: 'put', key: 'own', value: 1, ttl: 2000 },
        { type: 'put', key: 'default', value: 2 },
        { type: 'put', key: 'ever', value: 3, ttl: Infinity },
        { type: 'del', key: 'gone' }
      ])
    )
    await run(sessions.put('call', 4, { ttl: 2000 }))
    await run(sessions.put('plain', 5))
    await run(sessions.put('for ever', 6, { ttl: Infinity }))
    await run(sessions.batch([{ type: 'put', key: 'of the batch', value: 7 }], { ttl: 2000 }))
    const keys = ['own', 'default', 'ever', 'call', 'plain', 'for ever', 'of the batch']
    const others = b.keyspace<number>('sessions')
    assert.deepEqual(await run(others.getMany(keys)), [1, 2, 3, 4, 5, 6, 7])
    await cluster.advance(600)
    assert.deepEqual(await run(others.getMany(keys)), [1, undefined, 3, 4, undefined, 6, 7])
    await cluster.advance(1500)
    assert.deepEqual(await run(others.getMany(keys)), [undefined, undefined, 3, undefined, undefined, 6, undefined])
    assert.equal((await run(others.getEntry('ever')))?.expiresAt, undefined)
  })

  it('goes with the value: a plain put takes it away, and a delete leaves none', async () => {
    await run(a.put('k2', 1, { ttl: 200 }))
    await run(b.put('k2', 2))
    await cluster.advance(300)
    assert.equal(await run(a.get('k2')), 2)
  })

  it('does not uncover the value before it', async () => {
    await run(a.put('k3', 'old'))
    await run(a.put('k3', 'new', { ttl: 100 }))
    await cluster.advance(150)
    for (const consistency of ['one', 'quorum', 'all'] as const)
      assert.equal(await run(b.get('k3', { consistency })), undefined)
  })

  it('is refused when it is no time', async () => {
    for (const ttl of [0, -1, 1.5, NaN, 1e14 + 1, -Infinity, '5' as unknown as number]) {
      await assert.rejects(a.put('x', 1, { ttl }), isConfig)
      await assert.rejects(a.batch([{ type: 'put', key: 'x', value: 1, ttl }]), isConfig)
      await assert.rejects(a.touch('x', ttl), isConfig)
      assert.throws(() => a.keyspace('x', { ttl }), isConfig)
    }
    await assert.rejects(a.delete('x', { ttl: 5 } as PutOptions), isConfig)
    await assert.rejects(a.get('x', { ttl: 5 } as object), isConfig)
    await assert.rejects(a.batch([{ type: 'del', key: 'x', ttl: 5 } as { type: 'del'; key: string }]), isConfig)
    assert.equal(await run(a.get('x')), undefined)
    await run(a.put('far', 1, { ttl: 1e14 }))
    assert.ok((await run(b.getEntry('far')))!.expiresAt! > 1e14)
  })

  it('is counted from the moment that counts when the clock of the writer is behind', async () => {
    await run(a.put('skew', 0))
    cluster.jumpClock(1, -8000)
    await run(b.put('skew', 1, { ttl: 1000, consistency: 'all' }))
    assert.equal(await run(a.get('skew')), 1)
    await cluster.advance(900)
    assert.equal(await run(a.get('skew')), 1)
    await cluster.advance(200)
    assert.equal(await run(a.get('skew')), undefined)
    cluster.jumpClock(1, 8000)
  })
})

describe('touch and persist', () => {
  let cluster: TestCluster
  let a: Node
  let b: Node
  before(async () => {
    cluster = await createTestCluster(3, { seed: 'touch' })
    a = cluster.node(0)
    b = cluster.node(1)
  })
  after(() => cluster.stop())
  const run = <T>(promise: Promise<T>): Promise<T> => cluster.run(promise)

  it('give a value that is there another end, or none', async () => {
    const sessions = a.keyspace<string>('s', { ttl: 300 })
    await run(sessions.put('k', 'v'))
    for (let i = 0; i < 5; i++) {
      await cluster.advance(200)
      assert.equal(await run(sessions.touch('k')), true)
    }
    await run(b.keyspace('s').touch('k', 1000))
    await cluster.advance(900)
    assert.equal(await run(sessions.get('k')), 'v')
    assert.equal(await run(b.keyspace('s').persist('k')), true)
    await cluster.advance(5000)
    assert.deepEqual(Object.keys((await run(sessions.getEntry('k')))!), ['value', 'version'])
    assert.equal(await run(sessions.persist('k')), false)
    assert.equal(await run(sessions.touch('k', Infinity)), true)
  })

  it('do nothing to what is not there', async () => {
    await run(a.put('gone', 1, { ttl: 100 }))
    await cluster.advance(150)
    assert.equal(await run(b.touch('gone', 1000)), false)
    assert.equal(await run(b.touch('gone', Infinity)), false)
    assert.equal(await run(b.persist('gone')), false)
    assert.equal(await run(b.touch('never', 1000)), false)
    assert.equal(await run(a.get('gone')), undefined)
  })

  it('need a time from somewhere', async () => {
    await assert.rejects(a.touch('k'), (error: unknown) => isKilovoltError(error, 'KV_CONFIG'))
  })

  /** A pause of virtual time within what `run` runs: as many reads as take about so long. */
  async function later(ms: number): Promise<void> {
    for (let i = 0; i < ms; i++) await b.get(`other-${i}`)
  }

  it('never undo a write that they have not seen, whoever is first', async () => {
    for (let i = 0; i < 60; i++) {
      const key = `race-${i}`
      await run(a.put(key, 'old', { ttl: 60_000 }))
      const [touched] = await run(
        Promise.all([cluster.node(2).touch(key, 30_000), later(i % 6).then(() => b.put(key, 'new', { ttl: 90_000 }))])
      )
      assert.equal(touched, true)
      assert.equal(await run(a.get(key, { consistency: 'all' })), 'new', key)
    }
  })

  it('of several nodes at once leave one of the ends they gave, the same everywhere', async () => {
    await run(a.put('all', 1, { ttl: 1000 }))
    const given = [20_000, 30_000, 40_000]
    await run(Promise.all(given.map((ttl, i) => cluster.node(i).touch('all', ttl))))
    const ends = new Set<number | undefined>()
    for (const i of [0, 1, 2]) ends.add((await run(cluster.node(i).getEntry('all', { consistency: 'all' })))?.expiresAt)
    assert.equal(ends.size, 1)
    assert.ok([...ends][0]! > 0)
  })
})
