import { abortError, onAbort } from '../base/abort.ts'
import { KilovoltError } from '../base/errors.ts'
import { Deadline, type TimerWheel } from '../runtime/timer-wheel.ts'

/** What waiting for pages needs. */
export interface PageWaitDeps {
  readonly wheel: TimerWheel
  /** Called for each page that is waited for, so that a stop can end it; returns what to call when it is over. */
  readonly track: (page: { cancel(error: KilovoltError): void }) => () => void
}

/** How long a page is waited for. */
export interface PageWaitOptions {
  /** For messages. */
  readonly what: 'scan' | 'query'
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  /** Why it has failed when its time is up. */
  readonly late: () => KilovoltError
}

/** The pages of one scan or query that are waited for. */
export class PageWaits {
  readonly #deps: PageWaitDeps
  readonly #options: PageWaitOptions
  readonly #running = new Set<PageWait>()

  constructor(deps: PageWaitDeps, options: PageWaitOptions) {
    this.#deps = deps
    this.#options = options
  }

  /** What fetching a page comes to, unless its wait ends first. */
  wait<T>(fetch: (wait: PageWait) => Promise<T>): Promise<T> {
    const { wheel, track } = this.#deps
    const { what, signal, timeoutMs, late } = this.#options
    return new Promise((resolve, reject) => {
      const wait = new PageWait(reject, late)
      this.#running.add(wait)
      const forget = onAbort(signal, () => wait.cancel(abortError(signal!, `a ${what}`)))
      const untrack = track(wait)
      wheel.add(wait, timeoutMs)
      fetch(wait)
        .then(resolve, reject)
        .finally(() => {
          this.#running.delete(wait)
          forget()
          untrack()
          wheel.cancel(wait)
        })
    })
  }

  /** Nobody wants the pages any more that are waited for. */
  close(): void {
    for (const wait of this.#running)
      wait.cancel(new KilovoltError('KV_ABORTED', `the ${this.#options.what} was closed`))
  }
}

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
