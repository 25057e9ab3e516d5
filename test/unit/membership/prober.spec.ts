import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import { Gossip, type Rumour } from '../../../src/membership/gossip.ts'
import { Prober } from '../../../src/membership/prober.ts'
import {
  decodeAck,
  decodePing,
  decodeVerdict,
  encodeAck,
  encodePing,
  encodePingRequest,
  encodeVerdict
} from '../../../src/membership/wire.ts'
import type { PeerId, StoreId } from '../../../src/model/node-id.ts'
import type { ViewMember } from '../../../src/model/view.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { MessageType } from '../../../src/transport/message-type.ts'
import type { MessageHandler, OutgoingRequest, Outcome } from '../../../src/transport/transport.ts'
import { storeId } from './fake-cluster.ts'

const [SELF, A, B] = [storeId(0), storeId(1), storeId(2)] as [StoreId, StoreId, StoreId]
const peerOf = (store: StoreId): PeerId => `peer-${store.slice(-1)}` as PeerId

function rumour(store: StoreId, more: Partial<ViewMember> = {}): Rumour {
  const member: ViewMember = {
    storeId: store,
    peerId: peerOf(store),
    addresses: [],
    incarnation: 5,
    status: 'alive',
    clusterId: undefined,
    epoch: 0,
    ...more
  }
  return { member, ageMs: 0, accusers: [] }
}

interface Asked {
  readonly to: PeerId
  readonly request: OutgoingRequest
  readonly done: (outcome: Outcome) => void
}

/** A prober whose transport does nothing but take notes. */
function bench(): {
  prober: Prober
  gossip: Gossip
  asked: Asked[]
  told: unknown[][]
  receive: (type: MessageType, from: PeerId, body: Uint8Array) => (Uint8Array | KilovoltError)[]
} {
  const gossip = new Gossip(rumour(SELF).member)
  gossip.hear(0, [rumour(A), rumour(B)])
  const asked: Asked[] = []
  const told: unknown[][] = []
  const handlers = new Map<MessageType, MessageHandler>()
  const transport = {
    self: peerOf(SELF),
    request: (to: PeerId, request: OutgoingRequest, done: (outcome: Outcome) => void) => {
      asked.push({ to, request, done })
    },
    handle: (type: MessageType, handler: MessageHandler) => {
      handlers.set(type, handler)
    }
  }
  const prober = new Prober(
    { transport, clock: { monotonicMs: () => 0 }, gossip, logger: silentLogger },
    {
      hear: rumours => {
        gossip.hear(0, rumours)
      },
      acked: (...facts) => told.push(['acked', ...facts]),
      missed: (...facts) => told.push(['missed', ...facts]),
      helped: (...facts) => told.push(['helped', ...facts]),
      reported: (...facts) => told.push(['reported', ...facts]),
      ownLagMs: () => 33,
      isStopped: () => false
    }
  )
  const receive = (type: MessageType, from: PeerId, body: Uint8Array): (Uint8Array | KilovoltError)[] => {
    const answers: (Uint8Array | KilovoltError)[] = []
    handlers.get(type)!(
      { from, epoch: 0, body },
      { reply: answer => answers.push(answer), refuse: error => answers.push(error) }
    )
    return answers
  }
  return { prober, gossip, asked, told, receive }
}

const ack = (store: StoreId, more: Partial<ViewMember> = {}): Uint8Array =>
  encodeAck({ self: rumour(store, more), lagMs: 7, digest: 9, opinion: undefined })
const reply = (body: Uint8Array): Outcome => ({ kind: 'reply', epoch: 0, body })

