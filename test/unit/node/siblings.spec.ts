import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import {
  isKilovoltError,
  KilovoltError,
  type Keyspace,
  type KeyspaceOptions,
  type OperationOptions,
  PnCounter,
  type PnCounts,
  resolvers
} from '../../../src/index.ts'
import { systemClock } from '../../../src/runtime/system-clock.ts'
import { createSessionStore, type SessionData } from '../../../src/session/index.ts'
import { createTestCluster, type TestCluster } from '../../../src/testing/index.ts'

let cluster: TestCluster
const clusters: TestCluster[] = []

afterEach(async () => {
  for (const made of clusters.splice(0)) await made.stop()
})

/** Nodes in one simulated world. */
async function start(size: number): Promise<void> {
  cluster = await createTestCluster(size, { seed: 3 })
  clusters.push(cluster)
}

/** The same keyspace on each node. */
async function keyspaces<V>(size: number, options: KeyspaceOptions<V, string>): Promise<Keyspace<V>[]> {
  await start(size)
  return Array.from({ length: size }, (_, i) => cluster.node(i).keyspace<V>('k', options))
}

const run = <T>(promise: Promise<T>): Promise<T> => cluster.run(promise)

const codeOf = (promise: Promise<unknown>): Promise<string> => run(failureOf(promise))

function failureOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'none',
    (error: unknown) => (isKilovoltError(error) ? error.code : String(error))
  )
}

