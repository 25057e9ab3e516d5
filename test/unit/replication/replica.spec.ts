import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import { hlcFromMs } from '../../../src/model/hlc.ts'
import { ALL_KEYS } from '../../../src/model/key-range.ts'
import type { StoreId } from '../../../src/model/node-id.ts'
import { Ring } from '../../../src/model/partition.ts'
import { compareRecords, type RecordBytes, recordValue } from '../../../src/model/record.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Topology } from '../../../src/placement/topology.ts'
import { Coordinator } from '../../../src/replication/coordinator.ts'
import {
  decodeReadAnswers,
  decodeWriteAnswers,
  encodeGets,
  encodePuts,
  type ReadAnswer
} from '../../../src/replication/bundle-wire.ts'
import { Minter } from '../../../src/replication/minter.ts'
import { Replica } from '../../../src/replication/replica.ts'
import type { GetRequest, PutReply, PutRequest } from '../../../src/replication/wire.ts'
import type { Clock } from '../../../src/runtime/clock.ts'
import { Slicer } from '../../../src/runtime/slices.ts'
import type { ApplyResult, Read, RecordKey, RecordStore } from '../../../src/storage/record-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { MessageType } from '../../../src/transport/message-type.ts'
import type { MessageHandler, Transport } from '../../../src/transport/transport.ts'
import { peer, store, topology } from '../cluster/fixtures.ts'
import { ACTOR, call, NO_SCANS, record } from './bench.ts'
import { NO_CACHE } from '../../../src/storage/record-store.ts'

const NOW_MS = 1_800_000_000_000
const DRIFT_MS = 10_000
const SELF: StoreId = store(1)
const KEY: RecordKey = { partition: 0, keyspace: new Uint8Array(), key: new Uint8Array([1]) }

const clock: Clock = {
  monotonicMs: () => 0,
  wallMs: () => NOW_MS,
  after: () => ({ cancel() {} }),
  soon: fn => queueMicrotask(fn)
}

/** One record. */
function setUp(
  held?: RecordBytes,
  here: Topology | undefined = topology([{ n: 1 }, { n: 2 }, { n: 3 }]),
  next?: Topology | KilovoltError
) {
  let current: Topology | undefined = here
  const caughtUp: number[] = []
  const applied: RecordBytes[] = []
  const refusal: { current: KilovoltError | undefined } = { current: undefined }
  const many: { current: ((keys: readonly RecordKey[]) => readonly Read[] | Promise<readonly Read[]>) | undefined } = {
    current: undefined
  }
  const records: RecordStore = {
    readsAtOnce: true,
    get: () => held,
    getMany: keys => many.current?.(keys) ?? keys.map(() => held),
    apply: (_key, offered, done) => {
      if (refusal.current !== undefined) return done(refusal.current, undefined)
      applied.push(offered)
      const result: ApplyResult = { outcome: 'applied', current: held }
      done(undefined, result)
    },
    applyUnit: (_place, offered, done) => {
      if (refusal.current !== undefined) return done(refusal.current, undefined)
      applied.push(...offered.map(one => one.record))
      done(
        undefined,
        offered.map(one => {
          if (held === undefined) return { outcome: 'applied', current: undefined }
          return { outcome: compareRecords(one.record, held) > 0 ? 'applied' : 'stale', current: held }
        })
      )
    },
    mint: () => {},
    forgotten: 0,
    copy: () => {},
    heal: () => {},
    remove: () => {},
    flushed: async () => {},
    page: async () => [],
    range: async () => ({ rows: [], rest: undefined }),
    pack: async rows => ({ from: rows.length, to: rows.length, rest: undefined }),
    partitions: async () => [],
    dropPartition: async () => {},
    stats: () => ({ applied: 0, stale: 0, batches: 0, pending: 0, corrupt: 0, corruptLeft: 0, cache: NO_CACHE })
  }
  const stamps = {
    last: 0,
    next: () => ({ hlc: 1, actor: ACTOR }),
    observe: () => {}
  }
  const floors = new Map<number, number>()
  const horizon = { current: 0 }
  const common = {
    self: SELF,
    records,
    horizons: { floorOf: (partition: number) => floors.get(partition) ?? 0, horizonOf: () => horizon.current },
    stamps,
    clock,
    rules: SOUND_RULES,
    topology: () => current,
    isOver: () => false,
    catchUp: async (epoch: number) => {
      caughtUp.push(epoch)
      if (next instanceof Error) throw next
      current = next ?? here
      return current
    }
  }
  return {
    ...common,
    floors,
    horizon,
    become: (later: Topology) => void (current = later),
    applied,
    refusal,
    many,
    caughtUp,
    replica: new Replica(common, { maxClockDriftMs: DRIFT_MS, requestTimeoutMs: 1000 })
  }
}

