import assert from 'node:assert/strict'
import { Emitter } from '../../../src/base/emitter.ts'
import { Reader } from '../../../src/codec/reader.ts'
import type { Command } from '../../../src/cluster/commands.ts'
import { Fate, Fates } from '../../../src/cluster/fates.ts'
import { type Departure, Kin } from '../../../src/cluster/kin.ts'
import { readCluster } from '../../../src/cluster/kinship.ts'
import { MetaLog } from '../../../src/cluster/meta-log.ts'
import { encodeCommand } from '../../../src/cluster/wire.ts'
import type { Membership, MembershipEvents } from '../../../src/membership/membership.ts'
import { type ClusterId, idToBytes, type PeerId, type StoreId } from '../../../src/model/node-id.ts'
import type { ViewMember } from '../../../src/model/view.ts'
import type { Random } from '../../../src/runtime/random.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { MessageType } from '../../../src/transport/message-type.ts'
import type { MessageHandler, Outcome, OutgoingRequest, Transport } from '../../../src/transport/transport.ts'
import { CLUSTER, found, member, peer, seen, store } from './fixtures.ts'

const OTHER = 'd'.repeat(32) as ClusterId
const HEIR = 'e'.repeat(32) as ClusterId
/** Longest time until the next look, ms. */
const LOOK_MS = 2600

/** Draws the greatest number that may be drawn: whatever is put off by chance is put off as long as it can be. */
const LATEST = { int: (limit: number) => limit - 1 } as unknown as Random

/** What a peer answers; `undefined` for no answer, ever. */
type Reply = readonly number[] | Uint8Array | undefined

/** Store 1, the leader of its cluster; other stores are seen as the test says, and answer what it says. */
class Bench {
  readonly world: SimWorld = new SimWorld()
  readonly clock = this.world.clock('n')
  readonly events = new Emitter<MembershipEvents>()
  readonly view = new Map<StoreId, ViewMember>()
  readonly handlers = new Map<number, MessageHandler>()
  readonly asked: { readonly atMs: number; readonly type: MessageType; readonly cluster: ClusterId }[] = []
  readonly proposed: Command[] = []
  readonly departed: Departure[] = []
  leader: StoreId | undefined = store(1)
  isLeaving = false
  delayMs = 1
  fate: (cluster: ClusterId, peer: PeerId) => Reply = () => [Fate.UNKNOWN]
  merge: () => Reply = () => [0]
  readonly log: MetaLog = new MetaLog({
    store: new SimStore({ disk: new SimDisk(this.world.random.fork('disk'), {}), clock: this.world.clock('disk') }),
    clock: this.clock,
    logger: silentLogger
  })
  readonly fates: Fates
  readonly kin: Kin

  constructor(members: readonly number[] = [1, 2]) {
    const { clock, events, view, log, handlers } = this
    this.commit(found({ foundedMs: 1000 }))
    for (const n of members) if (n !== 1) this.commit({ kind: 'addMember', member: member(n), former: [] })
    for (const n of members) this.see(n, CLUSTER)
    const transport = {
      handle: (type: number, handler: MessageHandler) => void handlers.set(type, handler),
      isLinked: () => true,
      isRefusing: () => false,
      request: (to: PeerId, request: OutgoingRequest, done: (outcome: Outcome) => void) =>
        this.#answer(to, request, done)
    }
    const membership = {
      self: view.get(store(1))!,
      view,
      statusOf: (id: StoreId) => view.get(id)?.status,
      on: events.on.bind(events)
    }
    const deps = {
      // The slices that it uses.
      transport: transport as unknown as Transport,
      membership: membership as unknown as Membership,
      log,
      leader: () => this.leader,
      former: () => [],
      isLeaving: () => this.isLeaving,
      isClosed: () => false
    }
    this.fates = new Fates(deps)
    this.kin = new Kin({
      ...deps,
      clock,
      random: LATEST,
      logger: silentLogger,
      fates: this.fates,
      propose: async command => {
        this.proposed.push(command)
        this.commit(command)
      },
      depart: departure => {
        this.departed.push(departure)
        this.isLeaving = true
      }
    })
    this.fates.listen()
    this.kin.listen()
  }

