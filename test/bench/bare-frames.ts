import { decodeFrame, encodeFrame, type Message } from '../../src/codec/frame.ts'
import type { Link } from '../../src/transport/host.ts'

/** Type of the messages; its number does not matter. */
const QUESTION = 200
const ANSWER = 201

/** Whether the messages of one turn of the event loop travel as one frame, or each as a frame of its own. */
export type Framing = 'gathered' | 'single'

/** Makes frames of messages, and nothing else: no deadlines, no bounds, no errors. */
class Sender {
  readonly #link: Link
  readonly #framing: Framing
  #messages: Message[] = []

  constructor(link: Link, framing: Framing) {
    this.#link = link
    this.#framing = framing
  }

  add(message: Message): void {
    if (this.#framing === 'single') {
      this.#link.send(encodeFrame([message]))
      return
    }
    if (this.#messages.push(message) > 1) return
    setImmediate(() => {
      const messages = this.#messages
      this.#messages = []
      this.#link.send(encodeFrame(messages))
    })
  }
}

/** Answers every question on a link: the least that a server of requests can do. */
export function serveBareFrames(
  link: Link,
  answer: (question: Uint8Array) => Uint8Array,
  framing: Framing = 'gathered'
): void {
  const sender = new Sender(link, framing)
  link.onFrame = frame => {
    for (const { id, body } of decodeFrame(frame)) sender.add({ type: ANSWER, id, epoch: 0, body: answer(body) })
  }
}

/** What to run. */
export interface BareFramesOptions {
  /** Links to the peers; every request goes to each of them. */
  readonly links: readonly Link[]
  /** Answers after which a request is done. */
  readonly quorum: number
  /** Requests under way at any time. */
  readonly inFlight: number
  /** Bodies of the requests, which take turns. */
  readonly bodies: readonly Uint8Array[]
  /** Default `'gathered'`. */
  readonly framing?: Framing
  readonly durationMs: number
}

/** What came of it. */
export interface BareFramesResult {
  readonly requests: number
  readonly elapsedMs: number
  /** Time from question to quorum of every request, ms. */
  readonly latenciesMs: Float64Array
}

/**
 * The floor under every request: numbered frames over the same libp2p streams, with one map from number to question.
 * What the transport costs is the difference to this.
 */
export async function runBareFrames(options: BareFramesOptions): Promise<BareFramesResult> {
  const { links, quorum, inFlight, bodies, framing = 'gathered', durationMs } = options
  const senders = links.map(link => new Sender(link, framing))
  const asked = new Map<number, { readonly atMs: number; answers: number }>()
  const latenciesMs: number[] = []
  const startMs = performance.now()
  let nextId = 1
  await new Promise<void>(resolve => {
    let running = inFlight
    const ask = (): void => {
      const nowMs = performance.now()
      if (nowMs - startMs >= durationMs) {
        if (--running === 0) resolve()
        return
      }
      const id = nextId++
      asked.set(id, { atMs: nowMs, answers: 0 })
      const body = bodies[id % bodies.length]!
      for (const sender of senders) sender.add({ type: QUESTION, id, epoch: 0, body })
    }
    for (const link of links) {
      link.onFrame = frame => {
        for (const { id } of decodeFrame(frame)) {
          const question = asked.get(id)
          if (question === undefined || ++question.answers !== quorum) continue
          asked.delete(id)
          latenciesMs.push(performance.now() - question.atMs)
          ask()
        }
      }
    }
    for (let i = 0; i < inFlight; i++) ask()
  })
  return {
    requests: latenciesMs.length,
    elapsedMs: performance.now() - startMs,
    latenciesMs: Float64Array.from(latenciesMs)
  }
}
