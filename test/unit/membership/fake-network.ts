import { copyBytes } from '../../../src/base/bytes.ts'
import { Emitter } from '../../../src/base/emitter.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { PeerId, StoreId } from '../../../src/model/node-id.ts'
import type { Random } from '../../../src/runtime/random.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import type { SimWorld } from '../../../src/testing/sim-world.ts'
import { type Hello, WIRE_VERSION } from '../../../src/transport/hello.ts'
import type { MessageType } from '../../../src/transport/message-type.ts'
import type {
  MessageHandler,
  OutgoingRequest,
  Outcome,
  Transport,
  TransportEvents,
  TransportStats
} from '../../../src/transport/transport.ts'

/** The smallest network that membership can be tried on: delays, losses, one-way blocks, crashes, pauses. */
export class FakeNetwork {
  readonly world: SimWorld
  readonly random: Random
  readonly transports = new Map<PeerId, FakeTransport>()
  /** Messages lost, per thousand. */
  lossPerMille = 0
  delayMinMs = 1
  delayMaxMs = 5
  readonly #blocked = new Set<string>()

  constructor(world: SimWorld) {
    this.world = world
    this.random = world.random.fork('fake-network')
  }

  delayMs(): number {
    return this.delayMinMs + this.random.int(Math.max(1, this.delayMaxMs - this.delayMinMs + 1))
  }

  /** Nothing gets from one to the other any more; open links between them stay, silently useless. */
  block(from: FakeTransport, to: FakeTransport): void {
    this.#blocked.add(`${from.self} ${to.self}`)
  }

  heal(): void {
    this.#blocked.clear()
  }

  /** Blocks both ways between the groups and breaks their links. */
  split(a: readonly FakeTransport[], b: readonly FakeTransport[]): void {
    for (const one of a) {
      for (const other of b) {
        this.block(one, other)
        this.block(other, one)
        one.lose(other.self, 'cut')
        other.lose(one.self, 'cut')
      }
    }
  }

  passes(from: FakeTransport, to: FakeTransport): boolean {
    return !this.#blocked.has(`${from.self} ${to.self}`)
  }

  /**
   * Calls `fn` in the process `to` after a delay. A process that stands still gets it after its timers, which is the
   * worse order and the one of Node's event loop.
   */
  carry(from: FakeTransport, to: FakeTransport, fn: () => void): void {
    if (!this.passes(from, to)) return
    if (this.lossPerMille > 0 && this.random.chance(this.lossPerMille, 1000)) return
    this.deliver(to.clock, this.delayMs(), fn)
  }

  deliver(clock: SimClock, delayMs: number, fn: () => void): void {
    this.world.after(delayMs, () => {
      const restMs = (clock.stalledUntilUs - this.world.nowUs) / 1000
      if (restMs > 0) this.deliver(clock, restMs + 0.5, fn)
      else if (!clock.isDead) fn()
    })
  }
}

interface Pending {
  readonly to: PeerId
  settle(outcome: Outcome): void
}

interface Keeping {
  addresses: readonly string[]
  pauseMs: number
  trying: boolean
}

export class FakeTransport implements Transport {
  readonly self: PeerId
  readonly clock: SimClock
  readonly net: FakeNetwork
  readonly store: StoreId
  started = false
  readonly kept = new Map<PeerId, Keeping>()
  published = 0
  readonly requested = new Map<MessageType, number>()
  readonly #handlers = new Map<MessageType, MessageHandler>()
  readonly #listeners: ((from: PeerId, body: Uint8Array) => void)[] = []
  readonly #events = new Emitter<TransportEvents>()
  readonly #links = new Map<PeerId, Hello>()
  /** Whose machine refused the last dial. */
  readonly #refusing = new Set<PeerId>()
  #vanished = false
  readonly #pending = new Set<Pending>()

  constructor(net: FakeNetwork, clock: SimClock, peer: PeerId, store: StoreId) {
    this.net = net
    this.clock = clock
    this.self = peer
    this.store = store
    net.transports.set(peer, this)
  }