  #answer(to: PeerId, { type, body, timeoutMs }: OutgoingRequest, done: (outcome: Outcome) => void): void {
    const cluster = readCluster(new Reader(body))
    this.asked.push({ atMs: this.world.nowMs, type, cluster })
    const reply = type === MessageType.MERGE ? this.merge() : this.fate(cluster, to)
    if (reply === undefined) this.clock.after(timeoutMs ?? 0, () => done({ kind: 'timeout' }))
    else this.clock.after(this.delayMs, () => done({ kind: 'reply', epoch: 0, body: Uint8Array.from(reply) }))
  }

  commit(command: Command): void {
    this.log.apply(this.log.epoch + 1, encodeCommand(command))
  }

  see(n: number, clusterId: ClusterId | undefined, status: ViewMember['status'] = 'alive'): void {
    const met = seen(n, { clusterId, status })
    this.view.set(store(n), met)
    this.events.emit('change', met)
  }

  /** What another member is told of a cluster. */
  fateHere(cluster: ClusterId): number | undefined {
    let answer: number | undefined
    const respond = { reply: (bytes: Uint8Array) => void (answer = bytes[0]), refuse: () => assert.fail('refused') }
    this.handlers.get(MessageType.FATE)!({ from: peer(2), epoch: 0, body: idToBytes(cluster) }, respond)
    return answer
  }

  times(type: MessageType): readonly number[] {
    return this.asked.filter(ask => ask.type === type).map(({ atMs }) => atMs)
  }
}

function into(fate: Fate, cluster: ClusterId): Uint8Array {
  return new Uint8Array([fate, ...idToBytes(cluster)])
}

