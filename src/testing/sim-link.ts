import { copyBytes } from '../base/bytes.ts'
import type { PeerId } from '../model/node-id.ts'
import type { Link } from '../transport/host.ts'
import type { TrafficClass } from '../transport/transport.ts'
import type { Conditions } from './conditions.ts'
import type { Lane } from './lane.ts'
import type { SimClock } from './sim-clock.ts'
import { hashBytes, type Trace } from './trace.ts'

/** Bytes waiting at which `send` says that the link is congested. */
const HIGH_WATER_BYTES = 256 * 1024

/** What one end of a link needs. */
export interface SimLinkDeps {
  readonly world: { readonly nowUs: number; readonly nowMs: number; readonly trace: Trace }
  readonly conditions: Conditions
  readonly clock: SimClock
  /** The way to the other end. */
  readonly lane: Lane
  readonly onFinished: (link: SimLink) => void
  /** Sees each frame before its receiver does. */
  readonly onDelivery: (delivery: Delivery) => void
}

/** A frame that has arrived. Machines go by name. */
export interface Delivery {
  readonly from: string
  readonly to: string
  readonly class: TrafficClass
  /** Not to be kept or written to. */
  readonly frame: Uint8Array
}

/** One end of a simulated link. */
export class SimLink implements Link {
  readonly peer: PeerId
  readonly class: TrafficClass
  readonly remoteAddress: string
  onFrame: (frame: Uint8Array) => void = () => {}
  onDrain: () => void = () => {}
  onClose: (reason: string) => void = () => {}
  readonly #deps: SimLinkDeps
  readonly #label: string
  readonly #peerName: string
  #twin: SimLink | undefined
  #closed = false
  #congested = false
  #sent = 0

  constructor(deps: SimLinkDeps, peer: PeerId, trafficClass: TrafficClass, remoteAddress: string, peerName: string) {
    this.#deps = deps
    this.peer = peer
    this.class = trafficClass
    this.remoteAddress = remoteAddress
    this.#peerName = peerName
    this.#label = `${trafficClass} frame from ${peerName}`
  }

  get bufferedBytes(): number {
    return this.#closed ? 0 : this.#deps.lane.backlog
  }

  get isClosed(): boolean {
    return this.#closed
  }

  /** Joins the two ends. */
  attach(twin: SimLink): void {
    this.#twin = twin
  }

  send(frame: Uint8Array): boolean {
    if (this.#closed) return false
    const { conditions, lane } = this.#deps
    const twin = this.#twin!
    const copy = copyBytes(frame)
    const { lost, duplicate, reorder } = conditions.fate(this.class)
    const first = this.#sent++ === 0
    const deliver = (): void => twin.#receive(copy)
    // The first frame is never overtaken: nobody sends a second one before the hello has been answered.
    if (reorder && !first) lane.pushLoose(copy.length, deliver)
    else if (!lost) lane.push(copy.length, deliver)
    if (duplicate && !first) lane.pushLoose(copy.length, () => twin.#receive(copyBytes(copy)))
    const free = lane.backlog <= HIGH_WATER_BYTES
    if (!free) this.#awaitDrain()
    return free
  }

  close(reason: string): void {
    if (this.#closed) return
    const twin = this.#twin!
    this.#deps.lane.push(0, () => twin.finish(reason))
    this.finish(reason)
  }

  /** This end is over, whoever has ended it. */
  finish(reason: string): void {
    if (this.#closed) return
    this.#closed = true
    this.#deps.onFinished(this)
    this.#deps.clock.arrive(0, () => this.onClose(reason))
  }

  #receive(frame: Uint8Array): void {
    if (this.#closed) return
    const { world, clock, onDelivery } = this.#deps
    onDelivery({ from: this.#peerName, to: clock.name, class: this.class, frame })
    world.trace.record(world.nowMs, clock.name, this.#label, fingerprint(frame))
    this.onFrame(frame)
  }

  #awaitDrain(): void {
    if (this.#congested) return
    this.#congested = true
    const { world, clock, lane } = this.#deps
    const check = (): void => {
      if (this.#closed) return
      if (lane.backlog > HIGH_WATER_BYTES / 2) {
        // Blocked rather than slow: look again from time to time.
        clock.arrive(Math.max(lane.freeUs - world.nowUs, 10_000), check)
        return
      }
      this.#congested = false
      this.onDrain()
    }
    clock.arrive(lane.freeUs - world.nowUs, check)
  }
}

/** Frames carry their own checksum (see `codec/frame.ts`); whatever else is sent is summed up here. */
function fingerprint(frame: Uint8Array): number {
  return hashBytes(frame.length >= 8 ? frame.subarray(0, 8) : frame)
}
