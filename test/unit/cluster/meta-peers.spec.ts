import assert from 'node:assert/strict'
import type { RowRef } from '../../../src/cluster/commands.ts'
import { MetaLog } from '../../../src/cluster/meta-log.ts'
import { MetaPeers } from '../../../src/cluster/meta-peers.ts'
import { encodeCommand, writeMember } from '../../../src/cluster/wire.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import { Reader } from '../../../src/codec/reader.ts'
import { Writer } from '../../../src/codec/writer.ts'
import type { Membership } from '../../../src/membership/membership.ts'
import { type ClusterId, ID_BYTES, idToBytes, type PeerId, type StoreId } from '../../../src/model/node-id.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { MessageType } from '../../../src/transport/message-type.ts'
import type { MessageHandler, Outcome, OutgoingRequest, Transport } from '../../../src/transport/transport.ts'
import { CLUSTER, found, member, peer, seen, store } from './fixtures.ts'

const COPIED: readonly RowRef[] = [{ partition: 3, rowEpoch: 7 }]

/** Member 1 without a vote, linked to members 2 and 3, whose answers the test gives. */
class Bench {
  readonly world: SimWorld = new SimWorld()
  readonly handlers = new Map<number, MessageHandler>()
  readonly asked: PeerId[] = []
  readonly copied: (readonly [StoreId, readonly RowRef[]])[] = []
  leads = false
  isMember = true
  answer: (to: PeerId) => Outcome = () => ({ kind: 'reply', epoch: 0, body: new Uint8Array(0) })
  readonly log: MetaLog = new MetaLog({
    store: new SimStore({ disk: new SimDisk(this.world.random.fork('disk'), {}), clock: this.world.clock('disk') }),
    clock: this.world.clock('log'),
    logger: silentLogger
  })
  readonly peers: MetaPeers

  constructor(isFounded: boolean = true) {
    const { world, handlers, asked, log } = this
    const clock = world.clock('n')
    const transport = {
      self: peer(1),
      links: () => [peer(2), peer(3)],
      isLinked: () => true,
      handle: (type: number, handler: MessageHandler) => void handlers.set(type, handler),
      request: (to: PeerId, _request: OutgoingRequest, done: (outcome: Outcome) => void) => {
        asked.push(to)
        clock.soon(() => done(this.answer(to)))
      }
    }
    const view = new Map([1, 2, 3].map(n => [store(n), seen(n, { clusterId: CLUSTER })]))
    const membership = { self: view.get(store(1)), view, on: () => () => {} }
    this.peers = new MetaPeers({
      // The slices that it uses.
      transport: transport as unknown as Transport,
      membership: membership as unknown as Membership,
      clock,
      log,
      leader: () => (this.leads ? store(1) : undefined),
      isMember: () => this.isMember,
      propose: () => Promise.reject(new KilovoltError('KV_NOT_LEADER', 'not here')),
      copied: (by, rows) => void this.copied.push([by, rows]),
      peerOf: id => view.get(id)?.peerId
    })
    if (isFounded) log.apply(1, encodeCommand(found()))
    this.peers.listen()
  }

  /** Hands a request to its handler and returns what was answered. */
  ask(type: number, body: Uint8Array): Uint8Array | KilovoltError {
    let answer: Uint8Array | KilovoltError | undefined
    const respond = {
      reply: (bytes: Uint8Array) => void (answer = bytes),
      refuse: (error: KilovoltError) => void (answer = error)
    }
    this.handlers.get(type)!({ from: peer(2), epoch: 0, body }, respond)
    assert.ok(answer !== undefined, 'it answers at once')
    return answer
  }

  /** Whom a report of copies goes to. */
  async report(): Promise<PeerId[]> {
    this.asked.length = 0
    this.peers.reportCopied(COPIED)
    const told = [...this.asked]
    await this.world.advance(10)
    return told.toSorted()
  }
}

function refuse(message: string): Outcome {
  return { kind: 'refused', error: new KilovoltError('KV_NOT_LEADER', message) }
}

