import type { Clock, Timer } from '../runtime/clock.ts'

/** How long what happens is counted before it is told, ms. */
const TELL_AFTER_MS = 1000

/** Counts what may happen many times a second, and tells it once a second at most. */
export class ToldTogether<T> {
  readonly #clock: Pick<Clock, 'after'>
  readonly #tell: (count: number, first: T) => void
  #count = 0
  #timer: Timer | undefined
  #isOver = false

  constructor(clock: Pick<Clock, 'after'>, tell: (count: number, first: T) => void) {
    this.#clock = clock
    this.#tell = tell
  }

  /** It has happened so many times more; `example` is told if it is the first. */
  add(count: number, example: T): void {
    // Steps that are under way when a node stops may still find something.
    if (this.#isOver) return
    this.#count += count
    this.#timer ??= this.#clock.after(TELL_AFTER_MS, () => {
      this.#timer = undefined
      const told = this.#count
      this.#count = 0
      this.#tell(told, example)
    })
  }

  /** What was not told yet never is, and neither is what happens from now on. */
  cancel(): void {
    this.#isOver = true
    this.#timer?.cancel()
  }
}
