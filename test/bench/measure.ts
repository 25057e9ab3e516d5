/** What one run of a loop found. */
export interface Measurement {
  /** Those that succeeded. */
  readonly operations: number
  readonly failed: number
  /** What the first that failed said. */
  readonly failure: string | undefined
  readonly seconds: number
  readonly opsPerSecond: number
  /** Latencies, µs. */
  readonly p50Us: number
  readonly p99Us: number
  readonly p999Us: number
}

/** An event loop that has not turned for so long, ms, is made to. */
const TURN_MS = 10

/**
 * Rate and latency of a closed loop: `inFlight` workers, each starts its next operation when the last one is done.
 *
 * What is answered at once would keep the event loop from ever turning, and the node from all its other work; so all
 * workers pause for a turn, which is not counted as anybody's latency, when there has been none for a while.
 */
export async function closedLoop(
  operation: (i: number) => Promise<unknown>,
  { inFlight, seconds }: { readonly inFlight: number; readonly seconds: number }
): Promise<Measurement> {
  const latencies = new Latencies()
  const startedAt = performance.now()
  const endsAt = startedAt + seconds * 1000
  let next = 0
  let failed = 0
  let failure: string | undefined
  let turnedAt = startedAt
  let turn: Promise<void> | undefined
  const turns = setInterval(() => (turnedAt = performance.now()), TURN_MS / 2)
  const worker = async (): Promise<void> => {
    let now = performance.now()
    while (now < endsAt) {
      if (now - turnedAt > TURN_MS) {
        turn ??= nextTurn().then(() => {
          turn = undefined
          turnedAt = performance.now()
        })
        await turn
        now = performance.now()
      }
      const before = now
      try {
        await operation(next++)
        now = performance.now()
        latencies.add((now - before) * 1000)
      } catch (error) {
        failed++
        failure ??= String(error)
        await nextTurn()
        now = performance.now()
      }
    }
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
  clearInterval(turns)
  return measurementOf(latencies, { failed, failure, seconds: (performance.now() - startedAt) / 1000 })
}

/** The figures of what was counted in so many seconds. */
export function measurementOf(
  latencies: Latencies,
  rest: { readonly failed: number; readonly failure: string | undefined; readonly seconds: number }
): Measurement {
  return {
    ...rest,
    operations: latencies.count,
    opsPerSecond: latencies.count / rest.seconds,
    p50Us: latencies.percentile(50),
    p99Us: latencies.percentile(99),
    p999Us: latencies.percentile(99.9)
  }
}

function nextTurn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

const BUCKETS_PER_OCTAVE = 16
const OCTAVES = 32

/** A histogram with buckets 4 % apart: constant memory, whatever is measured. */
export class Latencies {
  readonly #buckets = new Uint32Array(OCTAVES * BUCKETS_PER_OCTAVE)
  count = 0

  add(us: number): void {
    this.count++
    const index = Math.floor(Math.log2(Math.max(1, us)) * BUCKETS_PER_OCTAVE)
    this.#buckets[Math.min(index, this.#buckets.length - 1)]!++
  }

  percentile(percent: number): number {
    let left = (this.count * percent) / 100
    for (const [index, count] of this.#buckets.entries()) {
      left -= count
      if (left <= 0) return 2 ** ((index + 0.5) / BUCKETS_PER_OCTAVE)
    }
    return 0
  }
}

/** The middle one of some numbers. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
