import type { PeerId } from '../model/node-id.ts'
import type { Hello } from './hello.ts'
import type { Rpc } from './rpc.ts'
import type { TrafficClass } from './transport.ts'

/** All classes of traffic. */
export const TRAFFIC_CLASSES: readonly TrafficClass[] = ['control', 'data', 'bulk']

/** Two links that came up within this time were opened by both sides at once, ms. */
const SIMULTANEOUS_MS = 1000

interface OpenLink {
  readonly rpc: Rpc
  readonly upAtMs: number
}

/** The links of one class. */
interface Route {
  /** The one to use. */
  current: Rpc | undefined
  /** Opened by this node; not open yet, but it takes messages. */
  opening: Rpc | undefined
  /** Opened by this node. */
  ours: OpenLink | undefined
  /** Opened by the peer. */
  theirs: OpenLink | undefined
}

/**
 * What there is between this node and one peer. Both may open a link of a class at the same time; then both are kept,
 * answers go back by the link the request came by, and for everything new both sides choose the one that the smaller
 * peer id has opened. A link that is opened while another one exists means that its opener has lost the other.
 */
export class PeerLinks {
  readonly id: PeerId
  /** The latest hello, while linked. */
  hello: Hello | undefined
  /** Malformed frames since the connection was made. */
  strikes = 0
  /** Exchanges of hellos under way. */
  greetings = 0
  readonly #self: PeerId
  readonly #routes: Readonly<Record<TrafficClass, Route>>

  constructor(self: PeerId, id: PeerId) {
    this.#self = self
    this.id = id
    this.#routes = { control: createRoute(), data: createRoute(), bulk: createRoute() }
  }

  /** Whether a control link is open: the one that decides. */
  get isLinked(): boolean {
    const { ours, theirs } = this.#routes.control
    return ours !== undefined || theirs !== undefined
  }

  /** Whether there is nothing here to remember. */
  get isIdle(): boolean {
    return this.greetings === 0 && TRAFFIC_CLASSES.every(name => this.#routes[name].current === undefined)
  }

  /** Where messages of a class go; it may still be opening. */
  rpc(trafficClass: TrafficClass): Rpc | undefined {
    return this.#routes[trafficClass].current
  }

  /** This node has begun to open a link. */
  opening(rpc: Rpc): void {
    const route = this.#routes[rpc.class]
    route.opening = rpc
    this.#choose(route)
  }

  /** A link is open. Returns the links that it replaces, to be closed. */
  opened(rpc: Rpc, isOurs: boolean, nowMs: number): readonly Rpc[] {
    const route = this.#routes[rpc.class]
    const replaced: Rpc[] = []
    const before = isOurs ? route.ours : route.theirs
    const other = isOurs ? route.theirs : route.ours
    if (before !== undefined) replaced.push(before.rpc)
    if (other !== undefined && nowMs - other.upAtMs > SIMULTANEOUS_MS) replaced.push(other.rpc)
    if (route.opening === rpc) route.opening = undefined
    if (isOurs) route.ours = { rpc, upAtMs: nowMs }
    else route.theirs = { rpc, upAtMs: nowMs }
    this.#choose(route)
    return replaced
  }

  /** A link is closed. */
  closed(rpc: Rpc): void {
    const route = this.#routes[rpc.class]
    if (route.opening === rpc) route.opening = undefined
    if (route.ours?.rpc === rpc) route.ours = undefined
    if (route.theirs?.rpc === rpc) route.theirs = undefined
    this.#choose(route)
  }

  /** All links, open or opening. */
  all(): readonly Rpc[] {
    const found: Rpc[] = []
    for (const name of TRAFFIC_CLASSES) {
      const { opening, ours, theirs } = this.#routes[name]
      for (const rpc of [opening, ours?.rpc, theirs?.rpc]) if (rpc !== undefined) found.push(rpc)
    }
    return found
  }

  #choose(route: Route): void {
    const [first, second] = this.#self < this.id ? [route.ours, route.theirs] : [route.theirs, route.ours]
    route.current = first?.rpc ?? second?.rpc ?? route.opening
  }
}

function createRoute(): Route {
  return { current: undefined, opening: undefined, ours: undefined, theirs: undefined }
}
