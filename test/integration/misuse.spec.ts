import assert from 'node:assert/strict'
import { isKilovoltError, type Keyspace, type Node, type PnCounts, PnCounter, resolvers } from 'kilovolt'
import { KilovoltKeyv } from 'kilovolt/keyv'
import { KilovoltLevel } from 'kilovolt/level'
import { createSessionStore, type SessionStore } from 'kilovolt/session'
import { createDriver, type KilovoltDriver } from 'kilovolt/unstorage'
import { NodeLab } from '../support/node-lab.ts'

/** A function of anything, as JavaScript sees it. */
type Loose = (...given: unknown[]) => unknown
type Methods = Readonly<Record<string, Loose>>

const NO_OPTIONS = [null, 5, 'x', true, [], () => {}]
const NO_SIGNALS = [null, 5, 'x', {}, AbortSignal]
const NO_LISTS = [undefined, null, 5, 'abc', {}, new Set(['a'])]
const NO_OBJECTS = [undefined, null, 5, 'abc', ['a']]
const NO_TEXTS = [undefined, null, 5, {}, ['a']]

describe('what makes no sense', () => {
  const lab = new NodeLab()
  let node: Node
  let indexed: Keyspace
  let counts: Keyspace<PnCounts>
  let keyv: KilovoltKeyv
  let driver: KilovoltDriver
  let sessions: SessionStore

  before(async () => {
    node = await lab.start()
    indexed = node.keyspace('indexed', { indexes: { all: () => 1 } })
    counts = node.keyspace<PnCounts>('counts', { conflicts: resolvers.pnCounter })
    keyv = new KilovoltKeyv(node)
    driver = createDriver(node)
    sessions = createSessionStore(node.keyspace('sessions'))
  })

  after(() => lab.clear())

  /** Calls that take options at their end, each with what comes before them. */
  const calls = (): readonly [name: string, call: (options: unknown) => unknown][] => {
    const methods = node as unknown as Methods
    const counter = new PnCounter(counts, 'c') as unknown as Methods
    return [
      ...(['get', 'getEntry', 'has', 'delete', 'persist'] as const).map(
        name => [name, (options: unknown) => methods[name]!('a', options)] as [string, (options: unknown) => unknown]
      ),
      ['getMany', options => methods['getMany']!(['a'], options)],
      ['put', options => methods['put']!('a', 1, options)],
      ['putIfAbsent', options => methods['putIfAbsent']!('a', 1, options)],
      ['touch', options => methods['touch']!('a', 1000, options)],
      ['update', options => methods['update']!('a', () => 1, options)],
      ['batch', options => methods['batch']!([], options)],
      ['entries', async options => (methods['entries']!(options) as ReturnType<Node['entries']>).next()],
      ['keys', async options => (methods['keys']!(options) as ReturnType<Node['keys']>).next()],
      ['values', async options => (methods['values']!(options) as ReturnType<Node['values']>).next()],
      ['query', async options => (indexed as unknown as Methods)['query']!('all', options)],
      ['count', options => methods['count']!(options)],
      ['clear', options => methods['clear']!(options)],
      ['watch', options => (methods['watch']!(options) as ReturnType<Node['watch']>).ready],
      ['settled', options => methods['settled']!(options)],
      ['repair', options => methods['repair']!(options)],
      ['leave', options => methods['leave']!(options)],
      ['PnCounter.add', options => counter['add']!(1, options)],
      ['PnCounter.value', options => counter['value']!(options)]
    ]
  }

  it('is refused as the options of each call: an object is expected, of options there are, with a signal that is one', async () => {
    await node.put('a', 1)
    for (const [name, call] of calls()) {
      for (const wrong of [...NO_OPTIONS, ...NO_SIGNALS.map(signal => ({ signal })), { nonsense: 1 }]) {
        const what = `${name} of ${JSON.stringify(wrong)}`
        await assert.rejects(
          async () => call(wrong),
          error => isKilovoltError(error, 'KV_CONFIG') && /options? of |"signal"/u.test(error.message),
          what
        )
      }
    }
    assert.equal(await node.get('a'), 1, 'nothing was cleared')
  })

  it('is refused by what returns a promise with a rejection, never with an exception', () => {
    const scans = ['entries', 'keys', 'values', 'query', 'watch']
    for (const [name, call] of calls().filter(([name]) => !scans.includes(name))) {
      for (const wrong of NO_OPTIONS) {
        const answer = call(wrong)
        assert.ok(answer instanceof Promise, name)
        answer.catch(() => {})
      }
    }
  })

  it('is refused as a number of copies where it would be passed over: of reads by writes, the other way round, beside a level', async () => {
    const methods = node as unknown as Methods
    const refused = async (call: () => unknown, told: RegExp): Promise<void> =>
      assert.rejects(
        async () => call(),
        error => isKilovoltError(error, 'KV_CONFIG') && told.test(error.message)
      )
    for (const [name, ...given] of [
      ['put', 1],
      ['putIfAbsent', 1],
      ['touch', 5],
      ['persist'],
      ['delete'],
      ['update', () => 1]
    ]) {
      await refused(() => methods[name as string]!('b', ...given, { r: 1 }), /"r".*has "w"/u)
      await refused(() => methods[name as string]!('b', ...given, { consistency: 'all', w: 1 }), /not both/u)
    }
    await refused(() => node.batch([], { r: 1 } as never), /"r".*has "w"/u)
    for (const name of ['get', 'getEntry', 'has']) {
      await refused(() => methods[name]!('b', { w: 1 }), /"w".*has "r"/u)
      await refused(() => methods[name]!('b', { consistency: 'one', r: 1 }), /not both/u)
    }
    await refused(() => node.getMany(['b'], { w: 1 } as never), /"w".*has "r"/u)
    await refused(() => node.keys({ consistency: 'all', r: 1 }).next(), /not both/u)
    // What reads and then writes takes both.
    await node.put('b', 1, { consistency: 'all', w: undefined })
    const both = { consistency: 'one', r: 1, w: 1 } as const
    assert.equal(await node.clear({ prefix: 'b', ...both }), 1)
    const counter = new PnCounter(counts, 'both')
    await counter.add(2, both)
    await refused(() => counter.value({ w: 1 } as never), /"w".*has "r"/u)
    assert.equal(await counter.value(), 2)
  })

  it('is refused as an option of Level where nobody knows it, and what Level’s own databases take is not', async () => {
    const refused = async (call: () => unknown, told: RegExp): Promise<void> =>
      assert.rejects(
        async () => call(),
        error => told.test(String((error as Error).cause ?? error))
      )
    await refused(() => new KilovoltLevel(node, { keyspce: 'x' } as never), /"keyspce".*did you mean "keyspace"/u)
    await refused(() => new KilovoltLevel(node, {} as never), /needs the name of a "keyspace"/u)
    const db = new KilovoltLevel<string>(node, { keyspace: 'level', createIfMissing: true })
    for (const wrong of [{ tll: 5 }, { r: 1 }, { TTL: 5 }, { consistancy: 'one' }]) {
      await refused(() => db.put('a', 'b', wrong as never), /is not an option of an operation/u)
      await refused(() => db.batch([{ type: 'put', key: 'a', value: 'b', ...wrong }]), /is not an option of/u)
    }
    await refused(() => db.get('a', { ttl: 5 } as never), /"ttl" is not an option/u)
    await refused(() => db.del('a', { ttl: 5 } as never), /"ttl" is not an option/u)
    assert.equal(await db.get('a'), undefined)
    await db.put('a', 'b', { sync: true, keyEncoding: 'utf8', tll: undefined, mine: 1, x: 1 } as never)
    await db.batch([{ type: 'put', key: 'c', value: 'd', ttl: 60_000 }], {
      ttl: 5000,
      consistency: 'all',
      sync: true
    } as never)
    assert.deepEqual(await db.iterator({ fillCache: true, limit: 5 } as never).all(), [
      ['a', 'b'],
      ['c', 'd']
    ])
    await db.sublevel('s').put('x', 'y', { ttl: 60_000 } as never)
    await db.clear({ gte: 'a' })
  })

  it('is told as such when the function of an update writes its own key, or waits for another update of it', async () => {
    const writes = node.update('own', async () => {
      await node.put('own', 'from within')
      return 'late'
    })
    await assert.rejects(
      writes,
      error => isKilovoltError(error, 'KV_CONTENDED') && error.message.includes('not from the function of an update')
    )
    let inner: Promise<unknown> | undefined
    const outer = node.update('own', () => {
      inner = node.update('own', () => 1, { timeoutMs: 100 })
      return inner
    })
    const told = { code: 'KV_TIMEOUT', message: /waits for itself/u }
    await assert.rejects(outer, told)
    await assert.rejects(inner!, { ...told, retryable: true, details: { outcome: 'not-executed' } })
    assert.equal(await node.get('own'), 'from within')
  })

  it('is refused as what a counter counts with, when its key holds something else', async () => {
    for (const [i, wrong] of [5, 'text', ['a'], { a: 1 }, { a: [1] }, { a: ['x', 1] }].entries()) {
      await counts.put(`wrong ${i}`, wrong as never)
      const counter = new PnCounter(counts, `wrong ${i}`)
      const told = { code: 'KV_INVALID_VALUE', message: /holds .* which no counter has stored/u }
      await assert.rejects(counter.value(), told)
      await assert.rejects(counter.add(1), told)
    }
  })

  it('is refused as a time to wait', async () => {
    for (const call of ['settled', 'leave']) {
      for (const timeoutMs of [0, -1, NaN, Infinity, '5', null]) {
        await assert.rejects(
          async () => (node as unknown as Methods)[call]!({ timeoutMs }),
          error => isKilovoltError(error, 'KV_CONFIG') && error.message.includes('"timeoutMs"'),
          `${call} ${timeoutMs}`
        )
      }
    }
    for (const verify of [1, 'yes', null]) {
      const told = (error: unknown): boolean => isKilovoltError(error, 'KV_CONFIG') && /"verify"/u.test(error.message)
      await assert.rejects(node.repair({ verify: verify as never }), told)
    }
  })

  it('is refused as a list, or as one of its elements, by a TypeError that names it', async () => {
    const of = (object: unknown, method: string) => (given: unknown) => (object as Methods)[method]!(given)
    const lists: readonly [argument: string, call: (given: unknown) => unknown][] = [
      ['keys', of(node, 'getMany')],
      ['operations', of(node, 'batch')],
      ['keys', of(keyv, 'getMany')],
      ['keys', of(keyv, 'hasMany')],
      ['keys', of(keyv, 'deleteMany')],
      ['entries', of(keyv, 'setMany')],
      ['items', of(driver, 'getItems')],
      ['items', of(driver, 'setItems')]
    ]
    for (const [argument, call] of lists) {
      const named = { name: 'TypeError', message: new RegExp(`^${argument}: an array is expected`, 'u') }
      for (const wrong of NO_LISTS) await assert.rejects(async () => call(wrong), named, argument)
      if (argument === 'keys') {
        const key = { name: 'TypeError', message: /^the key: a string is expected/u }
        for (const wrong of NO_TEXTS) await assert.rejects(async () => call(['a', wrong]), key)
        continue
      }
      const element = { name: 'TypeError', message: new RegExp(`^${argument}\\[0\\]: an object is expected`, 'u') }
      for (const wrong of NO_OBJECTS) await assert.rejects(async () => call([wrong]), element, argument)
      // oxlint-disable-next-line no-sparse-arrays -- a hole is what is looked at
      await assert.rejects(async () => call([,]), element, argument)
    }
    const typeless = [
      { type: 'del', key: 'a' },
      { key: 'a', value: 1 }
    ] as never
    await assert.rejects(node.batch(typeless), {
      name: 'TypeError',
      message: /^operations\[1\]: a batch operation is/u
    })
    await assert.rejects(node.batch([{ type: 'put', key: 'tlt', value: 1, tlt: 5 } as never]), {
      code: 'KV_CONFIG',
      message: /^operations\[0\]: .*"tlt".*"ttl"/u
    })
    assert.equal(await node.get('tlt'), undefined)
  })

  it('is refused as a key, a value or a function, by a TypeError that names it', async () => {
    const methods = node as unknown as Methods
    const store = keyv as unknown as Methods
    const items = driver as unknown as Methods
    const app = sessions as unknown as Methods
    for (const wrong of NO_TEXTS) {
      const key = { name: 'TypeError', message: /^the key: a string is expected, not / }
      for (const name of ['get', 'getEntry', 'has', 'delete', 'persist']) {
        await assert.rejects(async () => methods[name]!(wrong), key, name)
      }
      await assert.rejects(async () => methods['touch']!(wrong, 1), key)
      for (const name of ['put', 'putIfAbsent']) await assert.rejects(async () => methods[name]!(wrong, 1), key)
      await assert.rejects(async () => methods['update']!(wrong, () => 1), key)
      for (const name of ['get', 'has', 'delete']) await assert.rejects(async () => store[name]!(wrong), key)
      for (const name of ['hasItem', 'getItem', 'getItemRaw', 'removeItem']) {
        await assert.rejects(async () => items[name]!(wrong), key, name)
      }
      for (const name of ['setItem', 'setItemRaw']) await assert.rejects(async () => items[name]!(wrong, 'x'), key)
      await assert.rejects(async () => items['setItem']!('a', wrong), { message: /^the value: a string is expected/u })
      for (const name of ['get', 'destroy']) await assert.rejects(async () => app[name]!(wrong), key, name)
      await assert.rejects(async () => methods['update']!('a', wrong), {
        name: 'TypeError',
        message: /^update: a func/u
      })
      const ring = node.ring as unknown as Methods
      assert.throws(() => ring['owners']!(wrong), { name: 'TypeError', message: /^the key: a string or a Uint8Array/u })
    }
    for (const wrong of NO_OBJECTS) {
      const session = { name: 'TypeError', message: /^the session: an object is expected/u }
      for (const name of ['set', 'touch']) await assert.rejects(async () => app[name]!('a', wrong), session, name)
    }
    for (const wrong of [null, 5, {}]) {
      await assert.rejects(async () => app['get']!('a', wrong), { message: /^the callback: a function is expected/u })
    }
    const base = { name: 'TypeError', message: /^the base: a string is expected/u }
    for (const name of ['getKeys', 'clear']) await assert.rejects(async () => items[name]!(5), base)
    const ttl = { name: 'TypeError', message: /^the ttl: a number of ms is expected/u }
    await keyv.set('a', 'x')
    for (const wrong of ['5', {}]) await assert.rejects(async () => store['set']!('a', 'y', wrong), ttl)
    assert.equal(await keyv.get('a'), 'x', 'nothing was deleted')
  })

  it('is refused when something is made of it', () => {
    const config = (error: unknown): boolean => isKilovoltError(error, 'KV_CONFIG')
    const makers: readonly (readonly [(...given: unknown[]) => unknown, first: unknown])[] = [
      [(...[of, options]) => new KilovoltKeyv(of as Node, options as never), node],
      [(...[of, options]) => new KilovoltLevel(of as Node, options as never), node],
      [(...[of, options]) => createDriver(of as Node, options as never), node],
      [(...[of, options]) => createSessionStore(of as Keyspace<object>, options as never), node.keyspace('s')],
      [(...[of, options]) => new PnCounter(of as typeof counts, 'c', options as never), counts]
    ]
    for (const [make, first] of makers) {
      for (const wrong of [undefined, null, 5, {}]) {
        assert.throws(() => make(wrong, {}), {
          name: 'TypeError',
          message: /^the first argument: a (?:node|keyspace) is/u
        })
      }
      for (const wrong of NO_OPTIONS) assert.throws(() => make(first, wrong), config)
    }
    assert.throws(() => new KilovoltLevel(node, undefined as never), config)
    for (const actor of [null, 5, '', {}]) {
      assert.throws(() => new PnCounter(counts, 'c', { actor: actor as string }), config)
    }
    const { keyspace } = node as unknown as Methods
    for (const wrong of NO_OPTIONS) assert.throws(() => keyspace!.call(node, 'k', wrong), config)
    for (const wrong of NO_TEXTS) assert.throws(() => keyspace!.call(node, wrong), config)
    for (const option of [
      'keyEncoding',
      'valueEncoding',
      'compression',
      'conflicts',
      'indexes',
      'schema',
      'ttl',
      'r'
    ]) {
      for (const wrong of [null, NaN, Object.create(null) as object].slice(0, option === 'indexes' ? 2 : 3)) {
        assert.throws(() => keyspace!.call(node, 'k', { [option]: wrong }), config, option)
      }
    }
    for (const wrong of [...NO_TEXTS, Symbol('x')]) {
      assert.throws(() => (indexed as unknown as Methods)['query']!(wrong), config)
    }
  })

  it('is refused as a bound of a scan, whatever it is', async () => {
    for (const wrong of [-1, 1.5, NaN, '5', null, Symbol('x')]) {
      for (const option of ['limit', 'pageSize', 'reverse']) {
        const options = { [option]: wrong } as object
        const told = (error: unknown): boolean =>
          isKilovoltError(error, 'KV_CONFIG') && error.message.includes(`"${option}"`)
        assert.throws(() => node.entries(options), told)
        assert.throws(() => indexed.query('all', options), told)
        if (option !== 'pageSize') await assert.rejects(node.clear(options), told)
      }
    }
  })
})
