import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import fc from 'fast-check'
import { fromUtf8, utf8 } from '../../../src/base/bytes.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { hlcFromMs } from '../../../src/model/hlc.ts'
import type { Actor, ClusterId, StoreId } from '../../../src/model/node-id.ts'
import { encodeRecord, type RecordBytes, recordHlc, STAMP_END, STAMP_START } from '../../../src/model/record.ts'
import { FILTERS_MAX, matchesAny, unite, type WatchFilter } from '../../../src/replication/watch-filter.ts'
import { WatchHub, type WatchHubDeps } from '../../../src/replication/watch-hub.ts'
import { WatchShard } from '../../../src/replication/watch-shard.ts'
import { WatchSubscription } from '../../../src/replication/watch-subscription.ts'
import { decodeToken, encodeToken, type Reached } from '../../../src/replication/watch-token.ts'
import {
  decodeRewind,
  decodeRewindReply,
  decodeWatch,
  decodeWatchReply,
  encodeRewind,
  encodeRewindReply,
  encodeWatch,
  encodeWatchReply
} from '../../../src/replication/watch-wire.ts'
import { ArrivalLog } from '../../../src/storage/arrival-log.ts'
import { dataKey } from '../../../src/storage/key-layout.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

const actor = '0123456789abcdef' as Actor
const NOW_MS = Date.UTC(2026, 0, 1)
const place = (key: string, partition = 0) => ({ partition, keyspace: utf8(''), key: utf8(key) })

function record(hlc: number, value: string | null = 'v', expiresAt?: number): RecordBytes {
  return encodeRecord({ stamp: { hlc, actor }, value: value === null ? undefined : utf8(value), expiresAt })
}

function log(options: ConstructorParameters<typeof ArrivalLog>[1] = {}, horizon = 0): ArrivalLog {
  const made = new ArrivalLog({ wallMs: () => NOW_MS, horizonOf: () => horizon }, options)
  made.open(
    Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8),
    partition => partition !== 9,
    () => {}
  )
  return made
}

const change = (key: string, value: RecordBytes | undefined, before?: RecordBytes, partition = 0) => ({
  key: dataKey(partition, utf8(''), utf8(key)),
  value,
  before,
  isCopy: false
})

describe('the log of arrivals', () => {
  it('numbers what is written, with the stamp of the live value before, and leaves out what is purged, mended or not kept', () => {
    const made = log({}, 5)
    const [old, next] = [record(10), record(11)]
    made.written([
      change('a', next, old),
      change('b', undefined, old),
      change('c', record(5)),
      change('d', record(20), undefined, 9),
      change('e', record(21), record(20, null))
    ])
    assert.equal(made.last, 2)
    assert.deepEqual(made.at(1)!.previous, new Uint8Array(old.subarray(STAMP_START, STAMP_END)))
    assert.equal(Buffer.from(made.at(2)!.key).toString(), 'e')
    assert.equal(made.at(2)!.previous, undefined, 'a tombstone is no value')
  })

  it('keeps copies: the bytes that it was given may change', () => {
    const made = log()
    const value = record(10)
    made.written([change('a', value)])
    value.fill(0)
    assert.deepEqual(made.at(1)!.record, record(10))
  })

  it('tells a value that had expired on its arrival as expired', () => {
    const made = log()
    made.written([change('a', record(10, 'v', NOW_MS - 1)), change('b', record(10, 'v', NOW_MS + 1))])
    assert.deepEqual([made.at(1)!.expired, made.at(2)!.expired], [true, false])
  })

  it('forgets the oldest beyond its bounds, and says that it does not reach back any more', () => {
    for (const options of [{ entriesMax: 8 }, { bytesMax: 2500 }]) {
      const made = log(options)
      for (let i = 1; i <= 100; i++) made.written([change(`k${i}`, record(i))])
      assert.equal(made.last, 100)
      assert.equal(made.reaches(made.id, 10), false)
      assert.equal(made.at(10), undefined)
      assert.ok(made.reaches(made.id, 99))
      assert.ok(made.reaches(made.id, 100))
      assert.ok(made.bytes <= 2500)
      let kept = 0
      for (let seq = 1; seq <= 100; seq++) if (made.at(seq)?.seq === seq) kept++
      assert.ok(kept >= 5 && kept <= 12, `${kept} are kept`)
      assert.ok(made.reaches(made.id, 100 - kept))
      assert.ok(!made.reaches(made.id, 99 - kept))
    }
  })

  it('takes numbers for nothing where it is told to, as many as there are', () => {
    const made = log({ entriesMax: 4 })
    for (let i = 1; i <= 3; i++) {
      made.written([change(`k${i}`, record(i))])
      made.skip()
    }
    assert.deepEqual(
      [3, 4, 5, 6].map(seq => made.at(seq)?.seq),
      [3, undefined, 5, undefined]
    )
    assert.deepEqual([made.last, made.reaches(made.id, 2), made.reaches(made.id, 1)], [6, true, false])
    for (let i = 0; i < 3; i++) made.skip()
    assert.deepEqual([made.at(5), made.bytes], [undefined, 0])
  })

  it('reaches nothing of another log, and nothing to come', () => {
    const made = log()
    made.written([change('a', record(1))])
    assert.equal(made.reaches(new Uint8Array(8), 1), false)
    assert.equal(made.reaches(made.id, 2), false)
  })
})

