import type { Stream, StreamMessageEvent } from '@libp2p/interface'
import { isKilovoltError, type KilovoltError, messageOf } from '../base/errors.ts'
import { FrameSplitter } from '../codec/frame.ts'
import type { PeerId } from '../model/node-id.ts'
import type { Link } from './host.ts'
import type { TrafficClass } from './transport.ts'

/** What a link needs to know of where it runs. */
export interface Libp2pLinkOptions {
  readonly peer: PeerId
  readonly class: TrafficClass
  readonly remoteAddress: string
  /** The peer has sent bytes that are no frames; the link is about to be closed. */
  readonly onMalformed: (error: KilovoltError) => void
}

/** A link over one long-lived libp2p stream: frames are cut out of the bytes as they come. */
export class Libp2pLink implements Link {
  readonly peer: PeerId
  readonly class: TrafficClass
  readonly remoteAddress: string
  onFrame: (frame: Uint8Array) => void = () => {}
  onDrain: () => void = () => {}
  onClose: (reason: string) => void = () => {}
  readonly #stream: Stream
  readonly #onMalformed: (error: KilovoltError) => void
  readonly #splitter = new FrameSplitter()
  #closed = false

  constructor(stream: Stream, options: Libp2pLinkOptions) {
    this.#stream = stream
    this.peer = options.peer
    this.class = options.class
    this.remoteAddress = options.remoteAddress
    this.#onMalformed = options.onMalformed
    stream.addEventListener('message', this.#onMessage)
    stream.addEventListener('drain', () => {
      if (!this.#closed) this.onDrain()
    })
    // A link that is closed one way is of no use.
    stream.addEventListener('remoteCloseWrite', () => this.close('the other side closed it'))
    stream.addEventListener('close', event => this.#end(event.error?.message ?? 'the other side closed it'))
    if (stream.status !== 'open') queueMicrotask(() => this.#end('it is closed'))
  }

  get bufferedBytes(): number {
    return this.#stream.writeBufferLength
  }

  send(frame: Uint8Array): boolean {
    if (this.#closed) return true
    try {
      return this.#stream.send(frame)
    } catch (error) {
      this.close(messageOf(error))
      return true
    }
  }

  close(reason: string): void {
    if (this.#closed) return
    this.#end(reason)
    this.#stream.abort(new Error(reason))
  }

  readonly #onMessage = ({ data }: StreamMessageEvent): void => {
    try {
      if (data instanceof Uint8Array) this.#receive(data)
      else for (const chunk of data) this.#receive(chunk)
    } catch (error) {
      const malformed = isKilovoltError(error, 'KV_PROTOCOL')
      if (malformed) this.#onMalformed(error)
      this.close(malformed ? error.message : `receiving failed: ${messageOf(error)}`)
    }
  }

  #receive(chunk: Uint8Array): void {
    if (this.#closed) return
    for (const frame of this.#splitter.push(chunk)) this.onFrame(frame)
  }

  #end(reason: string): void {
    if (this.#closed) return
    this.#closed = true
    this.onClose(reason)
  }
}
