import assert from 'node:assert/strict'
import { fromUtf8, utf8 } from '../../../src/base/bytes.ts'
import { createDeferred } from '../../../src/base/deferred.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import { hlcFromMs } from '../../../src/model/hlc.ts'
import type { PeerId, StoreId } from '../../../src/model/node-id.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Topology } from '../../../src/placement/topology.ts'
import type { WatchFilter } from '../../../src/replication/watch-filter.ts'
import { WatchHub, type WatchHubDeps } from '../../../src/replication/watch-hub.ts'
import { WatchSource, type WatchSourceDeps } from '../../../src/replication/watch-source.ts'
import type { WatchSubscription } from '../../../src/replication/watch-subscription.ts'
import type { Reached, Standing } from '../../../src/replication/watch-token.ts'
import {
  decodeRewind,
  decodeWatch,
  encodeRewindReply,
  encodeWatchReply,
  LOG_ID_BYTES,
  type RewindReply,
  type RewindRequest
} from '../../../src/replication/watch-wire.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import type { Arrival } from '../../../src/storage/arrival-log.ts'
import type { StoredRecord } from '../../../src/storage/record-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { MessageType } from '../../../src/transport/message-type.ts'
import type { Outcome, OutgoingRequest, Transport } from '../../../src/transport/transport.ts'
import { peerNumber, store, storeNumber, topology } from '../cluster/fixtures.ts'
import { record } from './bench.ts'

const PARTITIONS = 2
const SELF = store(9)

type Rewind = (request: RewindRequest) => Partial<RewindReply> | KilovoltError

/** A node that watches, and three owners of all partitions that are played by hand. */
class Owners {
  readonly world = new SimWorld()
  readonly clock = this.world.clock('n')
  readonly hub: WatchHub
  readonly alive = new Set([1, 2, 3].map(store))
  /** What each says to REWIND. Default: nothing was missed. */
  readonly rewinds = new Map<number, Rewind>()
  /** What has arrived at each before it is asked. Default: nothing. */
  readonly arrivals = new Map<number, readonly Arrival[]>()
  /** Who was asked to rewind, in order. */
  readonly rewound: number[] = []
  readonly #topology: Topology
  readonly #subscriptions: WatchSubscription[] = []

  constructor() {
    const row = { slots: [1, 2, 3].map(store), change: undefined, rowEpoch: 1 }
    this.#topology = topology(
      [1, 2, 3, 9].map(n => ({ n })),
      { rows: Array.from({ length: PARTITIONS }, () => row) }
    )
    const deps = {
      self: SELF,
      transport: {
        request: (peer: PeerId, request: OutgoingRequest, done: (outcome: Outcome) => void) =>
          this.#request(peerNumber(peer), request, done)
      },
      clock: this.clock,
      logger: silentLogger,
      rules: SOUND_RULES,
      topology: () => this.#topology,
      isAlive: (id: StoreId) => this.alive.has(id),
      repairIntervalMs: 600_000
    }
    this.hub = new WatchHub(deps as unknown as WatchHubDeps)
  }

  /** Begins a watch of some partitions; `told` is what it is told. */
  async watch(
    partitions: readonly number[],
    room: () => Promise<void> | undefined = () => undefined,
    since?: Standing
  ): Promise<string[]> {
    const told: string[] = []
    const listener = {
      change: ({ key }: { key: Uint8Array }) => void told.push(fromUtf8(key)),
      reset: () => void told.push('reset'),
      room
    }
    const prefix = partitions.length === 1 ? `p${partitions[0]}` : ''
    const filter: WatchFilter = { keyspace: utf8(''), prefix: utf8(prefix), isKey: false }
    const subscription: WatchSubscription = this.hub.add(filter, partitions, since, listener)
    this.#subscriptions.push(subscription)
    await this.world.settle(this.hub.covered(subscription), { limitMs: 10_000 })
    return told
  }

  /** Watches that remember by themselves what they were told. */
  get remembering(): number {
    return this.#subscriptions.filter(({ remembers }) => remembers).length
  }

  source(partition: number): number {
    return storeNumber(this.hub.shard(partition)!.source!)
  }

  /** The one that feeds all partitions dies. */
  async lose(): Promise<void> {
    const source = this.source(0)
    this.alive.delete(store(source))
    await this.until(() => this.source(0) !== source)
  }

  async until(condition: () => boolean, limitMs = 60_000): Promise<void> {
    assert.ok(await this.world.run(condition, { limitMs }), 'in time')
  }

  #request(owner: number, { type, body }: OutgoingRequest, done: (outcome: Outcome) => void): void {
    const answer = (delayMs: number, reply: () => Uint8Array): void =>
      void this.clock.after(delayMs, () => {
        if (this.alive.has(store(owner))) done({ kind: 'reply', epoch: 1, body: reply() })
        else done({ kind: 'timeout' })
      })
    if (type === MessageType.WATCH) {
      const { waitMs, partitions, wantsHorizons } = decodeWatch(body)
      const horizons = wantsHorizons ? partitions.map(partition => [partition, 0] as const) : []
      const reply = { log: new Uint8Array(LOG_ID_BYTES).fill(owner), seq: 1, expiredUntil: 0, gaps: [], strangers: [] }
      const arrivals = this.arrivals.get(owner) ?? []
      this.arrivals.delete(owner)
      return answer(waitMs === 0 ? 1 : waitMs, () => encodeWatchReply({ ...reply, horizons, arrivals }))
    }
    const request = decodeRewind(body)
    this.rewound.push(owner)
    const found = this.rewinds.get(owner)?.(request) ?? {}
    if (found instanceof KilovoltError) return void this.clock.after(1, () => done({ kind: 'refused', error: found }))
    answer(1, () => encodeRewindReply({ horizon: 0, reached: undefined, records: [], ...found }))
  }
}

