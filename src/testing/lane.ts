import type { Timer } from '../runtime/clock.ts'
import type { Conditions } from './conditions.ts'
import type { TrafficClass } from '../transport/transport.ts'
import type { SimClock } from './sim-clock.ts'

/** What a lane needs. */
export interface LaneDeps {
  readonly world: LaneTime
  readonly conditions: Conditions
  readonly from: string
  /** Clock of the receiving process. */
  readonly to: SimClock
  /** What travels here, when it is one class of traffic. */
  readonly class: TrafficClass | undefined
  /** Called when something has been held up for too long: the connection is dead. */
  readonly onBroken: () => void
}

/** The part of the world that a lane uses. */
export interface LaneTime {
  readonly nowUs: number
  after(delayMs: number, fn: () => void): Timer
}

/**
 * One direction of an ordered stream between two processes. While its way is blocked, what has come up to the block
 * waits there, as TCP would send it again and again, and goes on in order when the way is free.
 */
export class Lane {
  readonly #deps: LaneDeps
  /** What is under way, in order; the first `#arrived` of it have covered the distance. */
  #queue: { readonly bytes: number; readonly run: () => void }[] = []
  #arrived = 0
  #lastUs = 0
  #freeUs = 0
  #heldBytes = 0
  #closed = false
  #waiting: (() => void) | undefined

  constructor(deps: LaneDeps) {
    this.#deps = deps
  }

  /** Bytes that have not left the sender: not sent for lack of bandwidth, or held up by a block. */
  get backlog(): number {
    const { world, conditions } = this.#deps
    const lateUs = Math.max(0, this.#freeUs - world.nowUs)
    return Math.floor((lateUs * conditions.options.bytesPerMs) / 1000) + this.#heldBytes
  }

  /** True time at which the sender will have sent everything, were there no block. */
  get freeUs(): number {
    return this.#freeUs
  }

  /** Something goes off to the other side, `run` being called there in its turn. */
  push(bytes: number, run: () => void): void {
    if (this.#closed) return
    const delayUs = this.#delayUs(bytes)
    this.#queue.push({ bytes, run })
    const { world, to } = this.#deps
    this.#lastUs = Math.max(world.nowUs + delayUs, this.#lastUs)
    // The event takes whatever is next, so that order holds even when the receiver stands still for a while.
    to.arrive(this.#lastUs - world.nowUs, () => this.#arrive())
  }

  /** As `push`, but in no order, and lost when it meets a block. */
  pushLoose(bytes: number, run: () => void): void {
    const delayUs = this.#delayUs(bytes) + this.#deps.conditions.delayUs() * 2
    this.#deps.to.arrive(delayUs, () => {
      if (!this.#closed && !this.#isBlocked()) run()
    })
  }

  /** Drops what is under way. */
  close(): void {
    this.#closed = true
    this.#queue = []
    this.#arrived = 0
    this.#heldBytes = 0
    this.#waiting?.()
    this.#waiting = undefined
  }

  #delayUs(bytes: number): number {
    const { world, conditions, from, to, class: trafficClass } = this.#deps
    const transmitUs = Math.floor((bytes * 1000) / conditions.options.bytesPerMs)
    const clogged = conditions.cloggedUntilUs(from, to.name, trafficClass)
    this.#freeUs = Math.max(this.#freeUs, world.nowUs, clogged) + transmitUs
    return this.#freeUs - world.nowUs + conditions.delayUs()
  }

  #isBlocked(): boolean {
    return this.#deps.conditions.isBlocked(this.#deps.from, this.#deps.to.name)
  }

  #arrive(): void {
    if (this.#closed) return
    if (this.#waiting === undefined && !this.#isBlocked()) {
      this.#queue.shift()?.run()
      return
    }
    this.#heldBytes += this.#queue[this.#arrived]?.bytes ?? 0
    this.#arrived++
    this.#wait()
  }

  #wait(): void {
    if (this.#waiting !== undefined) return
    const { world, conditions, to, onBroken } = this.#deps
    const timer = world.after(conditions.options.breakAfterMs, () => {
      if (!this.#closed) onBroken()
    })
    const unsubscribe = conditions.onFreed(() => {
      if (!this.#isBlocked()) to.arrive(conditions.delayUs(), () => this.#flush())
    })
    this.#waiting = () => {
      timer.cancel()
      unsubscribe()
    }
  }

  #flush(): void {
    if (this.#closed || this.#isBlocked()) return
    this.#waiting?.()
    this.#waiting = undefined
    const ready = this.#queue.splice(0, this.#arrived)
    this.#arrived = 0
    this.#heldBytes = 0
    for (const { run } of ready) if (!this.#closed) run()
  }
}
