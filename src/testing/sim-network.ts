import { copyBytes } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import type { PeerId } from '../model/node-id.ts'
import { Conditions, type NetworkOptions } from './conditions.ts'
import { SimConnection } from './sim-connection.ts'
import { type HostNetwork, SimHost, type SimHostOptions } from './sim-host.ts'
import type { Delivery } from './sim-link.ts'
import type { SimWorld } from './sim-world.ts'
import { hashBytes } from './trace.ts'

/** How long a dial waits before it tries again while nothing gets through, ms. */
const REDIAL_MS = 1000

/**
 * A network of machines that go by name. On it stand the processes' hosts, as libp2p would; above them runs the
 * production transport, so that everything is encoded and decoded and nobody shares memory.
 */
export class SimNetwork {
  /** Delays, losses and blocks as they are now. */
  readonly conditions: Conditions
  readonly #world: SimWorld
  readonly #listeners = new Map<string, SimHost>()
  /** Machine at each address, whether or not it listens now. */
  readonly #machines = new Map<string, string>()
  readonly #connections = new Set<SimConnection>()
  readonly #wiring: HostNetwork
  readonly #taps: ((delivery: Delivery) => void)[] = []
  readonly #gossipTaps: ((from: string, body: Uint8Array) => void)[] = []

  constructor(world: SimWorld, options: NetworkOptions = {}) {
    this.#world = world
    this.conditions = new Conditions(world.random.fork('network'), options)
    this.#wiring = {
      listen: host => this.#listen(host),
      unlisten: host => {
        if (this.#listeners.get(place(host.address)) === host) this.#listeners.delete(place(host.address))
      },
      dial: (host, address, done) => this.#dial(host, address, done),
      gossip: (host, body) => {
        for (const tap of this.#gossipTaps) tap(host.clock.name, body)
        this.#gossip(host, body)
      }
    }
  }

  /** A host for one process; the name of its clock is the name of its machine. */
  host(options: SimHostOptions): SimHost {
    const host = new SimHost(this.#wiring, options)
    this.#machines.set(place(host.address), options.clock.name)
    return host
  }

  /** Lets a checker see every frame that arrives. */
  tap(tap: (delivery: Delivery) => void): void {
    this.#taps.push(tap)
  }

  /** Lets a meter see what each machine publishes, once, however many copies of it there will be. */
  tapGossip(tap: (from: string, body: Uint8Array) => void): void {
    this.#gossipTaps.push(tap)
  }

  /** Cuts machines of different groups off from each other, both ways. Who is in no group reaches everybody. */
  split(groups: readonly (readonly string[])[]): void {
    for (const group of groups) {
      for (const other of groups) {
        if (group !== other) for (const from of group) for (const to of other) this.conditions.block(from, to)
      }
    }
  }

  /** Frees all ways. */
  heal(): void {
    this.conditions.heal()
  }

  /** Breaks the connections between two machines, as a router that forgets them would. */
  cut(a: string, b: string): void {
    for (const connection of this.#connections) {
      const names = connection.ends.map(end => end.clock.name)
      if (names.includes(a) && names.includes(b)) connection.fail('connection reset')
    }
  }

  /**
   * A process has ended without a word; its clock must have been killed. Others notice at once that their connections
   * are closed, unless the whole machine went down (`silent`): then only after `breakAfterMs`, or when it is up again.
   */
  crash(host: SimHost, { silent = false }: { readonly silent?: boolean } = {}): void {
    this.#wiring.unlisten(host)
    for (const connection of this.#connections) {
      if (!connection.ends.includes(host)) continue
      if (!silent) connection.close(host, 'connection reset')
      else this.#world.after(this.conditions.options.breakAfterMs, () => connection.fail('no sign of life'))
    }
  }

  #listen(host: SimHost): void {
    const address = place(host.address)
    if (this.#listeners.has(address)) {
      throw new KilovoltError('KV_PORT_IN_USE', `${address} is in use`, { details: { address } })
    }
    this.#listeners.set(address, host)
    // Whatever still believes in a connection to an earlier process here is told that there is none.
    for (const connection of this.#connections) {
      if (connection.ends.some(end => end !== host && place(end.address) === address))
        connection.fail('connection reset')
    }
  }

  #dial(host: SimHost, address: string, done: (result: SimConnection | KilovoltError) => void): void {
    const deadlineMs = this.#world.nowMs + this.conditions.options.connectTimeoutMs
    const refuse = (error: KilovoltError): void => void host.clock.arrive(this.conditions.delayUs(), () => done(error))
    const target = place(address)
    if (target === place(host.address) || wantedPeer(address) === host.self) {
      refuse(new KilovoltError('KV_HANDSHAKE', `${address} is this node itself`, { details: { self: true } }))
      return
    }
    const machine = this.#machines.get(target)
    const attempt = (): void => {
      if (machine !== undefined && this.#isCut(host.clock.name, machine)) {
        if (this.#world.nowMs < deadlineMs) host.clock.arrive(REDIAL_MS * 1000, attempt)
        else done(new KilovoltError('KV_UNREACHABLE', `${address} does not answer`))
        return
      }
      const listener = this.#listeners.get(target)
      if (listener === undefined) {
        const details = { refused: true }
        refuse(new KilovoltError('KV_UNREACHABLE', `${address} refuses connections`, { details }))
        return
      }
      // The listener's process may stand still: the dial waits for it.
      listener.clock.arrive(this.conditions.delayUs(), () => this.#answer(host, listener, address, done))
    }
    host.clock.arrive(this.conditions.delayUs(), attempt)
  }

  #answer(
    host: SimHost,
    listener: SimHost,
    address: string,
    done: (result: SimConnection | KilovoltError) => void
  ): void {
    const reply = (result: () => SimConnection | KilovoltError): void =>
      void host.clock.arrive(this.conditions.delayUs(), () => done(result()))
    const gone = (): KilovoltError => new KilovoltError('KV_UNREACHABLE', `${address} has closed the connection`)
    const wanted = wantedPeer(address)
    if (this.#listeners.get(place(listener.address)) !== listener || host.clock.isDead) {
      reply(gone)
    } else if (wanted !== undefined && wanted !== listener.self) {
      reply(() => new KilovoltError('KV_UNREACHABLE', `${address} is answered by ${listener.self}`))
    } else {
      const connection = this.#between(host, listener) ?? this.#connect(host, listener)
      connection.activate(listener)
      reply(() => (connection.isClosed ? gone() : connection))
    }
  }

  #between(a: SimHost, b: SimHost): SimConnection | undefined {
    for (const connection of this.#connections) {
      if (connection.ends.includes(a) && connection.ends.includes(b)) return connection
    }
    return undefined
  }