describe('a watched partition', () => {
  it('tells each version once, and none after a later one, in whatever order they come', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(3), fc.nat(20), fc.boolean()), { maxLength: 60 }), arrivals => {
        const shard = new WatchShard(0, NOW_MS, { left: 1000, turns: 0 })
        const told = new Map<number, number>()
        for (const [key, version, expired] of arrivals) {
          const order = version * 2 + (expired ? 1 : 0)
          const isNews = shard.isNews(place(`k${key}`), record(hlcFromMs(NOW_MS) + version), expired)
          assert.equal(isNews, order > (told.get(key) ?? -1))
          if (isNews) told.set(key, order)
        }
      })
    )
  })

  it('remembers a store that does not own it for a while, however many there have been', () => {
    const shard = new WatchShard(0, NOW_MS, { left: 10, turns: 0 })
    const names = Array.from({ length: 100 }, (_, i) => `${i}` as StoreId)
    for (const [i, name] of names.entries()) {
      shard.assign(name)
      shard.dismiss(i * 1000, 2500)
      assert.deepEqual([shard.source, shard.isDismissed(name, i * 1000)], [undefined, true])
    }
    assert.deepEqual(
      names.slice(-4).map(name => shard.isDismissed(name, 99_000)),
      [false, true, true, true]
    )
    assert.equal(shard.dismissed, 3)
  })

  it('is not exact any more once it has forgotten what a rewind could meet, until that lies below the horizon', () => {
    const budget = { left: 10, turns: 0 }
    const shard = new WatchShard(0, NOW_MS, budget)
    const hlc = hlcFromMs(NOW_MS)
    for (let i = 0; i < 10; i++) shard.isNews(place(`k${i}`), record(hlc + i), false)
    assert.ok(shard.isExact)
    shard.isNews(place('one more'), record(hlc + 10), false)
    assert.equal(shard.isExact, false)
    assert.equal(shard.isNews(place('one more'), record(hlc + 10), false), false, 'the latest is remembered')
    shard.settle(hlc + 3, NOW_MS)
    assert.ok(shard.isExact)
    assert.equal(budget.left, 3, 'what lies below needs not be remembered')
    shard.close()
    assert.equal(budget.left, 10)
  })
})

