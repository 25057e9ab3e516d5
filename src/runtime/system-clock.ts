import type { Clock, Timer } from './clock.ts'

/** The machine's own clocks and timers. Timers are unreferenced: an embedded store must not keep its host alive. */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs: number, fn: () => void): Timer {
    const timer = setTimeout(fn, Math.max(0, delayMs))
    timer.unref()
    return { cancel: () => clearTimeout(timer) }
  },
  soon(fn: () => void): void {
    setImmediate(fn)
  }
}
