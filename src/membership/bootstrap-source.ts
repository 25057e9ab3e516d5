import { KilovoltError, isKilovoltError, messageOf } from '../base/errors.ts'
import type { Clock, Timer } from '../runtime/clock.ts'

/** Where to look for other nodes: a list of multiaddrs, or a function that returns one. */
export type Bootstrap = readonly string[] | (() => readonly string[] | Promise<readonly string[]>)

/** A function that has not answered after this long is taken to have failed, ms. */
const TIMEOUT_MS = 10_000

/** Asks a bootstrap function, which may throw, reject, return nonsense or never answer. */
export class BootstrapSource {
  readonly #clock: Clock
  readonly #bootstrap: Bootstrap
  #timer: Timer | undefined

  constructor(clock: Clock, bootstrap: Bootstrap) {
    this.#clock = clock
    this.#bootstrap = bootstrap
  }

  /** Whether the answer can change, so that it is worth asking again. */
  get isFunction(): boolean {
    return typeof this.#bootstrap === 'function'
  }

  /** Whether an answer is awaited. */
  get isReading(): boolean {
    return this.#timer !== undefined
  }

  /** Calls `done` exactly once, unless `stop` is called before. Must not be called while an answer is awaited. */
  read(done: (answer: readonly string[] | KilovoltError) => void): void {
    const bootstrap = this.#bootstrap
    if (typeof bootstrap !== 'function') {
      done(bootstrap)
      return
    }
    const finish = (answer: readonly string[] | KilovoltError): void => {
      if (this.#timer !== timer) return
      timer.cancel()
      this.#timer = undefined
      done(answer)
    }
    const timer = this.#clock.after(TIMEOUT_MS, () => finish(unreachable('no answer in time')))
    this.#timer = timer
    new Promise<unknown>(resolve => {
      resolve(bootstrap())
    }).then(
      answer => finish(isAddressList(answer) ? answer : nonsense()),
      (error: unknown) => finish(isKilovoltError(error) ? error : unreachable(messageOf(error), error))
    )
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }
}

function isAddressList(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every(item => typeof item === 'string')
}

function nonsense(): KilovoltError {
  return new KilovoltError('KV_CONFIG', 'the bootstrap function returned something else than a list of multiaddrs')
}

function unreachable(why: string, cause?: unknown): KilovoltError {
  return new KilovoltError('KV_UNREACHABLE', `the bootstrap function failed: ${why}`, { cause, retryable: true })
}
