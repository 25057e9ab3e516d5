import type { PeerId } from '../model/node-id.ts'
import type { TrafficClass } from '../transport/transport.ts'
import type { Conditions } from './conditions.ts'
import { Lane, type LaneTime } from './lane.ts'
import type { SimClock } from './sim-clock.ts'
import { type Delivery, SimLink } from './sim-link.ts'
import type { Trace } from './trace.ts'

/** A process at one end of a connection. */
export interface ConnectionEnd {
  readonly self: PeerId
  readonly clock: SimClock
  readonly address: string
  /** The connection is usable here. */
  connected(connection: SimConnection): void
  /** It is not any more. */
  disconnected(connection: SimConnection, reason: string): void
  /** The other end has opened a link. */
  accepted(link: SimLink): void
}

/** What a connection needs. */
export interface ConnectionDeps {
  readonly world: LaneTime & { readonly nowMs: number; readonly trace: Trace }
  readonly conditions: Conditions
  readonly onFinished: (connection: SimConnection) => void
  readonly onDelivery: (delivery: Delivery) => void
}

type Side = 0 | 1

/** One authenticated connection between two processes, with the links on it. */
export class SimConnection {
  readonly ends: readonly [ConnectionEnd, ConnectionEnd]
  /** True time of its making, ms. */
  readonly bornMs: number
  readonly #deps: ConnectionDeps
  readonly #control: readonly [Lane, Lane]
  readonly #links = new Set<SimLink>()
  readonly #lanes = new Set<Lane>()
  readonly #active: [boolean, boolean] = [false, false]
  #closed = false

  constructor(deps: ConnectionDeps, dialer: ConnectionEnd, listener: ConnectionEnd) {
    this.#deps = deps
    this.ends = [dialer, listener]
    this.bornMs = deps.world.nowMs
    this.#control = [this.#lane(0, undefined), this.#lane(1, undefined)]
  }

  get isClosed(): boolean {
    return this.#closed
  }

  /** The other end. */
  peerOf(end: ConnectionEnd): ConnectionEnd {
    return this.ends[this.#sideOf(end) === 0 ? 1 : 0]
  }

  /** Makes it usable at one end. */
  activate(end: ConnectionEnd): void {
    const side = this.#sideOf(end)
    if (this.#closed || this.#active[side]) return
    this.#active[side] = true
    end.connected(this)
  }

  /** The dial that led to it was given up: closes it unless this end uses it for another reason. */
  abandon(end: ConnectionEnd): void {
    if (!this.#active[this.#sideOf(end)]) this.close(end, 'the dial was given up')
  }

  /** Says something to the other end, in order with all other such things. */
  tell(from: ConnectionEnd, run: () => void): void {
    this.#control[this.#sideOf(from)].push(0, run)
  }

  /** Opens a link from one end; `done` gets it when the other end knows of it, nothing when the connection broke. */
  open(from: ConnectionEnd, trafficClass: TrafficClass, done: (link: SimLink) => void): void {
    const side = this.#sideOf(from)
    const there = this.#lane(side, trafficClass)
    const back = this.#lane(side === 0 ? 1 : 0, trafficClass)
    const near = this.#link(side, trafficClass, there, back)
    const far = this.#link(side === 0 ? 1 : 0, trafficClass, back, there)
    near.attach(far)
    far.attach(near)
    this.tell(from, () => {
      const peer = this.peerOf(from)
      peer.accepted(far)
      this.tell(peer, () => done(near))
    })
  }

  /** One end closes: that end is done at once, the other when it hears of it. */
  close(by: ConnectionEnd, reason: string): void {
    if (this.#closed) return
    this.#shut()
    this.#finish(by, reason)
    this.#notify(by, this.peerOf(by), reason)
  }

  /** It is dead and both ends notice. */
  fail(reason: string): void {
    if (this.#closed) return
    this.#shut()
    for (const end of this.ends) end.clock.arrive(0, () => this.#finish(end, reason))
  }

  /** Tells the other end that it is over: as soon as the way is free, and after `breakAfterMs` it finds out by itself. */
  #notify(by: ConnectionEnd, peer: ConnectionEnd, reason: string): void {
    const { world, conditions } = this.#deps
    const isFree = (): boolean => !conditions.isBlocked(by.clock.name, peer.clock.name)
    const tell = (): void => void peer.clock.arrive(conditions.delayUs(), () => this.#finish(peer, reason))
    if (isFree()) return tell()
    const settle = (): void => {
      timer.cancel()
      forget()
      tell()
    }
    const timer = world.after(conditions.options.breakAfterMs, settle)
    const forget = conditions.onFreed(() => {
      if (isFree()) settle()
    })
  }

  #shut(): void {
    this.#closed = true
    for (const lane of this.#lanes) lane.close()
    this.#lanes.clear()
    this.#deps.onFinished(this)
  }

  #finish(end: ConnectionEnd, reason: string): void {
    const side = this.#sideOf(end)
    const peer = this.peerOf(end).self
    for (const link of this.#links) if (link.peer === peer) link.finish(reason)
    if (!this.#active[side]) return
    this.#active[side] = false
    end.disconnected(this, reason)
  }

  #sideOf(end: ConnectionEnd): Side {
    return this.ends[0] === end ? 0 : 1
  }

  #lane(from: Side, trafficClass: TrafficClass | undefined): Lane {
    const { world, conditions } = this.#deps
    const lane = new Lane({
      world,
      conditions,
      from: this.ends[from].clock.name,
      to: this.ends[from === 0 ? 1 : 0].clock,
      class: trafficClass,
      onBroken: () => this.fail('the network does not let anything through')
    })
    this.#lanes.add(lane)
    return lane
  }

  #link(at: Side, trafficClass: TrafficClass, lane: Lane, incoming: Lane): SimLink {
    const { world, conditions, onDelivery } = this.#deps
    const near = this.ends[at]
    const far = this.ends[at === 0 ? 1 : 0]
    const onFinished = (finished: SimLink): void => {
      this.#links.delete(finished)
      incoming.close()
      this.#lanes.delete(incoming)
    }
    const link = new SimLink(
      { world, conditions, clock: near.clock, lane, onFinished, onDelivery },
      far.self,
      trafficClass,
      far.address,
      far.clock.name
    )
    this.#links.add(link)
    return link
  }
}
