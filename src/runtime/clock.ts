import { onAbort } from '../base/abort.ts'

/** A pending call of a clock. */
export interface Timer {
  /** Forgets the call; does nothing when it was made already. */
  cancel(): void
}

/** The only way to know or to wait for time. Real in production, virtual in the simulator. */
export interface Clock {
  /** Milliseconds since some fixed point; never goes back. For durations and deadlines. */
  monotonicMs(): number
  /** Milliseconds since 1970 as the machine believes them; may jump either way. For stamps only. */
  wallMs(): number
  /** Calls `fn` once, `delayMs` from now or a little later. Never keeps the process alive by itself. */
  after(delayMs: number, fn: () => void): Timer
  /** Calls `fn` once, when the current turn of the event loop is over: the place to send what one tick has gathered. */
  soon(fn: () => void): void
}

/** Resolves after `delayMs`, or as soon as the signal aborts (it never rejects: look at the signal afterwards). */
export function pause(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal?.aborted === true) return resolve()
    const done = (): void => {
      timer.cancel()
      forget()
      resolve()
    }
    const timer = clock.after(delayMs, done)
    const forget = onAbort(signal, done)
  })
}