/** Goal: a partition whose owner is gone is fed, and searched, by another one. Method: owners are played by hand. */
describe('a watched partition whose owner is gone', () => {
  let owners: Owners

  beforeEach(() => {
    owners = new Owners()
  })
  afterEach(async () => {
    owners.hub.stop()
    await owners.world.advance(10_000)
    assert.equal(owners.clock.pending, 0, 'no timer is left')
  })

  const isLive = (partition = 0) => owners.hub.shard(partition)!.phase === 'live'
  const missed = (key: string, partition: number) => ({
    partition,
    keyspace: utf8(''),
    key: utf8(key),
    record: record(hlcFromMs(owners.clock.wallMs())),
    expired: false
  })

  /** So many pages of a record each. */
  const pages =
    (partition: number, count: number): Rewind =>
    request => {
      if (request.partition !== partition) return {}
      const at = request.after === undefined ? 0 : Number(fromUtf8(request.after.key))
      const reached = at + 1 < count ? { keyspace: utf8(''), key: utf8(String(at + 1)) } : undefined
      return { reached, records: [missed(`p${partition}-${at}`, partition)] }
    }

  const broken: Rewind = () => new KilovoltError('KV_STORAGE', 'it cannot be read')

  it('is told of what the next one has by what is found there, not by what had arrived: that may have been told and forgotten', async () => {
    const told = await owners.watch([0])
    const before = { ...missed('p0-before', 0), previous: undefined }
    owners.arrivals.set(2, [{ ...before, seq: 1 }])
    owners.rewinds.set(2, pages(0, 1))
    await owners.lose()
    await owners.until(() => isLive() && owners.source(0) === 2, 15_000)
    assert.deepEqual(told, ['p0-0'])
  })

  it('is searched at another one when the first to take over cannot be searched', async () => {
    const told = await owners.watch([0])
    owners.rewinds.set(2, broken)
    owners.rewinds.set(3, pages(0, 2))
    await owners.lose()
    await owners.until(() => isLive() && owners.source(0) === 3, 15_000)
    assert.deepEqual(told, ['p0-0', 'p0-1'])
    assert.ok(owners.rewound.filter(owner => owner === 2).length < 10)
    // It is not gone back to while the other one is well.
    await owners.world.advance(120_000)
    assert.equal(owners.source(0), 3)
  })

  it('is told as a reset, and fed, when none can be searched', async () => {
    const told = await owners.watch([0])
    for (const owner of [1, 2, 3]) owners.rewinds.set(owner, broken)
    await owners.lose()
    await owners.until(() => told.length > 0, 30_000)
    assert.deepEqual(told, ['reset'])
    assert.ok(isLive())
    const { length } = owners.rewound
    await owners.world.advance(60_000)
    assert.deepEqual([told.length, owners.rewound.length], [1, length])
  })

  it('is told as a reset to who goes on from a token and has forgotten what it was told there, once', async () => {
    const clusterId = topology([]).clusterId
    const reached: Reached = { feed: undefined, low: hlcFromMs(owners.clock.wallMs()) - 1, expiredUntil: 0 }
    const since = { clusterId, partitions: new Map([[0, reached]]) }
    const found = missed('p0-0', 0)
    for (const owner of [1, 2, 3]) owners.rewinds.set(owner, () => ({ records: [found] }))
    const kept = await owners.watch([0], undefined, since)
    await owners.until(() => kept.length === 1, 2000)
    // Horizons do not move here, as without purging.
    await owners.world.advance(3_700_000)
    assert.equal(owners.remembering, 0)
    const young = await owners.watch([0])
    await owners.lose()
    await owners.until(isLive)
    assert.deepEqual([kept, young], [['p0-0', 'reset'], []])
  })

  it('waits for nobody who was told nothing of it', async () => {
    const idle = new Promise<void>(() => {})
    await owners.watch([1], () => idle)
    const told = await owners.watch([0])
    owners.rewinds.set(2, pages(0, 20))
    await owners.lose()
    await owners.until(isLive, 500)
    assert.equal(told.length, 20)
  })

  it('waits a moment for those who have no room, for all of them together, and hangs nothing on them', async () => {
    const idle = new Promise<void>(() => {})
    let hung = 0
    const then = idle.then.bind(idle)
    const counted = (...args: Parameters<typeof then>): Promise<unknown> => {
      hung++
      return then(...args)
    }
    Reflect.set(idle, 'then', counted)
    const told = [await owners.watch([0], () => idle), await owners.watch([0, 1], () => idle)]
    owners.rewinds.set(2, request => pages(request.partition, 3)(request))
    await owners.lose()
    const beganMs = owners.world.nowMs
    await owners.until(() => isLive(0) && isLive(1))
    const tookMs = owners.world.nowMs - beganMs
    assert.deepEqual([told[0]!.length, told[1]!.length], [3, 6])
    assert.ok(tookMs > 2000 && tookMs < 4000, `${tookMs} ms for three pages`)
    assert.equal(hung, 2, 'once for each of them')
  })

  it('goes on as soon as there is room, and when the node stops', async () => {
    let room = createDeferred<void>()
    await owners.watch([0], () => room.promise)
    owners.rewinds.set(2, pages(0, 100))
    await owners.lose()
    await owners.world.advance(100)
    const before = owners.rewound.length
    room.resolve()
    room = createDeferred<void>()
    await owners.world.advance(100)
    assert.equal(owners.rewound.length, before + 1)
    owners.hub.stop()
    await owners.world.advance(1)
    assert.equal(owners.clock.pending, 1, 'the answer of a request that was under way')
  })
})

