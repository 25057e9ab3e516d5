import { BenchGroup, withGroups } from './bench-process.ts'
import { type Load, USUAL_LOAD } from './load.ts'
import type { Report } from './report.ts'
import { figure } from './table.ts'

const PEAK_IN_FLIGHT = [64, 256, 1024]
const PEAK_SECONDS = 1
/** Parts of the peak at which requests are begun when no rates are named. */
const SHARES = [0.1, 0.3, 0.5, 0.7, 0.9]

/**
 * What operations take at fixed rates, counted from when each was due; and bare frames at the same rates, which is what
 * the machine and the bench itself add. Without rates: at parts of the peak.
 */
export async function benchRates(
  change: Partial<Load>,
  perSecond: readonly number[],
  seconds: number
): Promise<Report> {
  const load: Load = { ...USUAL_LOAD, mix: '50/50', ...change }
  const rows: string[][] = []
  const figures: Record<string, number> = {}
  await withGroups([BenchGroup.nodes(), BenchGroup.bare()], async (nodes, bare) => {
    await Promise.all([nodes.warmUp(['kilovolt']), bare.warmUp(['frames'])])
    let peak = 0
    for (const inFlight of PEAK_IN_FLIGHT) {
      const { opsPerSecond } = await nodes.measure('kilovolt', load, { inFlight, seconds: PEAK_SECONDS })
      peak = Math.max(peak, opsPerSecond)
    }
    const rates = perSecond.length > 0 ? perSecond : SHARES.map(share => Math.round(peak * share))
    for (const rate of rates) {
      const limit = await bare.measure('frames', load, { perSecond: rate, seconds })
      const result = await nodes.measure('kilovolt', load, { perSecond: rate, seconds })
      const { p50Us, p99Us, p999Us, cpuPer100k, failed } = result
      const name = `${load.mix}, ${load.level}, ${figure(rate)}/s (${Math.round((rate / peak) * 100)} % of peak)`
      const ms = [p50Us, p99Us, p999Us, limit.p999Us].map(us => figure(us / 1000))
      rows.push([name, ...ms, figure(cpuPer100k), String(failed)])
      figures[`${perSecond.length > 0 ? rate : `${Math.round((rate / peak) * 100)} %`}: p99.9 µs`] = p999Us
    }
  })
  const head = ['open loop', 'p50 ms', 'p99 ms', 'p99.9 ms', 'of bare frames', 'CPU s/100k', 'failed']
  return { sections: [{ name: 'open-loop', head, rows }], figures }
}
