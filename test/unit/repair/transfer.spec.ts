import assert from 'node:assert/strict'
import fc from 'fast-check'
import { isKilovoltError, KilovoltError } from '../../../src/base/errors.ts'
import type { Actor, PeerId } from '../../../src/model/node-id.ts'
import { encodeRecord, recordHlc } from '../../../src/model/record.ts'
import { type PlacementRules, SOUND_RULES } from '../../../src/placement/rules.ts'
import { Purger } from '../../../src/repair/purger.ts'
import { Transfer } from '../../../src/repair/transfer.ts'
import {
  type CopyRequest,
  decodeCopyPage,
  decodeCopyRequest,
  encodeCopyPage,
  encodeCopyRequest
} from '../../../src/repair/wire.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { Pace } from '../../../src/runtime/pace.ts'
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
import type { MessageHandler, Outcome, OutgoingRequest, Transport } from '../../../src/transport/transport.ts'
import { flipBit } from '../../support/flip-bit.ts'
import { itTravels } from '../../support/wire-checks.ts'
import { peer, store, topology } from '../cluster/fixtures.ts'

const EPOCH = 10
const ACTOR = '00000000000000aa' as Actor
const KEYSPACE = new Uint8Array()

function stored(key: string, hlc: number, value = ''): StoredRecord {
  const record = encodeRecord({ stamp: { hlc, actor: ACTOR }, value: Buffer.from(value) })
  return { partition: 5, keyspace: KEYSPACE, key: Buffer.from(key), record }
}

/** One node that may both fetch and be fetched from; its requests go straight to another's handler. */
class Side {
  readonly clock: SimClock
  readonly records: RecordStore
  readonly transfer: Transfer
  readonly horizons: Horizons
  readonly caughtUp: number[] = []
  /** Reads and writes of its app so far. */
  requests = 0
  handler: MessageHandler | undefined
  /** Requests that reach it. */
  readonly served: CopyRequest[] = []
  /** What becomes of a request instead of an answer. */
  fault: ((n: number) => Outcome | undefined) | undefined
  catchUpFails: KilovoltError | undefined
  /** Heals what is damaged in a partition, and says how much. */
  healed: (partition?: number) => Promise<number> = async () => 0
  readonly disk: SimDisk
  readonly store: SimStore

  constructor(world: SimWorld, n: number, others: Map<string, Side>, rules: PlacementRules = SOUND_RULES) {
    this.clock = world.clock(`n${n}`)
    this.disk = new SimDisk(world.random.fork(`disk ${n}`), {})
    const simStore = new SimStore({ disk: this.disk, clock: this.clock })
    const trees = new TreeIndex(64, true)
    const horizons = new Horizons(simStore, 64)
    this.horizons = horizons
    const horizonOf = horizons.horizonOf.bind(horizons)
    this.store = simStore
    const damage = new Damage({ latest: () => 1000, trees })
    this.records = new ApplyLoop({ store: simStore, clock: this.clock, trees, horizonOf, damage })
    const transport = {
      handle: (_type: number, handler: MessageHandler) => void (this.handler = handler),
      request: (to: PeerId, { body }: OutgoingRequest, done: (outcome: Outcome) => void) => {
        const other = others.get(to)!
        other.served.push(decodeCopyRequest(body))
        const fault = other.fault?.(other.served.length)
        if (fault !== undefined) {
          this.clock.soon(() => done(fault))
          return
        }
        other.handler!(
          { from: peer(n), epoch: EPOCH, body },
          {
            reply: bytes => this.clock.soon(() => done({ kind: 'reply', epoch: EPOCH, body: bytes })),
            refuse: error => this.clock.soon(() => done({ kind: 'refused', error }))
          }
        )
      }
    }
    this.transfer = new Transfer({
      transport: transport as unknown as Transport,
      records: this.records,
      horizons,
      purger: new Purger({ records: this.records, trees, horizons, clock: this.clock, logger: silentLogger }),
      healer: { heal: partition => this.healed(partition) },
      clock: this.clock,
      pace: new Pace(this.clock, () => this.requests),
      logger: silentLogger,
      rules,
      topology: () => topology([{ n: 1 }, { n: 2 }, { n: 3 }]),
      catchUp: async epoch => {
        this.caughtUp.push(epoch)
        if (this.catchUpFails !== undefined) throw this.catchUpFails
      }
    })
    this.transfer.listen()
    others.set(peer(n), this)
  }

  put(record: StoredRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      this.records.apply(record, record.record, error => (error === undefined ? resolve() : reject(error)))
    })
  }
}

