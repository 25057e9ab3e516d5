import { abortError, onAbort } from '../base/abort.ts'
import { KilovoltError } from '../base/errors.ts'
import type { Clock } from '../runtime/clock.ts'
import { Deadline, type TimerWheel } from '../runtime/timer-wheel.ts'
import type { CallOptions } from './call.ts'

/** What waiting for stamps needs. */
export interface StampWaitDeps {
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly wheel: TimerWheel
  readonly requestTimeoutMs: number
  /** Whether an earlier attempt may have been executed already. */
  readonly isRepeat: boolean
  /** What a stop ends. */
  readonly running: Set<{ cancel(error: KilovoltError): void }>
}

/** What was stamped, and the options of the call with the time that is left. */
export type InTime<T, Options> = Promise<{ readonly stamped: T; readonly left: Options }>

/**
 * Waits for what has to be stamped by a source that has to write something down first: no longer than the call may take, or
 * is wanted, or the node runs. Nothing of it was sent yet, whatever ends that.
 */
export async function stampedInTime<T, Options extends CallOptions>(
  stamped: Promise<T>,
  options: Options,
  { clock, wheel, requestTimeoutMs, isRepeat, running }: StampWaitDeps
): InTime<T, Options> {
  const { signal, timeoutMs = requestTimeoutMs } = options
  const beganMs = clock.monotonicMs()
  const found = await new Promise<T>((resolve, reject) => {
    const wait = new StampWait(timeoutMs, isRepeat, reject)
    const forget = onAbort(signal, () => wait.cancel(abortError(signal!, 'write')))
    wheel.add(wait, timeoutMs)
    running.add(wait)
    void stamped.then(resolve, reject).finally(() => {
      forget()
      wheel.cancel(wait)
      running.delete(wait)
    })
  })
  return {
    stamped: found,
    left: { ...options, timeoutMs: Math.max(1, Math.ceil(timeoutMs - (clock.monotonicMs() - beganMs))) }
  }
}

class StampWait extends Deadline {
  readonly #timeoutMs: number
  readonly #isRepeat: boolean
  readonly #reject: (error: KilovoltError) => void

  constructor(timeoutMs: number, isRepeat: boolean, reject: (error: KilovoltError) => void) {
    super()
    this.#timeoutMs = timeoutMs
    this.#isRepeat = isRepeat
    this.#reject = reject
  }

  override expire(): void {
    this.cancel(
      new KilovoltError('KV_TIMEOUT', `the store did not let a write begin within ${this.#timeoutMs} ms`, {
        retryable: !this.#isRepeat,
        details: { outcome: this.#isRepeat ? 'unknown' : 'not-executed' }
      })
    )
  }

  cancel(error: KilovoltError): void {
    this.#reject(error)
  }
}