describe('talking to the other members', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench()
  })

  afterEach(() => {
    bench.peers.stop()
  })

  it('tells everybody while it knows no leader, then the one who was named', async () => {
    bench.answer = to =>
      to === peer(3) ? { kind: 'reply', epoch: 0, body: new Uint8Array(0) } : refuse(`${store(3)} leads`)
    assert.deepEqual(await bench.report(), [peer(2), peer(3)])
    assert.deepEqual(await bench.report(), [peer(3)])
  })

  it('tells everybody again when whoever was named does not answer any more', async () => {
    bench.answer = to => (to === peer(3) ? { kind: 'lost' } : refuse(`${store(3)} leads`))
    await bench.report()
    bench.answer = () => ({ kind: 'unsent', reason: 'no link' })
    await bench.report()
    assert.deepEqual(await bench.report(), [peer(2), peer(3)])
  })

  it('takes reports of copies as the leader only', () => {
    const body = new Writer(64)
      .raw(idToBytes(CLUSTER))
      .u8(1)
      .raw(idToBytes(store(2)))
      .varint(1)
      .varint(3)
      .varint(7)
      .finish()
    assert.ok(bench.ask(MessageType.META_PROPOSE, body) instanceof KilovoltError)
    assert.deepEqual(bench.copied, [])
    bench.leads = true
    assert.ok(!(bench.ask(MessageType.META_PROPOSE, body) instanceof KilovoltError))
    assert.deepEqual(bench.copied, [[store(2), [{ partition: 3, rowEpoch: 7 }]]])
  })

  it('believes nobody who speaks for another', () => {
    bench.leads = true
    const begin = (): Writer => new Writer(64).raw(idToBytes(CLUSTER)).u8(1)
    const report = begin()
      .raw(idToBytes(store(3)))
      .varint(1)
      .varint(3)
      .varint(7)
      .finish()
    const join = writeMember(new Writer(64), member(9)).finish()
    for (const [type, body] of [
      [MessageType.META_PROPOSE, report],
      [MessageType.JOIN, join]
    ] as const) {
      const answer = bench.ask(type, body)
      assert.ok(answer instanceof KilovoltError && answer.code === 'KV_PROTOCOL')
    }
    assert.deepEqual(bench.copied, [])
  })

  it('asks nobody any more once it has stopped, though it was going from one peer to the next', async () => {
    bench.answer = () => ({ kind: 'lost' })
    const pulled = bench.peers.pull(100)
    assert.equal(bench.asked.length, 1)
    bench.peers.stop()
    await bench.world.settle(pulled)
    assert.equal(bench.asked.length, 1)
  })

  describe('when somebody asks to be let in', () => {
    const WINNER = 'd'.repeat(32) as ClusterId
    const JOIN = writeMember(new Writer(64), member(2)).finish()
    const DISSOLVE = encodeCommand({ kind: 'dissolve', into: WINNER, epoch: 9 })

    /** What a member answers whose log has these entries after the first. */
    function stateOf(clusterId: ClusterId, ...entries: readonly Uint8Array[]): Outcome {
      const { log, peers } = new Bench(false)
      const all = [encodeCommand(found({ clusterId, member: member(9) })), ...entries]
      for (const [i, entry] of all.entries()) log.apply(i + 1, entry)
      peers.stop()
      return { kind: 'reply', epoch: 0, body: log.encodeDelta(-1) }
    }

    it('refuses as no member', () => {
      bench.isMember = false
      const answer = bench.ask(MessageType.JOIN, JOIN)
      assert.ok(answer instanceof KilovoltError && answer.code === 'KV_NOT_JOINED')
    })

    it('refuses as one that is a member no more when the leader has answered', async () => {
      bench.answer = () => {
        bench.log.apply(2, DISSOLVE)
        bench.isMember = false
        return { kind: 'reply', epoch: 0, body: new Writer(8).varint(2).finish() }
      }
      let answer: Uint8Array | KilovoltError | undefined
      const respond = {
        reply: (bytes: Uint8Array) => void (answer = bytes),
        refuse: (error: KilovoltError) => void (answer = error)
      }
      bench.handlers.get(MessageType.JOIN)!({ from: peer(2), epoch: 0, body: JOIN }, respond)
      await bench.world.advance(1000)
      assert.ok(answer instanceof KilovoltError && answer.code === 'KV_NOT_JOINED')
    })

    it('takes no log that has ended, or that does not know it, and asks the next one', async () => {
      const letIn = encodeCommand({ kind: 'addMember', member: member(1), former: [] })
      const here = stateOf(WINNER, letIn)
      for (const useless of [stateOf(CLUSTER, DISSOLVE, letIn), stateOf(CLUSTER)]) {
        const newcomer = new Bench(false)
        newcomer.answer = to => (to === peer(2) ? useless : here)
        // Whoever is asked first; the other one comes next time.
        for (let i = 0; i < 2; i++) await newcomer.world.settle(newcomer.peers.join(member(1), 1000))
        assert.ok(newcomer.asked.includes(peer(2)))
        assert.equal(newcomer.log.topology?.clusterId, WINNER)
        newcomer.peers.stop()

        const stranger = new Bench(false)
        stranger.answer = () => useless
        const joining = stranger.world.settle(stranger.peers.join(member(1), 1000))
        await assert.rejects(joining, { code: 'KV_NOT_JOINED' })
        assert.equal(stranger.log.topology, undefined, 'it may still join another one')
        stranger.peers.stop()
      }
    })
  })

  it('gives a member of its own cluster what it lacks, and one of another nothing', () => {
    const ask = (cluster: ClusterId): Uint8Array | KilovoltError =>
      bench.ask(MessageType.META_DELTA, new Writer(32).raw(idToBytes(cluster)).bool(false).varint(0).finish())
    const delta = ask(CLUSTER)
    assert.ok(!(delta instanceof KilovoltError) && new Reader(delta).remaining > ID_BYTES)
    const refusal = ask('d'.repeat(32) as ClusterId)
    assert.ok(refusal instanceof KilovoltError && refusal.code === 'KV_HANDSHAKE')
  })

  it('refuses bytes that make no sense as its sender’s fault', () => {
    const garbled = [
      new Uint8Array(0),
      idToBytes(CLUSTER),
      new Writer(32).raw(idToBytes(CLUSTER)).u8(0).u8(99).finish()
    ]
    for (const type of [MessageType.JOIN, MessageType.META_DELTA, MessageType.META_PROPOSE]) {
      for (const body of garbled) {
        if (type === MessageType.META_DELTA && body.length > ID_BYTES) continue
        const answer = bench.ask(type, body)
        assert.ok(answer instanceof KilovoltError && answer.code === 'KV_PROTOCOL', String(answer))
      }
    }
  })

  it('waits in vain for an epoch, and asks nobody, while it does not know its cluster', async () => {
    const provisional = new Bench(false)
    const waiting = provisional.peers.catchUp(5, 1000)
    await assert.rejects(provisional.world.settle(waiting), { code: 'KV_TIMEOUT' })
    assert.deepEqual(provisional.asked, [])
    provisional.peers.stop()
  })
})
