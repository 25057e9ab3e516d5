import assert from 'node:assert/strict'
import { isKilovoltError, KilovoltError } from '../../src/base/errors.ts'
import { fromUtf8, utf8 } from '../../src/base/bytes.ts'
import { decodeFrame, encodeFrame, type Message } from '../../src/codec/frame.ts'
import type { ClusterId, PeerId, StoreId } from '../../src/model/node-id.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { encodeHello, type Hello } from '../../src/transport/hello.ts'
import type { Link } from '../../src/transport/host.ts'
import { Mesh } from '../../src/transport/mesh.ts'
import { MessageType } from '../../src/transport/message-type.ts'
import type { Outcome, TrafficClass, Transport, TransportEvents } from '../../src/transport/transport.ts'
import type { Lab, LabHost } from '../support/lab.ts'

const never = new AbortController().signal
const { GET, PUT, PING } = MessageType
const UNKNOWN = 200 as MessageType

/** A node: its transport, what is below it, and what it has told. */
interface Node {
  readonly transport: Transport
  readonly below: LabHost
  readonly hello: Hello
  readonly ups: PeerId[]
  readonly downs: PeerId[]
  readonly refusals: TransportEvents['link:refused'][]
}

type Check = (other: Hello) => KilovoltError | undefined

/** What every {@link Transport} over a host must do: to be called inside a `describe`. */
export function describeTransport(createLab: () => Lab): void {
  let lab: Lab
  let nodes: Node[]

  beforeEach(() => {
    lab = createLab()
    nodes = []
  })

  afterEach(async () => {
    await lab.settle(Promise.all(nodes.map(({ transport }) => transport.stop())))
    await lab.close()
  })

  function helloOf(number: number, below: LabHost, more: Partial<Hello>): Hello {
    return {
      version: 1,
      versionMin: 1,
      cluster: 'lab',
      clusterId: undefined,
      storeId: String(number).padStart(32, '0') as StoreId,
      partitions: 256,
      addresses: below.host.addresses,
      weight: 1,
      zone: '',
      region: '',
      volatile: true,
      epoch: 0,
      wallMs: below.clock.wallMs(),
      ...more
    }
  }

  async function node(more: Partial<Hello> = {}, check?: Check): Promise<Node> {
    const below = await lab.host()
    const number = nodes.length + 1
    const transport = new Mesh({
      host: below.host,
      clock: below.clock,
      random: below.random,
      logger: silentLogger,
      hello: () => helloOf(number, below, more),
      ...(check === undefined ? {} : { check })
    })
    const made: Node = { transport, below, hello: helloOf(number, below, more), ups: [], downs: [], refusals: [] }
    transport.on('link:up', ({ peer }) => made.ups.push(peer))
    transport.on('link:down', ({ peer }) => made.downs.push(peer))
    transport.on('link:refused', refusal => made.refusals.push(refusal))
    nodes.push(made)
    await lab.settle(transport.start())
    return made
  }

  async function pair(): Promise<[Node, Node]> {
    const [a, b] = [await node(), await node()]
    await link(a, b)
    return [a, b]
  }

  async function link(from: Node, to: Node): Promise<void> {
    await lab.settle(from.transport.dial(to.transport.addresses[0]!, never))
    await lab.until(() => to.transport.isLinked(from.transport.self), 'the other side to be linked')
  }

  function ask(from: Node, to: PeerId, body: Uint8Array, more: { timeoutMs?: number; class?: TrafficClass } = {}) {
    return new Promise<Outcome>(resolve => {
      from.transport.request(to, { type: GET, class: 'data', body, timeoutMs: 5000, ...more }, resolve)
    })
  }

  async function fails(promise: Promise<unknown>): Promise<KilovoltError> {
    try {
      await lab.settle(promise)
    } catch (error) {
      assert.ok(isKilovoltError(error), String(error))
      return error
    }
    throw new assert.AssertionError({ message: 'it did not fail' })
  }

  const echo = (of: Node): void => of.transport.handle(GET, ({ body }, respond) => respond.reply(body.slice()))

  describe('links', () => {
    it('dials, exchanges hellos, and tells both sides once', async () => {
      const [a, b] = [await node(), await node()]
      const hello = await lab.settle(a.transport.dial(b.transport.addresses[0]!, never))
      assert.equal(hello.storeId, b.hello.storeId)
      await lab.until(() => b.ups.length > 0, 'the other side to be linked')
      assert.deepEqual([a.ups, b.ups], [[b.transport.self], [a.transport.self]])
      assert.equal(b.transport.helloOf(a.transport.self)?.storeId, a.hello.storeId)
      assert.deepEqual([a.transport.links(), b.transport.links()], [[b.transport.self], [a.transport.self]])
    })

    it('dials a peer that is linked already without making a second link', async () => {
      const [a, b] = await pair()
      for (let i = 0; i < 3; i++) await lab.settle(a.transport.dial(b.transport.addresses[0]!, never))
      await lab.settle(b.transport.dial(a.transport.addresses[0]!, never))
      assert.deepEqual([a.ups.length, b.ups.length], [1, 1])
    })

    it('works when both dial at once', async () => {
      for (let round = 0; round < 5; round++) {
        const [a, b] = [await node(), await node()]
        echo(a)
        echo(b)
        const addresses = [a.transport.addresses[0]!, b.transport.addresses[0]!] as const
        await lab.settle(Promise.all([a.transport.dial(addresses[1], never), b.transport.dial(addresses[0], never)]))
        const asked = [ask(a, b.transport.self, utf8('a')), ask(b, a.transport.self, utf8('b'))]
        const outcomes = await lab.settle(Promise.all(asked))
        assert.deepEqual(
          outcomes.map(({ kind }) => kind),
          ['reply', 'reply']
        )
        assert.deepEqual([a.ups.length, b.ups.length, a.downs.length, b.downs.length], [1, 1, 0, 0])
      }
    })

    it('recognises itself', async () => {
      const a = await node()
      const error = await fails(a.transport.dial(a.transport.addresses[0]!.replace(/\/p2p\/.*/u, ''), never))
      assert.equal(error.code, 'KV_HANDSHAKE')
      assert.equal(error.details['self'], true)
    })

    it('gives up a dial when its signal aborts', async () => {
      const [a, b] = [await node(), await node()]
      const abort = new AbortController()
      const dialing = a.transport.dial(b.transport.addresses[0]!, abort.signal)
      abort.abort(new Error('no more'))
      assert.equal((await fails(dialing)).code, 'KV_ABORTED')
    })

    it('refuses a node that does not fit, with both values in the error of both sides', async () => {
      for (const misfit of [{ partitions: 128 }, { cluster: 'other' }, { version: 9, versionMin: 9 }]) {
        const [a, b] = [await node(), await node(misfit)]
        const error = await fails(a.transport.dial(b.transport.addresses[0]!, never))
        await lab.until(() => a.refusals.length > 0 && b.refusals.length > 0, 'both to be told')
        const [[, value]] = Object.entries(misfit) as [[string, number | string]]
        const own = a.hello[Object.keys(misfit)[0] as 'partitions' | 'cluster' | 'version']
        for (const told of [error, a.refusals[0]!.error, b.refusals[0]!.error]) {
          assert.equal(told.code, 'KV_HANDSHAKE')
          assert.ok(told.message.includes(String(value)) && told.message.includes(String(own)), told.message)
        }
        assert.deepEqual([a.ups, b.ups], [[], []])
        const connected = (): boolean =>
          a.below.host.isConnected(b.transport.self) || b.below.host.isConnected(a.transport.self)
        await lab.until(() => !connected(), 'the connection to be closed')
      }
    })

    it('refuses a copy of its own store', async () => {
      const a = await node()
      const b = await node({ storeId: a.hello.storeId })
      const error = await fails(a.transport.dial(b.transport.addresses[0]!, never))
      assert.equal(error.code, 'KV_HANDSHAKE')
      assert.ok(error.message.includes(a.hello.storeId))
    })

    it('lets each side object for a reason of its own, and tells the other', async () => {
      const objection = new KilovoltError('KV_HANDSHAKE', 'not you')
      for (const objector of ['opener', 'acceptor']) {
        const a = await node({}, () => (objector === 'opener' ? objection : undefined))
        const b = await node({}, () => (objector === 'acceptor' ? objection : undefined))
        const error = await fails(a.transport.dial(b.transport.addresses[0]!, never))
        assert.equal(error.code, 'KV_HANDSHAKE')
        assert.match(error.message, /not you/u)
        await lab.until(() => a.refusals.length > 0 && b.refusals.length > 0, 'both to be told')
        for (const { refusals } of [a, b]) assert.match(refusals[0]!.error.message, /not you/u)
        await lab.until(() => !b.transport.isLinked(a.transport.self), 'the link to be closed')
      }
    })

    it('drops a peer on both sides and does not dial it again', async () => {
      const [a, b] = await pair()
      a.transport.keep(b.transport.self, b.transport.addresses)
      a.transport.drop(b.transport.self)
      await lab.until(() => a.downs.length === 1 && b.downs.length === 1, 'both to be told')
      await lab.pass(1000)
      assert.deepEqual([a.transport.links(), b.transport.links(), a.ups.length], [[], [], 1])
    })
  })

  describe('keeping a peer', () => {
    it('links with it, whoever of the two keeps the other', async () => {
      for (const keeper of [0, 1]) {
        const two = [await node(), await node()] as const
        const [a, b] = keeper === 0 ? two : [two[1], two[0]]
        a.transport.keep(b.transport.self, b.transport.addresses)
        await lab.until(() => a.ups.length === 1 && b.ups.length === 1, 'the link')
      }
    })

    it('links again when the connection is lost, each time', async () => {
      const [a, b] = [await node(), await node()]
      a.transport.keep(b.transport.self, b.transport.addresses)
      b.transport.keep(a.transport.self, a.transport.addresses)
      for (let round = 1; round <= 3; round++) {
        await lab.until(() => a.ups.length === round && b.ups.length === round, `link ${round}`)
        b.below.host.disconnect(a.transport.self, 'a cable')
        await lab.until(() => a.downs.length === round && b.downs.length === round, `loss ${round}`)
      }
      await lab.until(() => a.transport.isLinked(b.transport.self), 'the last link')
    })

    it('goes on dialing an address until somebody is there', async () => {
      const [a, b] = [await node(), await node()]
      const gone = b.transport.addresses
      await lab.settle(b.transport.stop())
      a.transport.keep(b.transport.self, gone)
      await lab.pass(500)
      const c = await node()
      a.transport.keep(c.transport.self, gone)
      await lab.pass(300)
      assert.deepEqual(a.ups, [])
      // New addresses are tried without waiting for the next turn.
      a.transport.keep(c.transport.self, c.transport.addresses)
      await lab.until(() => a.ups.length === 1, 'the link')
    })

    it('never dials itself', async () => {
      const a = await node()
      a.transport.keep(a.transport.self, a.transport.addresses)
      await lab.pass(300)
      assert.deepEqual([a.ups, a.transport.links()], [[], []])
    })
  })

  describe('requests', () => {
    it('are answered, on each class, with the epoch of who answers', async () => {
      const [a, b] = await pair()
      const cluster = '1'.repeat(32) as ClusterId
      b.transport.setEpoch(cluster, 77)
      a.transport.setEpoch(cluster, 5)
      const seen: unknown[] = []
      b.transport.handle(GET, ({ from, epoch, body }, respond) => {
        seen.push([from, epoch, fromUtf8(body)])
        respond.reply(utf8('answer'))
      })
      for (const trafficClass of ['control', 'data', 'bulk'] as const) {
        const outcome = await lab.settle(ask(a, b.transport.self, utf8('question'), { class: trafficClass }))
        assert.ok(outcome.kind === 'reply', outcome.kind)
        assert.deepEqual([outcome.epoch, fromUtf8(outcome.body)], [77, 'answer'])
      }
      assert.deepEqual(
        seen,
        Array.from({ length: 3 }, () => [a.transport.self, 5, 'question'])
      )
      assert.equal(a.transport.stats().requestsInFlight, 0)
    })

    it('go both ways at once', async () => {
      const [a, b] = await pair()
      echo(a)
      echo(b)
      const all = Array.from({ length: 200 }, (_, i) =>
        i % 2 === 0 ? ask(a, b.transport.self, utf8(`${i}`)) : ask(b, a.transport.self, utf8(`${i}`))
      )
      const outcomes = await lab.settle(Promise.all(all))
      outcomes.forEach((outcome, i) => assert.equal(outcome.kind === 'reply' && fromUtf8(outcome.body), String(i)))
    })

    it('get their own answers, a thousand at a time, whatever the order of the answers', async () => {
      const [a, b] = await pair()
      const waiting: (() => void)[] = []
      b.transport.handle(GET, ({ body }, respond) => {
        const copy = body.slice()
        waiting.push(() => respond.reply(copy))
        if (waiting.length === 1000) for (const answer of waiting.reverse()) answer()
      })
      const all = Array.from({ length: 1000 }, (_, i) => ask(a, b.transport.self, utf8(`question ${i}`)))
      const outcomes = await lab.settle(Promise.all(all))
      outcomes.forEach((outcome, i) =>
        assert.equal(outcome.kind === 'reply' && fromUtf8(outcome.body), `question ${i}`)
      )
      // All of one turn left together.
      assert.ok(a.transport.stats().framesSent < 100, `${a.transport.stats().framesSent} frames`)
    })

    it('carry bodies of 8 MiB, both ways', async () => {
      const [a, b] = await pair()
      echo(b)
      const body = new Uint8Array(8 * 1024 * 1024).map((_, i) => i * 31)
      const outcomes = await lab.settle(Promise.all([ask(a, b.transport.self, body), ask(a, b.transport.self, body)]))
      for (const outcome of outcomes) {
        assert.ok(outcome.kind === 'reply', outcome.kind)
        assert.ok(Buffer.from(outcome.body).equals(body))
      }
    })

    it('never end before the call that made them returns', async () => {
      const [a, b] = await pair()
      echo(b)
      for (const to of [b.transport.self, 'nobody' as PeerId]) {
        let returned = false
        const early = await lab.settle(
          new Promise<boolean>(resolve => {
            a.transport.request(to, { type: GET, class: 'data', body: utf8(''), timeoutMs: 1000 }, () =>
              resolve(!returned)
            )
            returned = true
          })
        )
        assert.equal(early, false)
      }
    })

    it('are unsent to somebody who is not linked', async () => {
      const [a, b] = [await node(), await node()]
      const outcome = await lab.settle(ask(a, b.transport.self, utf8('?')))
      assert.ok(outcome.kind === 'unsent')
      assert.ok(outcome.reason.includes(b.transport.self))
    })

    it('about data wait for the first link with a kept peer, whichever side dials', async () => {
      const [a, b] = [await node(), await node()]
      const epochs: number[] = []
      for (const one of [a, b]) {
        one.transport.handle(GET, (message, respond) => {
          epochs.push(message.epoch)
          respond.reply(message.body.slice())
        })
      }
      const setEpoch = (epoch: number): void => {
        for (const one of [a, b]) one.transport.setEpoch('1'.repeat(32) as ClusterId, epoch)
      }
      setEpoch(7)
      a.transport.keep(b.transport.self, b.transport.addresses)
      b.transport.keep(a.transport.self, a.transport.addresses)
      const asked = [ask(a, b.transport.self, utf8('to b')), ask(b, a.transport.self, utf8('to a'))]
      setEpoch(8)
      const outcomes = await lab.settle(Promise.all(asked))
      assert.deepEqual(
        outcomes.map(outcome => outcome.kind === 'reply' && fromUtf8(outcome.body)),
        ['to b', 'to a']
      )
      assert.deepEqual(epochs, [7, 7], 'the epoch by which it was decided whom to ask')
      assert.deepEqual([a.ups.length, b.ups.length], [1, 1])
    })

    it('of other classes wait for no link', async () => {
      const [a, b] = [await node(), await node()]
      echo(b)
      a.transport.keep(b.transport.self, b.transport.addresses)
      for (const other of ['control', 'bulk'] as const) {
        assert.equal((await lab.settle(ask(a, b.transport.self, utf8('?'), { class: other }))).kind, 'unsent')
      }
    })

    it('are unsent when the first dial of a kept peer fails, and at once from then on', async () => {
      const [a, b] = [await node(), await node()]
      const { self, addresses } = b.transport
      await lab.settle(b.transport.stop())
      a.transport.keep(self, addresses)
      const outcome = await lab.settle(ask(a, self, utf8('?'), { timeoutMs: 60_000 }))
      assert.equal(outcome.kind, 'unsent')
      let isOver = false
      void ask(a, self, utf8('?')).then(() => (isOver = true))
      await lab.pass(1)
      assert.deepEqual([isOver, a.transport.stats().requestsInFlight], [true, 0])
    })

    it('are unsent when a peer whose link they wait for is dropped, or the transport stops', async () => {
      const [a, b] = [await node(), await node()]
      const { self, addresses } = b.transport
      a.transport.keep(self, addresses)
      const dropped = ask(a, self, utf8('?'))
      a.transport.drop(self)
      assert.equal((await lab.settle(dropped)).kind, 'unsent')
      a.transport.keep(self, addresses)
      const stopped = ask(a, self, utf8('?'))
      await lab.settle(a.transport.stop())
      assert.equal((await lab.settle(stopped)).kind, 'unsent')
      a.transport.keep(self, addresses)
      assert.equal((await lab.settle(ask(a, self, utf8('?')))).kind, 'unsent')
    })

    it('are unsent when they are too large to send', async () => {
      const [a, b] = await pair()
      const outcome = await lab.settle(ask(a, b.transport.self, new Uint8Array(16 * 1024 * 1024)))
      assert.equal(outcome.kind, 'unsent')
    })

    it('time out when nobody answers in time, and ignore what comes later', async () => {
      const [a, b] = await pair()
      const late: (() => void)[] = []
      b.transport.handle(GET, (_, respond) => late.push(() => respond.reply(utf8('late'))))
      const outcomes: Outcome[] = []
      a.transport.request(b.transport.self, { type: GET, class: 'data', body: utf8('?'), timeoutMs: 100 }, outcome =>
        outcomes.push(outcome)
      )
      const from = a.below.clock.monotonicMs()
      await lab.until(() => outcomes.length > 0, 'the deadline')
      assert.ok(a.below.clock.monotonicMs() - from >= 100)
      assert.equal(outcomes[0]!.kind, 'timeout')
      for (const answer of late) answer()
      echo(b)
      await lab.settle(ask(a, b.transport.self, utf8('next')))
      assert.deepEqual([outcomes.length, a.transport.stats().requestsInFlight], [1, 0])
    })

    it('are lost when the link breaks under them, and unsent from then on', async () => {
      const [a, b] = await pair()
      let arrived = 0
      b.transport.handle(GET, () => arrived++)
      const asked = ask(a, b.transport.self, utf8('?'))
      await lab.until(() => arrived === 1, 'the request to arrive')
      b.below.host.disconnect(a.transport.self, 'a cable')
      assert.deepEqual(await lab.settle(asked), { kind: 'lost' })
      await lab.until(() => !a.transport.isLinked(b.transport.self), 'the link to be down')
      assert.equal((await lab.settle(ask(a, b.transport.self, utf8('?')))).kind, 'unsent')
    })

    it('take a second answer for none', async () => {
      const [a, b] = await pair()
      b.transport.handle(GET, (_, respond) => {
        respond.reply(utf8('first'))
        respond.reply(utf8('second'))
        respond.refuse(new KilovoltError('KV_INTERNAL', 'third'))
      })
      const outcomes: Outcome[] = []
      const request = { type: GET, class: 'data', body: utf8('?'), timeoutMs: 1000 } as const
      a.transport.request(b.transport.self, request, outcome => outcomes.push(outcome))
      await lab.until(() => outcomes.length > 0, 'the answer')
      await lab.pass(100)
      assert.deepEqual(
        outcomes.map(outcome => outcome.kind === 'reply' && fromUtf8(outcome.body)),
        ['first']
      )
    })

    it('bring back a refusal with its code, its message and whether to try again', async () => {
      const [a, b] = await pair()
      b.transport.handle(GET, (_, respond) =>
        respond.refuse(new KilovoltError('KV_OVERLOADED', 'too much', { retryable: true }))
      )
      const outcome = await lab.settle(ask(a, b.transport.self, utf8('?')))
      assert.ok(outcome.kind === 'refused')
      const { code, message, retryable } = outcome.error
      assert.deepEqual([code, message, retryable], ['KV_OVERLOADED', 'too much', true])
    })

    it('are refused as KV_INTERNAL when the handler throws, and others go on', async () => {
      const [a, b] = await pair()
      b.transport.handle(GET, () => {
        throw new Error('a bug')
      })
      b.transport.handle(PUT, (_, respond) => respond.reply(utf8('fine')))
      const outcome = await lab.settle(ask(a, b.transport.self, utf8('?')))
      assert.ok(outcome.kind === 'refused')
      assert.equal(outcome.error.code, 'KV_INTERNAL')
      assert.match(outcome.error.message, /a bug/u)
      const next = await lab.settle(
        new Promise<Outcome>(resolve => {
          a.transport.request(b.transport.self, { type: PUT, class: 'data', body: utf8(''), timeoutMs: 1000 }, resolve)
        })
      )
      assert.equal(next.kind, 'reply')
    })

    it('survive a receiver that throws', async () => {
      const [a, b] = await pair()
      echo(b)
      const request = { type: GET, class: 'data', body: utf8(''), timeoutMs: 1000 } as const
      a.transport.request(b.transport.self, request, () => {
        throw new Error('a bug')
      })
      assert.equal((await lab.settle(ask(a, b.transport.self, utf8('?')))).kind, 'reply')
    })

    it('of an unknown type are refused; one-way messages of one are skipped', async () => {
      const [a, b] = await pair()
      echo(b)
      a.transport.send(b.transport.self, 'data', UNKNOWN, utf8('from the future'))
      const unknown = new Promise<Outcome>(resolve => {
        a.transport.request(
          b.transport.self,
          { type: UNKNOWN, class: 'data', body: utf8(''), timeoutMs: 1000 },
          resolve
        )
      })
      const outcome = await lab.settle(unknown)
      assert.ok(outcome.kind === 'refused')
      assert.equal(outcome.error.code, 'KV_PROTOCOL')
      assert.equal((await lab.settle(ask(a, b.transport.self, utf8('?')))).kind, 'reply')
      assert.deepEqual([a.downs, b.downs], [[], []])
    })

    it('are bounded in number: beyond that they are unsent, and the others are answered', async () => {
      const [a, b] = await pair()
      echo(b)
      const all = Array.from({ length: 17_000 }, () => ask(a, b.transport.self, utf8('x')))
      const outcomes = await lab.settle(Promise.all(all))
      const count = (kind: Outcome['kind']): number => outcomes.filter(outcome => outcome.kind === kind).length
      assert.deepEqual([count('reply'), count('unsent')], [16_384, 616])
    })

    it('are bounded in bytes that wait: beyond that they are unsent, and the others are answered', async () => {
      const [a, b] = await pair()
      b.transport.handle(GET, (_, respond) => respond.reply(utf8('got it')))
      const body = new Uint8Array(4 * 1024 * 1024)
      const outcomes = await lab.settle(
        Promise.all(Array.from({ length: 20 }, () => ask(a, b.transport.self, body, { timeoutMs: 30_000 })))
      )
      const count = (kind: Outcome['kind']): number => outcomes.filter(outcome => outcome.kind === kind).length
      assert.equal(count('reply') + count('unsent'), 20)
      assert.ok(count('unsent') >= 4 && count('reply') >= 15, JSON.stringify(outcomes.map(({ kind }) => kind)))
    })
  })

  describe('one-way messages and gossip', () => {
    it('arrive in order, and answering them does nothing', async () => {
      const [a, b] = await pair()
      const got: string[] = []
      b.transport.handle(PING, ({ body }, respond) => {
        got.push(fromUtf8(body))
        respond.reply(utf8('nobody wants this'))
        respond.refuse(new KilovoltError('KV_INTERNAL', 'nor this'))
      })
      for (let i = 0; i < 50; i++) a.transport.send(b.transport.self, 'control', PING, utf8(`${i}`))
      await lab.until(() => got.length === 50, 'the messages')
      assert.deepEqual(
        got,
        Array.from({ length: 50 }, (_, i) => String(i))
      )
    })

    it('are dropped without a sound when nobody is there', async () => {
      const a = await node()
      a.transport.send('nobody' as PeerId, 'control', PING, utf8('?'))
      a.transport.publish(utf8('?'))
      assert.deepEqual(a.transport.links(), [])
    })

    it('reach every node by gossip but the one that published', async () => {
      const three = [await node(), await node(), await node()] as const
      await link(three[0], three[1])
      await link(three[1], three[2])
      const heard = three.map(() => new Set<string>())
      three.forEach(({ transport }, i) =>
        transport.onPublished((from, body) =>
          heard[i]!.add(`${three.findIndex(one => one.transport.self === from)} ${fromUtf8(body)}`)
        )
      )
      for (let i = 0; i < 100 && heard.some(set => set.size < 2); i++) {
        three.forEach(({ transport }, from) => transport.publish(utf8(`${from}`)))
        await lab.pass(100)
      }
      assert.deepEqual(
        heard.map(set => [...set].sort()),
        [
          ['1 1', '2 2'],
          ['0 0', '2 2'],
          ['0 0', '1 1']
        ]
      )
    })
  })

  describe('somebody who breaks the rules', () => {
    /** A host without a transport above it, with a link to the node. */
    async function stranger(to: Node, trafficClass: TrafficClass = 'control') {
      const { host } = await lab.host()
      await lab.settle(host.start())
      await lab.settle(host.connect(to.transport.addresses[0]!, never))
      const open = async (): Promise<{ link: Link; got: Message[]; closed: string[] }> => {
        const link = await lab.settle(host.open(to.transport.self, trafficClass, never))
        const got: Message[] = []
        const closed: string[] = []
        link.onFrame = frame => got.push(...decodeFrame(frame))
        link.onClose = reason => closed.push(reason)
        return { link, got, closed }
      }
      return { host, open }
    }

    const hello = (of: Node, number: number, id = 1): Uint8Array =>
      encodeFrame([{ type: MessageType.HELLO, id, epoch: 0, body: encodeHello(helloOf(number, of.below, {})) }])

    function corrupt(frame: Uint8Array): Uint8Array {
      const copy = frame.slice()
      copy[copy.length - 1]! ^= 0xff
      return copy
    }

    it('loses the link by a malformed frame, and the connection by three; others go on', async () => {
      const [a, b] = await pair()
      echo(b)
      const bad = await stranger(b)
      let disconnected = false
      bad.host.on('disconnected', () => {
        disconnected = true
      })
      for (let i = 1; i <= 3; i++) {
        const { link, closed } = await bad.open()
        link.send(hello(b, 99))
        await lab.until(() => b.transport.isLinked(bad.host.self), 'the stranger to be linked')
        link.send(corrupt(encodeFrame([{ type: GET, id: 1, epoch: 0, body: utf8('?') }])))
        await lab.until(() => closed.length > 0, 'the link to be closed')
        assert.equal(b.transport.stats().malformed, i)
      }
      await lab.until(() => disconnected, 'the connection to be closed')
      assert.deepEqual(
        b.refusals.map(({ peer, error }) => [peer, error.code]),
        Array.from({ length: 3 }, () => [bad.host.self, 'KV_PROTOCOL'])
      )
      assert.equal((await lab.settle(ask(a, b.transport.self, utf8('?')))).kind, 'reply')
    })

    it('is not heard before its hello', async () => {
      const b = await node()
      let heard = 0
      b.transport.handle(GET, () => heard++)
      const bad = await stranger(b)
      const { link, closed } = await bad.open()
      link.send(encodeFrame([{ type: GET, id: 1, epoch: 0, body: utf8('?') }]))
      await lab.until(() => closed.length > 0, 'the link to be closed')
      assert.deepEqual([heard, b.ups], [0, []])
    })

    it('is cut off when it says nothing', async () => {
      const b = await node()
      const bad = await stranger(b)
      const { closed } = await bad.open()
      await lab.until(() => closed.length > 0, 'the link to be closed')
      assert.deepEqual(b.ups, [])
    })

    it('is down and up again when it links anew while its old link seems to be open', async () => {
      const b = await node()
      const bad = await stranger(b)
      const first = await bad.open()
      first.link.send(hello(b, 99))
      await lab.until(() => b.ups.length === 1, 'the first link')
      await lab.pass(1100)
      const second = await bad.open()
      second.link.send(hello(b, 99))
      await lab.until(() => first.closed.length > 0, 'the first link to be closed')
      assert.deepEqual([b.ups.length, b.downs.length, b.transport.isLinked(bad.host.self)], [2, 1, true])
    })

    it('has no data link without a control link', async () => {
      const b = await node()
      const bad = await stranger(b, 'data')
      const { link, closed } = await bad.open()
      link.send(hello(b, 99))
      await lab.until(() => closed.length > 0, 'the link to be closed')
      assert.deepEqual(b.ups, [])
    })

    it('cannot answer what nobody asked', async () => {
      const b = await node()
      const bad = await stranger(b)
      const { link, got } = await bad.open()
      link.send(hello(b, 99))
      await lab.until(() => b.transport.isLinked(bad.host.self), 'the stranger to be linked')
      for (const id of [1, 2, 1_000_000]) {
        link.send(encodeFrame([{ type: MessageType.REPLY, id, epoch: 0, body: Uint8Array.of(0, 1) }]))
      }
      b.transport.handle(PING, (_, respond) => respond.reply(utf8('pong')))
      link.send(encodeFrame([{ type: PING, id: 7, epoch: 0, body: utf8('') }]))
      await lab.until(() => got.some(({ id }) => id === 7), 'an answer')
      assert.equal(b.transport.isLinked(bad.host.self), true)
    })
  })

  describe('stopping', () => {
    it('ends what is under way as lost, tells the others, and leaves nothing behind', async () => {
      const [a, b] = await pair()
      let arrived = 0
      b.transport.handle(GET, () => arrived++)
      const asked = ask(a, b.transport.self, utf8('?'))
      a.transport.keep('somebody' as PeerId, ['/ip4/127.0.0.1/tcp/1'])
      await lab.until(() => arrived > 0, 'the request to arrive')
      const dialing = a.transport.dial('/ip4/127.0.0.1/tcp/2', never).catch((error: unknown) => error)
      await lab.settle(Promise.all([a.transport.stop(), a.transport.stop()]))
      await lab.settle(a.transport.stop())
      assert.deepEqual(await lab.settle(asked), { kind: 'lost' })
      assert.ok(isKilovoltError(await lab.settle(dialing)))
      assert.deepEqual([a.transport.links(), a.transport.addresses], [[], []])
      await lab.until(() => b.downs.length === 1, 'the other side to be told')
      assert.equal((await lab.settle(ask(a, b.transport.self, utf8('?')))).kind, 'unsent')
      assert.equal((await fails(a.transport.dial(b.transport.addresses[0]!, never))).code, 'KV_NODE_STOPPED')
      await lab.settle(b.transport.stop())
      await lab.until(() => [a, b].every(({ below }) => below.leftovers().length === 0), 'nothing to be left')
    })

    it('may come before the start', async () => {
      const below = await lab.host()
      const { clock, random } = below
      const deps = { host: below.host, clock, random, logger: silentLogger }
      const transport = new Mesh({ ...deps, hello: () => helloOf(1, below, {}) })
      await lab.settle(transport.stop())
      assert.equal((await fails(transport.start())).code, 'KV_NODE_STOPPED')
    })
  })
}
