import { KilovoltError } from '../base/errors.ts'
import { Deadline } from '../runtime/timer-wheel.ts'

/** Waits for one page: its deadline, the caller's signal and the node's stop end it. */
export class PageWait extends Deadline {
  readonly #reject: (error: KilovoltError) => void
  readonly #late: () => KilovoltError
  readonly #ended = new AbortController()

  /** @param late - why it has failed when its time is up */
  constructor(reject: (error: KilovoltError) => void, late: () => KilovoltError) {
    super()
    this.#reject = reject
    this.#late = late
  }

  /** Aborts when nobody waits any more. */
  get signal(): AbortSignal {
    return this.#ended.signal
  }

  override expire(): void {
    this.cancel(this.#late())
  }

  cancel(error: KilovoltError): void {
    this.#ended.abort()
    this.#reject(error)
  }
}

/** The error for a page that did not come in time. */
export function lateError(what: string, timeoutMs: number): KilovoltError {
  const message = `a page of a ${what} did not come within ${timeoutMs} ms; go on with its token`
  return new KilovoltError('KV_TIMEOUT', message, { retryable: true })
}
