import { Worker } from 'node:worker_threads'
import { Latencies } from './measure.ts'

/** What one kind of request took within a window. */
export interface LoadFigures {
  readonly count: number
  readonly p50Ms: number
  readonly p99Ms: number
}

/** What was seen within a window; what failed is counted as if it had been answered when it failed. */
export interface LoadWindow {
  readonly get: LoadFigures
  readonly put: LoadFigures
  readonly failed: number
}

const figuresOf = (latencies: Latencies): LoadFigures => ({
  count: latencies.count,
  p50Ms: latencies.percentile(50) / 1000,
  p99Ms: latencies.percentile(99) / 1000
})

/**
 * Reads and writes in turn at a fixed rate, whether or not the earlier ones are answered. What a request takes is counted
 * from when it was due, so one that could not even be begun counts all of its waiting.
 */
export class OpenLoop {
  readonly #ticks: Worker
  #seen = { get: new Latencies(), put: new Latencies(), failed: 0 }

  constructor(
    perSecond: number,
    requests: { readonly get: () => Promise<unknown>; readonly put: () => Promise<unknown> }
  ) {
    let isPut = false
    this.#ticks = new Worker(new URL('open-loop-ticks.mjs', import.meta.url), { workerData: { perSecond } })
    this.#ticks.on('message', (dueMs: number) => {
      isPut = !isPut
      void this.#run(isPut ? 'put' : 'get', requests[isPut ? 'put' : 'get'], dueMs)
    })
  }

  /** What was answered since the last call. */
  take(): LoadWindow {
    const { get, put, failed } = this.#seen
    this.#seen = { get: new Latencies(), put: new Latencies(), failed: 0 }
    return { get: figuresOf(get), put: figuresOf(put), failed }
  }

  async stop(): Promise<void> {
    await this.#ticks.terminate()
  }

  async #run(kind: 'get' | 'put', request: () => Promise<unknown>, dueMs: number): Promise<void> {
    try {
      await request()
    } catch {
      this.#seen.failed++
    }
    this.#seen[kind].add(Number(process.hrtime.bigint()) / 1e3 - dueMs * 1000)
  }
}