describe('an owner that is searched', () => {
  it('answers soon, with how far it has come, where other work goes first', async () => {
    const world = new SimWorld()
    const clock = world.clock('n')
    const old = (i: number): StoredRecord => ({
      partition: 0,
      keyspace: utf8(''),
      key: Uint8Array.of(i >> 8, i & 255),
      record: record(1)
    })
    const deps = {
      self: store(1),
      transport: {} as Transport,
      arrivals: { isOn: false, open: () => {}, close: () => {}, skip: () => {}, last: 0 },
      records: { page: async () => Array.from({ length: 256 }, (_, i) => old(i)) },
      trees: { mortalsIn: () => 0 },
      horizons: { horizonOf: () => 0 },
      clock,
      random: { bytes: (length: number) => new Uint8Array(length) },
      pace: {
        turn: async <T>(work: () => Promise<T>) => {
          await new Promise<void>(resolve => void clock.after(400, resolve))
          return work()
        }
      },
      topology: () => topology([{ n: 1 }], { slots: [1] })
    }
    const arrivals = deps.arrivals
    arrivals.open = () => {
      arrivals.isOn = true
    }
    const source = new WatchSource(deps as unknown as WatchSourceDeps)
    const request = { partition: 0, low: 5, expiredSince: 0, after: undefined, filters: [] }
    const reply = await world.settle(source.rewind(request), { limitMs: 10_000 })
    assert.ok(world.nowMs < 2000, `after ${world.nowMs} ms`)
    assert.deepEqual(reply.reached?.key, old(255).key)
    source.stop()
  })
})
