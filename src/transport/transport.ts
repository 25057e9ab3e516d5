import type { KilovoltError } from '../base/errors.ts'
import type { ClusterId, PeerId } from '../model/node-id.ts'
import type { Hello } from './hello.ts'
import type { MessageType } from './message-type.ts'

/**
 * Kind of traffic. Each has a stream of its own to each peer, so that a copy delays no read and nothing delays a probe.
 */
export type TrafficClass = 'control' | 'data' | 'bulk'

/** How a request ended, told apart by what the caller may conclude from it. */
export type Outcome =
  /** The peer's handler answered. */
  | { readonly kind: 'reply'; readonly epoch: number; readonly body: Uint8Array }
  /** The peer received it and its handler refused or failed: not executed, or as its code says. */
  | { readonly kind: 'refused'; readonly error: KilovoltError }
  /** It was never sent: no link, none in time, or the bound on what may be in flight. Definite: nothing has happened there. */
  | { readonly kind: 'unsent'; readonly reason: string }
  /** The link broke after it was sent: whether it was executed is unknown. */
  | { readonly kind: 'lost' }
  /** No answer by the deadline: whether it was executed is unknown. */
  | { readonly kind: 'timeout' }

/** A request to one peer. */
export interface OutgoingRequest {
  readonly type: MessageType
  readonly class: TrafficClass
  readonly body: Uint8Array
  /** Ends as `timeout` after this long. */
  readonly timeoutMs: number
}

/** A message as its handler gets it. */
export interface IncomingMessage {
  readonly from: PeerId
  /** The sender's epoch when it was sent. */
  readonly epoch: number
  /** A view into the frame: to be read at once or copied. */
  readonly body: Uint8Array
}

/** Answers a request; to be called exactly once. For a one-way message it does nothing. */
export interface Responder {
  reply(body: Uint8Array): void
  refuse(error: KilovoltError): void
}

/** Handles the messages of one type. Must not throw; what it throws all the same is answered as `KV_INTERNAL`. */
export type MessageHandler = (message: IncomingMessage, respond: Responder) => void

/** What a transport tells. */
export interface TransportEvents {
  /** A link to the peer is open and its hello was accepted. */
  'link:up': { readonly peer: PeerId; readonly hello: Hello }
  /** The last link to the peer is gone. */
  'link:down': { readonly peer: PeerId; readonly reason: string }
  /** Somebody was turned away: wrong cluster, wrong version, not on the list, malformed frames. */
  'link:refused': { readonly peer: PeerId | undefined; readonly error: KilovoltError }
}

/**
 * Messages between nodes: links that are kept up, requests with deadlines, one-way messages, and gossip. The protocol
 * floors know nothing below this interface; the real network and the simulated one differ only beneath it.
 */
export interface Transport {
  /** This node's peer id. */
  readonly self: PeerId
  /** Multiaddrs others can dial, with the peer id in them. Empty before `start`. */
  readonly addresses: readonly string[]
  /** Begins to listen. Rejects with `KV_PORT_IN_USE` or `KV_CONFIG`; nothing is left behind then. */
  start(): Promise<void>
  /** Closes all links; requests under way end as `lost`. Idempotent. */
  stop(): Promise<void>
  /**
   * Opens a link to whoever answers at the multiaddr and resolves with its hello.
   *
   * @throws KilovoltError `KV_UNREACHABLE`, `KV_HANDSHAKE` (both sides' values in the message), `KV_ABORTED`
   */
  dial(address: string, signal: AbortSignal): Promise<Hello>
  /** Keeps a link to the peer up from now on: redials with growing, jittered pauses. Calling again renews the addresses. */
  keep(peer: PeerId, addresses: readonly string[]): void
  /** Stops keeping the peer and closes its link. */
  drop(peer: PeerId): void
  isLinked(peer: PeerId): boolean
  /**
   * Whether, at the last try, a machine answered at each address of a kept peer and nothing listened there: its process has
   * ended. Not so where a machine does not answer, or somebody else listens.
   */
  isRefusing(peer: PeerId): boolean
  /** Peers with an open link. */
  links(): readonly PeerId[]
  /** The latest hello of a linked peer. */
  helloOf(peer: PeerId): Hello | undefined
  /** One-way; may be lost. */
  send(to: PeerId, trafficClass: TrafficClass, type: MessageType, body: Uint8Array): void
  /**
   * Asks a peer. `done` is called exactly once, never before this call returns. A request to oneself is not allowed:
   * whoever asks calls its own part directly. What is about data waits, no longer than its deadline, for the first link with a
   * peer that is kept and has not been dialed in vain; anything else to who is not linked is `unsent` at once.
   */
  request(to: PeerId, request: OutgoingRequest, done: (outcome: Outcome) => void): void
  /** Names the handler of a type; one each. */
  handle(type: MessageType, handler: MessageHandler): void
  /** Spreads a message to all nodes of the cluster by gossip; may be lost. */
  publish(body: Uint8Array): void
  /** Receives what others publish. */
  onPublished(listener: (from: PeerId, body: Uint8Array) => void): void
  /**
   * Epoch that every message carries from now on, and the cluster it is one of. Requests about data and messages of consensus
   * that somebody of another cluster sends are refused from then on.
   */
  setEpoch(cluster: ClusterId, epoch: number): void
  on<K extends keyof TransportEvents>(type: K, listener: (detail: TransportEvents[K]) => void): () => void
  /** Figures for `status()`. */
  stats(): TransportStats
}

/** Figures of a transport since it was made. */
export interface TransportStats {
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly framesSent: number
  readonly framesReceived: number
  readonly messagesSent: number
  readonly messagesReceived: number
  readonly requestsInFlight: number
  readonly malformed: number
}