describe('the end of a value that was told', () => {
  const SLACK_MS = 60_000
  const old = hlcFromMs(NOW_MS - 10 * SLACK_MS)

  it('is not told again when it was forgotten: until another clock cannot tell it any more the partition is not exact', () => {
    const budget = { left: 3, turns: 0 }
    const shard = new WatchShard(0, NOW_MS, budget)
    const other = new WatchShard(1, NOW_MS, budget)
    const ended = record(old, 'v', NOW_MS - 1000)
    assert.ok(shard.isNews(place('ended'), ended, true))
    for (const key of ['x', 'y']) other.isNews(place(key, 1), record(hlcFromMs(NOW_MS)), false)
    shard.isNews(place('new'), record(hlcFromMs(NOW_MS)), false)
    assert.ok(shard.isNews(place('ended'), ended, true), 'it was forgotten')
    assert.equal(shard.isExact, false)
    shard.settle(hlcFromMs(NOW_MS), NOW_MS + SLACK_MS - 1001)
    assert.equal(shard.isExact, false)
    shard.settle(hlcFromMs(NOW_MS), NOW_MS + SLACK_MS - 1000)
    assert.ok(shard.isExact)
  })

  it('does not count any more when the partition begins anew', () => {
    const shard = new WatchShard(0, NOW_MS, { left: 1, turns: 0 })
    for (const key of ['a', 'b']) shard.isNews(place(key), record(old, 'v', NOW_MS - 1000), true)
    assert.equal(shard.isExact, false)
    shard.restart(0, NOW_MS)
    assert.ok(shard.isExact)
  })

  it('to come keeps nothing: a value that was told and forgotten may be told to have ended', () => {
    const shard = new WatchShard(0, NOW_MS, { left: 1, turns: 0 })
    for (const key of ['a', 'b']) shard.isNews(place(key), record(old, 'v', NOW_MS + SLACK_MS), false)
    assert.ok(shard.isExact)
  })
})

describe('a watch that goes on where an earlier one stood', () => {
  const everything: WatchFilter = { keyspace: utf8(''), prefix: utf8(''), isKey: false }
  const at = { book: { clusterId: '0'.repeat(32) as ClusterId, reached: [] }, feed: undefined, seq: 0 }
  const SEEN_MAX = 65_536
  let told: string[]

  function resumed(): WatchSubscription {
    told = []
    const watch = new WatchSubscription(everything, [0], 0, {
      change: ({ key, record: bytes }) => told.push(`${fromUtf8(key)} ${recordHlc(bytes)}`),
      reset: () => told.push('reset'),
      room: () => undefined
    })
    watch.takeUp(new Map([[0, { feed: undefined, low: 0, expiredUntil: 0 }]]))
    return watch
  }

  const put = (watch: WatchSubscription, key: string, hlc: number): void =>
    watch.offer({ ...place(key), record: record(hlc), expired: false, previous: undefined }, at)

  it('is told rising versions, and none twice, though there was more than it remembers', () => {
    const watch = resumed()
    put(watch, 'k', 20)
    for (let i = 1; i <= SEEN_MAX; i++) put(watch, `old${i}`, 10)
    assert.deepEqual(told.slice(-2), [`old${SEEN_MAX - 1} 10`, 'reset'])
    told = []
    // The feed comes that far.
    for (const hlc of [10, 20, 30]) put(watch, 'k', hlc)
    put(watch, 'other', 25)
    watch.inOrder()
    put(watch, 'old1', 10)
    assert.deepEqual(told, ['k 30', 'other 25'])
    watch.settled(29, NOW_MS)
    assert.ok(watch.remembers)
    watch.settled(30, NOW_MS)
    assert.equal(watch.remembers, false)
  })

  it('remembers ends as long as another clock may tell them again', () => {
    const watch = resumed()
    const change = { ...place('k'), record: record(20, 'v', NOW_MS), expired: true, previous: undefined }
    watch.offer(change, at)
    watch.inOrder()
    watch.settled(20, NOW_MS - 1)
    watch.offer(change, at)
    assert.deepEqual(told, ['k 20'])
    watch.settled(20, NOW_MS)
    assert.equal(watch.remembers, false)
  })

  it('remembers nothing of what only the feed tells', () => {
    const watch = resumed()
    watch.caughtUp(0)
    for (let i = 0; i < 10; i++) put(watch, `k${i}`, 10 + i)
    watch.inOrder()
    watch.settled(0, 0)
    assert.equal(watch.remembers, false)
    assert.equal(told.length, 10)
  })
})

