import assert from 'node:assert/strict'
import fc from 'fast-check'
import { compareBytes } from '../../../src/base/bytes.ts'
import type { KilovoltError } from '../../../src/base/errors.ts'
import type { Actor, PeerId } from '../../../src/model/node-id.ts'
import { type Hash64, Ring } from '../../../src/model/partition.ts'
import { compareRecords, encodeRecord, recordHead, recordValue } from '../../../src/model/record.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Topology } from '../../../src/placement/topology.ts'
import { AntiEntropy, type RoundReport } from '../../../src/repair/anti-entropy.ts'
import { Exchange } from '../../../src/repair/exchange.ts'
import { ExchangeServer } from '../../../src/repair/exchange-server.ts'
import { TreeBuilder } from '../../../src/repair/tree-builder.ts'
import { Replica } from '../../../src/replication/replica.ts'
import { loadHash64 } from '../../../src/runtime/hash.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { ApplyLoop } from '../../../src/storage/apply-loop.ts'
import { Damage } from '../../../src/storage/damage.ts'
import { Horizons } from '../../../src/storage/horizons.ts'
import { dataKey } from '../../../src/storage/key-layout.ts'
import type { RecordStore, StoredRecord } from '../../../src/storage/record-store.ts'
import { TreeIndex } from '../../../src/storage/tree-index.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { MessageType } from '../../../src/transport/message-type.ts'
import type { MessageHandler, Outcome, OutgoingRequest, Transport } from '../../../src/transport/transport.ts'
import { flipBit } from '../../support/flip-bit.ts'
import { peer, store, storeNumber, topology } from '../cluster/fixtures.ts'

const KEYSPACE = new Uint8Array()
const EVERY_MS = 100_000

/** A replica with everything that compares; requests go straight to the handlers of other sides. */
class Side {
  readonly n: number
  readonly clock: SimClock
  readonly disk: SimDisk
  readonly store: SimStore
  readonly records: RecordStore
  readonly trees: TreeIndex
  readonly horizons: Horizons
  /** Horizons that others told of. */
  readonly adopted: [partition: number, horizon: number][] = []
  readonly ring: Ring
  readonly antiEntropy: AntiEntropy
  readonly builder: TreeBuilder
  readonly handlers = new Map<MessageType, MessageHandler>()
  /** Types of the requests that it was sent. */
  readonly asked: MessageType[] = []
  /** Bytes of requests and replies at this side. */
  bytes = 0
  pages = 0
  fault: ((type: MessageType, n: number) => Outcome | undefined) | undefined
  readonly dead = new Set<number>()
  topology: Topology

