import { createDeferred, type Deferred } from '../base/deferred.ts'
import type { KilovoltError } from '../base/errors.ts'
import type { Clock, Timer } from '../runtime/clock.ts'

/** A call that waits, until it is settled or its time is over. */
export interface Waiting<T> {
  readonly promise: Promise<T>
  settle(value: T): void
  fail(error: KilovoltError): void
}

/** All calls of a group that wait: each has a deadline, and there is a bound on them. */
export class WaitingRoom {
  readonly #clock: Clock
  readonly #max: number
  readonly #waiting = new Set<{ fail(error: KilovoltError): void }>()

  constructor(clock: Clock, max: number) {
    this.#clock = clock
    this.#max = max
  }

  get isFull(): boolean {
    return this.#waiting.size >= this.#max
  }

  /** @param onTimeout - is called when the time is over, and says what the call rejects with */
  add<T>(timeoutMs: number, onTimeout: () => KilovoltError): Waiting<T> {
    const deferred: Deferred<T> = createDeferred<T>()
    const end = (): void => {
      timer.cancel()
      this.#waiting.delete(waiting)
    }
    const waiting = {
      promise: deferred.promise,
      settle: (value: T): void => {
        end()
        deferred.resolve(value)
      },
      fail: (error: KilovoltError): void => {
        end()
        deferred.reject(error)
      }
    }
    const timer: Timer = this.#clock.after(timeoutMs, () => waiting.fail(onTimeout()))
    this.#waiting.add(waiting)
    return waiting
  }

  /** Nobody need wait any longer. */
  failAll(error: KilovoltError): void {
    for (const waiting of this.#waiting) waiting.fail(error)
  }
}