describe('a transfer', () => {
  let world: SimWorld
  let sides: Map<string, Side>
  let one: Side
  let two: Side
  let three: Side
  const task = { partition: 5, from: [store(2)], epoch: EPOCH }
  const signal = new AbortController().signal

  beforeEach(() => {
    world = new SimWorld()
    sides = new Map()
    one = new Side(world, 1, sides)
    two = new Side(world, 2, sides)
    three = new Side(world, 3, sides)
  })

  const fill = (side: Side, count: number, hlc = 1): Promise<void[]> =>
    world.settle(Promise.all(Array.from({ length: count }, (_, i) => side.put(stored(`k${i}`, hlc, `v${i}`)))))
  const count = async (side: Side): Promise<number> =>
    (await world.settle(side.records.page(5, undefined, 100_000))).length

  it('brings everything over, page by page', async () => {
    await fill(two, 4500)
    await world.settle(one.transfer.copy(task, signal))
    assert.equal(await count(one), 4500)
    assert.equal(two.served.length, 5, 'pages of a thousand, of which the last says so')
    const { recordsCopied, partitionsCopied, bytesCopied } = one.transfer.stats()
    assert.deepEqual([recordsCopied, partitionsCopied], [4500, 1])
    assert.ok(bytesCopied > 4500 * 16)
  })

  it('goes in smaller pages, with rests between, while requests come', async () => {
    await fill(two, 1024)
    for (const side of [one, two]) side.requests++
    await world.settle(one.transfer.copy(task, signal))
    assert.equal(await count(one), 1024)
    assert.equal(two.served.length, 5, 'four of 256, and one that says that was all')
  })

  it('deletes nothing whose deletion was called off before its turn, and what it holds when that comes otherwise', async () => {
    await fill(one, 10)
    one.requests++
    const abort = new AbortController()
    const [calledOff, other] = [one.transfer.drop(5, abort.signal), one.transfer.drop(6, signal)]
    abort.abort()
    await world.settle(Promise.all([assert.rejects(calledOff, { code: 'KV_ABORTED' }), other]))
    assert.equal(await count(one), 10)
    await world.settle(one.transfer.drop(5, signal))
    assert.equal(await count(one), 0)
  })

  it('brings everything over whatever the sizes are: no page that was ended for its bytes is taken for the last', async () => {
    const sizes = fc.array(fc.nat({ max: 40_000 }), { minLength: 1, maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(sizes, async lengths => {
        const fresh = new SimWorld()
        const pair = new Map<string, Side>()
        const [to, from] = [new Side(fresh, 1, pair), new Side(fresh, 2, pair)]
        const all = lengths.map((length, i) => from.put(stored(`k${i}`, 1, 'x'.repeat(length))))
        await fresh.settle(Promise.all(all))
        await fresh.settle(to.transfer.copy(task, signal))
        assert.equal((await fresh.settle(to.records.page(5, undefined, 100_000))).length, lengths.length)
      }),
      { numRuns: 30 }
    )
  })

  it('C3: is answered by a source that has applied the change and written out what it had admitted', async () => {
    const late = stored('late', 3)
    // Admitted before the request, not yet written.
    const writing = two.put(late)
    await world.settle(Promise.all([one.transfer.copy(task, signal), writing]))
    assert.deepEqual(two.caughtUp, [EPOCH])
    assert.equal(await count(one), 1)
  })

  it('without that fence copies what the source holds by chance', async () => {
    const lax = new Side(world, 2, sides, { ...SOUND_RULES, fenceSources: false })
    const writing = lax.put(stored('late', 3))
    await world.settle(Promise.all([one.transfer.copy(task, signal), writing]))
    assert.deepEqual(lax.caughtUp, [])
    assert.equal(await count(one), 0)
  })

  it('takes the newest of several sources, and of what is there already', async () => {
    await world.settle(Promise.all([two.put(stored('a', 1)), two.put(stored('b', 9)), three.put(stored('a', 5))]))
    await world.settle(one.put(stored('b', 20)))
    await world.settle(one.transfer.copy({ ...task, from: [store(2), store(3)] }, signal))
    const records = await world.settle(one.records.page(5, undefined, 10))
    assert.deepEqual(
      records.map(({ record }) => recordHlc(record)),
      [5, 20]
    )
  })

  it('asks again for a page that did not come, from where it was', async () => {
    await fill(two, 4500)
    two.fault = n => (n === 2 ? { kind: 'lost' } : n === 3 ? { kind: 'timeout' } : undefined)
    await world.settle(one.transfer.copy(task, signal))
    assert.equal(await count(one), 4500)
    const asked = two.served.map(({ after }) => after && Buffer.from(after.key).toString())
    assert.equal(asked[1], asked[2])
    assert.equal(asked[1], asked[3])
    assert.notEqual(asked[3], asked[4])
    assert.equal(one.clock.pending, 0)
  })

  it('gives a source up that does not answer, and says who', async () => {
    two.fault = () => ({ kind: 'unsent', reason: 'no link' })
    await assert.rejects(world.settle(one.transfer.copy(task, signal)), error => {
      assert.ok(isKilovoltError(error, 'KV_UNREACHABLE'))
      return error.message.includes(store(2)) && error.retryable
    })
    assert.equal(two.served.length, 5)
  })

  it('fails with what the source says, and for a stranger', async () => {
    two.catchUpFails = new KilovoltError('KV_TIMEOUT', 'the epoch is not known')
    await assert.rejects(world.settle(one.transfer.copy(task, signal)), { code: 'KV_TIMEOUT' })
    await assert.rejects(world.settle(one.transfer.copy({ ...task, from: [store(8)] }, signal)), {
      code: 'KV_UNREACHABLE'
    })
  })

  it('takes no page that is damaged', async () => {
    await fill(two, 3)
    const damaged = encodeCopyPage({ floor: 0, horizon: 0, isLast: true, records: [stored('a', 1)] })
    damaged[damaged.length - 17] = 0xff
    two.fault = n => (n === 1 ? { kind: 'reply', epoch: EPOCH, body: damaged } : undefined)
    await world.settle(one.transfer.copy(task, signal))
    assert.equal(two.served.length, 2)
    assert.equal(await count(one), 3)
  })

  it('C3: has a source heal what is damaged before it is copied, and leaves out what cannot be', async () => {
    await fill(two, 3000)
    const keyOf = (i: number): Uint8Array => dataKey(5, KEYSPACE, Buffer.from(`k${i}`))
    const whole = new Uint8Array(two.disk.get(keyOf(7))!)
    for (const i of [7, 8]) await world.settle(flipBit(two.store, keyOf(i)))
    let asked = 0
    two.healed = async partition => {
      assert.equal(partition, 5)
      if (asked++ > 0) return 0
      await two.store.batch([{ key: keyOf(7), value: whole }], { sync: false })
      return 1
    }
    await world.settle(one.transfer.copy(task, signal))
    assert.ok(await one.records.get(stored('k7', 1)))
    assert.equal(await one.records.get(stored('k8', 1)), undefined)
    assert.equal(await count(one), 2999)
  })

  it('goes on where a damaged record lies at the new owner, which is healed and not overwritten', async () => {
    await fill(two, 10)
    await fill(one, 1)
    await world.settle(flipBit(one.store, dataKey(5, KEYSPACE, Buffer.from('k0'))))
    await world.settle(one.transfer.copy(task, signal))
    await assert.rejects(async () => one.records.get(stored('k0', 1)), { code: 'KV_CORRUPT' })
    assert.equal(await count(one), 9)
  })

  it('ends when it is not wanted any more', async () => {
    const abort = new AbortController()
    two.fault = () => {
      abort.abort()
      return { kind: 'lost' }
    }
    await assert.rejects(world.settle(one.transfer.copy(task, abort.signal)), { code: 'KV_ABORTED' })
    assert.equal(two.served.length, 1)
    assert.equal(one.clock.pending, 0)
  })

  it('stores nothing of a page that arrives when it is not wanted any more: the partition is being deleted', async () => {
    const abort = new AbortController()
    await fill(two, 3)
    const copying = one.transfer.copy(task, abort.signal)
    await world.advance(0.001)
    assert.equal(two.served.length, 1, 'the page is on its way')
    abort.abort()
    await assert.rejects(world.settle(copying), { code: 'KV_ABORTED' })
    assert.equal(await count(one), 0)
  })

  it('fails when what came cannot be stored', async () => {
    await fill(two, 3)
    one.records.copy = (_key, _record, done) => done(new KilovoltError('KV_STORAGE', 'the disk is full'), undefined)
    await assert.rejects(world.settle(one.transfer.copy(task, signal)), { code: 'KV_STORAGE' })
  })

  it('takes over how far the past is settled at the source, and nothing that is spent there', async () => {
    await fill(two, 3)
    const tombstone = {
      ...stored('gone', 5),
      record: encodeRecord({ stamp: { hlc: 5, actor: ACTOR }, value: undefined })
    }
    await world.settle(two.put(tombstone))
    await world.settle(two.horizons.raiseFloors([5], 900))
    await world.settle(two.horizons.raiseHorizons([5], 800))
    await world.settle(one.transfer.copy(task, signal))
    assert.deepEqual([one.horizons.floorOf(5), one.horizons.horizonOf(5)], [900, 800])
    assert.equal(await count(one), 3, 'all that is older comes all the same, but for what is spent')
  })
})

describe('the messages of a transfer', () => {
  const key = fc.uint8Array({ maxLength: 40 })
  const requests: fc.Arbitrary<CopyRequest> = fc.record({
    partition: fc.nat(0xffff),
    epoch: fc.nat(),
    after: fc.option(fc.record({ keyspace: key, key }), { nil: undefined })
  })
  const pages = fc.array(
    fc.tuple(key, key, fc.nat()).map(([keyspace, name, hlc]) => ({ ...stored('', hlc), keyspace, key: name })),
    { maxLength: 5 }
  )

  itTravels('a request for a copy', requests, encodeCopyRequest, decodeCopyRequest)
  itTravels(
    'a page of records',
    fc.record({ floor: fc.nat(), horizon: fc.nat(), isLast: fc.boolean(), records: pages }),
    encodeCopyPage,
    bytes => decodeCopyPage(bytes, 5)
  )

  it('a page with a tail is refused', () => {
    assert.throws(() => decodeCopyPage(Uint8Array.of(0, 0, 1, 0, 1), 5), { code: 'KV_PROTOCOL' })
  })
})