  constructor(bench: Bench, n: number, everyMs: number) {
    this.n = n
    const { world, hash, sides } = bench
    this.topology = bench.topology
    this.clock = world.clock(`n${n}`)
    this.disk = bench.disks.get(n) ?? new SimDisk(world.random.fork(`disk ${n}`), {})
    const isNew = !bench.disks.has(n)
    bench.disks.set(n, this.disk)
    this.ring = new Ring(64, hash)
    this.trees = new TreeIndex(64, isNew)
    const simStore = new SimStore({ disk: this.disk, clock: this.clock })
    this.horizons = new Horizons(simStore, 64)
    this.store = simStore
    const damage = new Damage({ latest: () => 1000, trees: this.trees })
    const records = new ApplyLoop({ store: simStore, clock: this.clock, trees: this.trees, damage })
    const page = records.page.bind(records)
    records.page = (...args) => {
      this.pages++
      return page(...args)
    }
    this.records = records
    const transport = {
      handle: (type: MessageType, handler: MessageHandler) => void this.handlers.set(type, handler),
      request: (to: PeerId, { type, body }: OutgoingRequest, done: (outcome: Outcome) => void) => {
        const other = sides.get(to)!
        const answer = (outcome: Outcome): void => {
          if (outcome.kind === 'reply') other.bytes += outcome.body.length
          this.clock.after(1, () => done(outcome))
        }
        other.asked.push(type)
        other.bytes += body.length
        const fault = other.fault?.(type, other.asked.length)
        if (fault !== undefined) return answer(fault)
        other.handlers.get(type)!(
          { from: peer(n), epoch: this.topology.epoch, body },
          {
            reply: bytes => answer({ kind: 'reply', epoch: other.topology.epoch, body: bytes }),
            refuse: error => answer({ kind: 'refused', error })
          }
        )
      }
    } as unknown as Transport
    const common = {
      self: store(n),
      transport,
      records: this.records,
      clock: this.clock,
      logger: silentLogger,
      topology: () => this.topology
    }
    const stamps = { last: 0, next: () => ({ hlc: 1, actor: '00000000000000aa' as Actor }), observe: () => {} }
    const replica = new Replica(
      {
        ...common,
        horizons: this.horizons,
        stamps,
        rules: SOUND_RULES,
        isOver: () => false,
        catchUp: async () => this.topology
      },
      { maxClockDriftMs: 1e15, requestTimeoutMs: 1000 }
    )
    this.builder = new TreeBuilder({ ...common, trees: this.trees })
    const { trees, builder, horizons } = this
    const repair = {
      ...common,
      trees,
      builder,
      horizons,
      replica,
      adopt: (partition: number, horizon: number) => void this.adopted.push([partition, horizon]),
      exchangeWith: (peer: PeerId, rest: () => Promise<void>) =>
        new Exchange({ ...repair, epoch: () => this.topology.epoch, rest }, peer)
    }
    this.antiEntropy = new AntiEntropy(
      {
        ...repair,
        random: world.random.fork(`repair ${n}`),
        isAlive: id => !this.dead.has(storeNumber(id))
      },
      { everyMs }
    )
    replica.listen(transport)
    new ExchangeServer(repair).listen()
    sides.set(peer(n), this)
  }

  put(key: string, hlc: number, value: string | null = `${key}@${hlc}`): Promise<void> {
    const name = Buffer.from(key)
    const bytes = value === null ? undefined : Buffer.from(value)
    const record = encodeRecord({ stamp: { hlc, actor: '00000000000000aa' as Actor }, value: bytes })
    const place = { partition: this.ring.partitionOf(name), keyspace: KEYSPACE, key: name }
    return new Promise((resolve, reject) => {
      this.records.apply(place, record, error => (error === undefined ? resolve() : reject(error)))
    })
  }

  /** All it holds, as `key value` or `key -`. */
  async dump(): Promise<string[]> {
    const found: StoredRecord[] = []
    for (let partition = 0; partition < 64; partition++) {
      found.push(...(await this.records.page(partition, undefined, 100_000)))
    }
    return found.map(({ key, record }) => {
      const value = recordValue(record)
      return `${Buffer.from(key).toString()} ${value === undefined ? '-' : Buffer.from(value).toString()}`
    })
  }
}

class Bench {
  readonly world: SimWorld = new SimWorld()
  readonly sides = new Map<string, Side>()
  readonly disks = new Map<number, SimDisk>()
  readonly hash: Hash64
  topology: Topology = topology([{ n: 1 }, { n: 2 }], { slots: [1, 2] })

  constructor(hash: Hash64) {
    this.hash = hash
  }

  side(n: number, everyMs: number = EVERY_MS): Side {
    return new Side(this, n, everyMs)
  }

  all<T>(jobs: readonly Promise<T>[]): Promise<T[]> {
    return this.world.settle(Promise.all(jobs))
  }

  run(side: Side, signal?: AbortSignal): Promise<RoundReport> {
    return this.world.settle(side.antiEntropy.run(signal))
  }

  async stop(): Promise<void> {
    for (const { antiEntropy, builder } of this.sides.values()) {
      await this.world.settle(Promise.all([antiEntropy.stop(), builder.stop()]))
    }
    await this.world.advance(10)
    for (const { clock } of this.sides.values()) assert.equal(clock.pending, 0, 'no timer is left')
  }
}