function put(replica: Replica, more: Partial<PutRequest>, epoch = 10): Promise<PutReply | string> {
  const request: PutRequest = { ...KEY, record: record(hlcFromMs(NOW_MS)), exempt: false, repair: false, ...more }
  return new Promise(resolve => replica.put(request, epoch, (error, reply) => resolve(error?.code ?? reply!)))
}

function get(replica: Replica): Promise<unknown> {
  const request: GetRequest = { ...KEY, exempt: false, known: undefined }
  return new Promise(resolve => replica.get(request, 10, (error, reply) => resolve(error?.code ?? reply)))
}

describe('a replica', () => {
  it('refuses a fresh write from the far future', async () => {
    const { replica, applied } = setUp()
    assert.equal(await put(replica, { record: record(hlcFromMs(NOW_MS + DRIFT_MS + 1000)) }), 'KV_CLOCK_DRIFT')
    assert.deepEqual(applied, [])
  })

  it('refuses a fresh write from a past that is being settled, and says above what it may be', async () => {
    const { replica, applied, floors } = setUp()
    const floor = hlcFromMs(NOW_MS)
    floors.set(KEY.partition, floor)
    assert.deepEqual(await put(replica, { record: record(floor) }), { kind: 'late', floor })
    assert.deepEqual(await put(replica, { record: record(floor), exempt: true }), { kind: 'late', floor })
    assert.equal(applied.length, 0)
    assert.deepEqual(await put(replica, { record: record(floor), repair: true }), { kind: 'stored', existed: false })
    assert.deepEqual(await put(replica, { record: record(floor + 1) }), { kind: 'stored', existed: false })
  })

  it('K1: has a fresh write stamped above what a damaged record can have been, and refuses a repair', async () => {
    const { replica, refusal } = setUp()
    refusal.current = new KilovoltError('KV_CORRUPT', 'damaged', { details: { newerThan: 77 } })
    assert.deepEqual(await put(replica, {}), { kind: 'late', floor: 77 })
    assert.deepEqual(await put(replica, { exempt: true }), { kind: 'late', floor: 77 })
    assert.equal(await put(replica, { repair: true }), 'KV_CORRUPT')
    refusal.current = new KilovoltError('KV_CORRUPT', 'something else')
    assert.equal(await put(replica, {}), 'KV_CORRUPT')
  })

  it('takes such a record as a repair: it was acknowledged elsewhere', async () => {
    const { replica, applied } = setUp()
    const future = record(hlcFromMs(NOW_MS + DRIFT_MS + 1000))
    assert.deepEqual(await put(replica, { record: future, repair: true }), { kind: 'stored', existed: false })
    assert.equal(applied.length, 1)
  })

  it('takes a write that directly succeeds a future record it holds: the key stays writable', async () => {
    const poisoned = hlcFromMs(NOW_MS + 60_000)
    const { replica } = setUp(record(poisoned))
    assert.deepEqual(await put(replica, { record: record(poisoned + 1) }), { kind: 'stored', existed: true })
    assert.equal(await put(replica, { record: record(hlcFromMs(NOW_MS + 120_000)) }), 'KV_CLOCK_DRIFT')
  })

  it('judges such a write by what is true after that look, not before it', async () => {
    const poisoned = hlcFromMs(NOW_MS + 60_000)
    const change = (set: ReturnType<typeof setUp>, later: () => void): void => {
      set.records.get = async () => {
        await Promise.resolve()
        later()
        return record(poisoned)
      }
    }
    const moved = setUp()
    change(moved, () => moved.become(topology([{ n: 1 }, { n: 2 }], { slots: [2], epoch: 12 })))
    assert.deepEqual(await put(moved.replica, { record: record(poisoned + 1) }), { kind: 'fenced', epoch: 12 })
    const settled = setUp()
    change(settled, () => void settled.floors.set(KEY.partition, poisoned + 1))
    assert.deepEqual(await put(settled.replica, { record: record(poisoned + 1) }), {
      kind: 'late',
      floor: poisoned + 1
    })
    assert.deepEqual([moved.applied, settled.applied], [[], []])
  })

  it('says up to where nothing is here as of the moment at which it was looked up', async () => {
    const set = setUp()
    let reads = 0
    const look = async (): Promise<undefined> => {
      await Promise.resolve()
      // A purge ends while the first look is under way.
      if (++reads === 1) set.horizon.current = 50
    }
    set.records.get = look
    assert.deepEqual(await get(set.replica), { kind: 'none', horizon: 50 })
    assert.equal(reads, 2)
    set.horizon.current = 60
    reads = 0
    set.many.current = async keys => {
      await look()
      return keys.map(() => undefined)
    }
    const none = { kind: 'none', horizon: 50 }
    assert.deepEqual(await getMany(set.replica, [{}, {}]), [none, none])
    assert.equal(reads, 2)
  })

  it('sends an older coordinator back to refresh, and level one through', async () => {
    const row = { slots: [SELF], change: undefined, rowEpoch: 8 }
    const { replica } = setUp(undefined, topology([{ n: 1 }], { rows: Array.from({ length: 64 }, () => row) }))
    assert.deepEqual(await put(replica, {}, 7), { kind: 'fenced', epoch: 10 })
    assert.deepEqual(await put(replica, {}, 8), { kind: 'stored', existed: false })
    assert.deepEqual(await put(replica, { exempt: true }, 7), { kind: 'stored', existed: false })
  })

  it('C2: waits for an epoch that it has not heard of, and judges by that', async () => {
    const later = topology([{ n: 1 }, { n: 2 }], { slots: [2], epoch: 12 })
    const { replica, caughtUp, applied } = setUp(undefined, undefined, later)
    assert.deepEqual(await put(replica, {}, 12), { kind: 'fenced', epoch: 12 })
    assert.deepEqual([caughtUp, applied], [[12], []])
  })

  it('waits for no epoch at level one', async () => {
    const { replica, caughtUp } = setUp()
    assert.deepEqual(await put(replica, { exempt: true }, 12), { kind: 'stored', existed: false })
    assert.deepEqual(caughtUp, [])
  })

  it('says why when it cannot learn the epoch', async () => {
    const { replica, applied } = setUp(undefined, undefined, new KilovoltError('KV_TIMEOUT', 'nobody has it'))
    assert.equal(await put(replica, {}, 12), 'KV_TIMEOUT')
    assert.deepEqual(applied, [])
  })

  it('refuses a partition that there is not', async () => {
    const { replica } = setUp()
    assert.equal(await put(replica, { partition: 64 }), 'KV_PROTOCOL')
  })

  it('answers bytes that make no sense by a refusal', () => {
    const { replica } = setUp()
    const handlers = new Map<MessageType, MessageHandler>()
    const transport = { handle: (type: MessageType, handler: MessageHandler) => void handlers.set(type, handler) }
    replica.listen(transport as unknown as Transport)
    assert.deepEqual([...handlers.keys()], [MessageType.PUT, MessageType.GET, MessageType.PUTS, MessageType.GETS])
    for (const handler of handlers.values()) {
      let code: string | undefined
      const respond = { reply: () => assert.fail(), refuse: (error: KilovoltError) => void (code = error.code) }
      handler({ from: peer(2), epoch: 10, body: Uint8Array.of(1, 2, 3) }, respond)
      assert.equal(code, 'KV_PROTOCOL')
    }
  })

  it('sends away who takes it for an owner', async () => {
    const { replica } = setUp(undefined, topology([{ n: 1 }, { n: 2 }], { slots: [2] }))
    assert.deepEqual(await put(replica, {}), { kind: 'fenced', epoch: 10 })
  })
})