describe('the prober', () => {
  it('tells the target what is believed of it, and takes its answer', () => {
    const { prober, gossip, asked, told } = bench()
    gossip.accuse(0, A, 5)
    prober.ping({ kind: 'ping', to: A, probe: 1, timeoutMs: 300 })
    assert.equal(asked[0]!.to, peerOf(A))
    const ping = decodePing(asked[0]!.request.body)
    assert.deepEqual([ping.target, ping.opinion], [A, { incarnation: 5, status: 'suspect' }])
    asked[0]!.done(reply(ack(A, { incarnation: 6 })))
    assert.deepEqual(told, [
      ['acked', A, 1],
      ['reported', A, 7, 9]
    ])
    assert.equal(gossip.get(A)!.status, 'alive')
  })

  it('takes the answer of another store for news of that one and not for a sign of life', () => {
    const { prober, gossip, asked, told } = bench()
    prober.ping({ kind: 'ping', to: A, probe: 1, timeoutMs: 300 })
    asked[0]!.done(reply(ack(storeId(9), { peerId: peerOf(A) })))
    assert.deepEqual(told, [['missed', A, 1]])
    assert.equal(gossip.get(storeId(9))!.status, 'alive')
    prober.pingRequest({ kind: 'ping-request', helper: B, target: A, probe: 2, timeoutMs: 300 })
    asked[1]!.done(reply(encodeVerdict(ack(storeId(9)))))
    assert.deepEqual(told[1], ['helped', A, 2, B, 'nack'])
  })

  it('tells every way in which a probe can end', () => {
    const error = new KilovoltError('KV_OVERLOADED', 'busy')
    const bad = new Uint8Array([255])
    const failures: Outcome[] = [
      { kind: 'unsent', reason: 'no link' },
      { kind: 'lost' },
      { kind: 'timeout' },
      { kind: 'refused', error },
      reply(bad)
    ]
    for (const outcome of failures) {
      const { prober, asked, told } = bench()
      prober.ping({ kind: 'ping', to: A, probe: 1, timeoutMs: 300 })
      asked[0]!.done(outcome)
      prober.pingRequest({ kind: 'ping-request', helper: B, target: A, probe: 2, timeoutMs: 300 })
      asked[1]!.done(outcome)
      assert.deepEqual(told, [
        ['missed', A, 1],
        ['helped', A, 2, B, 'none']
      ])
    }
    const { prober, asked, told } = bench()
    for (const [i, verdict] of [encodeVerdict(undefined), encodeVerdict(ack(A))].entries()) {
      prober.pingRequest({ kind: 'ping-request', helper: B, target: A, probe: i, timeoutMs: 300 })
      asked[i]!.done(reply(verdict))
    }
    assert.deepEqual(told, [
      ['helped', A, 0, B, 'nack'],
      ['helped', A, 1, B, 'ack'],
      ['reported', A, 7, 9]
    ])
  })

  it('answers a probe with its refutation, its lag, and what it believes of the prober', () => {
    const { gossip, receive } = bench()
    gossip.accuse(0, A, 5)
    const ping = encodePing({ target: SELF, opinion: { incarnation: 5, status: 'suspect' }, sender: rumour(A) })
    const [answer] = receive(MessageType.PING, peerOf(A), ping)
    assert.ok(answer instanceof Uint8Array)
    const { self, lagMs, digest, opinion } = decodeAck(answer)
    assert.deepEqual([self.member.storeId, self.member.incarnation, self.member.status], [SELF, 6, 'alive'])
    assert.equal(lagMs, 33)
    assert.equal(digest, gossip.digest(0))
    assert.deepEqual(opinion, { incarnation: 5, status: 'suspect' })
  })

  it('does not refute what was meant for another store', () => {
    const { gossip, receive } = bench()
    const ping = encodePing({ target: storeId(8), opinion: { incarnation: 99, status: 'dead' }, sender: rumour(A) })
    receive(MessageType.PING, peerOf(A), ping)
    assert.equal(gossip.self.incarnation, 5)
  })

  it('passes the target’s own answer on when it helps, and no answer when there is none', () => {
    const opinion = { incarnation: 5, status: 'alive' } as const
    for (const isAlive of [true, false]) {
      const { asked, receive } = bench()
      const answers = receive(
        MessageType.PING_REQUEST,
        peerOf(B),
        encodePingRequest({ target: A, opinion, timeoutMs: 300 })
      )
      assert.equal(answers.length, 0)
      assert.equal(asked[0]!.to, peerOf(A))
      assert.equal(asked[0]!.request.timeoutMs, 300)
      asked[0]!.done(isAlive ? reply(ack(A)) : { kind: 'timeout' })
      assert.equal(answers.length, 1)
      assert.equal(decodeVerdict(answers[0] as Uint8Array)?.self.member.storeId, isAlive ? A : undefined)
    }
  })

  it('does not help beyond 64 probes at a time, nor with whom it does not know', () => {
    const { asked, receive } = bench()
    const ask = (target: StoreId): (Uint8Array | KilovoltError)[] =>
      receive(
        MessageType.PING_REQUEST,
        peerOf(B),
        encodePingRequest({ target, opinion: { incarnation: 1, status: 'alive' }, timeoutMs: 300 })
      )
    for (let i = 0; i < 64; i++) assert.equal(ask(A).length, 0)
    assert.equal((ask(A)[0] as KilovoltError).code, 'KV_OVERLOADED')
    assert.equal(decodeVerdict(ask(storeId(7))[0] as Uint8Array), undefined)
    asked[0]!.done({ kind: 'lost' })
    assert.equal(ask(A).length, 0)
  })

  it('refuses malformed probes with KV_PROTOCOL', () => {
    const { receive } = bench()
    for (const type of [MessageType.PING, MessageType.PING_REQUEST]) {
      const answers = receive(type, peerOf(A), new Uint8Array([1, 2, 3]))
      assert.equal((answers[0] as KilovoltError).code, 'KV_PROTOCOL')
    }
  })
})
