import type { Clock, Timer } from './clock.ts'

const TICK_MS = 10
const SLOTS = 1024

const IDLE = -1
const FIRING = -2

/**
 * Something with a deadline. Whatever waits extends it, so that a deadline costs no allocation of its own. The fields
 * belong to the wheel.
 */
export abstract class Deadline {
  /** Tick at which it expires, or that it is in no wheel. */
  wheelTick: number = IDLE
  wheelNext: Deadline | undefined = undefined
  wheelPrevious: Deadline | undefined = undefined

  /** Called once when the time is up, unless it was cancelled before. */
  abstract expire(): void
}

/**
 * One timer for all deadlines of a node (a hashed timing wheel: Varghese and Lauck, SOSP 1987). Adding and cancelling
 * cost O(1), where a timer or an `AbortSignal` each cost up to microseconds. A deadline fires up to 10 ms late, never
 * early. The clock's timer is set for the next slot that holds anything, and not at all while the wheel is empty.
 */
export class TimerWheel {
  readonly #clock: Clock
  readonly #slots: (Deadline | undefined)[] = Array.from({ length: SLOTS }, () => undefined)
  #size = 0
  /** Every tick up to this one has been dealt with. */
  #tick: number
  #timer: Timer | undefined = undefined
  #timerTick = Infinity

  constructor(clock: Clock) {
    this.#clock = clock
    this.#tick = Math.floor(clock.monotonicMs() / TICK_MS)
  }

  /** Deadlines under way. */
  get size(): number {
    return this.#size
  }

  /** Begins to wait. A deadline that waits already is moved. */
  add(deadline: Deadline, delayMs: number): void {
    this.cancel(deadline)
    const nowMs = this.#clock.monotonicMs()
    if (this.#size === 0) this.#tick = Math.max(this.#tick, Math.floor(nowMs / TICK_MS))
    const tick = Math.max(this.#tick + 1, Math.ceil((nowMs + delayMs) / TICK_MS))
    const slot = tick % SLOTS
    const head = this.#slots[slot]
    deadline.wheelTick = tick
    deadline.wheelNext = head
    if (head !== undefined) head.wheelPrevious = deadline
    this.#slots[slot] = deadline
    this.#size++
    if (tick < this.#timerTick) this.#arm(tick, nowMs)
  }

  /** Stops waiting; does nothing when the deadline is in no wheel. */
  cancel(deadline: Deadline): void {
    if (deadline.wheelTick === FIRING) deadline.wheelTick = IDLE
    if (deadline.wheelTick === IDLE) return
    this.#unlink(deadline)
    deadline.wheelTick = IDLE
    if (this.#size === 0) this.#disarm()
  }

  #unlink(deadline: Deadline): void {
    const { wheelNext: next, wheelPrevious: previous } = deadline
    if (next !== undefined) next.wheelPrevious = previous
    if (previous === undefined) this.#slots[deadline.wheelTick % SLOTS] = next
    else previous.wheelNext = next
    deadline.wheelNext = undefined
    deadline.wheelPrevious = undefined
    this.#size--
  }

  #arm(tick: number, nowMs: number): void {
    this.#timer?.cancel()
    this.#timerTick = tick
    this.#timer = this.#clock.after(Math.max(0, tick * TICK_MS - nowMs), this.#wake)
  }

  #disarm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#timerTick = Infinity
  }

  readonly #wake = (): void => {
    this.#timer = undefined
    this.#timerTick = Infinity
    const now = Math.floor(this.#clock.monotonicMs() / TICK_MS)
    const due: Deadline[] = []
    // After a stall longer than one turn of the wheel each slot is looked at once.
    for (let tick = Math.max(this.#tick + 1, now - SLOTS + 1); tick <= now; tick++) this.#takeDue(tick, now, due)
    this.#tick = Math.max(this.#tick, now)
    for (const deadline of due) {
      if (deadline.wheelTick !== FIRING) continue
      deadline.wheelTick = IDLE
      deadline.expire()
    }
    this.#rearm()
  }

  #takeDue(tick: number, now: number, due: Deadline[]): void {
    let deadline = this.#slots[tick % SLOTS]
    while (deadline !== undefined) {
      const next = deadline.wheelNext
      if (deadline.wheelTick <= now) {
        this.#unlink(deadline)
        deadline.wheelTick = FIRING
        due.push(deadline)
      }
      deadline = next
    }
  }

  #rearm(): void {
    if (this.#size === 0) {
      this.#disarm()
      return
    }
    // A slot may hold only deadlines of a later turn: then this wakes once per turn for nothing, which costs little.
    let tick = this.#tick + 1
    while (this.#slots[tick % SLOTS] === undefined) tick++
    if (tick < this.#timerTick) this.#arm(tick, this.#clock.monotonicMs())
  }
}
