/** What one run of a closed loop found. */
export interface Measurement {
  readonly operations: number
  readonly seconds: number
  readonly opsPerSecond: number
  /** Latencies, µs. */
  readonly p50Us: number
  readonly p99Us: number
}

/** Rate and latency of a closed loop: `inFlight` workers, each starts its next operation when the last one is done. */
export async function closedLoop(
  operation: (i: number) => Promise<unknown>,
  { inFlight, seconds }: { readonly inFlight: number; readonly seconds: number }
): Promise<Measurement> {
  const latencies = new Latencies()
  const startedAt = performance.now()
  const endsAt = startedAt + seconds * 1000
  let next = 0
  const worker = async (): Promise<void> => {
    let now = performance.now()
    while (now < endsAt) {
      const before = now
      await operation(next++)
      now = performance.now()
      latencies.add((now - before) * 1000)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
  const elapsed = (performance.now() - startedAt) / 1000
  return {
    operations: latencies.count,
    seconds: elapsed,
    opsPerSecond: latencies.count / elapsed,
    p50Us: latencies.percentile(50),
    p99Us: latencies.percentile(99)
  }
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

/** Lines of a table with aligned columns. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map(row => row[i]!.length)))
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ')
  return [line(head), widths.map(width => '─'.repeat(width)).join('  '), ...rows.map(line)].join('\n')
}