describe('a keyspace with siblings', () => {
  it('says that it is one, and is refused for sessions', async () => {
    await start(1)
    const node = cluster.node(0)
    assert.deepEqual([node.conflicts, node.keyspace('a').conflicts], ['newest', 'newest'])
    createSessionStore(node.keyspace<SessionData>('a'))
    for (const conflicts of ['siblings', resolvers.deepMerge] as const) {
      const keyspace = node.keyspace<SessionData>('b', { conflicts })
      assert.equal(keyspace.conflicts, 'siblings')
      assert.throws(() => createSessionStore(keyspace), { code: 'KV_CONFIG' })
    }
  })

  it('keeps what was put without having seen each other, until somebody has seen all of it', async () => {
    const [a, b, c] = (await keyspaces<string>(3, { conflicts: 'siblings' })) as [
      Keyspace<string>,
      Keyspace<string>,
      Keyspace<string>
    ]
    await run(Promise.all([a.put('x', 'from a'), b.put('x', 'from b')]))
    const entry = (await run(c.getEntry('x')))!
    assert.deepEqual(new Set(entry.siblings), new Set(['from a', 'from b']))
    assert.equal(entry.value, entry.siblings!.at(-1))
    assert.equal(await run(c.get('x')), entry.value)
    await run(a.put('x', 'beside'))
    await run(c.put('x', 'merged', { context: entry.context! }))
    assert.deepEqual((await run(b.getEntry('x')))!.siblings, ['beside', 'merged'])
    const seen = (await run(b.getEntry('x')))!.context!
    await run(b.put('x', 'one', { context: seen }))
    const one = (await run(a.getEntry('x')))!
    assert.deepEqual([one.value, one.siblings], ['one', ['one']])
  })

  it('deletes what was seen, and no more', async () => {
    const [a, b] = (await keyspaces<string>(2, { conflicts: 'siblings' })) as [Keyspace<string>, Keyspace<string>]
    await run(a.put('x', 'first'))
    const { context } = (await run(a.getEntry('x')))!
    await run(b.put('x', 'second'))
    assert.equal(await run(a.delete('x', { context: context! })), true)
    assert.deepEqual((await run(b.getEntry('x')))!.siblings, ['second'])
    assert.equal(await run(b.delete('x')), true)
    assert.equal(await run(a.get('x')), undefined)
    assert.equal(await run(a.getEntry('x')), undefined)
    assert.equal(await run(b.delete('x')), false)
    await run(b.put('x', 'again'))
    assert.equal(await run(a.get('x')), 'again')
  })

  it('is written by those who own nothing of a key through those who do', async () => {
    const all = await keyspaces<string>(6, { conflicts: 'siblings' })
    await run(Promise.all(all.map((keyspace, i) => keyspace.put('x', `from ${i}`))))
    const entry = (await run(all[5]!.getEntry('x')))!
    assert.deepEqual([...entry.siblings!].sort(), ['from 0', 'from 1', 'from 2', 'from 3', 'from 4', 'from 5'])
    await run(all[0]!.put('x', 'all', { context: entry.context! }))
    for (const keyspace of all) assert.deepEqual((await run(keyspace.getEntry('x')))!.siblings, ['all'])
  })

  it('keeps both sides of a split', async () => {
    const all = await keyspaces<string>(3, { conflicts: 'siblings', consistency: 'one' })
    await run(all[0]!.put('x', 'before', { consistency: 'all' }))
    const { context } = (await run(all[0]!.getEntry('x')))!
    cluster.split([0], [1, 2])
    await run(
      Promise.all([all[0]!.put('x', 'left', { context: context! }), all[1]!.put('x', 'right', { context: context! })])
    )
    assert.deepEqual((await run(all[0]!.getEntry('x')))!.siblings, ['left'])
    cluster.heal()
    await cluster.settled()
    const entry = (await run(all[2]!.getEntry('x', { consistency: 'all' })))!
    assert.deepEqual([...entry.siblings!].sort(), ['left', 'right'])
  })

  it('loses none to a copy that is being made, and knows of a settled past before it has the records', async () => {
    const [a] = (await keyspaces<string>(3, { conflicts: 'siblings' })) as [Keyspace<string>]
    const long = 'x'.repeat(4000)
    const keys = Array.from({ length: 2500 }, (_, i) => `k${i}`)
    await run(Promise.all(keys.map(key => a.put(key, long))))
    // Without a deletion there is nothing for which a past would be settled.
    const gone = cluster.node(0).keyspace('gone')
    await run(Promise.all(keys.slice(0, 600).map(key => gone.delete(key))))
    await cluster.advance(1_250_000)
    cluster.setNetwork({ delayMeanMs: 3 })
    cluster.grow()
    const puts: Promise<unknown>[] = []
    const isMoving = (): boolean => cluster.node(0).status().partitions.changing > 0
    while (!isMoving()) await cluster.advance(2)
    for (const left = [...keys]; left.length > 0 && isMoving(); await cluster.advance(2)) {
      puts.push(...left.splice(0, 12).map(async key => a.put(key, 'beside')))
    }
    await run(Promise.allSettled(puts))
    cluster.setNetwork({})
    await cluster.settled()
    await cluster.advance(5000)
    const late = cluster.node(3).keyspace<string>('k', { conflicts: 'siblings' })
    const entries = await run(Promise.all(keys.map(async key => late.getEntry(key))))
    assert.deepEqual(
      keys.filter((_, i) => !entries[i]!.siblings!.includes(long)),
      []
    )
  }).timeout(60_000)

  it('shows the newest wherever there is room for one', async () => {
    const [a, b] = (await keyspaces<string>(2, { conflicts: 'siblings' })) as [Keyspace<string>, Keyspace<string>]
    const watch = b.watch()
    const first = watch.next()
    await cluster.advance(100)
    await run(
      a.batch([
        { type: 'put', key: 'x', value: 'one' },
        { type: 'put', key: 'y', value: 'why' }
      ])
    )
    assert.equal((await run(first)).value?.type, 'put')
    await run(b.put('x', 'two'))
    assert.deepEqual(await run(a.getMany(['x', 'y', 'z'])), ['two', 'why', undefined])
    assert.deepEqual(await run(a.entries().all()), [
      ['x', 'two'],
      ['y', 'why']
    ])
    assert.deepEqual(await run(a.keys().all()), ['x', 'y'])
    assert.equal(await run(b.count()), 2)
    assert.equal(await run(a.has('x')), true)
    const { context } = (await run(a.getEntry('x')))!
    await run(
      a.batch([
        { type: 'put', key: 'x', value: 'three', context: context! },
        { type: 'del', key: 'y' }
      ])
    )
    assert.deepEqual((await run(b.getEntry('x')))!.siblings, ['three'])
    assert.equal(await run(b.clear()), 1)
    assert.equal(await run(a.count()), 0)
    await run(watch.return())
  })

  it('expires each sibling at its time', async () => {
    const [a] = (await keyspaces<string>(2, { conflicts: 'siblings' })) as [Keyspace<string>]
    await run(a.put('x', 'stays'))
    await run(a.put('x', 'goes', { ttl: 500 }))
    assert.deepEqual((await run(a.getEntry('x')))!.siblings, ['stays', 'goes'])
    await cluster.advance(1000)
    assert.deepEqual((await run(a.getEntry('x')))!.siblings, ['stays'])
    await run(a.put('y', 'goes', { ttl: 500 }))
    assert.ok(((await run(a.getEntry('y')))!.ttl ?? 0) > 0)
    await cluster.advance(1000)
    assert.equal(await run(a.get('y')), undefined)
  })

  it('takes packed and structured values like all others', async () => {
    const large = { at: new Date(7), text: 'kilovolt '.repeat(3000) }
    await start(2)
    const [a, b] = [0, 1].map(i =>
      cluster.node(i).keyspace('k', { conflicts: 'siblings', valueEncoding: 'structured', compression: 'zstd' })
    ) as [Keyspace, Keyspace]
    await run(a.put('x', large))
    await run(b.put('x', 'small'))
    assert.deepEqual((await run(a.getEntry('x')))!.siblings, [large, 'small'])
  })

  it('refuses more siblings than there may be, and takes what sees them', async () => {
    const [a] = (await keyspaces<number>(1, { conflicts: 'siblings' })) as [Keyspace<number>]
    for (let i = 0; i < 64; i++) await run(a.put('x', i))
    assert.equal(await codeOf(a.put('x', 64)), 'KV_TOO_MANY_SIBLINGS')
    const entry = (await run(a.getEntry('x')))!
    assert.equal(entry.siblings!.length, 64)
    await run(a.put('x', 64, { context: entry.context! }))
    assert.deepEqual((await run(a.getEntry('x')))!.siblings, [64])
    assert.equal(await codeOf(a.put('y', 'x'.repeat(3 * 1024 * 1024) as never)), 'KV_TOO_MANY_SIBLINGS')
  }).timeout(30_000)

  it('refuses contexts that are none, of other keys, and from the future', async () => {
    const [a] = (await keyspaces<number>(2, { conflicts: 'siblings' })) as [Keyspace<number>]
    await run(a.put('x', 1))
    const { context } = (await run(a.getEntry('x')))!
    assert.equal(await codeOf(a.put('y', 1, { context: context! })), 'KV_TOKEN')
    for (const bad of ['', 'nonsense', `${context!}AAAA`, context!.slice(0, -4), 5 as never]) {
      assert.equal(await codeOf(a.put('x', 1, { context: bad })), 'KV_TOKEN')
      assert.equal(await codeOf(a.delete('x', { context: bad })), 'KV_TOKEN')
      assert.equal(await codeOf(a.batch([{ type: 'del', key: 'x', context: bad }])), 'KV_BATCH_FAILED')
    }
    const bytes = Buffer.from(context!, 'base64url')
    // The time of the first and only actor, some three years ahead.
    bytes[8]! += 1
    assert.equal(await codeOf(a.put('x', 1, { context: bytes.toString('base64url') })), 'KV_CLOCK_DRIFT')
  })

  it('refuses what follows a single value, and contexts where they mean nothing', async () => {
    const [a] = (await keyspaces<number>(1, { conflicts: 'siblings' })) as [Keyspace<number>]
    assert.equal(await codeOf(a.touch('x', 5)), 'KV_CONFIG')
    assert.equal(await codeOf(a.persist('x')), 'KV_CONFIG')
    assert.equal(await codeOf(a.putIfAbsent('x', 1)), 'KV_CONFIG')
    assert.equal(await codeOf(a.update('x', () => 1)), 'KV_CONFIG')
    assert.equal(await codeOf(a.batch([], { context: 'x' } as never)), 'KV_CONFIG')
    const indexed = (): unknown =>
      cluster.node(0).keyspace('indexed', { conflicts: 'siblings', indexes: { byValue: (value: number) => value } })
    assert.throws(indexed, { code: 'KV_CONFIG' })
    const plain = cluster.node(0).keyspace<number>('plain')
    assert.equal(await codeOf(plain.put('x', 1, { context: 'x' })), 'KV_CONFIG')
    assert.equal(await codeOf(plain.put('x', 1, { context: undefined })), 'none')
    assert.equal(await codeOf(plain.delete('x', { context: 'x' })), 'KV_CONFIG')
    assert.equal(await codeOf(plain.batch([{ type: 'put', key: 'x', value: 1, context: 'x' }])), 'KV_CONFIG')
  })

  it('says that nobody can mint when no owner can be reached, at any level', async () => {
    const all = await keyspaces<string>(6, { conflicts: 'siblings' })
    const owners = cluster.node(0).ring.owners('x')
    const isOwner = (i: number): boolean => owners.includes(cluster.node(i).id)
    const stranger = [0, 1, 2, 3, 4, 5].find(i => !isOwner(i))!
    for (const i of [0, 1, 2, 3, 4, 5]) if (isOwner(i)) cluster.crash(i)
    await cluster.advance(4000)
    const call = all[stranger]!.put('x', 'y', { consistency: 'any', timeoutMs: 1000 })
    assert.match(await codeOf(call), /KV_QUORUM_NOT_REACHED|KV_TIMEOUT/u)
  })
})

