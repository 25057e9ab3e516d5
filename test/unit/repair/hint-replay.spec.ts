import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { PeerId, StoreId } from '../../../src/model/node-id.ts'
import { hlcFromMs } from '../../../src/model/hlc.ts'
import { type RecordBytes, recordHlc } from '../../../src/model/record.ts'
import type { Topology } from '../../../src/placement/topology.ts'
import { HintReplay } from '../../../src/repair/hint-replay.ts'
import type { Replica } from '../../../src/replication/replica.ts'
import { decodePut, encodePutReply, type PutReply, type PutRequest } from '../../../src/replication/wire.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { ANY_OWNER, HintStore } from '../../../src/storage/hint-store.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import type { Outcome, OutgoingRequest, Transport } from '../../../src/transport/transport.ts'
import { record } from '../../conformance/record-store-suite.ts'
import { peerNumber, store, topology } from '../cluster/fixtures.ts'

const STORED: PutReply = { kind: 'stored', existed: false }
const HOUR_MS = 3_600_000

describe('handing hints over', () => {
  let world: SimWorld
  let clock: SimClock
  let disk: SimDisk
  let hints: HintStore
  let replay: HintReplay
  let here: Topology
  let alive: Set<StoreId>
  /** Whom was given what, in order. */
  let given: string[]
  /** Whether what is kept may be the only copy. */
  let mayBeOnly: boolean
  let brought: [string, RecordBytes][]
  let bringFails: boolean
  let answer: (to: number, request: PutRequest) => PutReply | Outcome['kind']

  beforeEach(async () => {
    world = new SimWorld()
    clock = world.clock('n')
    disk = new SimDisk(world.random.fork('disk'), {})
    hints = new HintStore({ store: new SimStore({ disk, clock }), clock }, { durability: 'os', bytesMax: 1e6 })
    here = topology([1, 2, 3, 4].map(n => ({ n })))
    alive = new Set([1, 2, 3, 4].map(store))
    given = []
    mayBeOnly = false
    brought = []
    bringFails = false
    answer = () => STORED
    const note = (to: number, request: PutRequest): PutReply | Outcome['kind'] => {
      assert.equal(request.repair, !mayBeOnly, 'what was acknowledged elsewhere is not judged as fresh')
      given.push(`${to} ${Buffer.from(request.key).toString()}`)
      return answer(to, request)
    }
    const transport = {
      request: (to: PeerId, { body }: OutgoingRequest, done: (outcome: Outcome) => void) => {
        const result = note(peerNumber(to), decodePut(body))
        const outcome =
          typeof result === 'object'
            ? { kind: 'reply', epoch: 10, body: encodePutReply(result) }
            : ({ kind: result, reason: '' } as unknown)
        clock.after(1, () => done(outcome as Outcome))
      }
    }
    const replica = {
      put: (request: PutRequest, _epoch: number, done: (error: undefined, reply: PutReply) => void) => {
        const reply = note(1, request) as PutReply
        clock.soon(() => done(undefined, reply))
      }
    }
    replay = new HintReplay({
      self: store(1),
      transport: transport as unknown as Transport,
      hints,
      replica: replica as unknown as Replica,
      bring: async ({ key }, record) => {
        brought.push([Buffer.from(key).toString(), record])
        if (bringFails) throw new KilovoltError('KV_QUORUM_NOT_REACHED', 'too few')
      },
      clock,
      logger: silentLogger,
      topology: () => here,
      isAlive: id => alive.has(id)
    })
    replay.start()
  })

  afterEach(async () => {
    await world.settle(replay.stop())
    await world.advance(10)
    assert.equal(clock.pending, 0, 'no timer is left')
  })

  const keep = (target: StoreId, ...keys: string[]): Promise<unknown> =>
    world.settle(
      Promise.all(
        keys.map(
          key =>
            new Promise<void>((resolve, reject) => {
              const place = { partition: 5, keyspace: new Uint8Array(), key: Buffer.from(key) }
              const now = record(hlcFromMs(clock.wallMs()), key)
              hints.add(target, place, now, error => (error === undefined ? resolve() : reject(error)))
            })
        )
      )
    )

  it('hands a unit over as one, wherever its keys lie among others', async () => {
    const keys = Array.from({ length: 600 }, (_, i) => `k${String(i).padStart(4, '0')}`)
    await keep(store(2), ...keys)
    const now = hlcFromMs(clock.wallMs()) + 1
    const [first, ...rest] = ['a', 'k0300', 'z'].map(key => ({ key: Buffer.from(key), record: record(now, key) }))
    const place = { partition: 5, keyspace: new Uint8Array(), key: first!.key }
    const parts: (readonly number[])[] = []
    answer = (_to, request) => {
      if (request.rest === undefined) return STORED
      parts.push([request, ...request.rest].map(one => recordHlc(one.record)))
      return { kind: 'stored', existed: false, rest: Uint8Array.of(0, 0) }
    }
    await world.settle(new Promise(resolve => hints.add(store(2), place, first!.record, resolve, rest)))
    await world.advance(3000)
    assert.deepEqual(parts, [[now, now, now]])
    assert.equal(given.length, 599 + 1, 'what the unit has taken the place of is kept no more')
    assert.equal(hints.stats().count, 0)
    assert.equal(hints.stats().delivered, 602)
  })

  it('goes to a target that lives, and forgets what that has acknowledged', async () => {
    await keep(store(2), 'a', 'b', 'c')
    await world.advance(1500)
    assert.deepEqual(given, ['2 a', '2 b', '2 c'])
    const { count, delivered } = hints.stats()
    assert.deepEqual([count, delivered], [0, 3])
    await world.advance(10_000)
    assert.equal(given.length, 3)
  })

  it('waits for a target that is dead, and comes at once when it is back', async () => {
    alive.delete(store(2))
    await keep(store(2), 'a')
    await world.advance(100_000)
    assert.deepEqual(given, [])
    alive.add(store(2))
    replay.returned(store(2))
    await world.advance(50)
    assert.deepEqual(given, ['2 a'])
  })

  it('takes something newer at the target for delivered', async () => {
    answer = () => ({ kind: 'stale', current: record(1e15, 'newer') })
    await keep(store(2), 'a')
    await world.advance(1500)
    assert.equal(hints.stats().count, 0)
  })

  it('leaves a target that fails alone for longer and longer, until it is back', async () => {
    answer = () => 'timeout'
    await keep(store(2), 'a')
    await world.advance(16_500)
    // At 1 s, then with pauses of 1, 2, 4 and 8 s; each is looked at once a second.
    assert.equal(given.length, 5)
    replay.returned(store(2))
    await world.advance(50)
    assert.equal(given.length, 6)
    answer = () => STORED
    await world.advance(3000)
    assert.equal(hints.stats().count, 0)
  })

  it('goes on with others when one fails', async () => {
    answer = to => (to === 2 ? 'lost' : STORED)
    await keep(store(2), 'a')
    await keep(store(3), 'b')
    await world.advance(1500)
    assert.deepEqual(hints.targets, [store(2)])
  })

  it('keeps what a fence has refused: the owners are about to change', async () => {
    answer = () => ({ kind: 'fenced', epoch: 12 })
    await keep(store(2), 'a')
    await world.advance(1500)
    assert.equal(hints.stats().count, 1)
  })

  it('goes to an owner when the target owns the partition no more', async () => {
    here = topology(
      [1, 2, 3, 4].map(n => ({ n })),
      { slots: [3, 4, 1] }
    )
    alive.delete(store(3))
    await keep(store(2), 'a')
    await world.advance(1500)
    assert.deepEqual(given, ['4 a'])
    assert.equal(hints.stats().count, 0)
  })

  it('goes to any owner that takes it, itself included, when any will do', async () => {
    answer = to => (to === 1 ? STORED : 'lost')
    here = topology(
      [1, 2, 3, 4].map(n => ({ n })),
      { slots: [3, 2, 1] }
    )
    mayBeOnly = true
    await keep(ANY_OWNER, 'a')
    await world.advance(1500)
    assert.deepEqual(given, ['3 a', '2 a', '1 a'])
    assert.equal(hints.stats().count, 0)
  })

  it('brings what may be the only copy and comes too late for its owners, as old as it is', async () => {
    mayBeOnly = true
    bringFails = true
    answer = () => ({ kind: 'late', floor: 1e15 })
    await keep(ANY_OWNER, 'a')
    await world.advance(1500)
    assert.equal(hints.stats().count, 1, 'it is kept until a quorum has it')
    const [[key, record] = []] = brought
    assert.equal(key, 'a')
    assert.ok(recordHlc(record!) < 1e15)
    bringFails = false
    await world.advance(3000)
    assert.equal(hints.stats().count, 0)
  })

  it('comes at once to an owner that is back when any will do', async () => {
    mayBeOnly = true
    answer = () => 'lost'
    await keep(ANY_OWNER, 'a')
    await world.advance(60_000)
    given.length = 0
    answer = () => STORED
    replay.returned(store(3))
    await world.advance(50)
    assert.equal(hints.stats().count, 0)
  })

  it('gives up what is too old, but never what may be the only copy', async () => {
    here = topology(
      [1, 2, 3, 4].map(n => ({ n })),
      { slots: [2, 3, 4] }
    )
    alive.clear()
    await keep(store(2), 'a')
    await keep(ANY_OWNER, 'b')
    mayBeOnly = true
    await world.advance(3 * HOUR_MS + 60_000)
    for (const n of [2, 3]) alive.add(store(n))
    replay.returned(store(2))
    await world.advance(70_000)
    assert.deepEqual(given, ['2 b'])
    const { count, dropped, delivered } = hints.stats()
    assert.deepEqual([count, dropped, delivered], [0, 1, 1])
  })

  it('has a few on the way at a time, however many there are', async () => {
    let under = 0
    let most = 0
    answer = () => {
      most = Math.max(most, ++under)
      clock.after(1, () => under--)
      return STORED
    }
    await keep(store(2), ...Array.from({ length: 1000 }, (_, i) => `k${i}`))
    await world.advance(5000)
    assert.equal(hints.stats().count, 0)
    assert.ok(most <= 16, `${most} at once`)
  })
})
