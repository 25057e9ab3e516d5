import { FRAME_BYTES_MAX, FrameEncoder, MESSAGE_OVERHEAD_MAX } from '../codec/frame.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Link } from './host.ts'
import type { TransportCounters } from './counters.ts'
import { MessageType, TAG_BYTES } from './message-type.ts'

/** A message on its way out. */
export interface OutgoingMessage {
  readonly type: number
  readonly id: number
  /**
   * The sender's epoch when it was handed over, not when its turn comes: whom it is for, and which copies have to agree, was
   * decided by that topology (rule C2).
   */
  readonly epoch: number
  /** The cluster whose epoch it is, as {@link clusterTag} has it; `undefined` for none. */
  readonly tag: Uint8Array | undefined
  readonly body: Uint8Array
  /** Byte before the body, for replies; -1 for none. */
  readonly lead: number
  /** Nobody wants it any more: it is left out when its turn comes. */
  readonly cancelled: boolean
  /** Whether it has been handed to the link; set by the outbox. */
  sent: boolean
}

/** What an outbox needs. */
export interface OutboxDeps {
  readonly clock: Clock
  readonly counters: TransportCounters
}

/** Longest body of a single message: a frame holds at least one. */
export const BODY_BYTES_MAX: number = FRAME_BYTES_MAX - 2 * MESSAGE_OVERHEAD_MAX - TAG_BYTES - 1

/**
 * Gathers what one turn of the event loop has to say on a link and sends it as one frame when the turn is over. While
 * the link is congested, or not open yet, messages wait here: nothing of them is encoded, and they can still be
 * cancelled. Whoever adds keeps the bound, by looking at {@link Outbox.queuedBytes}.
 */
export class Outbox {
  readonly #deps: OutboxDeps
  readonly #encoder = new FrameEncoder()
  #queue: OutgoingMessage[] = []
  #queuedBytes = 0
  #link: Link | undefined
  #scheduled = false
  #flushing = false
  #congested = false

  constructor(deps: OutboxDeps) {
    this.#deps = deps
  }

  /** Bytes that wait, here and in the link. */
  get queuedBytes(): number {
    return this.#queuedBytes + (this.#congested ? this.#link!.bufferedBytes : 0)
  }

  /** The link is open: what has waited goes out at the end of this turn. */
  attach(link: Link): void {
    this.#link = link
    link.onDrain = () => {
      this.#congested = false
      this.#flush()
    }
    this.#schedule()
  }

  /** The link is gone; what still waits is forgotten. */
  detach(): void {
    this.#link = undefined
    this.#congested = false
    this.#queue = []
    this.#queuedBytes = 0
  }

  add(message: OutgoingMessage): void {
    this.#queue.push(message)
    this.#queuedBytes += message.body.length + MESSAGE_OVERHEAD_MAX
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled || this.#congested || this.#link === undefined || this.#queue.length === 0) return
    this.#scheduled = true
    this.#deps.clock.soon(this.#onTurnOver)
  }

  readonly #onTurnOver = (): void => {
    this.#scheduled = false
    this.#flush()
  }

  #flush(): void {
    // A link may tell that it drained, or that it closed, while it is being sent to.
    if (this.#flushing) return
    this.#flushing = true
    let next = 0
    while (next < this.#queue.length && this.#link !== undefined && !this.#congested) next = this.#sendFrame(next)
    this.#flushing = false
    if (next >= this.#queue.length) this.#queue = []
    else if (next > 0) this.#queue = this.#queue.slice(next)
  }

  /** Sends one frame of the messages from `start` on; returns where the next begins. */
  #sendFrame(start: number): number {
    const queue = this.#queue
    const encoder = this.#encoder
    const { counters } = this.#deps
    let next = start
    let count = 0
    let tag: Uint8Array | undefined
    for (; next < queue.length; next++) {
      const message = queue[next]!
      const size = message.body.length + MESSAGE_OVERHEAD_MAX
      if (!message.cancelled) {
        // A frame is of one cluster, which it begins with.
        if (count > 0 && (message.tag !== tag || encoder.length + size + 1 > FRAME_BYTES_MAX)) break
        if (count === 0 && message.tag !== undefined) encoder.add(MessageType.BELONG, 0, 0, message.tag)
        tag = message.tag
        encoder.add(message.type, message.id, message.epoch, message.body, message.lead)
        message.sent = true
        count++
      }
      this.#queuedBytes -= size
    }
    if (count === 0) return next
    const frame = encoder.finish()
    counters.framesSent++
    counters.bytesSent += frame.length
    counters.messagesSent += count
    // Set before: the link may drain before `send` returns.
    this.#congested = true
    if (this.#link!.send(frame)) this.#congested = false
    return next
  }
}
