import type { KilovoltError } from '../base/errors.ts'
import type { PeerId } from '../model/node-id.ts'
import type { TrafficClass } from './transport.ts'

/** One ordered stream of frames to a peer, of one traffic class. */
export interface Link {
  readonly peer: PeerId
  readonly class: TrafficClass
  /** Multiaddr of the other end, for logs. */
  readonly remoteAddress: string
  /**
   * Hands one whole frame (see `codec/frame.ts`) over. False when the link is congested: what was given is taken all
   * the same, and more should wait for `onDrain`.
   */
  send(frame: Uint8Array): boolean
  /** Bytes taken that wait in this link; what waits beneath it, for all links of the connection, is not counted. */
  readonly bufferedBytes: number
  /** Closes at once; `onClose` follows on both sides. Idempotent. */
  close(reason: string): void
  /** Set by the owner of the link before the next turn of the event loop. */
  onFrame: (frame: Uint8Array) => void
  onDrain: () => void
  onClose: (reason: string) => void
}

/** What a host tells its owner. */
export interface HostEvents {
  /** A peer has opened a link to this node. */
  link: Link
  /** The connection to the peer is gone (links on it are closed as well). */
  disconnected: { readonly peer: PeerId; readonly reason: string }
  /** Somebody was turned away beneath the links: no handshake, not on the list, another cluster, malformed bytes. */
  refused: { readonly peer: PeerId | undefined; readonly error: KilovoltError }
  /** Gossip from a peer. */
  published: { readonly from: PeerId; readonly body: Uint8Array }
}

/**
 * The bare network under `Mesh`: authenticated connections, ordered links, and publish/subscribe. libp2p in production,
 * a model of a network in the simulator; both pass the same conformance suite.
 */
export interface Host {
  readonly self: PeerId
  /** Which run of the node this is, as `createLife` made it; with none nobody can tell a copy of its store from it. */
  readonly life?: string | undefined
  /** Multiaddrs, with the peer id in them; empty before `start`. */
  readonly addresses: readonly string[]
  start(): Promise<void>
  stop(): Promise<void>
  /**
   * Connects to whoever answers at the multiaddr, and says who it is.
   *
   * @throws KilovoltError `KV_UNREACHABLE`, `KV_ABORTED`, `KV_CONFIG` when it is no multiaddr, `KV_HANDSHAKE` with
   *   `details.self` when it is this node itself
   */
  connect(address: string, signal: AbortSignal): Promise<PeerId>
  /** Opens a link on the existing connection. @throws KilovoltError `KV_UNREACHABLE`, `KV_ABORTED`, `KV_HANDSHAKE` */
  open(peer: PeerId, trafficClass: TrafficClass, signal: AbortSignal): Promise<Link>
  isConnected(peer: PeerId): boolean
  /** Closes the connection to the peer and all its links. */
  disconnect(peer: PeerId, reason: string): void
  publish(body: Uint8Array): void
  on<K extends keyof HostEvents>(type: K, listener: (detail: HostEvents[K]) => void): () => void
}
