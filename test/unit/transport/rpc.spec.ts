import assert from 'node:assert/strict'
import { fromUtf8, utf8 } from '../../../src/base/bytes.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import { decodeFrame, encodeFrame, FRAME_BYTES_MAX } from '../../../src/codec/frame.ts'
import type { PeerId } from '../../../src/model/node-id.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { TimerWheel } from '../../../src/runtime/timer-wheel.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { createCounters, type TransportCounters } from '../../../src/transport/counters.ts'
import { MessageType } from '../../../src/transport/message-type.ts'
import { encodeRefusal } from '../../../src/transport/refusal.ts'
import { QUEUED_BYTES_MAX, REQUESTS_IN_FLIGHT_MAX, Rpc } from '../../../src/transport/rpc.ts'
import type { MessageHandler, Outcome } from '../../../src/transport/transport.ts'
import { FakeLink } from './fake-link.ts'

const { GET, PUT, REPLY } = MessageType
const MIB = 1024 * 1024

describe('requests over one link', () => {
  let world: SimWorld
  let clock: SimClock
  let wheel: TimerWheel
  let counters: TransportCounters
  let handlers: Map<number, MessageHandler>
  let told: string[]
  let link: FakeLink
  let rpc: Rpc
  let epoch: number
  let tag: Uint8Array | undefined

  beforeEach(() => {
    world = new SimWorld()
    clock = world.clock('a')
    wheel = new TimerWheel(clock)
    counters = createCounters()
    handlers = new Map()
    told = []
    epoch = 3
    tag = undefined
    link = new FakeLink()
    rpc = new Rpc('peer' as PeerId, 'data', {
      clock,
      wheel,
      logger: silentLogger,
      counters,
      epoch: () => epoch,
      tag: () => tag,
      handlerOf: type => handlers.get(type),
      onMalformed: (_, error) => told.push(`malformed: ${error.code}`),
      onFarewell: (_, error) => told.push(`farewell: ${error.message}`),
      onClosed: (_, reason) => told.push(`closed: ${reason}`)
    })
  })

  /** Makes a request and returns the list that its outcomes go to. */
  function ask(text: string | Uint8Array = '?', timeoutMs = 1000): Outcome[] {
    const outcomes: Outcome[] = []
    rpc.request(GET, typeof text === 'string' ? utf8(text) : text, timeoutMs, outcome => outcomes.push(outcome))
    return outcomes
  }

  function reply(id: number, text: string): void {
    link.onFrame(encodeFrame([{ type: REPLY, id, epoch: 9, body: utf8(`\0${text}`) }]))
  }

  const turn = (): Promise<void> => world.advance(0)

  describe('between clusters', () => {
    const OWN = new Uint8Array(8).fill(1)
    const OTHER = new Uint8Array(8).fill(2)
    const { BELONG, RAFT, FATE } = MessageType
    const receive = (
      of: Uint8Array | undefined,
      ...messages: readonly (readonly [type: number, id: number])[]
    ): void => {
      const sent = messages.map(([type, id]) => ({ type, id, epoch: 9, body: utf8('?') }))
      link.onFrame(encodeFrame(of === undefined ? sent : [{ type: BELONG, id: 0, epoch: 0, body: of }, ...sent]))
    }

    it('say first in each frame which cluster they are of, and no frame is of two', async () => {
      rpc.attach(link)
      ask('a')
      tag = OWN
      ask('b')
      ask('c')
      tag = OTHER
      ask('d')
      await turn()
      assert.deepEqual(
        link.sent.map(frame =>
          decodeFrame(frame).map(({ type, body }) => (type === BELONG ? body[0] : fromUtf8(body)))
        ),
        [['a'], [1, 'b', 'c'], [2, 'd']]
      )
      assert.equal(counters.messagesSent, 4)
    })

    it('are refused when the two differ, and only what is meant for one cluster', async () => {
      const handled: number[] = []
      for (const type of [GET, RAFT, FATE]) {
        handlers.set(type, (_, respond) => {
          handled.push(type)
          respond.reply(utf8('here'))
        })
      }
      rpc.attach(link)
      tag = OWN
      receive(OTHER, [GET, 1], [RAFT, 0], [FATE, 2])
      await turn()
      assert.deepEqual(handled, [FATE])
      const answers = link.messages.filter(({ type }) => type === REPLY)
      assert.deepEqual(
        answers.map(({ body }) => body[0]),
        [1, 0]
      )
      receive(OWN, [GET, 3], [RAFT, 0])
      receive(undefined, [GET, 4])
      assert.deepEqual(handled, [FATE, GET, RAFT, GET])
      tag = undefined
      receive(OTHER, [GET, 5])
      assert.deepEqual(handled, [FATE, GET, RAFT, GET, GET])
      assert.equal(counters.messagesReceived, 7)
    })

    it('cost the link when the cluster cannot be read', () => {
      rpc.attach(link)
      receive(utf8('too short'))
      assert.equal(told[0], 'malformed: KV_PROTOCOL')
    })
  })

  describe('on their way out', () => {
    it('carry the epoch of when they were handed over, however late they leave', async () => {
      rpc.attach(link)
      link.isCongested = true
      ask('a')
      await turn()
      ask('b')
      epoch = 4
      ask('c')
      link.drain()
      assert.deepEqual(
        link.messages.map(message => [fromUtf8(message.body), message.epoch]),
        [
          ['a', 3],
          ['b', 3],
          ['c', 4]
        ]
      )
    })

    it('leave as one frame when the turn is over, with one-way messages, in order', async () => {
      rpc.attach(link)
      ask('a')
      rpc.send(PUT, utf8('b'))
      ask('c')
      assert.equal(link.sent.length, 0)
      epoch = 4
      await turn()
      assert.equal(link.sent.length, 1)
      assert.deepEqual(
        link.messages.map(({ type, id, epoch, body }) => [type, id, epoch, fromUtf8(body)]),
        [
          [GET, 1, 3, 'a'],
          [PUT, 0, 3, 'b'],
          [GET, 2, 3, 'c']
        ]
      )
      assert.deepEqual([counters.framesSent, counters.messagesSent, counters.requestsInFlight], [1, 3, 2])
      assert.equal(counters.bytesSent, link.sent[0]!.length)
    })

    it('wait for the link to open', async () => {
      const first = ask('a')
      await turn()
      rpc.attach(link)
      await turn()
      assert.equal(link.messages.length, 1)
      reply(1, 'b')
      assert.equal(first[0]!.kind, 'reply')
    })

    it('are unsent when the link never opens', async () => {
      const outcomes = ask('a')
      await turn()
      rpc.close('nobody there')
      assert.deepEqual(outcomes, [{ kind: 'unsent', reason: 'nobody there' }])
      assert.deepEqual([told, wheel.size, clock.pending], [['closed: nobody there'], 0, 0])
    })

    it('fill several frames when one cannot hold them', async () => {
      rpc.attach(link)
      for (let i = 0; i < 5; i++) ask(new Uint8Array(6 * MIB))
      await turn()
      assert.deepEqual(
        link.sent.map(frame => frame.length > 6 * MIB && frame.length <= FRAME_BYTES_MAX + 8),
        [true, true, true]
      )
      assert.deepEqual(
        link.messages.map(({ id }) => id),
        [1, 2, 3, 4, 5]
      )
    })

    it('wait while the link is congested, and leave as one frame when it has drained', async () => {
      rpc.attach(link)
      link.isCongested = true
      ask('a')
      await turn()
      for (const text of ['b', 'c', 'd']) {
        ask(text)
        await turn()
      }
      assert.equal(link.sent.length, 1)
      link.drain()
      assert.equal(link.sent.length, 2)
      assert.deepEqual(
        link.messages.map(({ body }) => fromUtf8(body)),
        ['a', 'b', 'c', 'd']
      )
    })

    it('stop after the frame that congests the link', async () => {
      rpc.attach(link)
      link.isCongested = true
      for (let i = 0; i < 5; i++) ask(new Uint8Array(6 * MIB))
      await turn()
      assert.equal(link.sent.length, 1)
      link.onDrain()
      assert.equal(link.sent.length, 2)
      link.drain()
      assert.equal(link.sent.length, 3)
    })

    it('are unsent beyond the bound on bytes that wait, and taken again when it has drained', async () => {
      rpc.attach(link)
      link.isCongested = true
      ask('a')
      await turn()
      const waiting = Array.from({ length: 8 }, () => ask(new Uint8Array(8 * MIB - 1000)))
      const refused = ask(new Uint8Array(8 * MIB))
      rpc.send(PUT, new Uint8Array(8 * MIB))
      await turn()
      assert.equal(refused[0]!.kind, 'unsent')
      assert.ok(waiting.every(outcomes => outcomes.length === 0))
      link.drain()
      assert.equal(link.messages.length, 9)
      const after = ask(new Uint8Array(8 * MIB))
      await turn()
      assert.deepEqual([after.length, link.messages.length], [0, 10])
    })

    it('count what waits in a congested link towards the bound', async () => {
      rpc.attach(link)
      link.isCongested = true
      link.bufferedBytes = QUEUED_BYTES_MAX
      ask('a')
      await turn()
      const outcomes = ask('b')
      await turn()
      assert.equal(outcomes[0]!.kind, 'unsent')
    })

    it('are unsent beyond the bound on their number', async () => {
      rpc.attach(link)
      for (let i = 0; i < REQUESTS_IN_FLIGHT_MAX; i++) ask()
      const outcomes = ask()
      assert.equal(outcomes.length, 0)
      await turn()
      assert.equal(outcomes[0]!.kind, 'unsent')
      reply(1, 'b')
      const next = ask()
      await turn()
      assert.deepEqual([next.length, link.messages.length], [0, REQUESTS_IN_FLIGHT_MAX + 1])
    })
  })

  describe('at their end', () => {
    beforeEach(() => rpc.attach(link))

    it('time out at their deadline once they were sent', async () => {
      const outcomes = ask('a', 200)
      await world.advance(199)
      assert.equal(outcomes.length, 0)
      await world.advance(20)
      assert.deepEqual(outcomes, [{ kind: 'timeout' }])
      reply(1, 'late')
      assert.deepEqual([outcomes.length, counters.requestsInFlight], [1, 0])
    })

    it('are unsent at their deadline while they still wait, and never leave then', async () => {
      link.isCongested = true
      ask('a')
      await turn()
      const outcomes = ask('b', 200)
      ask('c', 10_000)
      await world.advance(300)
      assert.equal(outcomes[0]!.kind, 'unsent')
      link.drain()
      assert.deepEqual(
        link.messages.map(({ body }) => fromUtf8(body)),
        ['a', 'c']
      )
    })

    it('are lost when the link closes after it took them, unsent when before', async () => {
      const sent = ask('a')
      await turn()
      link.isCongested = true
      rpc.send(PUT, utf8('b'))
      await turn()
      const waiting = ask('c')
      link.close('a cable')
      assert.deepEqual([sent, waiting], [[{ kind: 'lost' }], [{ kind: 'unsent', reason: 'a cable' }]])
      assert.deepEqual([told, wheel.size], [['closed: a cable'], 0])
      const late = ask('d')
      assert.equal(late.length, 0)
      await turn()
      assert.equal(late[0]!.kind, 'unsent')
    })

    it('may be answered by asking again', async () => {
      const texts: string[] = []
      const again = (outcome: Outcome): void => {
        texts.push(outcome.kind)
        if (texts.length < 3) rpc.request(GET, utf8('?'), 1000, again)
      }
      rpc.request(GET, utf8('?'), 1000, again)
      for (const id of [1, 2, 3]) {
        await turn()
        reply(id, 'yes')
      }
      assert.deepEqual(texts, ['reply', 'reply', 'reply'])
    })

    it('are refused with what the peer said, also with a code that is not known here', async () => {
      const outcomes = ask()
      const body = encodeRefusal(
        new KilovoltError('KV_FROM_THE_FUTURE' as 'KV_INTERNAL', 'why not', { retryable: true })
      )
      link.onFrame(encodeFrame([{ type: REPLY, id: 1, epoch: 0, body: Uint8Array.of(1, ...body) }]))
      const [outcome] = outcomes
      assert.ok(outcome?.kind === 'refused')
      assert.deepEqual(
        [outcome.error.code, outcome.error.message, outcome.error.retryable],
        ['KV_FROM_THE_FUTURE', 'why not', true]
      )
    })
  })

  describe('of the peer', () => {
    beforeEach(() => rpc.attach(link))

    const question = (id: number, text: string): void =>
      link.onFrame(encodeFrame([{ type: GET, id, epoch: 8, body: utf8(text) }]))

    it('are answered together when the answers come in one turn', async () => {
      handlers.set(GET, ({ body }, respond) => respond.reply(body.slice()))
      for (let id = 1; id <= 10; id++) question(id, `${id}`)
      await turn()
      assert.equal(link.sent.length, 1)
      assert.deepEqual(
        link.messages.map(({ id, body }) => [id, fromUtf8(body)]),
        Array.from({ length: 10 }, (_, i) => [i + 1, `\0${i + 1}`])
      )
    })

    it('are refused when the answer is too large', async () => {
      handlers.set(GET, (_, respond) => respond.reply(new Uint8Array(FRAME_BYTES_MAX)))
      question(1, '?')
      await turn()
      assert.equal(link.messages[0]!.body[0], 1)
    })

    it('cost it the link when it leaves too many answers unread', async () => {
      link.isCongested = true
      handlers.set(GET, (_, respond) => respond.reply(new Uint8Array(15 * MIB)))
      for (let id = 1; id <= 8; id++) question(id, '?')
      assert.equal(link.isClosed, false)
      question(9, '?')
      assert.equal(link.isClosed, true)
    })

    it('are refused when too many wait for an answer, and taken again afterwards', async () => {
      const waiting: (() => void)[] = []
      handlers.set(GET, (_, respond) => waiting.push(() => respond.reply(utf8(''))))
      const many = Array.from({ length: 65_536 }, (_, i) => ({ type: GET, id: i + 1, epoch: 0, body: utf8('') }))
      link.onFrame(encodeFrame(many))
      question(70_000, '?')
      await turn()
      assert.match(fromUtf8(link.messages[0]!.body), /KV_OVERLOADED/u)
      for (const answer of waiting.splice(0)) answer()
      question(70_001, '?')
      assert.equal(waiting.length, 1)
    })

    it('may be answered after the link has closed, to no effect', async () => {
      const waiting: (() => void)[] = []
      handlers.set(GET, (_, respond) => waiting.push(() => respond.reply(utf8(''))))
      question(1, '?')
      link.close('a cable')
      for (const answer of waiting) answer()
      await turn()
      assert.deepEqual([link.sent.length, clock.pending], [0, 0])
    })

    it('end the reading of a frame when a handler closes the link', async () => {
      let handled = 0
      handlers.set(GET, () => {
        handled++
        rpc.close('enough')
      })
      link.onFrame(encodeFrame([1, 2, 3].map(id => ({ type: GET, id, epoch: 0, body: utf8('') }))))
      assert.deepEqual([handled, told], [1, ['closed: enough']])
    })
  })

  describe('with a peer that breaks the rules', () => {
    beforeEach(() => rpc.attach(link))

    const frames: Record<string, () => Uint8Array> = {
      'a wrong checksum': () =>
        encodeFrame([{ type: GET, id: 1, epoch: 0, body: utf8('x') }]).map((byte, i) => (i === 5 ? byte ^ 1 : byte)),
      'a frame cut short': () => encodeFrame([{ type: GET, id: 1, epoch: 0, body: utf8('x') }]).subarray(0, -1),
      'an empty reply': () => encodeFrame([{ type: REPLY, id: 1, epoch: 0, body: utf8('') }]),
      'a reply of no status': () => encodeFrame([{ type: REPLY, id: 1, epoch: 0, body: Uint8Array.of(2) }]),
      'a refusal of nothing': () => encodeFrame([{ type: REPLY, id: 1, epoch: 0, body: Uint8Array.of(1) }]),
      'a refusal without a code': () =>
        encodeFrame([{ type: REPLY, id: 1, epoch: 0, body: Uint8Array.of(1, 1, 65, 0, 0) }])
    }
    for (const [name, make] of Object.entries(frames)) {
      it(`close the link at ${name}`, async () => {
        const outcomes = ask()
        await turn()
        link.onFrame(make())
        assert.deepEqual(outcomes, [{ kind: 'lost' }])
        assert.deepEqual([link.isClosed, told[0], counters.malformed], [true, 'malformed: KV_PROTOCOL', 1])
        link.onFrame(make())
        assert.equal(counters.malformed, 1)
      })
    }

    it('are told a farewell', () => {
      const body = Uint8Array.of(1, ...encodeRefusal(new KilovoltError('KV_HANDSHAKE', 'not you')))
      link.onFrame(encodeFrame([{ type: REPLY, id: 0, epoch: 0, body }]))
      assert.deepEqual(told, ['farewell: not you', 'closed: not you'])
    })
  })
})
