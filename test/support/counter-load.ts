import type { Node } from 'kilovolt'

/** What a load did: operations that succeeded and failed, and what it noticed to be wrong while it ran. */
export interface LoadReport {
  readonly ok: number
  readonly failed: number
  /** Of the failed, writes that may have been stored. */
  readonly unknown: number
  /** Reads that were older than a write acknowledged before them. */
  readonly anomalies: readonly string[]
  /** Last acknowledged count of each key. */
  readonly acknowledged: Readonly<Record<string, number>>
  /** Message of the first failure of each code. */
  readonly failures: Readonly<Record<string, string>>
}

/** How a load runs. */
export interface LoadOptions {
  /** Each process counts on keys of its own, so that it alone knows what was acknowledged. */
  readonly prefix: string
  readonly keys: number
  readonly workers: number
  readonly consistency: 'one' | 'quorum' | 'all'
  /** For how long a failed operation is made again before it counts as failed, ms. */
  readonly retryForMs: number
}

const REPORT_EVERY = 64
/** Pause before a call is made again, ms. */
const RETRY_MS = 50

/**
 * Reads a counter, checks that it is not behind what was acknowledged, writes it plus one; over and over. Each key
 * belongs to one worker, so after a failed write the value may be the old or the attempted one, and nothing else.
 */
export class CounterLoad {
  readonly #node: Node
  readonly #options: LoadOptions
  readonly #onAcknowledged: (batch: [string, number][]) => void
  readonly #acknowledged = new Map<string, number>()
  readonly #failures = new Map<string, string>()
  readonly #anomalies: string[] = []
  #ok = 0
  #failed = 0
  #unknown = 0
  #running = false
  #workers: Promise<void>[] = []
  #pending: [string, number][] = []

  constructor(node: Node, options: LoadOptions, onAcknowledged: (batch: [string, number][]) => void) {
    this.#node = node
    this.#options = options
    this.#onAcknowledged = onAcknowledged
  }

  start(): void {
    this.#running = true
    this.#workers = Array.from({ length: this.#options.workers }, (_, worker) => this.#work(worker))
  }

  async stop(): Promise<LoadReport> {
    this.#running = false
    await Promise.all(this.#workers)
    this.#flush()
    return this.report()
  }

  /** What it has done so far. */
  report(): LoadReport {
    return {
      ok: this.#ok,
      failed: this.#failed,
      unknown: this.#unknown,
      anomalies: this.#anomalies,
      acknowledged: Object.fromEntries(this.#acknowledged),
      failures: Object.fromEntries(this.#failures)
    }
  }

  async #work(worker: number): Promise<void> {
    const { prefix, keys, workers } = this.#options
    for (let i = worker; this.#running; i = i + workers < keys ? i + workers : worker)
      await this.#count(`${prefix}:${i}`)
  }

  async #count(key: string): Promise<void> {
    const { consistency } = this.#options
    try {
      const found = ((await this.#attempt(() => this.#node.get(key, { consistency }))) as number | undefined) ?? 0
      this.#ok++
      const known = this.#acknowledged.get(key) ?? 0
      if (found < known) this.#anomalies.push(`${key} read ${found} after ${known} was acknowledged`)
      const next = Math.max(found, known) + 1
      await this.#attempt(() => this.#node.put(key, next, { consistency }))
      this.#ok++
      this.#acknowledged.set(key, next)
      this.#pending.push([key, next])
      if (this.#pending.length >= REPORT_EVERY) this.#flush()
    } catch (error) {
      this.#failed++
      if ((error as { details?: { outcome?: unknown } }).details?.outcome === 'unknown') this.#unknown++
      const code = (error as { code?: string }).code ?? 'other'
      if (!this.#failures.has(code)) this.#failures.set(code, String(error))
    }
  }

  /** Makes a call, and again while the time lasts; each key has one writer, so a write may be made twice. */
  async #attempt<T>(call: () => Promise<T>): Promise<T> {
    const { retryForMs } = this.#options
    for (let untilMs = Infinity; ;) {
      try {
        return await call()
      } catch (error) {
        untilMs = Math.min(untilMs, performance.now() + retryForMs)
        if (performance.now() >= untilMs) throw error
        // What an app would do between two attempts; the condition is the call itself, the bound `retryForMs`.
        await new Promise(resolve => setTimeout(resolve, RETRY_MS))
      }
    }
  }

  #flush(): void {
    if (this.#pending.length > 0) this.#onAcknowledged(this.#pending)
    this.#pending = []
  }
}
