import { isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'
import { decodeFrame, encodeFrame, type Message } from '../codec/frame.ts'
import { Deadline, type TimerWheel } from '../runtime/timer-wheel.ts'
import { decodeHello, encodeHello, type Hello, helloProblem } from './hello.ts'
import type { Link } from './host.ts'
import { MessageType } from './message-type.ts'
import { decodeRefusal, encodeRefusal, ReplyStatus } from './refusal.ts'

/** What a greeting needs. */
export interface GreetingDeps {
  readonly wheel: TimerWheel
  /** What this node says of itself now. */
  readonly hello: () => Hello
  /** What else may keep this node from talking to another. */
  readonly check: (other: Hello) => KilovoltError | undefined
  /** Somebody who was turned away has had the time to learn why. */
  readonly onTurnedAway: (greeting: Greeting) => void
}

/** How a greeting ended. */
export type GreetingResult =
  { readonly hello: Hello } | { readonly error: KilovoltError; readonly refused: boolean; readonly malformed: boolean }

/** How long the other side has for its part of a greeting, ms. */
export const GREETING_TIMEOUT_MS = 5000
/** How long a link is left open after a refusal, so that the other side surely learns why, ms. */
const LINGER_MS = 500

const HELLO_ID = 1

/**
 * The first exchange on every link:
 *
 * | message | sent by | to which the other side |
 * |---|---|---|
 * | `HELLO` id 1, own hello | whoever opened the link | answers |
 * | `REPLY` id 1, status 0, own hello | whoever accepted it | compares; the link is open, or both have the same reason why not |
 * | `REPLY` id 1, status 1, error | whoever accepted it, for a reason of its own | gives up |
 * | `REPLY` id 0, status 1, error | whoever opened it, for a reason of its own | gives up |
 *
 * The accepting side answers with its hello also when the two do not fit, so that both can name both values.
 */
export class Greeting extends Deadline {
  readonly link: Link
  readonly #deps: GreetingDeps
  readonly #opener: boolean
  readonly #done: (result: GreetingResult) => void
  readonly #own: Hello
  #state: 'waiting' | 'lingering' | 'over' = 'waiting'

  /** `done` is called once; after a failure the link is, or is about to be, closed. */
  constructor(deps: GreetingDeps, link: Link, opener: boolean, done: (result: GreetingResult) => void) {
    super()
    this.#deps = deps
    this.link = link
    this.#opener = opener
    this.#done = done
    this.#own = deps.hello()
  }

  /** Whether somebody who was turned away is still given the time to learn why. */
  get isLingering(): boolean {
    return this.#state === 'lingering'
  }

  start(): void {
    this.link.onFrame = frame => this.#onFrame(frame)
    this.link.onClose = reason => this.#onClose(reason)
    this.#deps.wheel.add(this, GREETING_TIMEOUT_MS)
    if (this.#opener) this.#say(MessageType.HELLO, HELLO_ID, encodeHello(this.#own))
  }

  expire(): void {
    if (this.#state === 'lingering') {
      this.#state = 'over'
      this.link.close('refused')
      this.#deps.onTurnedAway(this)
    } else {
      this.#fail(new KilovoltError('KV_UNREACHABLE', `${this.link.peer} did not say hello`, { retryable: true }))
    }
  }

  /** Gives up: this node stops. */
  abandon(reason: string): void {
    this.#fail(new KilovoltError('KV_UNREACHABLE', reason))
    if (this.#state === 'lingering') {
      this.#state = 'over'
      this.#deps.wheel.cancel(this)
      this.link.close(reason)
    }
  }

  #onFrame(frame: Uint8Array): void {
    if (this.#state !== 'waiting') return
    try {
      const [message] = decodeFrame(frame)
      if (message === undefined) throw new KilovoltError('KV_PROTOCOL', 'an empty frame instead of a hello')
      if (this.#opener) this.#onReply(message)
      else this.#onHello(message)
    } catch (error) {
      const problem = isKilovoltError(error) ? error : new KilovoltError('KV_INTERNAL', messageOf(error))
      this.#fail(problem, { malformed: problem.code === 'KV_PROTOCOL' })
    }
  }

  #onHello({ type, id, body }: Message): void {
    if (type !== MessageType.HELLO) throw new KilovoltError('KV_PROTOCOL', `a message of type ${type} before the hello`)
    const other = decodeHello(body)
    const problem = helloProblem(this.#own, other)
    const objection = problem === undefined ? this.#deps.check(other) : undefined
    if (objection === undefined) this.#answer(id, ReplyStatus.OK, encodeHello(this.#own))
    else this.#answer(id, ReplyStatus.REFUSED, encodeRefusal(objection))
    this.#conclude(other, problem ?? objection)
  }

  #onReply({ type, body }: Message): void {
    if (type !== MessageType.REPLY) throw new KilovoltError('KV_PROTOCOL', `a message of type ${type} before the hello`)
    const rest = body.subarray(1)
    if (body[0] !== ReplyStatus.OK) {
      this.#fail(refusedBy(this.link.peer, decodeRefusal(rest)), { refused: true })
      return
    }
    const other = decodeHello(rest)
    const problem = helloProblem(this.#own, other)
    const objection = problem === undefined ? this.#deps.check(other) : undefined
    if (objection !== undefined) this.#answer(0, ReplyStatus.REFUSED, encodeRefusal(objection))
    this.#conclude(other, problem ?? objection)
  }

  #conclude(other: Hello, problem: KilovoltError | undefined): void {
    this.#deps.wheel.cancel(this)
    if (problem === undefined) {
      this.#state = 'over'
      this.#done({ hello: other })
      return
    }
    this.#state = 'lingering'
    this.#deps.wheel.add(this, LINGER_MS)
    this.#done({ error: problem, refused: true, malformed: false })
  }

  #onClose(reason: string): void {
    this.#deps.wheel.cancel(this)
    const lingered = this.#state === 'lingering'
    const text = `${this.link.peer} closed the link before it said hello: ${reason}`
    if (this.#state === 'waiting') this.#fail(new KilovoltError('KV_UNREACHABLE', text, { retryable: true }))
    this.#state = 'over'
    if (lingered) this.#deps.onTurnedAway(this)
  }

  #fail(error: KilovoltError, { refused = false, malformed = false } = {}): void {
    if (this.#state !== 'waiting') return
    this.#state = 'over'
    this.#deps.wheel.cancel(this)
    this.link.close(error.message)
    this.#done({ error, refused: refused || malformed, malformed })
  }

  #answer(id: number, status: number, body: Uint8Array): void {
    this.#say(MessageType.REPLY, id, body, status)
  }

  #say(type: number, id: number, body: Uint8Array, lead = -1): void {
    const whole = lead < 0 ? body : new Uint8Array(body.length + 1)
    if (lead >= 0) {
      whole[0] = lead
      whole.set(body, 1)
    }
    this.link.send(encodeFrame([{ type, id, epoch: this.#own.epoch, body: whole }]))
  }
}

/** The error for whoever was turned away by a peer: its own words, and who said them. */
export function refusedBy(peer: string, error: KilovoltError): KilovoltError {
  return new KilovoltError(error.code, `${peer} refuses this node: ${error.message}`, {
    cause: error,
    retryable: error.retryable
  })
}
