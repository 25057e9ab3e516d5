import { decodeFrame, type Message } from '../../../src/codec/frame.ts'
import type { PeerId } from '../../../src/model/node-id.ts'
import type { Link } from '../../../src/transport/host.ts'
import type { TrafficClass } from '../../../src/transport/transport.ts'

/** One end of a link whose other end is the test: it sees what is sent and says when there is congestion. */
export class FakeLink implements Link {
  readonly peer: PeerId
  readonly class: TrafficClass
  readonly remoteAddress = '/memory/1'
  readonly sent: Uint8Array[] = []
  readonly reasons: string[] = []
  isCongested = false
  bufferedBytes = 0
  onFrame: (frame: Uint8Array) => void = () => {}
  onDrain: () => void = () => {}
  onClose: (reason: string) => void = () => {}

  constructor(peer = 'peer', trafficClass: TrafficClass = 'data') {
    this.peer = peer as PeerId
    this.class = trafficClass
  }

  /** Every message that was sent. */
  get messages(): Message[] {
    return this.sent.flatMap(frame => decodeFrame(frame))
  }

  get isClosed(): boolean {
    return this.reasons.length > 0
  }

  send(frame: Uint8Array): boolean {
    this.sent.push(frame)
    return !this.isCongested
  }

  close(reason: string): void {
    if (this.isClosed) return
    this.reasons.push(reason)
    this.onClose(reason)
  }

  drain(): void {
    this.isCongested = false
    this.onDrain()
  }
}
