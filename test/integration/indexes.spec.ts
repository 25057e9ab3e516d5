import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { ClassicLevel } from 'classic-level'
import { isKilovoltError, type IndexMatch, type Keyspace, type Node, type Scan } from 'kilovolt'
import { pause } from '../../src/runtime/clock.ts'
import { systemClock } from '../../src/runtime/system-clock.ts'
import { NodeLab } from '../support/node-lab.ts'

/** Not compiled: an index is known by the text of its function, which must be what this process has. */
const CHILD = fileURLToPath(new URL('kill-indexes-child.ts', import.meta.url))

interface User {
  readonly email: string
  readonly age?: number
  readonly tags?: readonly string[]
}

const indexes = {
  byEmail: (user: User) => user.email,
  byAge: (user: User) => user.age,
  byTag: (user: User) => user.tags
}

/** Keys in the order of a query. */
async function keys(query: Scan<IndexMatch<User>>): Promise<string[]> {
  return (await query.all()).map(({ key }) => key)
}

function open(node: Node): Keyspace<User, string, User, 'byEmail' | 'byAge' | 'byTag'> {
  return node.keyspace('users', { indexes })
}

/** Waits until this node has built all of its indexes. */
async function built(...nodes: readonly Node[]): Promise<void> {
  for (const node of nodes) {
    while (node.status().indexes.some(({ state }) => state !== 'ready')) await pause(systemClock, 10)
  }
}

