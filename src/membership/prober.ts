import { KilovoltError, messageOf } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { MessageType } from '../transport/message-type.ts'
import type { IncomingMessage, Outcome, Responder, Transport } from '../transport/transport.ts'
import type { HelperAnswer, PingEffect, PingRequestEffect } from './detector-effect.ts'
import type { Gossip, Rumour } from './gossip.ts'
import {
  type Ack,
  type Opinion,
  decodeAck,
  decodePing,
  decodePingRequest,
  decodeVerdict,
  encodeAck,
  encodePing,
  encodePingRequest,
  encodeVerdict
} from './wire.ts'

/** What the prober tells its owner. */
export interface ProbeListener {
  /** Somebody's word; to be merged. */
  hear(rumours: readonly Rumour[]): void
  acked(store: StoreId, probe: number): void
  missed(store: StoreId, probe: number): void
  helped(store: StoreId, probe: number, helper: StoreId, answer: HelperAnswer): void
  /** What an answer of the member says of its state. */
  reported(store: StoreId, lagMs: number, digest: number): void
  /** How late this node's event loop runs, ms. */
  ownLagMs(): number
  isStopped(): boolean
}

/** What a prober needs. */
export interface ProberDeps {
  readonly transport: Pick<Transport, 'self' | 'request' | 'handle'>
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly gossip: Gossip
  readonly logger: Logger
}

/** Probes that this node makes for others at one time; more are refused. */
const HELPING_MAX = 64
/** How much longer than the detector the transport waits: a late answer is still good news, ms. */
const LATE_ANSWER_MS = 1000

/** Carries probes over the transport: sends the detector's, answers those of others, and probes on their behalf. */
export class Prober {
  readonly #transport: ProberDeps['transport']
  readonly #clock: ProberDeps['clock']
  readonly #gossip: Gossip
  readonly #logger: Logger
  readonly #listener: ProbeListener
  #helping = 0

  constructor({ transport, clock, gossip, logger }: ProberDeps, listener: ProbeListener) {
    this.#transport = transport
    this.#clock = clock
    this.#gossip = gossip
    this.#logger = logger
    this.#listener = listener
    transport.handle(MessageType.PING, this.#guard(this.#onPing))
    transport.handle(MessageType.PING_REQUEST, this.#guard(this.#onPingRequest))
  }

  ping({ to, probe, timeoutMs }: PingEffect): void {
    const opinion = this.#gossip.get(to)
    if (opinion === undefined) return
    this.#ping(to, opinion, timeoutMs, ack => {
      if (ack === undefined) return this.#listener.missed(to, probe)
      this.#listener.acked(to, probe)
      this.#hearAck(to, ack)
    })
  }

  pingRequest({ helper, target, probe, timeoutMs }: PingRequestEffect): void {
    const peer = this.#gossip.get(helper)?.peerId
    const opinion = this.#gossip.get(target)
    if (peer === undefined || peer === this.#transport.self || opinion === undefined) return
    const request = {
      type: MessageType.PING_REQUEST,
      class: 'control',
      body: encodePingRequest({ target, opinion, timeoutMs }),
      timeoutMs: 2 * timeoutMs + LATE_ANSWER_MS
    } as const
    this.#transport.request(peer, request, outcome => {
      if (this.#listener.isStopped()) return
      if (outcome.kind !== 'reply') return this.#listener.helped(target, probe, helper, 'none')
      const verdict = this.#decode(outcome, decodeVerdict)
      if (verdict === 'malformed') return this.#listener.helped(target, probe, helper, 'none')
      const isAck = verdict?.self.member.storeId === target
      this.#listener.helped(target, probe, helper, isAck ? 'ack' : 'nack')
      if (verdict !== undefined && isAck) this.#hearAck(target, verdict, false)
    })
  }