describe('anti-entropy', () => {
  let hash: Hash64
  let bench: Bench
  let one: Side
  let two: Side

  before(async () => {
    hash = await loadHash64()
  })

  beforeEach(() => {
    bench = new Bench(hash)
    one = bench.side(1)
    two = bench.side(2)
  })

  afterEach(() => bench.stop())

  const same = async (): Promise<void> => {
    const [a, b] = await bench.all([one.dump(), two.dump()])
    assert.deepEqual(a, b)
  }

  it('brings over what either side lacks or has in an older version, deletions included', async () => {
    await bench.all([
      one.put('only one', 1),
      two.put('only two', 2),
      one.put('newer at one', 9),
      two.put('newer at one', 3),
      one.put('newer at two', 4),
      two.put('newer at two', 8),
      one.put('deleted at two', 5),
      two.put('deleted at two', 6, null),
      one.put('equal', 7),
      two.put('equal', 7)
    ])
    const { differences, mended, missed } = await bench.run(one)
    assert.deepEqual([differences, mended, missed], [5, 5, []])
    await same()
    assert.ok((await bench.world.settle(one.dump())).includes('deleted at two -'))
    const again = await bench.run(one)
    assert.deepEqual([again.differences, again.missed], [0, []])
  })

  it('mends what lies beside a damaged record, at either side, and says that one is left', async () => {
    const keys = Array.from({ length: 200 }, (_, i) => `{tag}${i}`)
    await bench.all(keys.map(key => one.put(key, 1)))
    await bench.all(keys.map(key => two.put(key, 2)))
    const damage = async (side: Side, key: string): Promise<void> => {
      const name = Buffer.from(key)
      const storeKey = dataKey(side.ring.partitionOf(name), KEYSPACE, name)
      await bench.world.settle(flipBit(side.store, storeKey))
      side.trees.forget(side.ring.partitionOf(name))
    }
    await damage(one, keys[50]!)
    await damage(two, keys[150]!)
    // The other side makes its tree when it is first asked for it.
    assert.deepEqual((await bench.run(one)).missed, [store(2)])
    await bench.world.advance(1000)
    const { differences, mended, missed } = await bench.run(one)
    assert.deepEqual([differences, mended, missed], [200, 198, [store(2)]])
    const [a, b] = await bench.all([one.dump(), two.dump()])
    assert.equal(new Set([...a!, ...b!]).size, 200, 'each key has one version at either side')
    assert.deepEqual([a!.length, b!.length], [199, 199])
  })

  it('whatever the two hold, leaves both with the newest of it', async () => {
    const side = fc.dictionary(fc.stringMatching(/^[a-f]{1,2}$/u), fc.integer({ min: 1, max: 4 }), { maxKeys: 30 })
    await fc.assert(
      fc.asyncProperty(side, side, async (a, b) => {
        const fresh = new Bench(hash)
        const [left, right] = [fresh.side(1), fresh.side(2)]
        await fresh.all([
          ...Object.entries(a).map(([key, hlc]) => left.put(key, hlc)),
          ...Object.entries(b).map(([key, hlc]) => right.put(key, hlc))
        ])
        const { differences } = await fresh.run(left)
        const keys = new Set([...Object.keys(a), ...Object.keys(b)])
        assert.equal(differences, [...keys].filter(key => a[key] !== b[key]).length)
        const expected = [...keys].map(key => `${key} ${key}@${Math.max(a[key] ?? 0, b[key] ?? 0)}`).toSorted()
        for (const held of await fresh.all([left.dump(), right.dump()])) assert.deepEqual(held.toSorted(), expected)
        await fresh.stop()
      }),
      { numRuns: 30 }
    )
  })

  it('costs no look at any record, and a few bytes for each partition, when nothing differs', async () => {
    const keys = Array.from({ length: 3000 }, (_, i) => `key ${i}`)
    await bench.all([one, two].flatMap(side => keys.map(key => side.put(key, 1))))
    one.pages = two.pages = 0
    const { bytes } = await bench.run(one)
    assert.deepEqual([one.pages, two.pages], [0, 0])
    assert.ok(bytes < 64 * 16, `${bytes} bytes for 64 partitions`)
    assert.equal(bytes, two.bytes)
  })

  it('sends the values of what differs and no others, however large a partition is', async () => {
    const value = 'v'.repeat(1000)
    // All in one partition, by the tag.
    const keys = Array.from({ length: 4000 }, (_, i) => `{same}${i}`)
    await bench.all([one, two].flatMap(side => keys.map(key => side.put(key, 1, value))))
    await bench.all(keys.slice(0, 100).map(key => one.put(key, 2, value)))
    const { differences, mended, bytes } = await bench.run(one)
    assert.deepEqual([differences, mended], [100, 100])
    // The tree of 12 KiB; the records; names and heads of those that share a leaf with them.
    assert.ok(bytes < 12_500 + 3 * 100 * 1100, `${bytes} bytes`)
    await same()
  })

  it('makes the tree of a store that was not closed in good order, at either side', async () => {
    await bench.all([one.put('a', 1), two.put('b', 1)])
    for (const { disk } of [one, two]) disk.crash()
    bench.sides.clear()
    one = bench.side(1)
    two = bench.side(2)
    assert.equal(one.trees.isComplete, false)
    const first = await bench.run(one)
    // The other side makes its trees when it is asked for them.
    assert.deepEqual(first.missed, [store(2)])
    await bench.world.advance(5000)
    const second = await bench.run(one)
    assert.deepEqual([second.differences, second.missed], [2, []])
    await same()
  })

  it('is asked for by the smaller id only, unless an app asks', async () => {
    await bench.all([one.put('a', 1)])
    two.antiEntropy.soon()
    await bench.world.advance(10_000)
    assert.deepEqual([one.asked, two.asked], [[], []])
    const { differences } = await bench.run(two)
    assert.equal(differences, 1)
    assert.ok(one.asked.length > 0)
  })

  it('comes round by itself, soon after it was called for and then at its interval', async () => {
    one.antiEntropy.soon()
    one.antiEntropy.soon()
    await bench.world.advance(1900)
    assert.equal(two.asked.length, 0)
    await bench.world.advance(2200)
    assert.equal(two.asked.length, 1, 'one round for both calls')
    assert.equal(typeof one.antiEntropy.stats().completedAt, 'number')
    await bench.world.advance(EVERY_MS * 0.9 - 100)
    assert.equal(two.asked.length, 1)
    await bench.world.advance(EVERY_MS * 0.2 + 200)
    assert.equal(two.asked.length, 2)
  })

  it('comes round only when an app asks, if its interval is infinite', async () => {
    const fresh = new Bench(hash)
    const [lazy, other] = [fresh.side(1, Infinity), fresh.side(2)]
    await fresh.all([lazy.put('a', 1)])
    lazy.antiEntropy.soon()
    await fresh.world.advance(1_000_000)
    assert.equal(other.asked.length, 0)
    assert.equal((await fresh.run(lazy)).mended, 1)
    await fresh.stop()
  })

  it('comes round again soon when somebody could not be asked', async () => {
    bench.topology = one.topology = topology([{ n: 1 }, { n: 2 }, { n: 3 }])
    one.dead.add(3)
    one.antiEntropy.soon()
    await bench.world.advance(5000)
    assert.deepEqual([two.asked.length, one.antiEntropy.stats().completedAt], [1, undefined])
    assert.deepEqual((await bench.run(one)).missed, [store(3)])
    await bench.world.advance(15_000)
    assert.equal(two.asked.length, 3)
  })

  it('makes another round when it is called for during one', async () => {
    two.fault = () => {
      one.antiEntropy.soon()
      return { kind: 'lost' }
    }
    one.antiEntropy.soon()
    await bench.world.advance(4100)
    assert.equal(two.asked.length, 1)
    two.fault = undefined
    await bench.world.advance(4100)
    assert.equal(two.asked.length, 2)
  })

  it('goes on with the others when one breaks off, and says whom it missed', async () => {
    bench.topology = topology([{ n: 1 }, { n: 2 }, { n: 3 }])
    for (const side of [one, two]) side.topology = bench.topology
    const three = bench.side(3)
    await bench.all([three.put('c', 1), two.put('b', 1)])
    two.fault = type => (type === MessageType.LEAVES ? { kind: 'timeout' } : undefined)
    const { differences, missed } = await bench.run(one)
    assert.deepEqual([differences, missed], [1, [store(2)]])
  })

  it('does not take a record for mended that could not be stored', async () => {
    await bench.all([two.put('a', 1)])
    one.disk.set({ failPer10k: 10_000 })
    const { differences, mended, missed } = await bench.run(one)
    assert.deepEqual([differences, mended, missed], [1, 0, [store(2)]])
    one.disk.set({ failPer10k: 0 })
    await bench.run(one)
    const { differences: left } = await bench.run(one)
    assert.equal(left, 0)
    await same()
  })

  it('leaves partitions alone that are changing owners, or that the other does not hold', async () => {
    await bench.all([one.put('a', 1)])
    const { rows } = bench.topology
    const changing = { ...rows[0]!, change: { next: [1, 2].map(store), copies: [] } }
    one.topology = { ...bench.topology, rows: rows.map(() => changing) }
    assert.deepEqual((await bench.run(one)).differences, 0)
    assert.equal(two.asked.length, 0)
    one.topology = bench.topology
    two.topology = { ...bench.topology, rows: rows.map(row => ({ ...row, slots: [store(1)] })) }
    const { differences, missed } = await bench.run(one)
    assert.deepEqual([differences, missed], [0, [store(2)]])
  })

  it('ends when its signal aborts', async () => {
    const abort = new AbortController()
    await bench.all([two.put('a', 1)])
    two.fault = type => {
      if (type === MessageType.KEYS) abort.abort()
      return undefined
    }
    await assert.rejects(bench.run(one, abort.signal), { code: 'KV_ABORTED' })
  })

  it('ends when the node stops', async () => {
    await bench.all([two.put('a', 1)])
    const running = one.antiEntropy.run(undefined)
    const rejected = assert.rejects(running, { code: 'KV_NODE_STOPPED' })
    one.antiEntropy.cancel()
    await bench.world.settle(rejected)
  })

  it('refuses bytes that make no sense, and questions about what it does not hold', async () => {
    const ask = (type: MessageType, body: Uint8Array): Promise<string | undefined> =>
      new Promise(resolve => {
        const respond = { reply: () => resolve(undefined), refuse: ({ code }: KilovoltError) => resolve(code) }
        two.handlers.get(type)!({ from: peer(1), epoch: 10, body }, respond)
      })
    for (const type of [MessageType.ROOTS, MessageType.LEAVES, MessageType.KEYS]) {
      assert.equal(await ask(type, Uint8Array.of(200, 1)), 'KV_PROTOCOL')
    }
    two.topology = topology([{ n: 1 }, { n: 2 }], { slots: [1] })
    const keys = Uint8Array.of(0, 3, 0, 0, 0)
    assert.equal(await ask(MessageType.KEYS, keys), 'KV_PROTOCOL')
  })
})

describe('the newest of two records', () => {
  it('is the same for the store and for an exchange, which sees heads only', () => {
    const stamp = { hlc: 5, actor: '00000000000000aa' as Actor }
    const value = encodeRecord({ stamp, value: Uint8Array.of(1) })
    const expiring = encodeRecord({ stamp, value: Uint8Array.of(1), expiresAt: 77 })
    const gone = encodeRecord({ stamp, value: undefined })
    for (const [a, b] of [
      [value, expiring],
      [value, gone],
      [expiring, gone]
    ] as const) {
      const byHead = Math.sign(compareBytes(recordHead(a), recordHead(b)))
      assert.equal(Math.sign(compareRecords(a, b)), byHead)
    }
  })
})