describe('indexes', function () {
  this.timeout(120_000)

  const lab = new NodeLab()
  afterEach(() => lab.clear())

  async function cluster(count: number): Promise<readonly Node[]> {
    const nodes = [await lab.start({ partitions: 64 })]
    while (nodes.length < count) nodes.push(await lab.start({ partitions: 64, bootstrap: [...nodes[0]!.addresses] }))
    await Promise.all(nodes.map(node => node.settled()))
    return nodes
  }

  it('find records by equality and by range, on every node, whoever wrote them', async () => {
    const nodes = await cluster(3)
    const all = nodes.map(open)
    for (let i = 0; i < 60; i++) {
      await all[i % 3]!.put(`u${i}`, { email: `${i}@example.com`, age: i, tags: [i % 2 === 0 ? 'even' : 'odd', 'all'] })
    }
    await built(...nodes)
    for (const users of all) {
      assert.deepEqual(await users.query('byEmail', { equals: '7@example.com' }).all(), [
        { key: 'u7', value: { email: '7@example.com', age: 7, tags: ['odd', 'all'] }, index: '7@example.com' }
      ])
      assert.deepEqual(await keys(users.query('byAge', { gte: 10, lt: 13 })), ['u10', 'u11', 'u12'])
      assert.deepEqual(await keys(users.query('byAge', { gt: 56, reverse: true })), ['u59', 'u58', 'u57'])
      assert.deepEqual(await keys(users.query('byEmail', { prefix: '5', limit: 3 })), ['u50', 'u51', 'u52'])
      assert.equal((await keys(users.query('byTag', { equals: 'odd', pageSize: 7 }))).length, 30)
      assert.equal((await keys(users.query('byTag'))).length, 120)
      assert.deepEqual(await keys(users.query('byAge', { equals: 70 })), [])
    }
  })

  it('follow what is changed and deleted, whatever is compressed, and leave out what has expired', async () => {
    const node = await lab.start()
    const users = node.keyspace('users', { indexes, compression: 'zstd', compressAbove: 16 })
    const long = 'x'.repeat(200_000)
    await users.put('a', { email: 'old@x', age: 1, tags: [long.slice(0, 900)] })
    await users.put('a', { email: 'new@x', age: 2 })
    await users.put('b', { email: 'gone@x', age: 2 })
    await users.delete('b')
    await users.put('c', { email: 'short@x', age: 2 }, { ttl: 1 })
    await users.put('d', { email: 'new@x' })
    await pause(systemClock, 20)
    assert.deepEqual(await keys(users.query('byEmail')), ['a', 'd'])
    assert.deepEqual(await keys(users.query('byAge')), ['a'])
    assert.deepEqual(await keys(users.query('byTag')), [])
  })

  it('go on behind a token, on another node', async () => {
    const nodes = await cluster(2)
    const all = nodes.map(open)
    for (let i = 0; i < 20; i++) await all[0]!.put(`u${i}`, { email: `${i}@x`, age: i % 3 })
    await built(...nodes)
    const whole = await all[0]!.query('byAge').all()
    const first = all[0]!.query('byAge', { limit: 8 })
    const some = await first.all()
    const rest = await all[1]!.query('byAge', { after: first.token! }).all()
    assert.deepEqual([...some, ...rest], whole)
    assert.throws(() => all[1]!.query('byEmail', { after: first.token! }), { code: 'KV_TOKEN' })
    assert.throws(() => all[1]!.entries({ after: first.token! }), { code: 'KV_TOKEN' })
  })

  it('are built by a node that joins late, of what comes to it', async () => {
    const [first] = await cluster(1)
    const users = open(first!)
    for (let i = 0; i < 200; i++) await users.put(`u${i}`, { email: `${i}@x`, age: i })
    const late = await lab.start({ partitions: 64, bootstrap: [...first!.addresses] })
    const same = open(late)
    await Promise.all([first!, late].map(node => node.settled()))
    await built(first!, late)
    await first!.leave()
    assert.deepEqual(await keys(same.query('byAge', { gte: 100, lte: 102 })), ['u100', 'u101', 'u102'])
    assert.equal((await keys(same.query('byEmail'))).length, 200)
  })

  it('say so when nobody that owns a partition has built them, and are found once somebody has', async () => {
    const nodes = await cluster(2)
    const [users, other] = [open(nodes[0]!), nodes[1]!.keyspace<User>('users')]
    for (let i = 0; i < 10; i++) await other.put(`u${i}`, { email: `${i}@x` })
    await built(nodes[0]!)
    assert.throws(() => other.query('byEmail'), { code: 'KV_CONFIG' })
    // Another definition is another index.
    const text = nodes[1]!.keyspace<User>('users', { indexes: { byEmail: { of: ({ email }) => email, version: 2 } } })
    await built(nodes[1]!)
    assert.equal((await keys(text.query('byEmail'))).length, 10)
    await nodes[1]!.stop()
    assert.equal((await keys(users.query('byEmail', { consistency: 'one' }))).length, 10)
  })

  it('rejects with KV_INDEX_NOT_READY when the time is up', async () => {
    const nodes = await cluster(2)
    const only = nodes[0]!.keyspace<User>('users', { indexes: { byEmail: (user: User) => user.email } })
    await built(nodes[0]!)
    // With one copy of each partition the other node holds half of them.
    await nodes[0]!.leave()
    await assert.rejects(only.query('byEmail').all(), { code: 'KV_NODE_STOPPED' })
    const rest = await lab.start({ partitions: 64, bootstrap: [...nodes[1]!.addresses], weight: 0 })
    const asked = rest.keyspace<User>('users', { indexes: { byEmail: (user: User) => user.email } })
    const error = await asked
      .query('byEmail', { timeoutMs: 300 })
      .all()
      .catch((thrown: unknown) => thrown)
    assert.ok(isKilovoltError(error, 'KV_INDEX_NOT_READY') && error.retryable, String(error))
  })

  it('are taken over from a disk, made up for what was missed, and built anew when their definition changes', async () => {
    const folder = lab.folder()
    const database = (): ClassicLevel => new ClassicLevel(folder)
    const first = await lab.start({ storage: database() })
    const users = open(first)
    for (let i = 0; i < 300; i++) await users.put(`u${i}`, { email: `${i}@x`, age: i })
    await built(first)
    await first.stop()

    const second = await lab.start({ storage: database() })
    await second.keyspace<User>('users').put('u5', { email: 'five@x', age: 1005 })
    const same = open(second)
    await built(second)
    assert.deepEqual(
      second.status().indexes.map(status => status.built),
      [0, 0, 0]
    )
    assert.deepEqual(await keys(same.query('byAge', { gte: 298 })), ['u298', 'u299', 'u5'])
    assert.deepEqual(await keys(same.query('byAge', { equals: 5 })), [])
    await second.stop()

    const third = await lab.start({ storage: database() })
    const changed = third.keyspace<User>('users', { indexes: { byAge: (user: User) => -user.age! } })
    await built(third)
    assert.deepEqual(await keys(changed.query('byAge', { lte: -298 })), ['u5', 'u299', 'u298'])
    assert.throws(() => third.keyspace('users', { indexes }), { code: 'KV_CONFIG' })
  })

  it('fit their records after a kill, whenever it comes, and nothing has to be built', async () => {
    const folder = lab.folder()
    for (let round = 0; round < 3; round++) {
      const child = fork(CHILD, [folder], { execArgv: ['--import', 'tsx/esm', '--conditions=kilovolt-source'] })
      for (let told = 0; told < 2 + round; told++) await once(child, 'message')
      child.kill('SIGKILL')
      await once(child, 'exit')
      const node = await lab.start({ storage: new ClassicLevel(folder) })
      const words = node.keyspace('words', { indexes: { byLast: (text: string) => [text.at(-1), text.length] } })
      assert.deepEqual(
        node.status().indexes.map(({ state, ready }) => [state, ready]),
        [['ready', 256]]
      )
      const held = await words.entries().all()
      const wanted = held.flatMap(([key, text]) => [`${text.at(-1)} ${key}`, `${text.length} ${key}`])
      const found = (await words.query('byLast').all()).map(({ index, key }) => `${String(index)} ${key}`)
      assert.deepEqual(found.toSorted(), wanted.toSorted())
      assert.ok(held.length > 100)
      await node.stop()
    }
  })

  it('stores what cannot be indexed, and tells of it once', async () => {
    const node = await lab.start()
    const failures: string[] = []
    node.addEventListener('index:failed', ({ detail }) => {
      failures.push(`${detail.keyspace}.${detail.index} ${Buffer.from(detail.key).toString()}`)
    })
    const users = node.keyspace('users', {
      indexes: {
        byName: (user: { name?: string | null }) => user.name!.toLowerCase(),
        byEverything: (user: { name?: string | null }) => user as never
      }
    })
    await users.put('a', { name: 'Ada' })
    await users.put('b', {})
    await users.put('c', { name: 'x'.repeat(2000) })
    await users.put('d', { name: 'Dan' })
    assert.deepEqual(
      (await users.query('byName').all()).map(({ key }) => key),
      ['a', 'd']
    )
    assert.deepEqual(await users.getMany(['b']), [{}])
    assert.deepEqual(failures.toSorted(), ['users.byEverything a', 'users.byName b'])
    assert.deepEqual(
      node.status().indexes.map(({ index, failed }) => [index, failed]),
      [
        ['byName', 2],
        ['byEverything', 4]
      ]
    )
  })
})
