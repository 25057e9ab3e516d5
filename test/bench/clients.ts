import { Latencies, type Measurement, measurementOf } from './measure.ts'

/** After a request that failed a client waits so long, ms: it would fail again. */
const AFTER_FAILURE_MS = 5

type Kind = 'get' | 'put'

/** Clients that read and write without end, each its next request when the last one is answered: a closed loop, seen in windows. */
export class Clients {
  readonly #requests: Readonly<Record<Kind, () => Promise<unknown>>>
  #seen = nothing()
  #sinceMs = performance.now()
  #stopped = false
  readonly #running: readonly Promise<void>[]

  constructor(count: number, requests: Readonly<Record<Kind, () => Promise<unknown>>>) {
    this.#requests = requests
    this.#running = Array.from({ length: count }, (_, i) => this.#run(i))
  }

  /** What was answered since the last call. */
  take(): Readonly<Record<Kind, Measurement>> {
    const seen = this.#seen
    const nowMs = performance.now()
    const seconds = (nowMs - this.#sinceMs) / 1000
    this.#seen = nothing()
    this.#sinceMs = nowMs
    const of = ({ latencies, failed }: (typeof seen)[Kind]): Measurement =>
      measurementOf(latencies, { failed, failure: undefined, seconds })
    return { get: of(seen.get), put: of(seen.put) }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#running)
  }

  async #run(first: number): Promise<void> {
    for (let i = first; !this.#stopped; i++) {
      const kind = i % 2 === 0 ? 'get' : 'put'
      const startMs = performance.now()
      try {
        await this.#requests[kind]()
      } catch {
        this.#seen[kind].failed++
        await new Promise(resolve => setTimeout(resolve, AFTER_FAILURE_MS))
      }
      this.#seen[kind].latencies.add((performance.now() - startMs) * 1000)
    }
  }
}

function nothing(): Record<Kind, { readonly latencies: Latencies; failed: number }> {
  return { get: { latencies: new Latencies(), failed: 0 }, put: { latencies: new Latencies(), failed: 0 } }
}