/** What the replica answers to several reads, or the code of why it does not. */
function getMany(
  replica: Replica,
  more: readonly Partial<GetRequest>[],
  epoch = 10
): Promise<readonly ReadAnswer[] | string> {
  const requests = more.map(part => ({ ...KEY, exempt: false, known: undefined, ...part }))
  return new Promise(resolve => {
    replica.getMany(requests, epoch, (error, answers) => resolve(error?.code ?? answers!))
  })
}

function putMany(
  replica: Replica,
  more: readonly Partial<PutRequest>[],
  epoch = 10
): Promise<readonly (PutReply | string)[] | string> {
  const requests = more.map(part => {
    return { ...KEY, record: record(hlcFromMs(NOW_MS)), exempt: false, repair: false, ...part }
  })
  return new Promise(resolve => {
    replica.putMany(requests, epoch, (error, replies) => {
      resolve(error?.code ?? replies!.map(reply => (reply instanceof KilovoltError ? reply.code : reply)))
    })
  })
}

describe('a replica that is asked for several at once', () => {
  const HELD = record(5)
  const STORED = { kind: 'stored', existed: true } as const
  const FENCED = { kind: 'fenced', epoch: 10 } as const
  /** Partition 0 is its own, 1 is not, and 2 has changed since epoch 8. */
  const ROWS = topology([{ n: 1 }, { n: 2 }], {
    rows: Array.from({ length: 64 }, (_, i) => {
      return { slots: [i === 1 ? store(2) : SELF], change: undefined, rowEpoch: i === 2 ? 9 : 1 }
    })
  })
  const AMONG = [{ partition: 0 }, { partition: 1 }, { partition: 2 }, { partition: 64 }, { partition: 3 }]

  it('answers each in its place, and counts each', async () => {
    const { replica, many } = setUp(HELD)
    many.current = keys => keys.map(({ key }) => (key.length === 0 ? undefined : HELD))
    const known = HELD.slice(1, 16)
    assert.deepEqual(await getMany(replica, [{}, { key: new Uint8Array() }, { known }]), [
      { kind: 'record', record: HELD },
      { kind: 'none', horizon: 0 },
      { kind: 'same' }
    ])
    assert.deepEqual(await putMany(replica, [{}, {}]), [STORED, STORED])
    assert.equal(replica.requests, 5)
  })

  it('answers nothing to nothing', async () => {
    const { replica } = setUp()
    assert.deepEqual([await getMany(replica, []), await putMany(replica, [])], [[], []])
  })

  it('C2: sends away what is not for it, or too old for its row, and serves the rest', async () => {
    const { replica, applied } = setUp(HELD, ROWS)
    const found = { kind: 'record', record: HELD }
    assert.deepEqual(await getMany(replica, AMONG, 8), [found, FENCED, FENCED, undefined, found])
    assert.deepEqual(await putMany(replica, AMONG, 8), [STORED, FENCED, FENCED, 'KV_PROTOCOL', STORED])
    assert.equal(applied.length, 2)
    const exempt = AMONG.map(place => ({ ...place, exempt: true }))
    assert.deepEqual(await putMany(replica, exempt, 8), [STORED, FENCED, STORED, 'KV_PROTOCOL', STORED])
  })

  it('C2: waits once for an epoch that it has not heard of, and judges by that', async () => {
    for (const ask of [getMany, putMany]) {
      const later = topology([{ n: 1 }, { n: 2 }], { slots: [2], epoch: 12 })
      const { replica, caughtUp, applied } = setUp(HELD, undefined, later)
      const fenced = { kind: 'fenced', epoch: 12 }
      assert.deepEqual(await ask(replica, [{}, {}, {}], 12), [fenced, fenced, fenced])
      assert.deepEqual([caughtUp, applied, replica.requests], [[12], [], 3])
    }
  })

  it('refuses all of them when it cannot learn the epoch, and waits for none at level one', async () => {
    const { replica, caughtUp, applied } = setUp(HELD, undefined, new KilovoltError('KV_TIMEOUT', 'nobody has it'))
    assert.equal(await getMany(replica, [{}, {}], 12), 'KV_TIMEOUT')
    assert.equal(await putMany(replica, [{}, {}], 12), 'KV_TIMEOUT')
    assert.deepEqual([caughtUp, applied], [[12, 12], []])
    assert.deepEqual(await putMany(replica, [{ exempt: true }], 12), [STORED])
    assert.equal(caughtUp.length, 2)
  })

  it('has no answer to what is damaged, whether it reads at once or later, and none at all when nothing can be read', async () => {
    const { replica, many } = setUp()
    const corrupt = new KilovoltError('KV_CORRUPT', 'fails its checksum')
    const found = { kind: 'record', record: HELD }
    many.current = () => [HELD, corrupt, HELD]
    assert.deepEqual(await getMany(replica, [{}, {}, {}]), [found, undefined, found])
    many.current = async () => [HELD, corrupt, HELD]
    assert.deepEqual(await getMany(replica, [{}, {}, {}]), [found, undefined, found])
    many.current = () => Promise.reject(new KilovoltError('KV_STORAGE', 'no disk'))
    assert.equal(await getMany(replica, [{}]), 'KV_STORAGE')
  })

  it('judges each write by itself', async () => {
    const { replica, floors, refusal } = setUp(HELD)
    const future = record(hlcFromMs(NOW_MS + DRIFT_MS + 1000))
    floors.set(7, hlcFromMs(NOW_MS))
    assert.deepEqual(await putMany(replica, [{ record: future }, {}, { partition: 7 }]), [
      'KV_CLOCK_DRIFT',
      STORED,
      { kind: 'late', floor: hlcFromMs(NOW_MS) }
    ])
    refusal.current = new KilovoltError('KV_CORRUPT', 'damaged', { details: { newerThan: 77 } })
    assert.deepEqual(await putMany(replica, [{}]), [{ kind: 'late', floor: 77 }])
    refusal.current = new KilovoltError('KV_OVERLOADED', 'busy')
    assert.deepEqual(await putMany(replica, [{}, { partition: 64 }]), ['KV_OVERLOADED', 'KV_PROTOCOL'])
  })

  it('answers messages from elsewhere in the same way', async () => {
    const { replica } = setUp(HELD, ROWS)
    const handlers = new Map<MessageType, MessageHandler>()
    const transport = { handle: (type: MessageType, handler: MessageHandler) => void handlers.set(type, handler) }
    replica.listen(transport as unknown as Transport)
    const ask = (type: MessageType, body: Uint8Array): Promise<Uint8Array> =>
      new Promise((resolve, reject) => {
        handlers.get(type)!({ from: peer(2), epoch: 8, body }, { reply: resolve, refuse: reject })
      })
    const gets = AMONG.map(place => ({ ...KEY, ...place, own: undefined }))
    const read = decodeReadAnswers(await ask(MessageType.GETS, encodeGets(gets)), gets.length)
    assert.deepEqual(
      read.map(answer => answer?.kind),
      ['record', undefined, undefined, undefined, 'record']
    )
    for (const [exempt, third] of [
      [false, 'fenced'],
      [true, 'stored']
    ] as const) {
      const puts = AMONG.map(place => {
        return { ...KEY, ...place, record: record(hlcFromMs(NOW_MS)), exempt, repair: false }
      })
      const written = decodeWriteAnswers(await ask(MessageType.PUTS, encodePuts(puts, exempt)), puts.length)
      assert.deepEqual(
        written.map(({ kind }) => kind),
        ['stored', 'fenced', third, 'refused', 'stored']
      )
    }
  })
})