describe('a keyspace with a resolver', () => {
  it('gives what the resolver makes of siblings, and writes it back', async () => {
    const given: string[] = []
    const conflicts = (siblings: readonly string[], key: string): string => {
      given.push(key)
      return siblings.toSorted().join('+')
    }
    const [a, b] = (await keyspaces<string>(2, { conflicts })) as [Keyspace<string>, Keyspace<string>]
    await run(Promise.all([a.put('x', 'a'), b.put('x', 'b')]))
    assert.deepEqual(await run(a.values().all()), ['a+b'])
    const entry = (await run(a.getEntry('x')))!
    assert.deepEqual([entry.value, [...entry.siblings!].sort()], ['a+b', ['a', 'b']])
    assert.equal(await run(b.get('x')), 'a+b')
    assert.ok(given.length > 0 && given.every(key => key === 'x'))
    await cluster.advance(1000)
    assert.deepEqual((await run(b.getEntry('x')))!.siblings, ['a+b'])
    assert.deepEqual(await run(b.getMany(['x'])), ['a+b'])
  })

  it('has nothing come back that was replaced by who had seen it', async () => {
    const [a, b] = (await keyspaces<string[]>(2, { conflicts: resolvers.union })) as [
      Keyspace<string[]>,
      Keyspace<string[]>
    ]
    await run(a.put('x', ['tea']))
    await run(b.put('x', ['milk']))
    const entry = (await run(a.getEntry('x')))!
    assert.deepEqual(entry.value, ['milk', 'tea'])
    await cluster.advance(1000)
    await run(a.put('x', ['tea'], { context: entry.context! }))
    assert.deepEqual(await run(b.get('x')), ['tea'])
  })

  it('never has too many siblings, as it makes one of them', async () => {
    const [a] = (await keyspaces<string[]>(1, { conflicts: resolvers.union })) as [Keyspace<string[]>]
    for (let i = 0; i < 130; i++) await run(a.put('x', [`n${i}`]))
    assert.equal((await run(a.get('x')))!.length, 130)
  }).timeout(30_000)

  it('tells what a resolver does wrong', async () => {
    for (const conflicts of [
      () => {
        throw new Error('broken')
      },
      () => undefined,
      async () => 1
    ]) {
      const [a] = (await keyspaces<unknown>(1, { conflicts })) as [Keyspace]
      await run(a.put('x', 1))
      assert.equal(await run(a.get('x')), 1, 'one value needs no resolver')
      await run(a.put('x', 2))
      assert.equal(await codeOf(a.get('x')), 'KV_RESOLVER')
      assert.equal(await codeOf(a.getMany(['x'])), 'KV_RESOLVER')
      assert.equal(await codeOf(a.values().all()), 'KV_RESOLVER')
    }
  })

  it('is refused a keyspace that would keep the newest of what several have counted', async () => {
    const [newest] = (await keyspaces<PnCounts>(1, {})) as [Keyspace<PnCounts>]
    assert.throws(() => new PnCounter(newest, 'n'), { code: 'KV_CONFIG' })
  })

  for (const conflicts of [resolvers.pnCounter, 'siblings'] as const)
    it(`counts what all have added, whoever adds at the same time (${typeof conflicts})`, async () => {
      const all = await keyspaces<PnCounts>(3, { conflicts })
      const counters = all.map((keyspace, i) => new PnCounter(keyspace, 'n', { actor: `node ${i}` }))
      const adds = counters.flatMap(counter => [counter.add(5), counter.add(-2), counter.add(1)])
      await run(Promise.all(adds))
      for (const counter of counters) assert.equal(await run(counter.value()), 12)
      assert.equal(await run(new PnCounter(all[0]!, 'none').value()), 0)
      await assert.rejects(counters[0]!.add(NaN), TypeError)
    })
})

