import { decodeFrame, encodeFrame, type Message } from '../../src/codec/frame.ts'
import type { Link } from '../../src/transport/host.ts'

/** Type of the messages; its number does not matter. */
const QUESTION = 200
const ANSWER = 201

/** Whether the messages of one turn of the event loop travel as one frame, or each as a frame of its own. */
export type Framing = 'gathered' | 'single'

/**
 * Ways to encrypt what frames travel over: noise as kilovolt has it, as its package makes it, and by one cipher for records
 * of all lengths; TLS as its package makes it, and with the pieces of what is sent at once in one record; none at all.
 */
export const ENCRYPTIONS = [
  'noise',
  'packagedNoise',
  'nodeNoise',
  'wasmNoise',
  'jsNoise',
  'tls',
  'corkedTls',
  'plaintext'
] as const
export type Encryption = (typeof ENCRYPTIONS)[number]

/** What frames travel over: a link of libp2p, or less. */
export type FrameLink = Pick<Link, 'send' | 'onFrame'>

/** Makes frames of messages, and nothing else: no deadlines, no bounds, no errors. */
class Sender {
  readonly #link: FrameLink
  readonly #framing: Framing
  #messages: Message[] = []

  constructor(link: FrameLink, framing: Framing) {
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
  link: FrameLink,
  answer: (question: Uint8Array) => Uint8Array,
  framing: Framing = 'gathered'
): void {
  const sender = new Sender(link, framing)
  link.onFrame = frame => {
    for (const { id, body } of decodeFrame(frame)) sender.add({ type: ANSWER, id, epoch: 0, body: answer(body) })
  }
}

/**
 * The floor under every request: numbered frames over the same libp2p streams, a map from number to question, and a
 * promise for each. What the transport, or a whole operation, costs is the difference to this.
 */
export class BareFrames {
  readonly #senders: readonly Sender[]
  readonly #quorum: number
  readonly #asked = new Map<number, { missing: number; readonly done: () => void }>()
  #nextId = 1

  /** @param quorum - answers after which a question is done */
  constructor(links: readonly FrameLink[], quorum: number, framing: Framing = 'gathered') {
    this.#senders = links.map(link => new Sender(link, framing))
    this.#quorum = quorum
    for (const link of links) {
      link.onFrame = frame => {
        for (const { id } of decodeFrame(frame)) this.#answered(id)
      }
    }
  }

  /** Sends a question to every peer; resolves when enough of them have answered, or all. */
  ask(body: Uint8Array, all = false): Promise<void> {
    const id = this.#nextId++
    for (const sender of this.#senders) sender.add({ type: QUESTION, id, epoch: 0, body })
    const missing = all ? this.#senders.length : this.#quorum
    return new Promise(done => this.#asked.set(id, { missing, done }))
  }

  #answered(id: number): void {
    const question = this.#asked.get(id)
    if (question === undefined || --question.missing > 0) return
    this.#asked.delete(id)
    question.done()
  }
}
