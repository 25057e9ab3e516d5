import { KilovoltError } from '../base/errors.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { LoopMonitor } from '../runtime/loop-monitor.ts'
import type { Oscillator } from './oscillator.ts'
import type { EventOwner, SimEvent } from './sim-event.ts'

/** What a clock needs of its world. */
export interface SimTime {
  /** True time, µs. */
  readonly nowUs: number
  at(dueUs: number, fn: () => void, owner: EventOwner): SimEvent
  soon(fn: () => void, owner: EventOwner): SimEvent
  release(owners: readonly EventOwner[]): void
}

/**
 * The clock of one simulated process. Its timers are events of the world; they die with the process, and wait while it
 * stands still.
 */
export class SimClock implements Clock, EventOwner {
  readonly name: string
  /** The machine's clock, which the next process on it will find as this one left it. */
  readonly oscillator: Oscillator
  /** How late the process's event loop ran, as its own monitor would tell. */
  readonly loopMonitor: LoopMonitor
  readonly #world: SimTime
  /** Owner of what comes from outside: it dies and waits with the process, but is no timer of its. */
  readonly #inbox: EventOwner
  #dead = false
  #stalledUntilUs = -1
  #lagMs = 0
  #pending = 0

  /** Made by `SimWorld.clock`. */
  constructor(world: SimTime, name: string, oscillator: Oscillator) {
    this.#world = world
    this.name = name
    this.oscillator = oscillator
    const isDead = (): boolean => this.#dead
    const stalledUntilUs = (): number => this.#stalledUntilUs
    this.#inbox = {
      name,
      get isDead() {
        return isDead()
      },
      get stalledUntilUs() {
        return stalledUntilUs()
      },
      done() {}
    }
    this.loopMonitor = {
      takeLagMs: () => {
        const lag = this.#lagMs
        this.#lagMs = 0
        return lag
      },
      stop() {}
    }
  }

  /** Whether the process has ended. */
  get isDead(): boolean {
    return this.#dead
  }

  /** Timers and calls of `soon` that have neither run nor been cancelled. */
  get pending(): number {
    return this.#dead ? 0 : this.#pending
  }

  /** True time at which the process goes on, µs; in the past unless it is stalled. */
  get stalledUntilUs(): number {
    return this.#stalledUntilUs
  }

  /** True time, µs, which no process can know: for what stands beneath it. */
  get trueUs(): number {
    return this.#world.nowUs
  }

  monotonicMs(): number {
    return this.oscillator.localUs(this.#world.nowUs) / 1000
  }

  wallMs(): number {
    return this.oscillator.wallMs(this.#world.nowUs)
  }

  after(delayMs: number, fn: () => void): Timer {
    if (Number.isNaN(delayMs)) throw new KilovoltError('KV_INTERNAL', 'a timer with a delay that is not a number')
    // setTimeout takes no delay beyond this either.
    const delayUs = Math.min(Math.max(0, Math.ceil(delayMs * 1000)), 0x7fff_ffff * 1000)
    return this.#add(this.#world.at(this.oscillator.dueUs(this.#world.nowUs, delayUs), fn, this))
  }

  soon(fn: () => void): void {
    this.#add(this.#world.soon(fn, this))
  }

  /**
   * Something from outside (a frame, a completed write) that reaches this process after a true delay in µs. Dropped when
   * the process has ended; not counted as a timer of its.
   */
  arrive(delayUs: number, fn: () => void): Timer {
    return this.#world.at(this.#world.nowUs + Math.max(0, Math.ceil(delayUs)), fn, this.#inbox)
  }

  /** The process ends: nothing of it runs any more. */
  kill(): void {
    this.#dead = true
  }

  /** The process stands still (garbage collection, SIGSTOP): whatever is due waits for the end of the pause. */
  stall(durationMs: number): void {
    this.#stalledUntilUs = Math.max(this.#stalledUntilUs, this.#world.nowUs + Math.ceil(durationMs * 1000))
    this.#lagMs = Math.max(this.#lagMs, durationMs)
  }

  /** The process is continued before its pause is over. What was held up runs now. */
  resume(): void {
    if (this.#stalledUntilUs <= this.#world.nowUs) return
    this.#stalledUntilUs = this.#world.nowUs
    this.#world.release([this, this.#inbox])
  }

  done(): void {
    this.#pending--
  }

  #add(event: SimEvent): SimEvent {
    this.#pending++
    return event
  }
}