describe('dealing with other clusters', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench()
  })

  afterEach(() => {
    bench.kin.stop()
    bench.log.close()
  })

  it('begins at once when somebody of another one is met', async () => {
    bench.see(9, OTHER)
    await bench.world.advance(110)
    assert.equal(bench.times(MessageType.MERGE).length, 1)
  })

  it('is not put off by changes, however many there are', async () => {
    // Each of them calls for a look within a tenth of a second.
    for (let i = 0; i < 20; i++) {
      bench.see(9, OTHER)
      await bench.world.advance(10)
    }
    assert.equal(bench.times(MessageType.MERGE).length, 1)
  })

  it('is one look after another: a change while one waits for answers begins no second one', async () => {
    bench.delayMs = 1500
    bench.see(9, OTHER)
    await bench.world.advance(200)
    assert.equal(bench.asked.length, 1)
    const [first] = bench.asked
    for (let i = 0; i < 10; i++) {
      bench.see(20 + i, `${i}`.repeat(32) as ClusterId)
      await bench.world.advance(100)
    }
    assert.equal(bench.asked.length, 1, 'the first one is not answered yet')
    // What was called for meanwhile comes next, not at the usual time: the look asks for a fate and for a merge, each 1.5 s.
    await bench.world.advance(first!.atMs + 2 * 1500 + 110 - bench.world.nowMs)
    assert.equal(bench.asked.length, 3)
  })

  it('looks again and again by itself, and no more once it has stopped', async () => {
    bench.see(9, OTHER)
    await bench.world.advance(10 * LOOK_MS)
    const asked = bench.times(MessageType.MERGE).length
    assert.ok(asked >= 9 && asked <= 14, `${asked}`)
    bench.kin.stop()
    await bench.world.advance(10 * LOOK_MS)
    assert.equal(bench.times(MessageType.MERGE).length, asked)
    assert.equal(bench.clock.pending, 0)
  })

  it('ends the log once the other has agreed to take the members in', async () => {
    bench.merge = () => [1]
    bench.see(9, OTHER)
    await bench.world.advance(200)
    assert.equal(bench.log.kinship.dissolvedInto, OTHER)
    assert.equal(bench.fateHere(CLUSTER), Fate.CLOSING)
  })

  it('asks for nothing while it waits for another one, or as a member that does not lead', async () => {
    bench.commit({ kind: 'absorb', cluster: HEIR, absorbed: [], members: [] })
    bench.see(9, OTHER)
    await bench.world.advance(LOOK_MS)
    bench.leader = store(2)
    await bench.world.advance(LOOK_MS)
    assert.deepEqual(bench.times(MessageType.MERGE), [])
  })

  it('departs when it is told that its cluster has gone elsewhere', async () => {
    bench.fate = cluster => (cluster === CLUSTER ? into(Fate.ABSORBED, OTHER) : [Fate.UNKNOWN])
    bench.see(9, OTHER)
    await bench.world.advance(LOOK_MS)
    assert.deepEqual(bench.departed, ['told'])
  })

  it('does not depart for a cluster that goes on in its place while it is led itself', async () => {
    bench.fate = cluster => (cluster === CLUSTER ? into(Fate.CONTINUED, OTHER) : [Fate.UNKNOWN])
    bench.see(9, OTHER)
    await bench.world.advance(5 * LOOK_MS)
    assert.deepEqual(bench.departed, [])
    bench.leader = undefined
    await bench.world.advance(5000 + 2 * LOOK_MS)
    assert.deepEqual(bench.departed, ['told'])
  })

  describe('of which one was to be taken in', () => {
    const isPinned = (): boolean => bench.log.kinship.absorbing.has(OTHER)

    beforeEach(() => {
      bench.commit({ kind: 'absorb', cluster: OTHER, absorbed: [], members: [member(8), member(9)] })
    })

    it('waits for half a minute while it is still led, and for ten when nothing is heard', async () => {
      bench.see(9, OTHER)
      bench.fate = cluster => [cluster === OTHER ? Fate.LED : Fate.UNKNOWN]
      await bench.world.advance(29_000)
      assert.ok(isPinned())
      await bench.world.advance(2 * LOOK_MS)
      assert.ok(!isPinned())
      bench.commit({ kind: 'absorb', cluster: HEIR, absorbed: [], members: [] })
      bench.fate = () => undefined
      await bench.world.advance(590_000)
      assert.ok(bench.log.kinship.absorbing.has(HEIR))
      await bench.world.advance(20_000)
      assert.ok(!bench.log.kinship.absorbing.has(HEIR))
    })

    it('waits no more when it was founded anew, and keeps those who are expected from that', async () => {
      bench.commit({ kind: 'absorb', cluster: HEIR, absorbed: [], members: [member(8)] })
      for (const n of [8, 9]) bench.see(n, HEIR)
      bench.fate = cluster => (cluster === OTHER ? into(Fate.CONTINUED, HEIR) : [Fate.LED])
      await bench.world.advance(2 * LOOK_MS)
      assert.ok(!isPinned())
      assert.ok(bench.log.kinship.absorbing.has(HEIR))
      assert.equal(bench.log.topology!.members.get(store(8))?.status, 'arriving')
      assert.ok(!bench.log.topology!.members.has(store(9)))
    })

    it('waits on while one of its members is here and brings records along', async () => {
      bench.see(8, CLUSTER)
      bench.see(9, HEIR)
      bench.fate = cluster => (cluster === OTHER ? into(Fate.CONTINUED, HEIR) : [Fate.UNKNOWN])
      await bench.world.advance(4 * LOOK_MS)
      assert.ok(isPinned())
      bench.commit({ kind: 'addMember', member: member(8), former: [OTHER] })
      assert.ok(!isPinned())
    })
  })

  describe('when nobody leads its own', () => {
    beforeEach(() => {
      bench.leader = undefined
      bench.see(3, undefined, 'dead')
      bench.commit({ kind: 'addMember', member: member(3, { volatile: true }), former: [] })
      bench.fate = () => [Fate.LEADERLESS]
    })

    it('founds it again when all who live say so, after a minute when those missing were in memory', async () => {
      await bench.world.advance(60_000)
      assert.deepEqual(bench.departed, [])
      await bench.world.advance(2 * LOOK_MS)
      assert.deepEqual(bench.departed, ['refound'])
    })

    it('does not while somebody does not answer, or hears of a leader', async () => {
      bench.fate = () => undefined
      await bench.world.advance(100_000)
      bench.fate = () => [Fate.LED]
      await bench.world.advance(100_000)
      assert.deepEqual(bench.departed, [])
    })

    it('leaves it to whoever has a smaller id', async () => {
      bench.see(0, CLUSTER)
      bench.commit({ kind: 'addMember', member: member(0), former: [] })
      await bench.world.advance(100_000)
      assert.deepEqual(bench.departed, [])
    })
  })
})
