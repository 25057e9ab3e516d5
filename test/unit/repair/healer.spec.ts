import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { PeerId, StoreId } from '../../../src/model/node-id.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Row, Topology } from '../../../src/placement/topology.ts'
import { Healer } from '../../../src/repair/healer.ts'
import { encodeGetReply, type GetReply } from '../../../src/replication/wire.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { ApplyLoop } from '../../../src/storage/apply-loop.ts'
import { Damage } from '../../../src/storage/damage.ts'
import { dataKey } from '../../../src/storage/key-layout.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import type { Outcome, OutgoingRequest, Transport } from '../../../src/transport/transport.ts'
import { apply, place, record, valueOf } from '../../conformance/record-store-suite.ts'
import { flipBit } from '../../support/flip-bit.ts'
import { peerNumber, store, storeNumber, topology } from '../cluster/fixtures.ts'

const KEY = place(0, 'k')
const CORRUPT: Outcome = { kind: 'refused', error: new KilovoltError('KV_CORRUPT', 'damaged as well') }

const holds = (hlc: number): Outcome => says({ kind: 'record', record: record(hlc, `v${hlc}`) })
const none = (horizon = 0): Outcome => says({ kind: 'none', horizon })
function says(reply: GetReply): Outcome {
  return { kind: 'reply', epoch: 10, body: encodeGetReply(reply) }
}

describe('healing', () => {
  let world: SimWorld
  let clock: SimClock
  let simStore: SimStore
  let records: ApplyLoop
  let damage: Damage
  let healer: Healer
  let here: Topology | undefined
  /** What the others answer, by their number; who is not named is not alive. */
  let others: Record<number, Outcome>
  let asked: number

  beforeEach(() => {
    world = new SimWorld()
    clock = world.clock('n1')
    simStore = new SimStore({ disk: new SimDisk(world.random.fork('disk'), {}), clock })
    damage = new Damage({ latest: () => 1000, onFound: () => healer.found() })
    records = new ApplyLoop({ store: simStore, clock, damage })
    others = {}
    asked = 0
    owners(1, 2, 3)
    const request = (to: PeerId, _request: OutgoingRequest, done: (outcome: Outcome) => void): void => {
      asked++
      const outcome = others[peerNumber(to)]!
      clock.after(1, () => done(outcome))
    }
    healer = new Healer({
      self: store(1),
      transport: { request } as unknown as Transport,
      records,
      damage,
      clock,
      logger: silentLogger,
      rules: SOUND_RULES,
      topology: () => here,
      isAlive: (id: StoreId) => storeNumber(id) in others
    })
  })

  function owners(...slots: readonly number[]): void {
    const members = [1, 2, 3, 4, 5].map(n => ({ n }))
    here = topology(members, { slots })
  }

  /** One damaged record that read `v5`. */
  async function damaged(key = 'k'): Promise<void> {
    const at = place(0, key)
    await world.settle(apply(records, at, record(5, 'v5')))
    await world.settle(flipBit(simStore, dataKey(0, at.keyspace, at.key)))
    await assert.rejects(async () => records.get(at), { code: 'KV_CORRUPT' })
  }

  async function held(): Promise<string | undefined> {
    try {
      return valueOf(await records.get(KEY)) ?? 'nothing'
    } catch (error) {
      return (error as KilovoltError).code
    }
  }

  it('begins by itself, and takes the newest of the other copies', async () => {
    others = { 2: holds(4), 3: holds(5) }
    await damaged()
    await world.advance(100)
    assert.equal(await held(), 'v5')
    assert.equal(damage.left, 0)
    await world.advance(60_000)
    assert.equal(asked, 2)
    assert.equal(clock.pending, 0)
  })

  const few: readonly (readonly [string, readonly number[], Record<number, Outcome>])[] = [
    ['one of two others', [1, 2, 3], { 2: holds(4) }],
    ['one of two others, the other being damaged too', [1, 2, 3], { 2: holds(4), 3: CORRUPT }],
    [
      'one of two others, the other having a later row',
      [1, 2, 3],
      { 2: holds(4), 3: says({ kind: 'fenced', epoch: 11 }) }
    ],
    ['one of two others, the other being silent', [1, 2, 3], { 2: holds(4), 3: { kind: 'timeout' } }],
    ['two of four others', [1, 2, 3, 4, 5], { 2: holds(4), 3: holds(4) }],
    ['nobody, as there is nobody else', [1], {}],
    ['the owners, when it is not one of them', [2, 3, 4], { 2: holds(4), 3: holds(4), 4: holds(4) }]
  ]
  for (const [who, slots, answers] of few) {
    it(`K2: does not take the word of ${who}: it could be older than what was damaged`, async () => {
      owners(...slots)
      others = answers
      await damaged()
      await world.advance(100)
      assert.equal(await held(), 'KV_CORRUPT')
    })
  }

  const enough: readonly (readonly [string, readonly number[], Record<number, Outcome>])[] = [
    ['the one other of two', [1, 2], { 2: holds(5) }],
    ['three of four others', [1, 2, 3, 4, 5], { 2: holds(4), 3: holds(5), 4: none(), 5: CORRUPT }]
  ]
  for (const [who, slots, answers] of enough) {
    it(`K2: takes the word of ${who}`, async () => {
      owners(...slots)
      others = answers
      await damaged()
      await world.advance(100)
      assert.equal(await held(), 'v5')
    })
  }

  it('K2: needs as many of the coming owners while its row changes, whose horizon says nothing yet', async () => {
    const change = { next: [1, 2, 4].map(store), copies: [] }
    const row: Row = { slots: [1, 2, 3].map(store), change, rowEpoch: 1 }
    here = topology(
      [1, 2, 3, 4].map(n => ({ n })),
      { rows: [row] }
    )
    others = { 2: holds(4), 3: holds(5) }
    await damaged()
    await world.advance(100)
    assert.equal(await held(), 'KV_CORRUPT')
    others = { ...others, 4: none(900) }
    await world.advance(10_000)
    assert.equal(await held(), 'v5')
  })

  it('deletes what no copy holds, and what was purged where it is missing', async () => {
    others = { 2: none(), 3: none() }
    await damaged()
    await world.advance(100)
    assert.equal(await held(), 'nothing')
    others = { 2: none(7), 3: holds(6) }
    await damaged()
    await world.advance(100)
    assert.equal(await held(), 'nothing')
  })

  it('tries again every five seconds, but not sooner for another one', async () => {
    others = { 2: holds(5) }
    await damaged()
    await world.advance(100)
    assert.equal(asked, 1)
    assert.equal(await world.settle(healer.heal(0)), 0)
    assert.equal(asked, 1)
    others = { 2: holds(5), 3: holds(4) }
    await world.advance(5500)
    assert.equal(await held(), 'v5')
  })

  it('heals one partition for who asks for it, and says how many', async () => {
    await damaged('k')
    await damaged('l')
    await world.advance(100)
    others = { 2: holds(5), 3: holds(5) }
    await damaged('m')
    assert.equal(await world.settle(healer.heal(7)), 0)
    assert.equal(await world.settle(healer.heal(0)), 1)
  })

  it('is not begun before it is known who owns what, and leaves no timer when it stops', async () => {
    here = undefined
    others = { 2: holds(5), 3: holds(5) }
    await damaged()
    await world.advance(100)
    assert.equal(asked, 0)
    await world.settle(healer.stop())
    await damaged('l')
    assert.equal(clock.pending, 0)
  })
})