  #connect(host: SimHost, listener: SimHost): SimConnection {
    const connection = new SimConnection(
      {
        world: this.#world,
        conditions: this.conditions,
        onFinished: finished => this.#connections.delete(finished),
        onDelivery: delivery => {
          for (const tap of this.#taps) tap(delivery)
        }
      },
      host,
      listener
    )
    this.#connections.add(connection)
    return connection
  }

  #isCut(a: string, b: string): boolean {
    return this.conditions.isBlocked(a, b) || this.conditions.isBlocked(b, a)
  }

  /** Flooding over the connections that are old enough and not blocked: each hop costs a delay. */
  #gossip(host: SimHost, body: Uint8Array): void {
    const seen = new Set<SimHost>([host])
    let ring: readonly (readonly [host: SimHost, delayUs: number])[] = [[host, 0]]
    while (ring.length > 0) {
      const next: (readonly [SimHost, number])[] = []
      for (const [from, delayUs] of ring) {
        for (const peer of this.#gossipPeers(from)) {
          if (seen.has(peer)) continue
          seen.add(peer)
          const { delayUs: hopUs, lost, duplicate } = this.conditions.fate()
          if (lost) continue
          next.push([peer, delayUs + hopUs])
          this.#deliver(host, peer, body, delayUs + hopUs)
          if (duplicate) this.#deliver(host, peer, body, (delayUs + hopUs) * 3)
        }
      }
      ring = next
    }
  }

  #deliver(from: SimHost, to: SimHost, body: Uint8Array, delayUs: number): void {
    const cloggedUs = this.conditions.cloggedUntilUs(from.clock.name, to.clock.name, 'control') - this.#world.nowUs
    to.clock.arrive(Math.max(delayUs, cloggedUs), () => {
      this.#world.trace.record(this.#world.nowMs, to.clock.name, `gossip of ${from.clock.name}`, hashBytes(body))
      to.published(from.self, copyBytes(body))
    })
  }

  #gossipPeers(host: SimHost): SimHost[] {
    const peers: SimHost[] = []
    for (const connection of host.connections.values()) {
      const peer = connection.peerOf(host)
      if (connection.isClosed || this.#world.nowMs - connection.bornMs < this.conditions.options.graftMs) continue
      if (!(peer instanceof SimHost) || peer.topic !== host.topic) continue
      if (!this.conditions.isBlocked(host.clock.name, peer.clock.name)) peers.push(peer)
    }
    return peers
  }
}

/** The address without the peer id. */
function place(address: string): string {
  const at = address.indexOf('/p2p/')
  return at === -1 ? address : address.slice(0, at)
}

function wantedPeer(address: string): PeerId | undefined {
  const at = address.indexOf('/p2p/')
  return at === -1 ? undefined : (address.slice(at + '/p2p/'.length) as PeerId)
}