  get addresses(): readonly string[] {
    return this.started ? [addressOf(this.self)] : []
  }

  start(): Promise<void> {
    this.started = true
    return Promise.resolve()
  }

  /** As when the process ends: everybody notices that the connection is closed. */
  stop(): Promise<void> {
    this.started = false
    this.kept.clear()
    for (const peer of this.#links.keys()) {
      const other = this.net.transports.get(peer)
      if (other !== undefined) this.net.deliver(other.clock, this.net.delayMs(), () => other.lose(this.self, 'closed'))
      this.lose(peer, 'stopped')
    }
    return Promise.resolve()
  }

  /** The machine is gone without a trace: nobody's connection closes. */
  vanish(): void {
    this.started = false
    this.#vanished = true
    this.kept.clear()
    this.clock.kill()
  }

  /** The process is killed: the kernel closes its connections. */
  kill(): void {
    this.clock.kill()
    void this.stop()
  }

  async dial(address: string, signal: AbortSignal): Promise<Hello> {
    const peer = address.slice(address.lastIndexOf('/') + 1) as PeerId
    if (peer === this.self) {
      throw new KilovoltError('KV_HANDSHAKE', 'this is the node itself', { details: { self: true } })
    }
    await new Promise<void>((resolve, reject) => {
      this.clock.after(2 * this.net.delayMs(), resolve)
      signal.addEventListener('abort', () => reject(new KilovoltError('KV_ABORTED', 'aborted')), { once: true })
    })
    const other = this.net.transports.get(peer)
    const usable = other !== undefined && this.net.passes(this, other) && this.net.passes(other, this)
    this.#refusing.delete(peer)
    if (!usable || !other.started || !this.started || other.clock.isDead) {
      if (usable && !other.started && !other.#vanished) this.#refusing.add(peer)
      throw new KilovoltError('KV_UNREACHABLE', `nobody answers at ${address}`)
    }
    if (!this.#links.has(peer)) {
      this.#links.set(peer, other.hello())
      other.#links.set(this.self, this.hello())
      this.net.deliver(other.clock, this.net.delayMs(), () => other.#announce(this.self))
      this.#announce(peer)
    }
    return other.hello()
  }

  #announce(peer: PeerId): void {
    const hello = this.#links.get(peer)
    if (hello !== undefined) this.#events.emit('link:up', { peer, hello })
  }

  hello(): Hello {
    return {
      version: WIRE_VERSION,
      versionMin: WIRE_VERSION,
      cluster: 'test',
      clusterId: undefined,
      storeId: this.store,
      partitions: 256,
      addresses: this.addresses,
      weight: 1,
      zone: '',
      region: '',
      volatile: true,
      epoch: 0,
      wallMs: this.clock.wallMs()
    }
  }

  keep(peer: PeerId, addresses: readonly string[]): void {
    if (peer === this.self) throw new Error('a node kept a link to itself')
    const known = this.kept.get(peer)
    if (known !== undefined) known.addresses = addresses
    else {
      this.kept.set(peer, { addresses, pauseMs: 100, trying: false })
      this.#retry(peer)
    }
  }

  drop(peer: PeerId): void {
    this.kept.delete(peer)
    const other = this.net.transports.get(peer)
    if (other !== undefined) this.net.deliver(other.clock, this.net.delayMs(), () => other.lose(this.self, 'dropped'))
    this.lose(peer, 'dropped')
  }

  /** The link is gone, as this side sees it. */
  lose(peer: PeerId, reason: string): void {
    if (!this.#links.delete(peer)) return
    for (const pending of this.#pending) if (pending.to === peer) pending.settle({ kind: 'lost' })
    if (!this.clock.isDead) this.#events.emit('link:down', { peer, reason })
    this.#retry(peer)
  }

  #retry(peer: PeerId): void {
    const keeping = this.kept.get(peer)
    if (keeping === undefined || keeping.trying || this.#links.has(peer) || !this.started) return
    keeping.trying = true
    const again = (): void => {
      keeping.trying = false
      this.clock.after(keeping.pauseMs, () => this.#retry(peer))
      keeping.pauseMs = Math.min(5000, keeping.pauseMs * 2)
    }
    const linked = (): void => {
      keeping.trying = false
      keeping.pauseMs = 100
    }
    this.dial(keeping.addresses[0] ?? addressOf(peer), new AbortController().signal).then(linked, again)
  }

  isLinked(peer: PeerId): boolean {
    return this.#links.has(peer)
  }

  isRefusing(peer: PeerId): boolean {
    return this.#refusing.has(peer)
  }

  links(): readonly PeerId[] {
    return [...this.#links.keys()]
  }

  helloOf(peer: PeerId): Hello | undefined {
    return this.#links.get(peer)
  }

  send(): void {
    throw new Error('membership sends nothing one-way')
  }

  request(to: PeerId, { type, body, timeoutMs }: OutgoingRequest, done: (outcome: Outcome) => void): void {
    if (to === this.self) throw new Error('a request to oneself')
    this.requested.set(type, (this.requested.get(type) ?? 0) + 1)
    const other = this.net.transports.get(to)
    if (other === undefined || !this.#links.has(to)) {
      this.clock.soon(() => done({ kind: 'unsent', reason: 'no link' }))
      return
    }
    let open = true
    const settle = (outcome: Outcome): void => {
      if (!open) return
      open = false
      timer.cancel()
      this.#pending.delete(pending)
      this.clock.soon(() => done(outcome))
    }
    const timer = this.clock.after(timeoutMs, () => settle({ kind: 'timeout' }))
    const pending = { to, settle }
    this.#pending.add(pending)
    const answer = (outcome: Outcome): void => this.net.carry(other, this, () => settle(outcome))
    const sent = copyBytes(body)
    this.net.carry(this, other, () => {
      if (!other.#links.has(this.self)) return
      let answered = false
      const once = (outcome: Outcome): void => {
        if (answered) throw new Error('answered twice')
        answered = true
        answer(outcome)
      }
      const handler = other.#handlers.get(type)
      if (handler === undefined) throw new Error(`no handler of ${type}`)
      handler(
        { from: this.self, epoch: 0, body: sent },
        {
          reply: reply => once({ kind: 'reply', epoch: 0, body: copyBytes(reply) }),
          refuse: error => once({ kind: 'refused', error })
        }
      )
    })
  }

  handle(type: MessageType, handler: MessageHandler): void {
    if (this.#handlers.has(type)) throw new Error(`two handlers of ${type}`)
    this.#handlers.set(type, handler)
  }

  /** Like gossipsub: from link to link, so that it gets round a link that is cut. */
  publish(body: Uint8Array): void {
    this.published++
    const sent = copyBytes(body)
    const seen = new Set<PeerId>([this.self])
    const spread = (from: FakeTransport): void => {
      for (const peer of from.#links.keys()) {
        const to = this.net.transports.get(peer)
        if (to === undefined || seen.has(peer)) continue
        this.net.carry(from, to, () => {
          if (seen.has(peer) || !to.#links.has(from.self)) return
          seen.add(peer)
          for (const listener of to.#listeners) listener(this.self, copyBytes(sent))
          spread(to)
        })
      }
    }
    spread(this)
  }

  onPublished(listener: (from: PeerId, body: Uint8Array) => void): void {
    this.#listeners.push(listener)
  }

  setEpoch(): void {}

  on<K extends keyof TransportEvents>(type: K, listener: (detail: TransportEvents[K]) => void): () => void {
    return this.#events.on(type, listener)
  }

  stats(): TransportStats {
    throw new Error('membership reads no figures')
  }
}

export function addressOf(peer: PeerId): string {
  return `/memory/${peer}/p2p/${peer}`
}
