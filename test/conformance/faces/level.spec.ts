import assert from 'node:assert/strict'
import { AbstractLevel } from 'abstract-level'
import fc from 'fast-check'
import { isKilovoltError, type Node } from 'kilovolt'
import { KilovoltLevel, LevelError } from 'kilovolt/level'
import { createTestCluster, type TestCluster } from 'kilovolt/testing'
import { MemoryLevel } from 'memory-level'
import { NodeLab } from '../../support/node-lab.ts'

function level(code: string, cause: Parameters<typeof isKilovoltError>[1]): (error: unknown) => boolean {
  return error => {
    assert.ok(error instanceof LevelError, String(error))
    assert.equal(error.code, code)
    assert.ok(isKilovoltError(error.cause, cause), String(error.cause))
    return true
  }
}

describe('KilovoltLevel', () => {
  const lab = new NodeLab()
  let node: Node
  before(async () => {
    node = await lab.start({ partitions: 64 })
  })
  after(() => lab.clear())

  it('is an abstract-level database that says what it can and cannot', async () => {
    const db = new KilovoltLevel(node, { keyspace: 'manifest' })
    assert.ok(db instanceof AbstractLevel)
    const { supports } = db
    assert.equal(supports.permanence, false, 'this node is in memory')
    assert.deepEqual(
      [supports.implicitSnapshots, supports.explicitSnapshots, 'getSync' in supports && supports.getSync],
      [false, false, false]
    )
    assert.deepEqual([supports.has, supports.seek, supports.signals.iterators], [true, true, true])
    assert.equal(db.keyspace, 'manifest')
    assert.throws(
      () => new KilovoltLevel(node, { keyspace: 'x'.repeat(65) }),
      error => isKilovoltError(error, 'KV_CONFIG')
    )
  })

  it('is the same data in every database over a keyspace, and outlives each of them', async () => {
    const a = new KilovoltLevel<string, { n: number }>(node, { keyspace: 'shared', valueEncoding: 'json' })
    const b = new KilovoltLevel<string, { n: number }>(node, { keyspace: 'shared', valueEncoding: 'json' })
    await a.put('k', { n: 1 })
    await a.close()
    assert.deepEqual(await b.get('k'), { n: 1 })
    await a.open()
    assert.deepEqual(await a.get('k'), { n: 1 })
  })

  it('iterates as a database on one machine does, whatever the range, direction, limit and seeks', async () => {
    const key = fc.uint8Array({ maxLength: 2 }).map(bytes => Buffer.from(bytes.map(byte => (byte % 3) * 100)))
    const steps = fc.array(
      fc.oneof(
        key.map(seek => ({ seek })),
        fc.integer({ min: 1, max: 4 }).map(take => ({ take }))
      )
    )
    const bound = fc.option(key, { nil: undefined })
    const range = fc
      .record({ gt: bound, gte: bound, lt: bound, lte: bound })
      .map(bounds => Object.fromEntries(Object.entries(bounds).filter(([, value]) => value !== undefined)))
    const property = fc.asyncProperty(
      fc.uniqueArray(key, { selector: bytes => bytes.toString('hex'), maxLength: 12 }),
      range,
      fc.record({ reverse: fc.boolean(), limit: fc.integer({ min: -1, max: 6 }) }),
      steps,
      async (keys, bounds, rest, walk) => {
        const encodings = { keyEncoding: 'buffer', valueEncoding: 'buffer' } as const
        const model = new MemoryLevel<Buffer, Buffer>(encodings)
        const db = new KilovoltLevel<Buffer, Buffer>(node, { ...encodings, keyspace: 'walks' })
        await db.clear()
        for (const database of [model, db]) {
          await database.batch(keys.map(bytes => ({ type: 'put', key: bytes, value: bytes })))
        }
        const [expected, actual] = [model.iterator({ ...bounds, ...rest }), db.iterator({ ...bounds, ...rest })]
        for (const step of walk) {
          if ('seek' in step) for (const iterator of [expected, actual]) iterator.seek(step.seek)
          else assert.deepEqual(await actual.nextv(step.take), await expected.nextv(step.take))
        }
        assert.deepEqual(await actual.all(), await expected.all())
        await Promise.all([model.clear({ ...bounds, ...rest }), db.clear({ ...bounds, ...rest })])
        assert.deepEqual(await db.keys().all(), await model.keys().all())
      }
    )
    await fc.assert(property, { numRuns: 100 })
  }).timeout(40_000)

  it('sees no tag in a key: what looks like one is spread over the partitions', async () => {
    const keys = Array.from({ length: 40 }, (_, i) => `{same}${i}`)
    const plain = new KilovoltLevel(node, { keyspace: 'untagged' })
    const tagged = new KilovoltLevel(node, { keyspace: 'tagged', hashTags: true })
    for (const db of [plain, tagged]) {
      await db.batch(keys.map(key => ({ type: 'put', key, value: '' })))
      assert.deepEqual(await db.keys().all(), keys.toSorted())
    }
    // As the ring sees the keys that are stored.
    const partitions = (prefix: string): number => new Set(keys.map(key => node.ring.partitionOf(prefix + key))).size
    assert.equal(partitions(''), 1)
    assert.ok(partitions('{}') > 20)
    assert.equal(await node.keyspace('untagged', { valueEncoding: 'utf8' }).has('{}{same}7'), true)
    assert.equal(await node.keyspace('tagged', { valueEncoding: 'utf8' }).has('{same}7'), true)
  })

  it('shares a keyspace with code that does not go through Level, when told to', async () => {
    const users = node.keyspace<{ name: string }>('users')
    await users.put('ada', { name: 'Ada' })
    const db = new KilovoltLevel<string, { name: string }>(node, {
      keyspace: 'users',
      valueEncoding: 'json',
      hashTags: true
    })
    assert.deepEqual(await db.iterator().all(), [['ada', { name: 'Ada' }]])
    await db.put('bob', { name: 'Bob' })
    assert.deepEqual(await users.get('bob'), { name: 'Bob' })
    // Without, each sees only its own, and clears only that.
    const apart = new KilovoltLevel(node, { keyspace: 'users' })
    assert.deepEqual(await apart.keys().all(), [])
    await apart.clear()
    assert.equal(await users.count(), 2)
  })

  it('tells failures in Level’s terms, with the library’s error as cause', async () => {
    const db = new KilovoltLevel(node, { keyspace: 'failures' })
    await db.open()
    await assert.rejects(db.put('k'.repeat(1023), 'v'), level('LEVEL_REMOTE_ERROR', 'KV_KEY_TOO_LARGE'))
    await db.put('k'.repeat(1022), 'v')
    await assert.rejects(db.get('k', { r: 9 }), level('LEVEL_REMOTE_ERROR', 'KV_QUORUM_NOT_REACHED'))
    await assert.rejects(
      db.batch([{ type: 'put', key: 'k'.repeat(1023), value: 'v' }]),
      level('LEVEL_REMOTE_ERROR', 'KV_BATCH_FAILED')
    )
    const signal = AbortSignal.abort()
    for (const call of [
      () => db.get('k', { signal }),
      () => db.getMany(['k'], { signal }),
      () => db.put('k', 'v', { signal }),
      () => db.del('k', { signal }),
      () => db.batch([{ type: 'del', key: 'k' }], { signal }),
      () => db.clear({ signal })
    ]) {
      await assert.rejects(call(), level('LEVEL_ABORTED', 'KV_ABORTED'))
    }
    await assert.rejects(db.put('k', undefined as unknown as string), { code: 'LEVEL_INVALID_VALUE' })
  })
})

