import '../base/promise-with-resolvers.ts'
import type { Connection, IdentifyResult, Listener, PeerId as Libp2pPeerId, PeerInfo, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { createLibp2p, type Libp2p } from 'libp2p'
import { abortError, throwIfAborted } from '../base/abort.ts'
import { createDeferred } from '../base/deferred.ts'
import { Emitter } from '../base/emitter.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import type { PeerId } from '../model/node-id.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { createGater, hangUp, inboundFailed } from './admission.ts'
import { clusterProblem, isClusterProtocol, protocolOf, topicOf } from './cluster-protocol.ts'
import { type EncrypterFactory, createTamedNoise } from './encryption.ts'
import type { Host, HostEvents, Link } from './host.ts'
import { createLibp2pOptions, type Libp2pServices, STREAMS_MAX } from './libp2p-config.ts'
import { dialError, elsewhereError, flattenError, listenError } from './libp2p-error.ts'
import { Libp2pLink } from './libp2p-link.ts'
import { createMdns } from './mdns-source.ts'
import { parsePeerKey, peerIdOfKey } from './peer-key.ts'
import { createProtector } from './private-network.ts'
import { TRAFFIC_CLASSES } from './peer-links.ts'
import type { TrafficClass } from './transport.ts'

/** Settings of a host. */
export interface Libp2pHostOptions {
  /** The node's private key, as `createPeerKey` made it. */
  readonly peerKey: Uint8Array
  /** Which run of the node this is, as `createLife` made it. Default: untold. */
  readonly life?: string
  /** Name of the cluster: part of every protocol's id, and of the topic of gossip. */
  readonly cluster: string
  /** Number of partitions of the cluster: part of the topic of gossip. */
  readonly partitions: number
  /** Multiaddrs to listen on. */
  readonly listen: readonly string[]
  /** Multiaddrs to tell others instead of those listened on; none: tell those. */
  readonly announce: readonly string[]
  /** Secret of the private network; without one anybody who knows an address may connect. */
  readonly secret: string | undefined
  /** Ids of the peers that may connect, either way; everybody when undefined. */
  readonly allow: readonly string[] | undefined
  /** What connections are encrypted with, the first preferred when dialing. Default noise. */
  readonly encrypters?: readonly EncrypterFactory[]
  /** Whether to look for nodes on the local network by multicast DNS. Default false. */
  readonly mdns?: boolean
  readonly clock: Clock
  readonly logger: Logger
}

/** How long to wait for a peer to say which protocols it knows, to explain why it refused ours, ms. */
const IDENTIFY_WAIT_MS = 1000
/** How long an inbound connection may be without a link, ms: strangers must not use up the places of members. */
const LINKLESS_MS = 15_000
/** How long a connection with somebody who was not wanted is left to others that may be about to use it, ms. */
const UNWANTED_MS = 2000
/** An address of one place, */
const NUMERIC = /^\/ip[46]\//u
/** and who is to be found there, at its end. */
const PEER_PART = /\/p2p\/[^/]+$/u
/** Addresses of which it is remembered who answers there. */
const KNOWN_ADDRESSES_MAX = 4096

/** The {@link Host} over libp2p. */
export class Libp2pHost implements Host {
  readonly self: PeerId
  readonly life: string | undefined
  readonly #options: Libp2pHostOptions
  readonly #libp2p: Libp2p<Libp2pServices>
  readonly #events: Emitter<HostEvents>
  readonly #topic: string
  readonly #listeners = new Set<Listener>()
  /** Who answered at an address (a numeric one without who was wanted there), so that whoever is connected is not dialed again. */
  readonly #known = new Map<string, PeerId>()
  /** When to look whether a connection has got a link, by the connection's id. */
  readonly #timers = new Map<string, Timer>()
  /** Connections that have had a link, though it may have ended. */
  readonly #used = new WeakSet<Connection>()
  #state: 'new' | 'started' | 'stopped' = 'new'
  #stopping: Promise<void> | undefined

  /**
   * Makes a host; nothing listens yet.
   *
   * @throws KilovoltError `KV_CONFIG` for an address that is no multiaddr, `KV_CORRUPT` for a key that is none
   */
  static async create(options: Libp2pHostOptions): Promise<Libp2pHost> {
    for (const address of [...options.listen, ...options.announce]) parseAddress(address)
    const events = new Emitter<HostEvents>()
    const protector = options.secret === undefined ? undefined : await createProtector(options.secret)
    const libp2p = await createLibp2p(
      createLibp2pOptions({
        privateKey: parsePeerKey(options.peerKey),
        listen: options.listen,
        announce: options.announce,
        topic: topicOf(options.cluster, options.partitions),
        encrypters: options.encrypters ?? [createTamedNoise()],
        protector,
        gater: createGater(options.allow, events),
        mdns: options.mdns === true ? await createMdns(options.cluster) : undefined,
        onInboundFailed: (remoteAddress, error) => inboundFailed(events, remoteAddress, error)
      })
    )
    return new Libp2pHost(options, libp2p, events)
  }

  private constructor(options: Libp2pHostOptions, libp2p: Libp2p<Libp2pServices>, events: Emitter<HostEvents>) {
    this.#options = options
    this.#libp2p = libp2p
    this.#events = events
    this.#topic = topicOf(options.cluster, options.partitions)
    this.self = peerIdOfKey(options.peerKey)
    this.life = options.life
  }

  get addresses(): readonly string[] {
    if (this.#state !== 'started') return []
    // Not libp2p's own list: that leaves public addresses out until a stranger has confirmed them.
    const { announce } = this.#options
    const listening = [...this.#listeners].flatMap(listener => listener.getAddrs().map(String))
    const addresses = announce.length > 0 ? announce : listening
    return [...new Set(addresses.map(address => withPeer(address, this.self)))]
  }

  async start(): Promise<void> {
    if (this.#state !== 'new') throw new KilovoltError('KV_INTERNAL', 'a host can be started once')
    this.#listen()
    for (const trafficClass of TRAFFIC_CLASSES) {
      const accept = (stream: Stream, connection: Connection): void =>
        this.#events.emit('link', this.#link(stream, connection, trafficClass))
      const limits = { maxInboundStreams: STREAMS_MAX, maxOutboundStreams: STREAMS_MAX }
      await this.#libp2p.handle(protocolOf(this.#options.cluster, trafficClass), accept, limits)
    }
    try {
      await this.#libp2p.start()
    } catch (error) {
      this.#state = 'stopped'
      await this.#libp2p.stop()
      throw listenError(error, this.#options.listen)
    }
    this.#libp2p.services.pubsub.subscribe(this.#topic)
    this.#state = 'started'
  }

  /** Calls back with each address that multicast DNS finds; returns a function that ends it. */
  onDiscovered(found: (address: string) => void): () => void {
    const listener = ({ detail }: CustomEvent<PeerInfo>): void => {
      for (const address of detail.multiaddrs) found(withPeer(address.toString(), detail.id.toString() as PeerId))
    }
    this.#libp2p.addEventListener('peer:discovery', listener)
    return () => this.#libp2p.removeEventListener('peer:discovery', listener)
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async connect(address: string, signal: AbortSignal): Promise<PeerId> {
    throwIfAborted(signal, `dialing ${address}`)
    const target = parseAddress(address)
    if (this.#state !== 'started') throw new KilovoltError('KV_UNREACHABLE', 'this node is not started')
    const wanted = target.getComponents().findLast(({ name }) => name === 'p2p')?.value
    if (wanted === this.self) throw dialError(undefined, address, true)
    if (wanted !== undefined && this.isConnected(wanted as PeerId)) return wanted as PeerId
    // A name may stand for several machines: there libp2p looks for the one that is wanted.
    const place = NUMERIC.test(address) ? address.replace(PEER_PART, '') : address
    if (wanted !== undefined && this.#listensAt(place)) throw elsewhereError(address, 'this node')
    const known = this.#known.get(place)
    if (known !== undefined && this.isConnected(known)) {
      if (wanted === undefined) return known
      // It may have moved, and the one that is wanted have its place.
      if (this.#isConnectedAt(known, place)) throw elsewhereError(address, known)
    }
    let connection: Connection
    try {
      // Whoever is wanted: to break off the handshake with somebody else who lives there now, as one does that was started anew,
      // would look to him like an attack.
      connection = await this.#libp2p.dial(parseAddress(place), { signal })
    } catch (error) {
      if (signal.aborted) throw abortError(signal, `dialing ${address}`)
      // Who answers at an address that names nobody is known only after the handshake.
      const self = wanted === undefined && flattenError(error).some(({ name }) => name === 'InvalidPeerIdError')
      throw dialError(error, address, self)
    }
    const peer = connection.remotePeer.toString() as PeerId
    if (this.#known.size >= KNOWN_ADDRESSES_MAX) this.#known.clear()
    this.#known.set(place, peer)
    if (wanted === undefined || peer === wanted) return peer
    this.#leave(connection)
    throw elsewhereError(address, peer)
  }

  async open(peer: PeerId, trafficClass: TrafficClass, signal: AbortSignal): Promise<Link> {
    throwIfAborted(signal, `opening a link to ${peer}`)
    const connection = this.#connections(peer).find(({ status }) => status === 'open')
    if (connection === undefined) throw unreachable(`there is no connection to ${peer}`)
    try {
      const limits = { signal, maxOutboundStreams: STREAMS_MAX }
      const stream = await connection.newStream(protocolOf(this.#options.cluster, trafficClass), limits)
      return this.#link(stream, connection, trafficClass)
    } catch (error) {
      if (signal.aborted) throw abortError(signal, `opening a link to ${peer}`)
      if (flattenError(error).every(({ name }) => name !== 'UnsupportedProtocolError')) {
        throw unreachable(`no link to ${peer}: ${messageOf(error)}`, error)
      }
      const problem = clusterProblem(this.#options.cluster, await this.#protocolsOf(connection.remotePeer))
      throw problem ?? new KilovoltError('KV_HANDSHAKE', `${peer} is no kilovolt node`, { cause: error })
    }
  }

  isConnected(peer: PeerId): boolean {
    return this.#connections(peer).some(({ status }) => status === 'open')
  }

  disconnect(peer: PeerId, reason: string): void {
    const error = new Error(reason)
    for (const connection of this.#connections(peer)) hangUp(connection, error, this.#options.logger)
  }

  publish(body: Uint8Array): void {
    if (this.#state !== 'started') return
    this.#libp2p.services.pubsub.publish(this.#topic, body).catch((error: unknown) => {
      this.#options.logger.debug('gossip was not published', { error: messageOf(error) })
    })
  }

  on<K extends keyof HostEvents>(type: K, listener: (detail: HostEvents[K]) => void): () => void {
    return this.#events.on(type, listener)
  }

  async #stop(): Promise<void> {
    const wasStarted = this.#state === 'started'
    this.#state = 'stopped'
    // Whose links end now is no stranger.
    this.#cancelTimers()
    if (wasStarted) await this.#libp2p.stop()
    this.#cancelTimers()
  }

  #cancelTimers(): void {
    for (const timer of this.#timers.values()) timer.cancel()
    this.#timers.clear()
  }

  /** Whether a peer is known to be at a place still. */
  #isConnectedAt(peer: PeerId, place: string): boolean {
    return this.#connections(peer).some(
      ({ status, direction, remoteAddr }) =>
        status === 'open' && direction === 'outbound' && String(remoteAddr).replace(PEER_PART, '') === place
    )
  }

  /** Whether this node itself would answer: on many machines nodes have the same loopback address. */
  #listensAt(place: string): boolean {
    return [...this.#listeners].some(listener => listener.getAddrs().some(own => String(own) === place))
  }

  #listen(): void {
    const libp2p = this.#libp2p
    libp2p.addEventListener('transport:listening', ({ detail }) => this.#listeners.add(detail))
    libp2p.addEventListener('transport:close', ({ detail }) => this.#listeners.delete(detail))
    libp2p.addEventListener('peer:disconnect', ({ detail }) => {
      this.#events.emit('disconnected', { peer: detail.toString() as PeerId, reason: 'the connection is closed' })
    })
    libp2p.addEventListener('connection:open', ({ detail }) => this.#onConnectionOpen(detail))
    libp2p.addEventListener('connection:close', ({ detail }) => this.#onConnectionClosed(detail))
    libp2p.addEventListener('peer:identify', ({ detail }) => this.#onIdentified(detail))
    libp2p.services.pubsub.addEventListener('message', ({ detail }) => {
      if (detail.topic !== this.#topic || detail.type !== 'signed') return
      this.#events.emit('published', { from: detail.from.toString() as PeerId, body: detail.data })
    })
  }

  #connections(peer: PeerId): readonly Connection[] {
    let id: Libp2pPeerId
    try {
      id = peerIdFromString(peer)
    } catch {
      // Peer ids also come from gossip; nobody is connected by one that is malformed.
      return []
    }
    return this.#libp2p.getConnections(id)
  }

  /** Hangs up where nobody was wanted, unless others use the connection: libp2p gives one to all who dial a place at once. */
  #leave(connection: Connection): void {
    const { clock, logger } = this.#options
    this.#timers.get(connection.id)?.cancel()
    const timer = clock.after(UNWANTED_MS, () => {
      this.#timers.delete(connection.id)
      if (!this.#hasLink(connection)) hangUp(connection, new Error('another peer was wanted'), logger)
    })
    this.#timers.set(connection.id, timer)
  }

  #onConnectionOpen(connection: Connection): void {
    if (connection.direction !== 'inbound' || this.#state !== 'started') return
    const timer = this.#options.clock.after(LINKLESS_MS, () => {
      this.#timers.delete(connection.id)
      const peer = connection.remotePeer.toString() as PeerId
      const all = this.#connections(peer)
      if (all.some(one => this.#used.has(one))) return
      const error = new KilovoltError('KV_HANDSHAKE', `${peer} was connected for ${LINKLESS_MS} ms and opened no link`)
      this.#events.emit('refused', { peer, error })
      this.disconnect(peer, error.message)
    })
    this.#timers.set(connection.id, timer)
  }

  /**
   * Where both have dialed at once there are two connections. When the one that carries the gossip breaks, gossipsub
   * does not see that the peer can still be reached: identifying it again tells it so.
   */
  #onConnectionClosed({ id, remotePeer }: Connection): void {
    this.#timers.get(id)?.cancel()
    this.#timers.delete(id)
    const other = this.#libp2p.getConnections(remotePeer).find(({ status }) => status === 'open')
    if (other === undefined || this.#state !== 'started') return
    this.#libp2p.services.identify.identify(other).catch((error: unknown) => {
      this.#options.logger.debug('a peer was not identified again', { error: messageOf(error) })
    })
  }

  /** Tells of nodes of other clusters, which open no link as they find no protocol in common. */
  #onIdentified({ peerId, protocols }: IdentifyResult): void {
    const error = clusterProblem(this.#options.cluster, protocols)
    if (error !== undefined) this.#events.emit('refused', { peer: peerId.toString() as PeerId, error })
  }

  /** What the peer can do, as far as it says so soon. */
  async #protocolsOf(id: Libp2pPeerId): Promise<readonly string[]> {
    const { promise, resolve } = createDeferred<readonly string[]>()
    const onIdentify = ({ detail }: CustomEvent<IdentifyResult>): void => {
      if (detail.peerId.equals(id)) resolve(detail.protocols)
    }
    this.#libp2p.addEventListener('peer:identify', onIdentify)
    const timer = this.#options.clock.after(IDENTIFY_WAIT_MS, () => resolve([]))
    try {
      const known = await this.#libp2p.peerStore.get(id).then(
        ({ protocols }) => protocols,
        () => []
      )
      return known.some(isClusterProtocol) ? known : await promise
    } finally {
      timer.cancel()
      this.#libp2p.removeEventListener('peer:identify', onIdentify)
    }
  }

  #hasLink({ streams }: Connection): boolean {
    const links = TRAFFIC_CLASSES.map(trafficClass => protocolOf(this.#options.cluster, trafficClass))
    return streams.some(({ protocol }) => links.includes(protocol))
  }

  #link(stream: Stream, connection: Connection, trafficClass: TrafficClass): Link {
    const peer = connection.remotePeer.toString() as PeerId
    this.#used.add(connection)
    return new Libp2pLink(stream, {
      peer,
      class: trafficClass,
      remoteAddress: connection.remoteAddr.toString(),
      onMalformed: error => this.#events.emit('refused', { peer, error })
    })
  }
}

function parseAddress(address: string): Multiaddr {
  try {
    return multiaddr(address)
  } catch (error) {
    throw new KilovoltError('KV_CONFIG', `"${address}" is no multiaddr: ${messageOf(error)}`, { cause: error })
  }
}

function withPeer(address: string, peer: PeerId): string {
  return address.includes('/p2p/') ? address : `${address}/p2p/${peer}`
}

function unreachable(message: string, cause?: unknown): KilovoltError {
  return new KilovoltError('KV_UNREACHABLE', message, { cause, retryable: true })
}
