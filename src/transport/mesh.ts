import { onAbort, throwIfAborted } from '../base/abort.ts'
import { Emitter } from '../base/emitter.ts'
import { isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'
import { type ClusterId, idToBytes, type PeerId } from '../model/node-id.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import { createCounters } from './counters.ts'
import type { Hello } from './hello.ts'
import type { Host } from './host.ts'
import { Links } from './links.ts'
import { type MessageType, TAG_BYTES } from './message-type.ts'
import { Redialer } from './redialer.ts'
import type { Rpc } from './rpc.ts'
import type {
  MessageHandler,
  Outcome,
  OutgoingRequest,
  TrafficClass,
  Transport,
  TransportEvents,
  TransportStats
} from './transport.ts'

/** What a mesh needs. */
export interface MeshDeps {
  readonly host: Host
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** What this node says of itself; asked anew for each link. */
  readonly hello: () => Hello
  /** What else may keep this node from talking to another, beyond what does not fit in the hellos. */
  readonly check?: (other: Hello) => KilovoltError | undefined
}

/** Longest a single dial of a kept peer may take, ms. */
const DIAL_TIMEOUT_MS = 5000

/** The {@link Transport} over any {@link Host}. */
export class Mesh implements Transport {
  readonly #deps: MeshDeps
  readonly #events = new Emitter<TransportEvents>()
  readonly #handlers = new Map<number, MessageHandler>()
  readonly #counters = createCounters()
  readonly #links: Links
  readonly #redialer: Redialer
  /** Kept peers of whom it is not known yet whether they can be linked: their first dial has not ended. */
  readonly #fresh = new Set<PeerId>()
  /** Kept peers at whose addresses nothing listened at the last try. */
  readonly #refusing = new Set<PeerId>()
  /** Aborted when the mesh stops. */
  readonly #abort = new AbortController()
  #epoch = 0
  #cluster: ClusterId | undefined
  /** One and the same for a cluster. */
  #tag: Uint8Array | undefined
  #stopping: Promise<void> | undefined

  /** Listens to the host from now on, so make it before the host starts. */
  constructor(deps: MeshDeps) {
    const { host, clock, random, logger, hello, check } = deps
    this.#deps = deps
    const { life } = host
    this.#redialer = new Redialer({
      self: host.self,
      clock,
      random,
      isLinked: peer => this.isLinked(peer),
      dial: async (peer, addresses, signal) => {
        await this.#redial(peer, addresses, signal)
        if (this.#fresh.delete(peer)) this.#links.giveUp(peer, `no link to ${peer} could be opened`)
      }
    })
    this.#links = new Links({
      host,
      clock,
      logger,
      counters: this.#counters,
      hello: () => (life === undefined ? hello() : { ...hello(), life }),
      check: other => check?.(other),
      epoch: () => this.#epoch,
      tag: () => this.#tag,
      handlerOf: type => this.#handlers.get(type),
      onUp: (peer, hello) => {
        this.#fresh.delete(peer)
        this.#refusing.delete(peer)
        this.#redialer.up(peer)
        this.#events.emit('link:up', { peer, hello })
      },
      onDown: (peer, reason) => {
        this.#events.emit('link:down', { peer, reason })
        this.#redialer.down(peer)
      },
      onRefused: (peer, error) => this.#events.emit('link:refused', { peer, error })
    })
  }

  get self(): PeerId {
    return this.#deps.host.self
  }

  get addresses(): readonly string[] {
    return this.#deps.host.addresses
  }

  async start(): Promise<void> {
    if (this.#stopping !== undefined) throw new KilovoltError('KV_NODE_STOPPED', 'the transport was stopped')
    await this.#deps.host.start()
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async dial(address: string, signal: AbortSignal): Promise<Hello> {
    this.#assertRunning()
    throwIfAborted(signal, `dialing ${address}`)
    const abort = new AbortController()
    const forget = [signal, this.#abort.signal].map(one => onAbort(one, () => abort.abort(one.reason)))
    try {
      const peer = await this.#deps.host.connect(address, abort.signal)
      return await this.#links.link(peer, abort.signal)
    } finally {
      for (const undo of forget) undo()
    }
  }

  keep(peer: PeerId, addresses: readonly string[]): void {
    if (peer === this.self || this.#abort.signal.aborted) return
    if (!this.#redialer.isKept(peer) && !this.isLinked(peer)) this.#fresh.add(peer)
    this.#redialer.keep(peer, addresses)
  }

  drop(peer: PeerId): void {
    this.#fresh.delete(peer)
    this.#refusing.delete(peer)
    this.#redialer.drop(peer)
    this.#links.close(peer, 'dropped')
    this.#deps.host.disconnect(peer, 'dropped')
  }

  isLinked(peer: PeerId): boolean {
    return this.#links.isLinked(peer)
  }

  isRefusing(peer: PeerId): boolean {
    return this.#refusing.has(peer)
  }

  links(): readonly PeerId[] {
    return this.#links.linked()
  }

  helloOf(peer: PeerId): Hello | undefined {
    return this.#links.helloOf(peer)
  }

  send(to: PeerId, trafficClass: TrafficClass, type: MessageType, body: Uint8Array): void {
    this.#links.rpc(to, trafficClass)?.send(type, body)
  }

  request(to: PeerId, request: OutgoingRequest, done: (outcome: Outcome) => void): void {
    const rpc = this.#links.rpc(to, request.class) ?? this.#early(to, request.class)
    if (rpc !== undefined) rpc.request(request.type, request.body, request.timeoutMs, done)
    else this.#deps.clock.soon(() => done({ kind: 'unsent', reason: `there is no link to ${to}` }))
  }

  handle(type: MessageType, handler: MessageHandler): void {
    this.#handlers.set(type, handler)
  }

  publish(body: Uint8Array): void {
    this.#deps.host.publish(body)
  }

  onPublished(listener: (from: PeerId, body: Uint8Array) => void): void {
    this.#deps.host.on('published', ({ from, body }) => {
      if (from !== this.self) listener(from, body)
    })
  }

  setEpoch(cluster: ClusterId, epoch: number): void {
    this.#epoch = epoch
    if (cluster === this.#cluster) return
    this.#cluster = cluster
    this.#tag = idToBytes(cluster).subarray(0, TAG_BYTES)
  }

  on<K extends keyof TransportEvents>(type: K, listener: (detail: TransportEvents[K]) => void): () => void {
    return this.#events.on(type, listener)
  }

  stats(): TransportStats {
    return { ...this.#counters }
  }

  async #stop(): Promise<void> {
    const reason = 'this node stops'
    this.#abort.abort(new KilovoltError('KV_NODE_STOPPED', reason))
    this.#fresh.clear()
    this.#redialer.stop()
    this.#links.closeAll(reason)
    await this.#deps.host.stop()
  }

  /**
   * Of two nodes that join at the same time each may be an owner before they are linked: what is asked about data then waits for
   * that, instead of failing for want of a moment. Who was linked, or could not be dialed, is not waited for. Nor does anybody
   * wait with what is only worth something at once: probes, votes.
   */
  #early(to: PeerId, trafficClass: TrafficClass): Rpc | undefined {
    return trafficClass === 'data' && this.#fresh.has(to) ? this.#links.early(to) : undefined
  }

  #assertRunning(): void {
    if (this.#stopping !== undefined) throw new KilovoltError('KV_NODE_STOPPED', 'the transport was stopped')
  }

  async #redial(id: PeerId, addresses: readonly string[], signal: AbortSignal): Promise<void> {
    const { host, clock, logger } = this.#deps
    if (host.isConnected(id)) {
      await this.#links.link(id, signal).catch((error: unknown) => {
        logger.debug('linking failed', { peer: id, error: messageOf(error) })
      })
      if (this.isLinked(id)) return
    }
    let refusals = 0
    for (const address of addresses) {
      if (signal.aborted) return
      const limit = new AbortController()
      const timer = clock.after(DIAL_TIMEOUT_MS, () => limit.abort(new Error('the dial took too long')))
      const forget = onAbort(signal, () => limit.abort(signal.reason))
      try {
        await this.dial(withPeer(address, id), limit.signal)
        return
      } catch (error) {
        if (isKilovoltError(error) && error.details['refused'] === true) refusals++
        logger.debug('a dial failed', { peer: id, address, error: messageOf(error) })
      } finally {
        timer.cancel()
        forget()
      }
    }
    if (refusals > 0 && refusals === addresses.length) this.#refusing.add(id)
    else this.#refusing.delete(id)
  }
}

/** The address with the peer's id in it, so that nobody else is taken for the peer. */
function withPeer(address: string, peer: PeerId): string {
  return address.includes('/p2p/') ? address : `${address}/p2p/${peer}`
}