describe('what watches ask for', () => {
  const filter = (prefix: string, isKey = false): WatchFilter => ({ keyspace: utf8('ks'), prefix: utf8(prefix), isKey })

  it('is a key, or what begins with it, of one keyspace', () => {
    const at = (keyspace: string, key: string) => ({ keyspace: utf8(keyspace), key: utf8(key) })
    assert.ok(matchesAny([filter('ab')], at('ks', 'abc')))
    assert.ok(!matchesAny([filter('ab', true)], at('ks', 'abc')))
    assert.ok(matchesAny([filter('abc', true)], at('ks', 'abc')))
    assert.ok(!matchesAny([filter('ab')], at('other', 'abc')))
    assert.ok(!matchesAny([filter('ab')], at('ks', 'a')))
    assert.ok(matchesAny([], at('any', 'thing')))
  })

  it('is asked of others in few words that mean no less', () => {
    const many = Array.from({ length: FILTERS_MAX + 1 }, (_, i) => filter(`p${i}`))
    for (const filters of [many, many.slice(0, 3)]) {
      const united = unite(filters)
      assert.ok(united.length <= FILTERS_MAX)
      for (const { keyspace, prefix } of filters) assert.ok(matchesAny(united, { keyspace, key: prefix }))
    }
    assert.equal(unite([filter('a'), filter('a')]).length, 1)
    assert.equal(unite(many).length, 1)
    const spaces = Array.from({ length: FILTERS_MAX + 1 }, (_, i) => ({ ...filter(''), keyspace: utf8(`ks${i}`) }))
    assert.deepEqual(unite(spaces), [], 'everything')
  })
})

const hex = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map(b => Buffer.from(b).toString('hex'))
const number = fc.nat({ max: Number.MAX_SAFE_INTEGER })
const feed = fc.tuple(hex(16), hex(8), number).map(([store, log, seq]) => ({ store: store as StoreId, log, seq }))

describe('a token', () => {
  const watched: WatchFilter = { keyspace: utf8('ks'), prefix: utf8('p'), isKey: false }

  it('comes back as it was', () => {
    fc.assert(
      fc.property(
        hex(16),
        fc.array(feed, { minLength: 1, maxLength: 3 }),
        fc.array(fc.tuple(fc.nat(4095), fc.nat(3), number, number), { maxLength: 300 }),
        (cluster, feeds, entries) => {
          const partitions = new Map<number, Reached>(
            entries.map(([partition, at, low, expiredUntil]) => [partition, { feed: feeds[at], low, expiredUntil }])
          )
          const decoded = decodeToken(encodeToken({ clusterId: cluster as ClusterId, partitions }, watched), watched)
          assert.equal(decoded.clusterId, cluster)
          assert.deepEqual(
            [...decoded.partitions].toSorted(([a], [b]) => a - b),
            [...partitions].toSorted(([a], [b]) => a - b)
          )
        }
      ),
      { numRuns: 50 }
    )
  })

  it('of 256 partitions fed by three stores is short', () => {
    const feeds = [1, 2, 3].map(n => ({
      store: String(n).repeat(32) as StoreId,
      log: String(n).repeat(16),
      seq: 12_345 * n
    }))
    const partitions = new Map<number, Reached>()
    for (let p = 0; p < 256; p++)
      partitions.set(p, { feed: feeds[p % 3]!, low: hlcFromMs(NOW_MS) + ((p * 7) % 3), expiredUntil: NOW_MS })
    assert.ok(encodeToken({ clusterId: '0'.repeat(32) as ClusterId, partitions }, watched).length < 600)
  })

  it('that is none is refused, whatever it is', () => {
    const isRefused = (text: string): void => {
      try {
        decodeToken(text, watched)
      } catch (error) {
        assert.ok(isKilovoltError(error, 'KV_TOKEN'))
      }
    }
    fc.assert(fc.property(fc.string(), isRefused))
    fc.assert(fc.property(fc.uint8Array(), bytes => isRefused(Buffer.from([2, ...bytes]).toString('base64url'))))
    assert.throws(() => decodeToken('what', watched), /since/u)
  })

  it('is one of what was watched and of nothing else: no byte can be in another place', () => {
    const token = encodeToken({ clusterId: '0'.repeat(32) as ClusterId, partitions: new Map() }, watched)
    decodeToken(token, watched)
    for (const other of [
      { ...watched, isKey: true },
      { ...watched, prefix: utf8('') },
      { ...watched, keyspace: utf8('ksp'), prefix: utf8('') },
      { ...watched, keyspace: utf8('k'), prefix: utf8('sp') }
    ])
      assert.throws(() => decodeToken(token, other), { code: 'KV_TOKEN', message: /another/u })
  })
})

