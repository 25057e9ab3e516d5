import { KilovoltError } from './errors.ts'

/** What everything that waits accepts. */
export interface AbortOptions {
  /** Gives up waiting; the call rejects with `KV_ABORTED` and the signal's reason as its cause. */
  readonly signal?: AbortSignal | undefined
}

/** The error for a call whose signal was aborted. */
export function abortError(signal: AbortSignal, what: string): KilovoltError {
  return new KilovoltError('KV_ABORTED', `${what} was aborted by its signal`, { cause: signal.reason })
}

/** Rejects before any work is done when the signal is already aborted. */
export function throwIfAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted === true) throw abortError(signal, what)
}

/** The error for what was under way in a node that stops. */
export function stoppedError(): KilovoltError {
  return new KilovoltError('KV_NODE_STOPPED', 'the node stops')
}

/**
 * Rejects when the node stops, of which `stopped` is the signal: to be called after each wait that the signal ends.
 *
 * @throws KilovoltError `KV_NODE_STOPPED`
 */
export function throwIfStopped(stopped: AbortSignal): void {
  if (stopped.aborted) throw stoppedError()
}

/** Runs `fn` once when the signal aborts (at once if it has); returns a function that takes the listener away again. */
export function onAbort(signal: AbortSignal | undefined, fn: () => void): () => void {
  if (signal === undefined) return () => {}
  if (signal.aborted) {
    fn()
    return () => {}
  }
  signal.addEventListener('abort', fn, { once: true })
  return () => signal.removeEventListener('abort', fn)
}

/**
 * What a promise comes to, unless the signal aborts first: then it rejects with that error, and nobody waits for the
 * promise any more. What it does goes on.
 */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal, error: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const forget = onAbort(signal, () => reject(error()))
    void promise.then(resolve, reject).finally(forget)
  })
}