describe('a counter', () => {
  it('goes on with the count of one of its name that is no more', async () => {
    const [a, b] = (await keyspaces<PnCounts>(2, { conflicts: resolvers.pnCounter })) as [
      Keyspace<PnCounts>,
      Keyspace<PnCounts>
    ]
    await run(new PnCounter(a, 'n', { actor: 'me' }).add(5))
    const again = new PnCounter(b, 'n', { actor: 'me' })
    await run(again.add(-2))
    await run(again.add(3))
    assert.equal(await run(again.value()), 6)
    assert.deepEqual(await run(a.get('n')), { me: [8, 2] })
    await run(new PnCounter(a, 'n', { actor: 'constructor' }).add(1))
    assert.equal(await run(again.value()), 7)
  })
})

describe('a counter that counts slowly', () => {
  let release: () => void
  let asked: (number | undefined)[]
  let stored: PnCounts | undefined
  let refusal: KilovoltError | undefined

  function counter(): PnCounter {
    asked = []
    stored = undefined
    refusal = undefined
    const held = new Promise<void>(resolve => (release = resolve))
    return new PnCounter(
      {
        getEntry: async (_key: string, options: { timeoutMs?: number }) => {
          asked.push(options.timeoutMs)
          await held
          return stored === undefined ? undefined : { value: stored, context: '' }
        },
        put: async (_key: string, value: PnCounts, options: { timeoutMs?: number }) => {
          asked.push(options.timeoutMs)
          if (refusal !== undefined) throw refusal
          stored = value
        }
      } as unknown as Keyspace<PnCounts>,
      'n',
      { actor: 'me' }
    )
  }

  it('does not hold up who wants to wait no longer, and counts nothing for them', async () => {
    const slow = counter()
    const first = slow.add(1)
    const abort = new AbortController()
    const aborted = slow.add(10, { signal: abort.signal })
    const late = slow.add(100, { timeoutMs: 1 })
    const last = slow.add(1000)
    abort.abort()
    await assert.rejects(aborted, { code: 'KV_ABORTED' })
    await assert.rejects(late, (error: unknown) => {
      return isKilovoltError(error, 'KV_TIMEOUT') && error.details['outcome'] === 'not-executed'
    })
    assert.deepEqual(asked, [undefined])
    release()
    await Promise.all([first, last])
    assert.deepEqual(stored, { me: [1001, 0] })
  })

  it('leaves nothing at a signal that outlives many waits', async () => {
    const slow = counter()
    const { signal } = new AbortController()
    const first = slow.add(1)
    const late = Array.from({ length: 5 }, () => slow.add(1, { timeoutMs: 1, signal }))
    assert.deepEqual(await Promise.all(late.map(failureOf)), Array(5).fill('KV_TIMEOUT'))
    assert.equal(getEventListeners(signal, 'abort').length, 0)
    release()
    await first
    assert.deepEqual(stored, { me: [1, 0] })
  })

  it('refuses to count to where JSON has no numbers, and counts on', async () => {
    const slow = counter()
    release()
    await slow.add(1e308)
    await assert.rejects(slow.add(1e308), RangeError)
    await slow.add(-5)
    assert.deepEqual(stored, { me: [1e308, 5] })
  })

  it('answers who asks for a level that is none', async () => {
    const slow = counter()
    release()
    refusal = new KilovoltError('KV_CONFIG', 'no level')
    assert.equal(await failureOf(slow.add(1, { w: NaN } as OperationOptions)), 'KV_CONFIG')
  })

  it('refuses a deadline that is none', async () => {
    const slow = counter()
    release()
    for (const timeoutMs of [0, -1, NaN, 600_001]) {
      await assert.rejects(slow.add(1, { timeoutMs }), { code: 'KV_CONFIG' })
    }
    assert.deepEqual(asked, [])
  })

  it('counts by one read and one write what waits for nothing but its turn, and by itself what has a deadline', async () => {
    const slow = counter()
    const adds = [slow.add(1), ...Array.from({ length: 100 }, (_, i) => slow.add(i % 2 === 0 ? 3 : -2))]
    adds.push(slow.add(1000, { timeoutMs: 60_000 }), slow.add(10_000, { consistency: 'one' }), slow.add(4))
    release()
    await Promise.all(adds)
    assert.deepEqual(stored, { me: [11_155, 100] })
    assert.equal(
      asked.length,
      8,
      'a read and a write of the first, of all like it, of the deadline, and of another level'
    )
  })

  it('has counted nothing of what its write says was not executed, and keeps what may have been', async () => {
    const slow = counter()
    release()
    refusal = new KilovoltError('KV_QUORUM_NOT_REACHED', 'none', { details: { outcome: 'not-executed' } })
    const refused = [slow.add(1), slow.add(10), slow.add(-10)].map(failureOf)
    assert.deepEqual(await Promise.all(refused), Array(3).fill('KV_QUORUM_NOT_REACHED'))
    refusal = new KilovoltError('KV_TIMEOUT', 'lost', { details: { outcome: 'unknown' } })
    assert.equal(await failureOf(slow.add(100)), 'KV_TIMEOUT')
    refusal = undefined
    await slow.add(1000)
    assert.deepEqual(stored, { me: [1100, 0] })
  })

  it('has the time of its deadline for all that it asks', async () => {
    const slow = counter()
    const timeoutMs = 600_000
    const adding = slow.add(1, { timeoutMs })
    const beganMs = systemClock.monotonicMs()
    while (systemClock.monotonicMs() < beganMs + 10) await new Promise(resolve => setImmediate(resolve))
    release()
    await adding
    const [read, write] = asked as [number, number]
    assert.ok(read > 0 && read <= timeoutMs, `${read} ms were left to the read`)
    assert.ok(write > 0 && write <= timeoutMs - 10, `${write} ms were left to the write`)
  })
})

