import { abortError, onAbort } from '../base/abort.ts'
import { copyBytes } from '../base/bytes.ts'
import { createDeferred } from '../base/deferred.ts'
import { Emitter } from '../base/emitter.ts'
import { KilovoltError } from '../base/errors.ts'
import type { PeerId } from '../model/node-id.ts'
import type { Host, HostEvents, Link } from '../transport/host.ts'
import type { TrafficClass } from '../transport/transport.ts'
import type { SimClock } from './sim-clock.ts'
import type { ConnectionEnd, SimConnection } from './sim-connection.ts'
import type { SimLink } from './sim-link.ts'

/** What a host needs of its network. */
export interface HostNetwork {
  /** Binds the address. @throws KilovoltError `KV_PORT_IN_USE` */
  listen(host: SimHost): void
  unlisten(host: SimHost): void
  /**
   * Tries to reach whoever listens at an address. `done` is called once, as an event of the host's process, unless the
   * process ends before.
   */
  dial(host: SimHost, address: string, done: (result: SimConnection | KilovoltError) => void): void
  /** Hands gossip to all who are connected with the host, directly or through others. */
  gossip(host: SimHost, body: Uint8Array): void
}

/** Who a host is. */
export interface SimHostOptions {
  readonly clock: SimClock
  readonly self: PeerId
  /** Multiaddr to listen on, without the peer id. */
  readonly address: string
  /** Hosts of other topics do not hear this one's gossip. */
  readonly topic: string
}

/** A host on the simulated network. */
export class SimHost implements Host, ConnectionEnd {
  readonly self: PeerId
  readonly clock: SimClock
  readonly address: string
  readonly topic: string
  readonly #network: HostNetwork
  readonly #events = new Emitter<HostEvents>()
  readonly #connections = new Map<PeerId, SimConnection>()
  #listening = false

  /** Made by `SimNetwork.host`. */
  constructor(network: HostNetwork, { clock, self, address, topic }: SimHostOptions) {
    this.#network = network
    this.clock = clock
    this.self = self
    this.address = `${address}/p2p/${self}`
    this.topic = topic
  }

  get addresses(): readonly string[] {
    return this.#listening ? [this.address] : []
  }

  /** The connections that are usable here. */
  get connections(): ReadonlyMap<PeerId, SimConnection> {
    return this.#connections
  }

  async start(): Promise<void> {
    if (this.#listening) return
    this.#network.listen(this)
    this.#listening = true
  }

  async stop(): Promise<void> {
    if (!this.#listening) return
    this.#listening = false
    this.#network.unlisten(this)
    for (const connection of this.#connections.values()) connection.close(this, 'the other node stops')
  }

  connect(address: string, signal: AbortSignal): Promise<PeerId> {
    const deferred = createDeferred<PeerId>()
    if (signal.aborted) return Promise.reject(abortError(signal, `dialing ${address}`))
    if (!this.#listening) return Promise.reject(new KilovoltError('KV_UNREACHABLE', 'this node is not started'))
    const forget = onAbort(signal, () => deferred.reject(abortError(signal, `dialing ${address}`)))
    this.#network.dial(this, address, result => {
      forget()
      if (result instanceof KilovoltError) deferred.reject(result)
      else if (signal.aborted || !this.#listening) result.abandon(this)
      else {
        result.activate(this)
        deferred.resolve(result.peerOf(this).self)
      }
    })
    return deferred.promise
  }

  open(peer: PeerId, trafficClass: TrafficClass, signal: AbortSignal): Promise<Link> {
    const deferred = createDeferred<Link>()
    const what = `opening a link to ${peer}`
    if (signal.aborted) return Promise.reject(abortError(signal, what))
    const connection = this.#connections.get(peer)
    if (connection === undefined) {
      return Promise.reject(new KilovoltError('KV_UNREACHABLE', `there is no connection to ${peer}`))
    }
    const forget = onAbort(signal, () => {
      gone()
      deferred.reject(abortError(signal, what))
    })
    const gone = this.#events.on('disconnected', event => {
      if (event.peer !== peer) return
      gone()
      forget()
      deferred.reject(new KilovoltError('KV_UNREACHABLE', `the connection to ${peer} was lost: ${event.reason}`))
    })
    connection.open(this, trafficClass, link => {
      gone()
      forget()
      if (signal.aborted) link.close('nobody waits for this link any more')
      else deferred.resolve(link)
    })
    return deferred.promise
  }

  isConnected(peer: PeerId): boolean {
    return this.#connections.has(peer)
  }

  disconnect(peer: PeerId, reason: string): void {
    this.#connections.get(peer)?.close(this, reason)
  }

  publish(body: Uint8Array): void {
    if (this.#listening) this.#network.gossip(this, copyBytes(body))
  }

  on<K extends keyof HostEvents>(type: K, listener: (detail: HostEvents[K]) => void): () => void {
    return this.#events.on(type, listener)
  }

  connected(connection: SimConnection): void {
    this.#connections.set(connection.peerOf(this).self, connection)
  }

  disconnected(connection: SimConnection, reason: string): void {
    const peer = connection.peerOf(this).self
    if (this.#connections.get(peer) !== connection) return
    this.#connections.delete(peer)
    this.clock.arrive(0, () => this.#events.emit('disconnected', { peer, reason }))
  }

  accepted(link: SimLink): void {
    this.#events.emit('link', link)
  }

  /** Gossip has reached this host. */
  published(from: PeerId, body: Uint8Array): void {
    if (this.#listening) this.#events.emit('published', { from, body })
  }
}
