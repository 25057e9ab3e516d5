import { BenchGroup, type Result, withGroups } from './bench-process.ts'
import { type Cell, cellName, limitOf, USUAL_CELL } from './cell.ts'
import { type Load, type Mix, USUAL_LOAD } from './load.ts'
import type { Report } from './report.ts'
import { figure } from './table.ts'
import type { TargetName } from './target.ts'

const LIMIT_SECONDS = 0.25
const LIMIT_NAMES: Readonly<Record<Exclude<TargetName, 'kilovolt' | 'documents' | 'packedDocuments'>, string>> = {
  map: 'Map',
  database: 'bare database',
  tcpFrames: 'bare frames over TCP',
  frames: 'bare frames',
  singleFrames: 'bare frames, each by itself'
}
const FIGURES = ['ops/s', 'p50 ms', 'p99 ms', 'CPU s/100k', 'wire MB/100k', 'GC %', 'loop late p99 ms', 'RSS MiB']

/** Cells of the matrix, each beside its limit. */
export async function benchMatrix(cells: readonly Cell[], seconds: number): Promise<Report> {
  const rows: string[][] = []
  const figures: Record<string, number> = {}
  for (const [group, same] of grouped(cells)) {
    const { members, store } = same[0]!
    await withGroups([BenchGroup.nodes(members, store), BenchGroup.bare(store)], async (nodes, bare) => {
      const limits = [...new Set(same.map(limitOf))]
      await Promise.all([nodes.warmUp(['kilovolt']), bare.warmUp(limits)])
      for (const cell of same) {
        process.stderr.write(`${cellName(cell)}\n`)
        const { load, inFlight } = cell
        const limit = await bare.measure(limitOf(cell), load, { inFlight, seconds: Math.min(seconds, LIMIT_SECONDS) })
        const result = await nodes.measure('kilovolt', load, { inFlight, seconds })
        const name = cellName(cell)
        rows.push([name, ...columns(result), figure(result.opsPerSecond / limit.opsPerSecond)])
        figures[`${name}: ops/s`] = result.opsPerSecond
        figures[`${name}: p50 µs`] = result.p50Us
        figures[`${name}: p99 µs`] = result.p99Us
        figures[`${name}: CPU s/100k`] = result.cpuPer100k
        figures[`${name}: wire bytes/op`] = result.wireBytesPerOp
        if (result.failed > 0) process.stderr.write(`${name}: ${result.failed} failed, the first: ${result.failure}\n`)
      }
    })
    process.stderr.write(`${group} done\n`)
  }
  return { sections: [{ name: 'matrix', head: ['kilovolt', ...FIGURES, '÷ limit'], rows }], figures }
}

/** What the limits themselves reach. */
export async function benchLimits(seconds: number): Promise<Report> {
  const rows: string[][] = []
  const figures: Record<string, number> = {}
  await withGroups([BenchGroup.bare()], async bare => {
    await bare.warmUp(Object.keys(LIMIT_NAMES) as TargetName[])
    for (const mix of ['get', 'put'] as const) {
      for (const [target, title] of Object.entries(LIMIT_NAMES) as [TargetName, string][]) {
        const load: Load = { ...USUAL_LOAD, mix: mix satisfies Mix }
        const result = await bare.measure(target, load, { inFlight: USUAL_CELL.inFlight, seconds })
        rows.push([`${title}, ${mix}`, ...columns(result)])
        figures[`${title}, ${mix}: ops/s`] = result.opsPerSecond
      }
    }
  })
  return { sections: [{ name: 'limits', head: ['limits, 64 in flight', ...FIGURES], rows }], figures }
}

/** Cells that the same processes can run. */
function grouped(cells: readonly Cell[]): ReadonlyMap<string, readonly Cell[]> {
  const groups = new Map<string, Cell[]>()
  for (const cell of cells) {
    const name = `${cell.members} processes, ${cell.store}`
    const group = groups.get(name)
    if (group === undefined) groups.set(name, [cell])
    else group.push(cell)
  }
  return groups
}

function columns(result: Result): string[] {
  return [
    figure(result.opsPerSecond),
    figure(result.p50Us / 1000),
    figure(result.p99Us / 1000),
    figure(result.cpuPer100k),
    figure((result.wireBytesPerOp * 100_000) / 1e6),
    figure(result.gcShare * 100),
    figure(result.lateP99Ms),
    (result.rssBytes / 2 ** 20).toFixed(0)
  ]
}
