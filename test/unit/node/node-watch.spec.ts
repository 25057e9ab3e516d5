import assert from 'node:assert/strict'
import { fromUtf8, utf8 } from '../../../src/base/bytes.ts'
import { createDeferred, type Deferred } from '../../../src/base/deferred.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import type { Actor, ClusterId, StoreId } from '../../../src/model/node-id.ts'
import type { Ring } from '../../../src/model/partition.ts'
import { encodeRecord, type RecordBytes, recordValue } from '../../../src/model/record.ts'
import { NodeWatch, type WatchDoor } from '../../../src/node/node-watch.ts'
import type { WatchEvent, WatchOptions } from '../../../src/node/watch.ts'
import type { WatchFilter } from '../../../src/replication/watch-filter.ts'
import { type WatchBook, type WatchListener, WatchSubscription } from '../../../src/replication/watch-subscription.ts'
import { decodeToken, type Reached, type Standing } from '../../../src/replication/watch-token.ts'

const actor = '0123456789abcdef' as Actor
const feed = { store: '1'.repeat(32) as StoreId, log: '1'.repeat(16), seq: 5 }
const reached = (low: number): Reached => ({ feed, low, expiredUntil: 0 })
const bookAt = (low: number): WatchBook => ({ clusterId: '0'.repeat(32) as ClusterId, reached: [reached(low)] })
const hasCode = (code: string) => (error: unknown) => isKilovoltError(error, code as 'KV_ABORTED')

/** The hub of a node, played by hand: a partition, one watch. */
class FakeHub {
  book: WatchBook | undefined
  subscription: WatchSubscription | undefined
  readonly coverage: Deferred<void> = createDeferred()
  /** Resets that are to be told again. */
  resets = 0
  #stop = (): void => {}

  get door(): WatchDoor {
    return {
      hub: this,
      ring: { partitions: 1, partitionOf: () => 0 } as unknown as Ring,
      onStopped: listener => {
        this.#stop = listener
        return () => {}
      }
    }
  }

  add(
    filter: WatchFilter,
    partitions: readonly number[],
    since: Standing | undefined,
    listener: WatchListener
  ): WatchSubscription {
    const subscription = (this.subscription = new WatchSubscription(filter, partitions, 0, listener))
    if (since !== undefined) subscription.takeUp(since.partitions)
    return subscription
  }

  reset(subscription: WatchSubscription): void {
    this.resets++
    subscription.reset()
  }

  remove(subscription: WatchSubscription): void {
    subscription.close()
    this.coverage.resolve()
  }

  covered(): Promise<void> {
    return this.coverage.promise
  }

  stop(): void {
    this.#stop()
  }

  put(key: string, hlc: number, value = 'v'): void {
    const record = encodeRecord({ stamp: { hlc, actor }, value: utf8(value), expiresAt: undefined })
    const change = { partition: 0, keyspace: utf8(''), key: utf8(key), record, expired: false, previous: undefined }
    this.subscription!.offer(change, { book: this.book!, feed, seq: hlc })
  }
}