describe('a coordinator', () => {
  it('says that its node is no member yet', async () => {
    const { replica, ...deps } = setUp()
    const ring = new Ring(64, () => 0n)
    const coordinator = new Coordinator(
      {
        ...deps,
        replica,
        ...NO_SCANS,
        minter: new Minter({ ...deps, replica }, DRIFT_MS, true),
        transport: {} as Transport,
        topology: () => undefined,
        isDead: () => false,
        keepFor: () => {},
        ring
      },
      1000
    )
    await assert.rejects(async () => coordinator.get(KEY.keyspace, KEY.key, call('quorum')), { code: 'KV_NOT_JOINED' })
    await assert.rejects(coordinator.put(KEY.keyspace, KEY.key, undefined, call('quorum')), { code: 'KV_NOT_JOINED' })
    assert.equal(coordinator.stats().failed, 2)
  })

  it('does not take the pages of scans for requests that others are to make room for', async () => {
    const { replica, ...deps } = setUp()
    const coordinator = new Coordinator(
      {
        ...deps,
        replica,
        ...NO_SCANS,
        minter: new Minter({ ...deps, replica }, DRIFT_MS, true),
        slicer: new Slicer(new SimWorld().clock('a'), () => 0),
        transport: {} as Transport,
        topology: () => undefined,
        isDead: () => false,
        keepFor: () => {},
        ring: new Ring(64, () => 0n)
      },
      1000
    )
    const scan = coordinator.scan(KEY.keyspace, ALL_KEYS, call('quorum'), {
      isReverse: false,
      wantsValues: true,
      rests: true
    })
    await assert.rejects(scan.next(10), { code: 'KV_NOT_JOINED' })
    assert.deepEqual([coordinator.operations, coordinator.requests], [1, 0])
    await assert.rejects(async () => coordinator.get(KEY.keyspace, KEY.key, call('quorum')), { code: 'KV_NOT_JOINED' })
    assert.deepEqual([coordinator.operations, coordinator.requests], [2, 1])
  })

  it('copies a value before it waits for anything, a stamp included', async () => {
    for (const stamp of [{ hlc: 1, actor: ACTOR }, Promise.resolve({ hlc: 1, actor: ACTOR })]) {
      const { replica, applied, ...deps } = setUp(undefined, topology([{ n: 1 }]))
      const stamps = { ...deps.stamps, next: () => stamp }
      const ring = new Ring(64, () => 0n)
      const coordinator = new Coordinator(
        {
          ...deps,
          stamps,
          replica,
          ...NO_SCANS,
          minter: new Minter({ ...deps, replica }, DRIFT_MS, true),
          transport: {} as Transport,
          isDead: () => false,
          keepFor: () => {},
          ring
        },
        1000
      )
      const value = Uint8Array.of(1, 2, 3)
      const put = coordinator.put(KEY.keyspace, KEY.key, value, call('one'))
      value.fill(0)
      await put
      assert.deepEqual([...recordValue(applied[0]!)!], [1, 2, 3])
    }
  })
})
