import assert from 'node:assert/strict'
import type { Watch, WatchEvent } from 'kilovolt'
import { utf8 } from '../../../src/base/bytes.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { hlcFromMs } from '../../../src/model/hlc.ts'
import { actorOf } from '../../../src/model/node-id.ts'
import { encodeRecord } from '../../../src/model/record.ts'
import { loadHash64 } from '../../../src/runtime/hash.ts'
import { ClusterLab } from '../../support/cluster-lab.ts'

/** Goal: what an app sees of a watch. Method: production nodes over a simulated network. */
describe('watch', function () {
  this.timeout(30_000)
  let lab: ClusterLab

  beforeEach(async () => {
    lab = new ClusterLab(await loadHash64(), 7)
    for (const name of ['a', 'b', 'c']) lab.add(name)
    lab.start('a', 'b', 'c')
    await lab.settled('a', 'b', 'c')
  })
  afterEach(() => lab.stop())

  const settle = <T>(promise: Promise<T>): Promise<T> => lab.world.settle(promise, { limitMs: 60_000 })
  const node = (name: string) => lab.node(name).node

  async function take(watch: Watch, count: number): Promise<WatchEvent[]> {
    const events: WatchEvent[] = []
    while (events.length < count) events.push((await settle(watch.next())).value!)
    return events
  }

  const text = (event: WatchEvent): string =>
    event.type === 'reset'
      ? 'reset'
      : `${event.type} ${event.key}${event.type === 'put' ? ` ${String(event.value)}` : ''}`

  it('tells puts and deletes of other nodes, with the version before, and nothing of other keys or keyspaces', async () => {
    const watch = node('a').watch({ prefix: 'k' })
    await settle(watch.ready)
    await settle(node('b').put('k1', 1))
    await settle(node('b').put('other', 1))
    await settle(node('b').keyspace('elsewhere').put('k1', 9))
    await settle(node('c').put('k1', 2))
    await settle(node('b').delete('k1'))
    const events = await take(watch, 3)
    assert.deepEqual(events.map(text), ['put k1 1', 'put k1 2', 'delete k1'])
    const [first, second, third] = events as [WatchEvent, WatchEvent, WatchEvent]
    assert.ok(first.type === 'put' && second.type === 'put' && third.type === 'delete')
    assert.equal(first.previous, undefined)
    assert.equal(second.previous, first.version)
    assert.equal(third.previous, second.version)
    assert.ok(first.version < second.version && second.version < third.version)
    watch.close()
  })

  it('of a key, or of a whole hash tag, asks one owner alone', async () => {
    for (const options of [{ key: '{t}1' }, { prefix: '{t}' }]) {
      const watch = node('a').watch(options)
      await settle(watch.ready)
      const { hub } = lab.node('a').core.watches
      assert.equal((hub as unknown as { feeds: readonly string[] }).feeds.length, 1)
      await settle(node('b').put('{t}1', 'x'))
      assert.deepEqual((await take(watch, 1)).map(text), ['put {t}1 x'])
      assert.ok(watch.token!.length < 150, watch.token)
      watch.close()
      await lab.world.advance(500)
    }
  })

  it('of a thousand on a node costs one request for each owner', async () => {
    const watches = Array.from({ length: 1000 }, (_, i) => node('a').watch({ key: `k${i}` }))
    await settle(Promise.all(watches.map(({ ready }) => ready)))
    await settle(node('b').put('k500', 'for one'))
    assert.deepEqual((await take(watches[500]!, 1)).map(text), ['put k500 for one'])
    await lab.world.advance(10_000)
    const before = lab.node('a').core.transport.stats().messagesSent
    await lab.world.advance(60_000)
    const idle = lab.node('a').core.transport.stats().messagesSent - before
    for (const watch of watches) watch.close()
    await lab.world.advance(60_000)
    const still = lab.node('a').core.transport.stats().messagesSent - before - idle
    // Twelve times a minute each of two other owners is asked; what else is said depends little on it.
    assert.ok(idle - still < 100, `${idle} messages a minute with watches, ${still} without`)
  })

  it('goes on by its token on another node, exactly where it was, after its node has died', async () => {
    const watch = node('a').watch()
    await settle(watch.ready)
    await settle(node('b').put('x', 1))
    const [event] = await take(watch, 1)
    await settle(node('b').put('x', 2))
    await settle(node('b').put('y', 3))
    lab.cluster.crash('a')
    const again = node('c').watch({ since: event!.token })
    const events = await take(again, 2)
    assert.deepEqual(
      new Map(events.map(one => [one.type === 'put' && one.key, one.type === 'put' && one.value])),
      new Map([
        ['x', 2],
        ['y', 3]
      ])
    )
    await settle(node('b').put('z', 4))
    assert.deepEqual((await take(again, 1)).map(text), ['put z 4'])
    again.close()
    lab.cluster.start('a')
    await lab.settled('a', 'b', 'c')
  })

  for (const places of [['a'], ['a', 'b', 'c']]) {
    const where = places.length === 1 ? 'on one node' : 'on one node after the other'
    it(`gets on when it is taken up again and again and reads a little each time, ${where}`, async () => {
      const first = node('a').watch()
      await settle(first.ready)
      await settle(node('b').put('first', 0))
      let { token } = (await take(first, 1))[0]!
      first.close()
      const keys = Array.from({ length: 200 }, (_, i) => `k${i}`)
      await settle(node('b').batch(keys.map(key => ({ type: 'put', key, value: 1 }))))
      const seen = new Set<string>()
      let told = 0
      for (let life = 0; seen.size < keys.length; life++) {
        assert.ok(told < 4 * keys.length, `${told} events for ${seen.size} keys`)
        const watch = node(places[life % places.length]!).watch({ since: token })
        for (const event of await take(watch, Math.min(20, keys.length - seen.size))) {
          if (event.type === 'put') seen.add(event.key)
          ;({ token } = event)
          told++
        }
        watch.close()
      }
      // Where the log still knows what has arrived, nothing comes twice.
      if (places.length === 1) assert.equal(told, keys.length)
    })
  }

  it('moves its token on where nothing happens', async () => {
    const watch = node('a').watch()
    await settle(watch.ready)
    const before = watch.token
    await lab.world.advance(12_000)
    assert.notEqual(watch.token, before)
    await settle(node('b').put('x', 1))
    const again = node('b').watch({ since: watch.token })
    assert.deepEqual((await take(again, 1)).map(text), ['put x 1'])
    watch.close()
    again.close()
  })

  it('tells who does not read that events are missing, keeps no more than its buffer, and goes on', async () => {
    const watch = node('a').watch({ buffer: 8 })
    await settle(watch.ready)
    for (let i = 0; i < 40; i++) await settle(node('b').put(`k${i}`, i))
    await lab.world.advance(1000)
    const [reset] = await take(watch, 1)
    assert.equal(reset!.type, 'reset')
    await settle(node('b').put('last', 'one'))
    const events: WatchEvent[] = [reset!]
    while (text(events.at(-1)!) !== 'put last one') events.push(...(await take(watch, 1)))
    assert.ok(events.length <= 10, `${events.length} events were kept`)
    watch.close()
  })

  it('tells that a value has expired, once, with its version, though every owner knows it', async () => {
    const watch = node('a').watch()
    await settle(watch.ready)
    const { core } = lab.node('b')
    const nowMs = core.clock.wallMs()
    const stamp = { hlc: hlcFromMs(nowMs), actor: actorOf(core.storeId) }
    const key = utf8('mortal')
    const place = { partition: core.ring.partitionOf(key), keyspace: utf8(''), key }
    const put = (name: string): Promise<void> =>
      new Promise((resolve, reject) => {
        const record = encodeRecord({ stamp, value: utf8('"soon gone"'), expiresAt: nowMs + 3000 })
        lab.node(name).core.records.apply(place, record, error => (error === undefined ? resolve() : reject(error)))
      })
    for (const name of ['a', 'b', 'c']) await settle(put(name))
    const late = node('c').watch()
    await settle(late.ready)
    const events = await take(watch, 2)
    assert.deepEqual(events.map(text), ['put mortal soon gone', 'expire mortal'])
    assert.ok(events[0]?.type === 'put' && events[1]?.type === 'expire' && events[0].version === events[1].version)
    assert.ok(core.clock.wallMs() >= nowMs + 3000)
    // Who has begun after the value was written learns of its end as well.
    assert.deepEqual((await take(late, 1)).map(text), ['expire mortal'])
    await lab.world.advance(20_000)
    await settle(node('b').put('next', 1))
    assert.deepEqual((await take(watch, 1)).map(text), ['put next 1'])
    watch.close()
    late.close()
  })

  it('ends by break, by its signal and with its node', async () => {
    const abort = new AbortController()
    const [left, called, lost] = [node('a').watch(), node('a').watch({ signal: abort.signal }), node('a').watch()]
    await settle(Promise.all([left.ready, called.ready, lost.ready]))
    await settle(node('b').put('x', 1))
    await settle(
      (async () => {
        for await (const event of left) if (event.type === 'put') break
      })()
    )
    assert.deepEqual(await left.next(), { done: true, value: undefined })
    await take(called, 1)
    const waiting = called.next()
    abort.abort(new Error('enough'))
    await assert.rejects(settle(waiting), (error: unknown) => isKilovoltError(error, 'KV_ABORTED'))
    assert.deepEqual(await called.next(), { done: true, value: undefined })
    await settle(lab.cluster.stop('a'))
    await assert.rejects(lost.next(), (error: unknown) => isKilovoltError(error, 'KV_NODE_STOPPED'))
    assert.equal(lab.node('b').core.watches.hub.book === undefined, true, 'nobody watches there')
  })

  it('refuses what cannot be, when it is read', async () => {
    const cases = [
      { key: 'a', prefix: 'b' },
      { since: 1 },
      { buffer: 0 },
      { buffer: Object.create(null) },
      { sinc: 'x' }
    ] as object[]
    for (const options of cases) {
      const watch = node('a').watch(options)
      await assert.rejects(settle(watch.ready), (error: unknown) => isKilovoltError(error, 'KV_CONFIG'))
      await assert.rejects(settle(watch.next()), (error: unknown) => isKilovoltError(error, 'KV_CONFIG'))
      assert.deepEqual(await watch.next(), { done: true, value: undefined })
    }
    for (const since of ['what', 'AQ', '']) {
      const watch = node('a').watch({ since })
      await assert.rejects(settle(watch.next()), (error: unknown) => isKilovoltError(error, 'KV_TOKEN'))
    }
  })
})
