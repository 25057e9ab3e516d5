import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import { hlcFromMs } from '../../../src/model/hlc.ts'
import type { Actor, PeerId, StoreId } from '../../../src/model/node-id.ts'
import { Ring } from '../../../src/model/partition.ts'
import { encodeRecord, type RecordBytes, recordValue } from '../../../src/model/record.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Topology } from '../../../src/placement/topology.ts'
import { Coordinator } from '../../../src/replication/coordinator.ts'
import { Replica } from '../../../src/replication/replica.ts'
import type { PutReply, PutRequest } from '../../../src/replication/wire.ts'
import type { Clock } from '../../../src/runtime/clock.ts'
import type { ApplyResult, RecordKey, RecordStore } from '../../../src/storage/record-store.ts'
import { MessageType } from '../../../src/transport/message-type.ts'
import type { MessageHandler, Transport } from '../../../src/transport/transport.ts'
import { store, topology } from '../cluster/fixtures.ts'

const NOW_MS = 1_800_000_000_000
const DRIFT_MS = 10_000
const ACTOR = '00000000000000aa' as Actor
const SELF: StoreId = store(1)
const KEY: RecordKey = { partition: 0, keyspace: new Uint8Array(), key: new Uint8Array([1]) }

const clock: Clock = {
  monotonicMs: () => 0,
  wallMs: () => NOW_MS,
  after: () => ({ cancel() {} }),
  soon: fn => queueMicrotask(fn)
}

function record(hlc: number): RecordBytes {
  return encodeRecord({ stamp: { hlc, actor: ACTOR }, value: new Uint8Array([7]) })
}

/** One record, and what was observed. */
function setUp(
  held?: RecordBytes,
  here: Topology | undefined = topology([{ n: 1 }, { n: 2 }, { n: 3 }]),
  next?: Topology | KilovoltError
) {
  let current: Topology | undefined = here
  const caughtUp: number[] = []
  const observed: number[] = []
  const applied: RecordBytes[] = []
  const refusal: { current: KilovoltError | undefined } = { current: undefined }
  const records: RecordStore = {
    readsAtOnce: true,
    get: () => held,
    getMany: keys => keys.map(() => held),
    apply: (_key, offered, done) => {
      if (refusal.current !== undefined) return done(refusal.current, undefined)
      applied.push(offered)
      const result: ApplyResult = { outcome: 'applied', current: held }
      done(undefined, result)
    },
    copy: () => {},
    heal: () => {},
    remove: () => {},
    flushed: async () => {},
    page: async () => [],
    partitions: async () => [],
    dropPartition: async () => {},
    stats: () => ({ applied: 0, stale: 0, batches: 0, pending: 0, corrupt: 0, corruptLeft: 0 })
  }
  const stamps = {
    last: 0,
    next: () => ({ hlc: 1, actor: ACTOR }),
    observe: (hlc: number) => void observed.push(hlc)
  }
  const floors = new Map<number, number>()
  const common = {
    self: SELF,
    records,
    horizons: { floorOf: (partition: number) => floors.get(partition) ?? 0, horizonOf: () => 0 },
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
    observed,
    applied,
    refusal,
    caughtUp,
    replica: new Replica(common, { maxClockDriftMs: DRIFT_MS, requestTimeoutMs: 1000 })
  }
}

function put(replica: Replica, more: Partial<PutRequest>, epoch = 10): Promise<PutReply | string> {
  const request: PutRequest = { ...KEY, record: record(hlcFromMs(NOW_MS)), exempt: false, repair: false, ...more }
  return new Promise(resolve => replica.put(request, epoch, (error, reply) => resolve(error?.code ?? reply!)))
}

describe('a replica', () => {
  it('refuses a fresh write from the far future, and does not set its clock by it', async () => {
    const { replica, observed, applied } = setUp()
    assert.equal(await put(replica, { record: record(hlcFromMs(NOW_MS + DRIFT_MS + 1000)) }), 'KV_CLOCK_DRIFT')
    assert.deepEqual([observed, applied], [[], []])
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

  it('takes such a record as a repair: it was acknowledged elsewhere; its clock stays', async () => {
    const { replica, observed, applied } = setUp()
    const future = record(hlcFromMs(NOW_MS + DRIFT_MS + 1000))
    assert.deepEqual(await put(replica, { record: future, repair: true }), { kind: 'stored', existed: false })
    assert.deepEqual([observed.length, applied.length], [0, 1])
  })

  it('takes a write that directly succeeds a future record it holds: the key stays writable', async () => {
    const poisoned = hlcFromMs(NOW_MS + 60_000)
    const { replica } = setUp(record(poisoned))
    assert.deepEqual(await put(replica, { record: record(poisoned + 1) }), { kind: 'stored', existed: true })
    assert.equal(await put(replica, { record: record(hlcFromMs(NOW_MS + 120_000)) }), 'KV_CLOCK_DRIFT')
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
      handler({ from: 'peer-2' as PeerId, epoch: 10, body: Uint8Array.of(1, 2, 3) }, respond)
      assert.equal(code, 'KV_PROTOCOL')
    }
  })

  it('sends away who takes it for an owner', async () => {
    const { replica } = setUp(undefined, topology([{ n: 1 }, { n: 2 }], { slots: [2] }))
    assert.deepEqual(await put(replica, {}), { kind: 'fenced', epoch: 10 })
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
        transport: {} as Transport,
        topology: () => undefined,
        isDead: () => false,
        keepFor: () => {},
        ring
      },
      1000
    )
    const options = { requirement: 'quorum', timeoutMs: undefined, signal: undefined } as const
    await assert.rejects(async () => coordinator.get(KEY.keyspace, KEY.key, options), { code: 'KV_NOT_JOINED' })
    await assert.rejects(coordinator.put(KEY.keyspace, KEY.key, undefined, options), { code: 'KV_NOT_JOINED' })
    assert.equal(coordinator.stats().failed, 2)
  })

  it('copies a value before it waits for anything, a stamp included', async () => {
    for (const stamp of [{ hlc: 1, actor: ACTOR }, Promise.resolve({ hlc: 1, actor: ACTOR })]) {
      const { replica, applied, ...deps } = setUp(undefined, topology([{ n: 1 }]))
      const stamps = { ...deps.stamps, next: () => stamp }
      const ring = new Ring(64, () => 0n)
      const coordinator = new Coordinator(
        { ...deps, stamps, replica, transport: {} as Transport, isDead: () => false, keepFor: () => {}, ring },
        1000
      )
      const value = Uint8Array.of(1, 2, 3)
      const put = coordinator.put(KEY.keyspace, KEY.key, value, {
        requirement: 'one',
        timeoutMs: undefined,
        signal: undefined
      })
      value.fill(0)
      await put
      assert.deepEqual([...recordValue(applied[0]!)!], [1, 2, 3])
    }
  })
})
