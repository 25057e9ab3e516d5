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

/**
 * Those who wait for one signal: a set, for which the signal has one listener. As many may wait for the end of a node as want,
 * without a warning of a leak; and an `EventTarget` links its listeners, of which one that is taken away goes on to hold those that
 * came after it, with all that they wait with.
 */
class Waiters {
  readonly #signal: AbortSignal
  readonly #all = new Set<{ readonly fn: () => void }>()

  constructor(signal: AbortSignal) {
    this.#signal = signal
  }

  add(fn: () => void): () => void {
    const one = { fn }
    if (this.#all.size === 0) this.#signal.addEventListener('abort', this.#call, { once: true })
    this.#all.add(one)
    return () => {
      if (this.#all.delete(one) && this.#all.size === 0) this.#signal.removeEventListener('abort', this.#call)
    }
  }

  readonly #call = (): void => {
    for (const one of this.#all) {
      // Whoever is called may take others away.
      this.#all.delete(one)
      one.fn()
    }
  }
}

const waiting = new WeakMap<AbortSignal, Waiters>()

/** Runs `fn`, which must not throw, once when the signal aborts (at once if it has); returns what takes it away again. */
export function onAbort(signal: AbortSignal | undefined, fn: () => void): () => void {
  if (signal === undefined) return () => {}
  if (signal.aborted) {
    fn()
    return () => {}
  }
  let waiters = waiting.get(signal)
  if (waiters === undefined) waiting.set(signal, (waiters = new Waiters(signal)))
  return waiters.add(fn)
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