  /** @param done - gets `undefined` when the target itself has not answered; at most once, and not after the stop */
  #ping(
    to: StoreId,
    opinion: Opinion,
    timeoutMs: number,
    done: (ack: Ack | undefined, raw?: Uint8Array) => void
  ): void {
    const peer = this.#gossip.get(to)!.peerId
    // Another store was here before: this process itself proves that its own is gone.
    if (peer === this.#transport.self) return done(undefined)
    const sender = this.#gossip.rumourOf(this.#gossip.self.storeId, this.#clock.monotonicMs())!
    const request = {
      type: MessageType.PING,
      class: 'control',
      body: encodePing({ target: to, opinion, sender }),
      timeoutMs: timeoutMs + LATE_ANSWER_MS
    } as const
    this.#transport.request(peer, request, outcome => {
      if (this.#listener.isStopped()) return
      const ack = outcome.kind === 'reply' ? this.#decode(outcome, decodeAck) : undefined
      if (ack === undefined || ack === 'malformed' || outcome.kind !== 'reply') return done(undefined)
      if (ack.self.member.storeId === to) return done(ack, outcome.body)
      // Another store answers at this address: news of that one, and no sign of life of the one meant.
      this.#listener.hear([ack.self])
      done(undefined)
    })
  }

  #hearAck(store: StoreId, { self, lagMs, digest, opinion }: Ack, direct = true): void {
    // What a helper passes on is the target's opinion of the helper.
    const ofUs = direct && opinion !== undefined ? [this.#opinionOfSelf(opinion)] : []
    this.#listener.hear([self, ...ofUs])
    this.#listener.reported(store, lagMs, digest)
  }

  #opinionOfSelf({ incarnation, status }: Opinion): Rumour {
    return { member: { ...this.#gossip.self, incarnation, status }, ageMs: 0, accusers: [] }
  }

  readonly #onPing = ({ body }: IncomingMessage, respond: Responder): void => {
    const { target, opinion, sender } = decodePing(body)
    const isMeant = target === this.#gossip.self.storeId
    this.#listener.hear(isMeant ? [sender, this.#opinionOfSelf(opinion)] : [sender])
    respond.reply(this.#ack(sender.member.storeId))
  }

  readonly #onPingRequest = ({ from, body }: IncomingMessage, respond: Responder): void => {
    const { target, opinion, timeoutMs } = decodePingRequest(body)
    if (target === this.#gossip.self.storeId) {
      this.#listener.hear([this.#opinionOfSelf(opinion)])
      return respond.reply(encodeVerdict(this.#ack(undefined)))
    }
    const member = this.#gossip.get(target)
    if (member === undefined || member.peerId === from) return respond.reply(encodeVerdict(undefined))
    if (this.#helping >= HELPING_MAX) {
      return respond.refuse(new KilovoltError('KV_OVERLOADED', 'too many indirect probes', { retryable: true }))
    }
    this.#helping++
    let open = true
    const answer = (ack: Uint8Array | undefined): void => {
      if (open) respond.reply(encodeVerdict(ack))
      open = false
    }
    this.#ping(target, opinion, timeoutMs - LATE_ANSWER_MS, (ack, raw) => {
      this.#helping--
      if (ack !== undefined) this.#hearAck(target, ack)
      answer(raw)
    })
  }

  /** This node's answer to a probe. */
  #ack(prober: StoreId | undefined): Uint8Array {
    const nowMs = this.#clock.monotonicMs()
    return encodeAck({
      self: this.#gossip.rumourOf(this.#gossip.self.storeId, nowMs)!,
      lagMs: this.#listener.ownLagMs(),
      digest: this.#gossip.digest(nowMs),
      opinion: prober === undefined ? undefined : this.#gossip.get(prober)
    })
  }

  #guard(handler: (message: IncomingMessage, respond: Responder) => void): Parameters<Transport['handle']>[1] {
    return (message, respond) => {
      if (this.#listener.isStopped())
        return respond.refuse(new KilovoltError('KV_NODE_STOPPED', 'the node has stopped'))
      try {
        handler(message, respond)
      } catch (error) {
        this.#logger.warn('a malformed probe', { from: message.from, error: messageOf(error) })
        respond.refuse(new KilovoltError('KV_PROTOCOL', 'a malformed probe', { cause: error }))
      }
    }
  }

  #decode<T>(outcome: Extract<Outcome, { kind: 'reply' }>, decode: (bytes: Uint8Array) => T): T | 'malformed' {
    try {
      return decode(outcome.body)
    } catch (error) {
      this.#logger.warn('a malformed answer to a probe', { error: messageOf(error) })
      return 'malformed'
    }
  }
}