describe('a counter whose key is deleted', () => {
  it('counts from nothing again, as all others do that were counting', async () => {
    const all = await keyspaces<PnCounts>(3, { conflicts: resolvers.pnCounter })
    const counters = all.map((keyspace, i) => new PnCounter(keyspace, 'n', i === 0 ? {} : { actor: `node ${i}` }))
    const [first, second, third] = counters as [PnCounter, PnCounter, PnCounter]
    for (const counter of counters) await run(counter.add(5))
    assert.equal(await run(all[1]!.delete('n')), true)
    await run(first.add(1))
    assert.equal(await run(first.value()), 1)
    await run(second.add(1))
    await run(second.add(-3))
    assert.equal(await run(third.value()), -1)
    await run(Promise.all(counters.map(counter => counter.add(10))))
    assert.equal(await run(third.value()), 29)
    assert.equal(Object.keys((await run(all[0]!.get('n')))!).length, 3)
  })

  it('loses nothing of what the deletion has not seen', async () => {
    const [a, b] = (await keyspaces<PnCounts>(2, { conflicts: resolvers.pnCounter })) as [
      Keyspace<PnCounts>,
      Keyspace<PnCounts>
    ]
    const counter = new PnCounter(a, 'n', { actor: 'me' })
    await run(counter.add(5))
    const { context } = (await run(b.getEntry('n')))!
    await run(counter.add(2))
    await run(b.delete('n', { context: context! }))
    await run(counter.add(1))
    assert.equal(await run(counter.value()), 8, 'its count is one number, of which the deletion has seen a part')
    await run(b.delete('n'))
    await run(counter.add(1))
    assert.equal(await run(counter.value()), 1)
  })

  it('counts what it may have stored as long as it does not know that it was', async () => {
    const [a] = (await keyspaces<PnCounts>(1, { conflicts: resolvers.pnCounter })) as [Keyspace<PnCounts>]
    let isLost = true
    const lossy = Object.create(a, {
      put: {
        value: (...given: Parameters<typeof a.put>) =>
          isLost ? Promise.reject(new KilovoltError('KV_TIMEOUT', 'lost')) : a.put(...given)
      },
      getEntry: { value: (...given: Parameters<typeof a.getEntry>) => a.getEntry(...given) },
      get: { value: (...given: Parameters<typeof a.get>) => a.get(...given) }
    }) as Keyspace<PnCounts>
    const counter = new PnCounter(lossy, 'n', { actor: 'me' })
    assert.equal(await codeOf(counter.add(5)), 'KV_TIMEOUT')
    isLost = false
    await run(counter.add(1))
    assert.deepEqual(await run(a.get('n')), { me: [6, 0] })
  })
})