/** Goal: what an app is given of what it is told. Method: the hub is played by hand. */
describe('a watch of an app', () => {
  let hub: FakeHub

  beforeEach(() => {
    hub = new FakeHub()
    hub.book = bookAt(100)
  })

  function open(
    options: WatchOptions = {},
    valueOf: (record: RecordBytes) => unknown = record => fromUtf8(recordValue(record)!)
  ): NodeWatch<unknown, string> {
    const codec = { keyspace: utf8(''), encodeKey: utf8, decodeKey: fromUtf8, valueOf }
    return new NodeWatch<unknown, string>(() => hub.door, codec, options)
  }

  const lowOf = (token: string | undefined): number | undefined =>
    decodeToken(token!, { keyspace: utf8(''), prefix: utf8(''), isKey: false }).partitions.get(0)?.low

  it('looked at while it catches up stands where it was, whatever was caught up with since', () => {
    const earlier = open()
    hub.book = bookAt(10)
    const since = earlier.token
    hub.book = bookAt(200)
    const watch = open({ since })
    assert.equal(lowOf(watch.token), 10)
    hub.put('missed', 50)
    hub.subscription!.caughtUp(0)
    assert.equal(lowOf(watch.token), 10, 'what is queued was not taken')
    watch.close()
    assert.equal(lowOf(watch.token), 10, 'nor will it be')
  })

  it('that fails before it is ready says so to whoever waits for that, also when an event is waited for', async () => {
    const abort = new AbortController()
    for (const fail of [() => hub.stop(), () => abort.abort()]) {
      hub = new FakeHub()
      const watch = open({ signal: abort.signal })
      const event = assert.rejects(watch.next(), isKilovoltError)
      fail()
      await event
      await assert.rejects(watch.ready, isKilovoltError)
    }
  })

  it('gives each of those who wait an event of their own, in the order in which they asked', async () => {
    const watch = open()
    const events = [watch.next(), watch.next()]
    hub.put('a', 101)
    hub.put('b', 102)
    const keys = (await Promise.all(events)).map(({ value }) => (value?.type === 'put' ? value.key : value?.type))
    assert.deepEqual(keys, ['a', 'b'])
    watch.close()
  })

  it('that ends answers all who wait, however it ends', async () => {
    const done = { done: true, value: undefined }
    const values: Deferred<unknown>[] = []
    const later = (): Promise<unknown> => {
      const value = createDeferred<unknown>()
      values.push(value)
      return value.promise
    }
    const unreadable = open({}, later)
    const [first, second, third] = [unreadable.next(), unreadable.next(), unreadable.next()]
    hub.put('a', 101)
    values[0]!.reject(new TypeError('no value'))
    await assert.rejects(first, TypeError)
    await assert.rejects(unreadable.ready, TypeError)
    assert.deepEqual(await Promise.all([second, third, unreadable.next()]), [done, done, done])
    const closed = open()
    const waiting = [closed.next(), closed.next()]
    closed.close()
    assert.deepEqual(await Promise.all(waiting), [done, done])
    const lost = open()
    const [told, untold] = [lost.next(), lost.next()]
    const failure = assert.rejects(told, hasCode('KV_NODE_STOPPED'))
    hub.stop()
    await failure
    assert.deepEqual(await untold, done)
  })

  it('has no token before its node has joined, nor anything to go on from when it began without one', async () => {
    hub.book = undefined
    const early = open()
    assert.equal(early.token, undefined)
    const next = open({ since: early.token })
    hub.coverage.resolve()
    await next.ready
    assert.equal(next.token, undefined)
    hub.book = bookAt(10)
    assert.equal(typeof next.token, 'string')
  })

  it('takes only tokens of the same keyspace and keys: of others it would pass over what they were never told', async () => {
    const since = open({ prefix: 'a' }).token
    hub.coverage.resolve()
    await open({ prefix: 'a', since }).ready
    const others: WatchOptions[] = [{}, { prefix: 'ab' }, { key: 'a' }]
    for (const other of others) await assert.rejects(open({ ...other, since }).ready, hasCode('KV_TOKEN'))
    const codec = { keyspace: utf8('other'), encodeKey: utf8, decodeKey: fromUtf8, valueOf: () => 1 }
    const foreign = new NodeWatch(() => hub.door, codec, { prefix: 'a', ...(since && { since }) })
    await assert.rejects(foreign.ready, hasCode('KV_TOKEN'))
    await assert.rejects(open({ since: '' }).ready, hasCode('KV_TOKEN'))
  })

  describe('that has no room for what it is told', () => {
    const text = ({ type, ...event }: WatchEvent): string =>
      type === 'reset'
        ? type
        : `${type} ${(event as { key: string }).key} ${parseInt((event as { version: string }).version, 16)}`

    async function read(watch: NodeWatch<unknown, string>, count: number): Promise<WatchEvent[]> {
      const events: WatchEvent[] = []
      for (let i = 0; i < count; i++) events.push((await watch.next()).value!)
      return events
    }

    it('keeps the last version of each of a few keys behind the reset: no read need find them yet', async () => {
      const watch = open({ buffer: 4 })
      for (const [key, hlc] of [
        ['a', 101],
        ['b', 102],
        ['a', 103],
        ['b', 104],
        ['a', 105],
        ['c', 106]
      ] as const)
        hub.put(key, hlc)
      assert.deepEqual((await read(watch, 4)).map(text), ['reset', 'put b 104', 'put a 105', 'put c 106'])
      assert.equal(hub.resets, 0)
      watch.close()
    })

    it('keeps nothing of many keys, and asks for another reset when it can be read', async () => {
      const watch = open({ buffer: 4 })
      for (const [i, key] of ['a', 'b', 'c', 'd', 'e', 'f'].entries()) hub.put(key, 110 - i)
      assert.deepEqual((await read(watch, 2)).map(text), ['reset', 'put f 105'])
      assert.equal(hub.resets, 1)
      watch.close()
    })

    it('keeps nothing while it catches up: what is old is told no further after a reset', async () => {
      const earlier = open()
      hub.book = bookAt(10)
      const watch = open({ since: earlier.token, buffer: 4 })
      for (const hlc of [51, 52, 53, 54, 55]) hub.put('missed', hlc)
      hub.put('new', 200)
      assert.deepEqual((await read(watch, 2)).map(text), ['reset', 'put new 200'])
      assert.equal(hub.resets, 1)
      watch.close()
      earlier.close()
    })

    it('gives the reset a token from which all that was dropped is told again', async () => {
      const watch = open({ buffer: 4 })
      hub.put('first', 100)
      const [first] = await read(watch, 1)
      for (const key of ['a', 'b', 'c', 'd', 'e']) hub.put(key, 101)
      const [reset] = await read(watch, 1)
      assert.deepEqual([reset!.type, reset!.token], ['reset', first!.token])
      watch.close()
    })
  })
})