describe('messages of watching', () => {
  const filters = [{ keyspace: utf8('ks'), prefix: utf8('p'), isKey: true }]

  it('come back as they were', () => {
    const watch = {
      position: { log: new Uint8Array(8).fill(7), seq: 300 },
      wantsHorizons: true,
      waitMs: 5000,
      partitions: [0, 5, 4095],
      filters
    }
    assert.deepEqual(decodeWatch(encodeWatch(watch)), watch)
    const fresh = { ...watch, position: undefined, wantsHorizons: false, partitions: [], filters: [] }
    assert.deepEqual(decodeWatch(encodeWatch(fresh)), fresh)
    const rewind = { partition: 3, low: 2 ** 52, expiredSince: NOW_MS, after: place('x'), filters }
    const { partition: _, ...after } = rewind.after
    assert.deepEqual(decodeRewind(encodeRewind(rewind)), { ...rewind, after })
  })

  it('name each partition once', () => {
    const twice = { position: undefined, wantsHorizons: false, waitMs: 0, partitions: [0, 4, 4], filters: [] }
    assert.throws(() => decodeWatch(encodeWatch(twice)), { code: 'KV_PROTOCOL' })
  })

  it('carry arrivals and records', () => {
    const arrivals = [
      { ...place('a', 3), seq: 5, record: record(1), expired: false, previous: undefined },
      {
        partition: 4,
        keyspace: utf8('ks'),
        key: utf8('b'),
        seq: 9,
        record: record(2, null),
        expired: false,
        previous: new Uint8Array(15).fill(1)
      },
      {
        partition: 4,
        keyspace: utf8('ks'),
        key: utf8('c'),
        seq: 10,
        record: record(3, 'x', NOW_MS),
        expired: true,
        previous: undefined
      }
    ]
    const reply = {
      log: new Uint8Array(8),
      seq: 12,
      expiredUntil: NOW_MS,
      gaps: [1],
      strangers: [2, 9],
      horizons: [[1, 77]] as const,
      arrivals
    }
    assert.deepEqual(plain(decodeWatchReply(encodeWatchReply(reply))), plain(reply))
    const records = arrivals.map(({ key, keyspace, record: bytes, expired }) => ({
      partition: 4,
      keyspace,
      key,
      record: bytes,
      expired
    }))
    const page = { horizon: 9, reached: { keyspace: utf8('ks'), key: utf8('c') }, records }
    assert.deepEqual(plain(decodeRewindReply(encodeRewindReply(page), 4)), plain(page))
  })

  it('that are malformed are refused, and nothing else happens', () => {
    const decoders = [decodeWatch, decodeWatchReply, decodeRewind, (bytes: Uint8Array) => decodeRewindReply(bytes, 0)]
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
        for (const decode of decoders) {
          try {
            decode(bytes)
          } catch (error) {
            assert.ok(isKilovoltError(error, 'KV_PROTOCOL') || isKilovoltError(error, 'KV_CORRUPT'), String(error))
          }
        }
      })
    )
  })
})

/** Bytes as text: views and arrays compare alike. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, one: unknown) => (one instanceof Uint8Array ? Buffer.from(one).toString('hex') : one))
  )
}

describe('a node that watches', () => {
  it('asks again for all partitions of an owner that is gone together: one timer, and one listener for its own end', async () => {
    const world = new SimWorld()
    const hub = new WatchHub({ clock: world.clock('n') } as unknown as WatchHubDeps)
    let over = 0
    const wait = (): void => {
      for (let i = 0; i < 50; i++) void hub.retry().then(() => over++)
    }
    wait()
    assert.equal(getEventListeners(hub.signal, 'abort').length, 1)
    await world.advance(1000)
    assert.equal(over, 50)
    assert.equal(getEventListeners(hub.signal, 'abort').length, 0)
    wait()
    hub.stop()
    await world.advance(1)
    assert.equal(over, 100)
  })
})