describe('KilovoltLevel over three nodes', () => {
  let cluster: TestCluster
  beforeEach(async () => {
    cluster = await createTestCluster(3, { seed: 23 })
  })
  afterEach(() => cluster.stop())

  it('hands ttl down to the keyspace: from puts, batches, single operations and sublevels', async () => {
    const db = new KilovoltLevel(cluster.node(0), { keyspace: 'life' })
    const other = new KilovoltLevel(cluster.node(1), { keyspace: 'life' })
    await cluster.run(db.open())
    await cluster.run(db.put('a', '1', { ttl: 1000 }))
    await cluster.run(
      db.batch(
        [
          { type: 'put', key: 'b', value: '1' },
          { type: 'put', key: 'c', value: '1', ttl: 60_000 }
        ],
        { ttl: 1000 }
      )
    )
    const sublevel = db.sublevel('sub')
    await cluster.run(sublevel.put('d', '1', { ttl: 1000 } as object))
    await cluster.run(db.put('e', '1'))
    assert.equal((await cluster.run(other.keys().all())).length, 5)
    await cluster.advance(1100)
    assert.deepEqual(await cluster.run(other.keys().all()), ['c', 'e'])
  })

  it('hands consistency and deadline down, and goes on where a scan failed', async () => {
    const db = new KilovoltLevel(cluster.node(0), { keyspace: 'levels' })
    const all = ['a', 'b', 'c', 'd']
    await cluster.run(db.batch(all.map(key => ({ type: 'put', key, value: key }))))
    const iterator = db.keys({ timeoutMs: 2000 })
    assert.equal(await cluster.run(iterator.next()), 'a')
    const anew = db.keys({ timeoutMs: 2000 })
    cluster.split([0], [1, 2])
    await cluster.advance(10_000)
    await assert.rejects(cluster.run(db.get('a')), level('LEVEL_REMOTE_ERROR', 'KV_QUORUM_NOT_REACHED'))
    assert.equal(await cluster.run(db.get('a', { consistency: 'one' })), 'a')
    assert.deepEqual(await cluster.run(db.values({ consistency: 'one' }).all()), all)
    await assert.rejects(cluster.run(anew.next()), { code: 'LEVEL_REMOTE_ERROR' })
    cluster.heal()
    await cluster.settled()
    assert.deepEqual(await cluster.run(anew.nextv(2)), ['a', 'b'])
    assert.deepEqual(await cluster.run(anew.nextv(9)), ['c', 'd'])
    await cluster.run(anew.close())
    await cluster.run(iterator.close())
  })
})
