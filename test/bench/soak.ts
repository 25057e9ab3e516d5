import { BenchGroup, withGroups } from './bench-process.ts'
import { type Load, USUAL_LOAD } from './load.ts'
import { median } from './measure.ts'
import type { Report } from './report.ts'
import { figure } from './table.ts'

/** Looks at the heap in a run of any length. */
const LOOKS = 40
/** What the page shows of them. */
const ROWS = 8
const FLAT_PERCENT = 5
const LOAD: Load = { ...USUAL_LOAD, mix: '50/50' }

/**
 * Whether anything grows under load: the heap of all three processes after a collection, over time. The first quarter is
 * not judged: caches, pools and logs fill up to their bounds.
 */
export async function benchSoak(minutes: number): Promise<Report> {
  const seconds = (minutes * 60) / LOOKS
  const looks: { readonly minute: number; readonly bytes: readonly number[]; readonly opsPerSecond: number }[] = []
  await withGroups([BenchGroup.nodes()], async nodes => {
    for (let i = 0; i < LOOKS; i++) {
      const { opsPerSecond } = await nodes.measure('kilovolt', LOAD, { inFlight: 64, seconds })
      const bytes = await Promise.all(nodes.processes.map(one => one.ask<number>({ kind: 'heap' })))
      looks.push({ minute: (minutes * (i + 1)) / LOOKS, bytes, opsPerSecond })
      process.stderr.write(`${figure(looks.at(-1)!.minute)} min: ${bytes.map(mib).join(', ')} MiB\n`)
    }
  })
  const judged = looks.slice(LOOKS / 4)
  const half = judged.length / 2
  const growth = looks[0]!.bytes.map((_, one) => {
    const middle = (part: typeof looks): number => median(part.map(({ bytes }) => bytes[one]!))
    return (middle(judged.slice(half)) / middle(judged.slice(0, half)) - 1) * 100
  })
  const rows = looks
    .filter((_, i) => (i + 1) % (LOOKS / ROWS) === 0)
    .map(({ minute, bytes, opsPerSecond }) => [figure(minute), ...bytes.map(mib), figure(opsPerSecond)])
  rows.push(['second half beside first, without the first quarter', ...growth.map(percent), ''])
  rows.push([
    `wanted within ${FLAT_PERCENT} %`,
    ...growth.map(each => (Math.abs(each) <= FLAT_PERCENT ? 'yes' : 'no')),
    ''
  ])
  const head = ['minutes', 'heap MiB, coordinating', 'another', 'another', 'ops/s']
  return {
    sections: [{ name: 'soak', head, rows }],
    figures: { 'greatest growth of a heap, %': Math.max(...growth) }
  }
}

function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1)
}

function percent(value: number): string {
  return `${value > 0 ? '+' : ''}${value.toFixed(1)} %`
}
