import { equalBytes } from '../base/bytes.ts'
import { isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'
import { FrameDecoder } from '../codec/frame.ts'
import type { PeerId } from '../model/node-id.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { Deadline, type TimerWheel } from '../runtime/timer-wheel.ts'
import type { TransportCounters } from './counters.ts'
import type { Link } from './host.ts'
import { isOfOneCluster, MessageType, TAG_BYTES } from './message-type.ts'
import { BODY_BYTES_MAX, Outbox, type OutgoingMessage } from './outbox.ts'
import { decodeRefusal, encodeRefusal, ReplyStatus } from './refusal.ts'
import type { MessageHandler, Outcome, Responder, TrafficClass } from './transport.ts'

/** What the requests on a link need. */
export interface RpcDeps {
  readonly clock: Clock
  readonly wheel: TimerWheel
  readonly logger: Logger
  readonly counters: TransportCounters
  /** Epoch that messages carry. */
  readonly epoch: () => number
  /** The cluster this node belongs to now, as a tag. */
  readonly tag: () => Uint8Array | undefined
  readonly handlerOf: (type: number) => MessageHandler | undefined
  /** The peer sent a frame that is no kilovolt; the link is about to be closed. */
  readonly onMalformed: (rpc: Rpc, error: KilovoltError) => void
  /** The peer does not want the link after all; it is about to be closed. */
  readonly onFarewell: (rpc: Rpc, error: KilovoltError) => void
  /** Called once, before the outcomes of what was under way. */
  readonly onClosed: (rpc: Rpc, reason: string) => void
}

/** Requests that may be under way on one link. */
export const REQUESTS_IN_FLIGHT_MAX = 16_384
/** Bytes of messages that may wait for a congested link before requests on it end as `unsent`. */
export const QUEUED_BYTES_MAX: number = 64 * 1024 * 1024
/** Bytes of replies a peer may leave unread; beyond that its link is closed. */
const REPLY_BYTES_MAX = 2 * QUEUED_BYTES_MAX
/** Requests of the peer that may be without an answer. */
const UNANSWERED_MAX = 65_536

/**
 * Requests, replies and one-way messages of one class with one peer. Made before its link is open, so that nobody has
 * to wait to ask: what is asked until `attach` goes out then. A request that has been handed to the link is `lost` when
 * the link breaks; one that still waits is `unsent`.
 */
export class Rpc {
  readonly peer: PeerId
  readonly class: TrafficClass
  readonly #deps: RpcDeps
  readonly #outbox: Outbox
  readonly #requests = new Map<number, Request>()
  #link: Link | undefined
  #nextId = 1
  #unanswered = 0
  #closed = false
  /** Whether the frame that is read is of another cluster. */
  #isForeign = false

  constructor(peer: PeerId, trafficClass: TrafficClass, deps: RpcDeps) {
    this.peer = peer
    this.class = trafficClass
    this.#deps = deps
    this.#outbox = new Outbox(deps)
  }

  get isClosed(): boolean {
    return this.#closed
  }

  /** The link is open and the peer is who it should be. */
  attach(link: Link): void {
    this.#link = link
    link.onFrame = frame => this.#onFrame(frame)
    link.onClose = reason => this.close(reason)
    this.#outbox.attach(link)
  }

  /** One-way; dropped when too much waits already. */
  send(type: MessageType, body: Uint8Array): void {
    if (this.#closed || body.length > BODY_BYTES_MAX) return
    if (this.#outbox.queuedBytes + body.length <= QUEUED_BYTES_MAX) this.#outbox.add(this.#note(type, 0, body, -1))
  }

  request(type: MessageType, body: Uint8Array, timeoutMs: number, done: (outcome: Outcome) => void): void {
    const reason = this.#obstacle(body)
    if (reason !== undefined) {
      this.#deps.clock.soon(() => this.#report(done, { kind: 'unsent', reason }))
      return
    }
    const request = new Request(this, type, this.#nextId++, this.#deps, body, done)
    this.#requests.set(request.id, request)
    this.#deps.counters.requestsInFlight++
    this.#deps.wheel.add(request, timeoutMs)
    this.#outbox.add(request)
  }

  /** Ends everything under way and closes the link. Idempotent. */
  close(reason: string): void {
    if (this.#closed) return
    this.#closed = true
    this.#outbox.detach()
    this.#link?.close(reason)
    this.#deps.onClosed(this, reason)
    for (const request of this.#requests.values()) {
      this.#settle(request, request.sent ? { kind: 'lost' } : { kind: 'unsent', reason })
    }
  }

  /** The deadline of a request has passed. */
  expired(request: Request): void {
    const reason = 'the link did not take it before its deadline'
    this.#settle(request, request.sent ? { kind: 'timeout' } : { kind: 'unsent', reason })
  }

  /** Sends the answer to a request of the peer. */
  answer(id: number, status: number, body: Uint8Array): void {
    this.#unanswered--
    if (this.#closed) return
    if (body.length > BODY_BYTES_MAX) {
      const error = new KilovoltError(
        'KV_INTERNAL',
        `an answer of ${body.length} bytes; the limit is ${BODY_BYTES_MAX}`
      )
      this.#outbox.add(this.#note(MessageType.REPLY, id, encodeRefusal(error), ReplyStatus.REFUSED))
    } else {
      this.#outbox.add(this.#note(MessageType.REPLY, id, body, status))
    }
    if (this.#outbox.queuedBytes > REPLY_BYTES_MAX) this.close('the peer does not take its answers')
  }

  /** Why a request cannot be taken now. */
  #obstacle(body: Uint8Array): string | undefined {
    if (this.#closed) return 'the link is closed'
    if (this.#requests.size >= REQUESTS_IN_FLIGHT_MAX) return `${REQUESTS_IN_FLIGHT_MAX} requests are under way`
    if (body.length > BODY_BYTES_MAX) return `a body of ${body.length} bytes; the limit is ${BODY_BYTES_MAX}`
    const { queuedBytes } = this.#outbox
    return queuedBytes + body.length > QUEUED_BYTES_MAX ? `${queuedBytes} bytes wait for the link` : undefined
  }

  #onFrame(frame: Uint8Array): void {
    if (this.#closed) return
    const { counters } = this.#deps
    counters.framesReceived++
    counters.bytesReceived += frame.length
    try {
      const decoder = new FrameDecoder(frame)
      this.#isForeign = false
      while (!this.#closed && decoder.next()) {
        if (decoder.type === MessageType.BELONG) {
          this.#belong(decoder.body())
          continue
        }
        counters.messagesReceived++
        if (decoder.type === MessageType.REPLY) this.#onReply(decoder)
        else this.#onMessage(decoder)
      }
    } catch (error) {
      const problem = isKilovoltError(error) ? error : new KilovoltError('KV_INTERNAL', messageOf(error))
      counters.malformed++
      this.#deps.onMalformed(this, problem)
      this.close(problem.message)
    }
  }

  #onReply(decoder: FrameDecoder): void {
    const { id, epoch } = decoder
    const status = decoder.lead()
    // An answer that comes late or twice finds nobody.
    const request = this.#requests.get(id)
    if (status === ReplyStatus.OK) {
      if (request !== undefined) this.#settle(request, { kind: 'reply', epoch, body: decoder.body() })
    } else if (status === ReplyStatus.REFUSED) {
      const error = decodeRefusal(decoder.body())
      if (request !== undefined) this.#settle(request, { kind: 'refused', error })
      else if (id === 0) this.#farewell(error)
    } else {
      throw new KilovoltError('KV_PROTOCOL', `a reply of status ${status}`)
    }
  }

  #farewell(error: KilovoltError): void {
    this.#deps.onFarewell(this, error)
    this.close(error.message)
  }

  #onMessage(decoder: FrameDecoder): void {
    const { type, id, epoch } = decoder
    const handler = this.#deps.handlerOf(type)
    const isMisdirected = this.#isForeign && isOfOneCluster(type)
    if (id === 0) {
      // Of an unknown type: a later version's; skipped.
      if (handler !== undefined && !isMisdirected)
        this.#handle(handler, { from: this.peer, epoch, body: decoder.body() }, NO_RESPONDER)
      return
    }
    this.#unanswered++
    const answer = new Answer(this, id)
    if (isMisdirected) return answer.refuse(foreignError())
    if (handler === undefined) {
      answer.refuse(new KilovoltError('KV_PROTOCOL', `this node does not answer messages of type ${type}`))
    } else if (this.#unanswered > UNANSWERED_MAX) {
      answer.refuse(
        new KilovoltError('KV_OVERLOADED', `${UNANSWERED_MAX} requests wait for an answer`, { retryable: true })
      )
    } else {
      this.#handle(handler, { from: this.peer, epoch, body: decoder.body() }, answer)
    }
  }

  /** @throws KilovoltError `KV_PROTOCOL` */
  #belong(theirs: Uint8Array): void {
    if (theirs.length !== TAG_BYTES) throw new KilovoltError('KV_PROTOCOL', 'a cluster’s tag of another length')
    const own = this.#deps.tag()
    this.#isForeign = own !== undefined && !equalBytes(own, theirs)
  }

  #note(type: number, id: number, body: Uint8Array, lead: number): Note {
    return new Note(type, id, this.#deps, body, lead)
  }

  #handle(handler: MessageHandler, message: Parameters<MessageHandler>[0], respond: Responder): void {
    try {
      handler(message, respond)
    } catch (error) {
      this.#deps.logger.error('a message handler failed', { peer: this.peer, error })
      respond.refuse(new KilovoltError('KV_INTERNAL', `the handler failed: ${messageOf(error)}`))
    }
  }

  #settle(request: Request, outcome: Outcome): void {
    if (!this.#requests.delete(request.id)) return
    request.cancelled = true
    this.#deps.wheel.cancel(request)
    this.#deps.counters.requestsInFlight--
    this.#report(request.done, outcome)
  }

  #report(done: (outcome: Outcome) => void, outcome: Outcome): void {
    try {
      done(outcome)
    } catch (error) {
      this.#deps.logger.error('the receiver of an outcome failed', { peer: this.peer, error })
    }
  }
}

/** A request under way: in one object its message, its deadline and who waits. */
class Request extends Deadline implements OutgoingMessage {
  readonly type: number
  readonly id: number
  readonly epoch: number
  readonly tag: Uint8Array | undefined
  readonly body: Uint8Array
  readonly lead = -1
  readonly done: (outcome: Outcome) => void
  cancelled = false
  sent = false
  readonly #rpc: Rpc

  constructor(
    rpc: Rpc,
    type: number,
    id: number,
    { epoch, tag }: Pick<RpcDeps, 'epoch' | 'tag'>,
    body: Uint8Array,
    done: (outcome: Outcome) => void
  ) {
    super()
    this.#rpc = rpc
    this.type = type
    this.id = id
    this.epoch = epoch()
    this.tag = tag()
    this.body = body
    this.done = done
  }

  expire(): void {
    this.#rpc.expired(this)
  }
}

/** A message that nobody waits for. */
class Note implements OutgoingMessage {
  readonly type: number
  readonly id: number
  readonly epoch: number
  readonly tag: Uint8Array | undefined
  readonly body: Uint8Array
  readonly lead: number
  readonly cancelled = false
  sent = false

  constructor(
    type: number,
    id: number,
    { epoch, tag }: Pick<RpcDeps, 'epoch' | 'tag'>,
    body: Uint8Array,
    lead: number
  ) {
    this.type = type
    this.id = id
    this.epoch = epoch()
    this.tag = tag()
    this.body = body
    this.lead = lead
  }
}

/** Answers one request, once. */
class Answer implements Responder {
  readonly #rpc: Rpc
  #id: number

  constructor(rpc: Rpc, id: number) {
    this.#rpc = rpc
    this.#id = id
  }

  reply(body: Uint8Array): void {
    this.#send(ReplyStatus.OK, body)
  }

  refuse(error: KilovoltError): void {
    if (this.#id !== 0) this.#send(ReplyStatus.REFUSED, encodeRefusal(error))
  }

  #send(status: number, body: Uint8Array): void {
    const id = this.#id
    if (id === 0) return
    this.#id = 0
    this.#rpc.answer(id, status, body)
  }
}

/** The two belong to different clusters, whose rows and epochs say nothing to each other. */
function foreignError(): KilovoltError {
  return new KilovoltError('KV_HANDSHAKE', 'this node belongs to another cluster of the same name now', {
    retryable: true
  })
}

const NO_RESPONDER: Responder = { reply() {}, refuse() {} }
