import type { Timer } from '../runtime/clock.ts'

/** The process that an event belongs to, as the world sees it. */
export interface EventOwner {
  readonly name: string
  /** Whether the process has ended: none of its events runs any more. */
  readonly isDead: boolean
  /** True time before which none of its events runs, µs. */
  readonly stalledUntilUs: number
  /** Called when an event has run or was cancelled. */
  done(): void
}

/** Something that will happen at a true time; events of one time happen in order of their sequence numbers. */
export class SimEvent implements Timer {
  /** `undefined` for an event of the world itself. */
  readonly owner: EventOwner | undefined
  readonly #onCancel: () => void
  #fn: (() => void) | undefined
  #dueUs: number
  #sequence: number
  #postponed = false

  constructor(onCancel: () => void, dueUs: number, sequence: number, fn: () => void, owner: EventOwner | undefined) {
    this.#onCancel = onCancel
    this.#dueUs = dueUs
    this.#sequence = sequence
    this.#fn = fn
    this.owner = owner
  }

  get dueUs(): number {
    return this.#dueUs
  }

  get sequence(): number {
    return this.#sequence
  }

  /** Whether it was held up by a pause. */
  get isPostponed(): boolean {
    return this.#postponed
  }

  /** Neither run nor cancelled, and its process has not ended. */
  get isLive(): boolean {
    return this.#fn !== undefined && this.owner?.isDead !== true
  }

  cancel(): void {
    if (this.#fn === undefined) return
    this.#fn = undefined
    this.owner?.done()
    this.#onCancel()
  }

  /** Whether its owner stands still at a true time; at the last moment of the pause, what was held up before goes first. */
  mustWait(nowUs: number): boolean {
    const untilUs = this.owner?.stalledUntilUs ?? -1
    return untilUs > nowUs || (untilUs === nowUs && !(this.#postponed && this.#dueUs === untilUs))
  }

  /** Moves it to a later time; it must not be in a heap meanwhile. */
  postpone(dueUs: number, sequence: number): void {
    this.#dueUs = dueUs
    this.#sequence = sequence
    this.#postponed = true
  }

  run(): void {
    const fn = this.#fn
    this.#fn = undefined
    this.owner?.done()
    fn?.()
  }
}
