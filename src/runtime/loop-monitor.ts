import { monitorEventLoopDelay } from 'node:perf_hooks'

/** Tells how late the event loop runs: a node whose own loop stalls must not accuse others (Lifeguard, 2018, §3). */
export interface LoopMonitor {
  /** The longest delay of the event loop since the last call, in ms. */
  takeLagMs(): number
  stop(): void
}

/** Measures by `perf_hooks.monitorEventLoopDelay`; its resolution of 10 ms is taken off. */
export function createLoopMonitor(): LoopMonitor {
  const resolution = 10
  const histogram = monitorEventLoopDelay({ resolution })
  histogram.enable()
  return {
    takeLagMs() {
      const lag = Math.max(0, histogram.max / 1e6 - resolution)
      histogram.reset()
      return lag
    },
    stop: () => histogram.disable()
  }
}
