import { KilovoltError, messageOf } from '../base/errors.ts'
import type { PeerId } from '../model/node-id.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import { MessageType } from '../transport/message-type.ts'
import type { IncomingMessage, Responder, Transport } from '../transport/transport.ts'
import type { Gossip, Rumour } from './gossip.ts'
import { type ViewMessage, decodeView, encodeView } from './wire.ts'

/** What an exchange needs. */
export interface ViewExchangeDeps {
  readonly transport: Pick<Transport, 'self' | 'request' | 'handle' | 'isLinked'>
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly random: Random
  readonly gossip: Gossip
  readonly logger: Logger
}

/** What an exchange tells its owner. */
export interface ViewListener {
  hear(rumours: readonly Rumour[]): void
  isStopped(): boolean
}

/** Digests that differ for this long are no mere delay of gossip, ms. */
const DIFFERING_MS = 1000
/** Exchanges because of digests are at least so far apart, ms. */
const PAUSE_MS = 2000
/** How long the other side may take, ms. */
const TIMEOUT_MS = 3000
/** First and longest wait before a failed exchange on a new link is tried again, ms. */
const RETRY_MIN_MS = 1000
const RETRY_MAX_MS = 30_000

interface Fresh {
  dueMs: number
  pauseMs: number
}

/**
 * Full exchanges of views: on every new link, because what was published before the gossip mesh reached the other node
 * is lost for it, and with a random peer whose digest goes on differing, because gossip may lose anything at any time.
 * On a new link the node with the smaller peer id begins; the other does so when it has heard nothing for a second.
 */
export class ViewExchange {
  readonly #transport: ViewExchangeDeps['transport']
  readonly #clock: ViewExchangeDeps['clock']
  readonly #random: Random
  readonly #gossip: Gossip
  readonly #logger: Logger
  readonly #listener: ViewListener
  /** Links on which no exchange has succeeded yet. */
  readonly #fresh = new Map<PeerId, Fresh>()
  /** Since when the peer's digest has differed from ours. */
  readonly #differing = new Map<PeerId, number>()
  #notBeforeMs = 0

  constructor({ transport, clock, random, gossip, logger }: ViewExchangeDeps, listener: ViewListener) {
    this.#transport = transport
    this.#clock = clock
    this.#random = random
    this.#gossip = gossip
    this.#logger = logger
    this.#listener = listener
    transport.handle(MessageType.VIEW, this.#onView)
  }

  linkUp(peer: PeerId): void {
    this.#fresh.set(peer, { dueMs: this.#clock.monotonicMs() + RETRY_MIN_MS, pauseMs: RETRY_MIN_MS })
    if (this.#transport.self < peer) this.#exchange(peer)
  }

  linkDown(peer: PeerId): void {
    this.#fresh.delete(peer)
    this.#differing.delete(peer)
  }

  /** A linked peer has this digest. */
  note(peer: PeerId, digest: number): void {
    const nowMs = this.#clock.monotonicMs()
    if (digest === this.#gossip.digest(nowMs)) this.#differing.delete(peer)
    else if (!this.#differing.has(peer) && this.#transport.isLinked(peer)) this.#differing.set(peer, nowMs)
  }

  /** To be called about once a second. */
  tick(): void {
    const nowMs = this.#clock.monotonicMs()
    for (const [peer, fresh] of this.#fresh) {
      if (nowMs < fresh.dueMs) continue
      fresh.pauseMs = Math.min(RETRY_MAX_MS, fresh.pauseMs * 2)
      fresh.dueMs = nowMs + fresh.pauseMs
      this.#exchange(peer)
    }
    if (nowMs < this.#notBeforeMs) return
    const candidates = [...this.#differing].filter(([, sinceMs]) => nowMs - sinceMs >= DIFFERING_MS)
    const chosen = candidates[this.#random.int(Math.max(1, candidates.length))]
    if (chosen === undefined) return
    this.#notBeforeMs = nowMs + PAUSE_MS
    this.#differing.clear()
    this.#exchange(chosen[0])
  }

  /** Tells the peer what is said of this node, and calls `done` when it has heard it or cannot. */
  tell(peer: PeerId, timeoutMs: number, done: () => void): void {
    const nowMs = this.#clock.monotonicMs()
    const own = this.#gossip.rumourOf(this.#gossip.self.storeId, nowMs)!
    const body = encodeView(this.#message('tell', nowMs, [own]))
    this.#transport.request(peer, { type: MessageType.VIEW, class: 'control', body, timeoutMs }, done)
  }

  #exchange(peer: PeerId): void {
    const nowMs = this.#clock.monotonicMs()
    const body = encodeView(this.#message('exchange', nowMs, this.#gossip.rumours(nowMs)))
    const request = { type: MessageType.VIEW, class: 'control', body, timeoutMs: TIMEOUT_MS } as const
    this.#transport.request(peer, request, outcome => {
      if (outcome.kind !== 'reply' || this.#listener.isStopped()) return
      let view: ViewMessage
      try {
        view = decodeView(outcome.body)
      } catch (error) {
        this.#logger.warn('a malformed view', { from: peer, error: messageOf(error) })
        return
      }
      this.#fresh.delete(peer)
      this.#listener.hear(view.rumours)
    })
  }

  readonly #onView = ({ from, body }: IncomingMessage, respond: Responder): void => {
    if (this.#listener.isStopped()) return respond.refuse(new KilovoltError('KV_NODE_STOPPED', 'the node has stopped'))
    let view: ViewMessage
    try {
      view = decodeView(body)
    } catch (error) {
      this.#logger.warn('a malformed view', { from, error: messageOf(error) })
      return respond.refuse(new KilovoltError('KV_PROTOCOL', 'a malformed view', { cause: error }))
    }
    this.#listener.hear(view.rumours)
    if (view.kind === 'exchange') this.#fresh.delete(from)
    const nowMs = this.#clock.monotonicMs()
    const wanted = view.kind === 'exchange' && view.digest !== this.#gossip.digest(nowMs)
    respond.reply(encodeView(this.#message('tell', nowMs, wanted ? this.#gossip.rumours(nowMs) : [])))
  }

  #message(kind: ViewMessage['kind'], nowMs: number, rumours: readonly Rumour[]): ViewMessage {
    return { kind, sender: this.#gossip.self.storeId, digest: this.#gossip.digest(nowMs), rumours }
  }
}
