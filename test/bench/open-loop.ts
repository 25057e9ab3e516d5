import { Worker } from 'node:worker_threads'
import { Latencies, type Measurement, measurementOf } from './measure.ts'

interface Seen {
  readonly latencies: Latencies
  failed: number
  failure: string | undefined
}

/**
 * Requests at a fixed rate, whether or not the earlier ones are answered. What a request takes is counted from when it was
 * due, so one that could not even be begun counts all of its waiting, and a loop that stalls cannot hide it (no coordinated
 * omission). Above 1,000 a second those of one millisecond are due together.
 */
export class OpenLoop<K extends string> {
  readonly #ticks: Worker
  readonly #requests: Readonly<Record<K, (i: number) => Promise<unknown>>>
  readonly #order: readonly K[]
  #seen: Record<K, Seen>
  #sinceMs = performance.now()
  #next = 0
  #underWay = 0
  #onIdle: (() => void) | undefined

  /**
   * @param requests - what begins a request, by its kind
   * @param order - kinds, one after another, and again
   */
  constructor(perSecond: number, requests: Readonly<Record<K, (i: number) => Promise<unknown>>>, order: readonly K[]) {
    this.#requests = requests
    this.#order = order
    this.#seen = this.#nothing()
    this.#ticks = new Worker(new URL('open-loop-ticks.mjs', import.meta.url), { workerData: { perSecond } })
    this.#ticks.on('message', ({ dueMs, count }: { dueMs: number; count: number }) => {
      for (let k = 0; k < count; k++) {
        const i = this.#next++
        void this.#run(order[i % order.length]!, i, dueMs)
      }
    })
  }

  /** What was answered since the last call; what failed counts in the latencies as if it had been answered then. */
  take(): Readonly<Record<K, Measurement>> {
    const seen = this.#seen
    const nowMs = performance.now()
    const seconds = (nowMs - this.#sinceMs) / 1000
    this.#seen = this.#nothing()
    this.#sinceMs = nowMs
    const figures = {} as Record<K, Measurement>
    for (const kind of this.#order) {
      const { latencies, failed, failure } = seen[kind]
      figures[kind] = measurementOf(latencies, { failed, failure, seconds })
    }
    return figures
  }

  /** Ends when all that has begun is answered. */
  async stop(): Promise<void> {
    await this.#ticks.terminate()
    if (this.#underWay > 0) await new Promise<void>(resolve => (this.#onIdle = resolve))
  }

  #nothing(): Record<K, Seen> {
    const seen = {} as Record<K, Seen>
    for (const kind of this.#order) seen[kind] = { latencies: new Latencies(), failed: 0, failure: undefined }
    return seen
  }

  async #run(kind: K, i: number, dueMs: number): Promise<void> {
    this.#underWay++
    try {
      await this.#requests[kind](i)
    } catch (error) {
      this.#seen[kind].failed++
      this.#seen[kind].failure ??= String(error)
    }
    this.#seen[kind].latencies.add(Number(process.hrtime.bigint()) / 1e3 - dueMs * 1000)
    if (--this.#underWay === 0) this.#onIdle?.()
  }
}