describe('a keyspace that two nodes open in different ways', () => {
  it('shows one the newest, which takes the place of all before it, and the other all', async () => {
    await start(2)
    const newest = cluster.node(0).keyspace<string>('k')
    const siblings = cluster.node(1).keyspace<string>('k', { conflicts: 'siblings' })
    await run(newest.put('x', 'plain'))
    await run(siblings.put('x', 'beside'))
    assert.deepEqual((await run(siblings.getEntry('x')))!.siblings, ['plain', 'beside'])
    assert.equal(await run(newest.get('x')), 'beside')
    assert.equal((await run(newest.getEntry('x')))!.siblings, undefined)
    await run(newest.put('x', 'over'))
    assert.equal(await run(newest.get('x')), 'over')
    assert.deepEqual((await run(siblings.getEntry('x')))!.siblings, ['over'])
    await run(siblings.put('x', 'more'))
    await run(newest.update('x', value => `${value}!`))
    assert.equal(await run(newest.get('x')), 'more!')
    assert.equal(await run(newest.touch('x', 60_000)), true)
    assert.equal(await run(siblings.get('x')), 'more!')
    await run(newest.delete('x'))
    assert.equal(await run(newest.get('x')), undefined)
    assert.equal(await run(siblings.get('x')), undefined)
  })
})
