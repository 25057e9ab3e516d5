import { AskedChild } from './asked-child.ts'
import { median } from './measure.ts'
import type { Report } from './report.ts'
import type { ScanAnswers, ScanCommand, ScanWay } from './scan-child.ts'
import { figure } from './table.ts'

/** Requests beside the scan: a light load. */
const PER_SECOND = 200
const WINDOW_SECONDS = 6
export const WANTED_PER_SECOND = 100_000
export const WANTED_MIB = 32
const WANTED_P99 = 2
const MIB = 1024 * 1024
const WAYS: readonly ScanWay[] = [
  { level: 'quorum', what: 'entries', by: 'page' },
  { level: 'quorum', what: 'entries', by: 'entry' },
  { level: 'quorum', what: 'keys', by: 'page' },
  { level: 'one', what: 'entries', by: 'page' }
]

/** A process with a node, or with bare databases. */
export class ScanProcess extends AskedChild<ScanCommand, ScanAnswers> {
  constructor() {
    super('scan-child')
  }
}

/**
 * How fast one of three processes scans everything, beside what three bare databases merged in one process give; what a light load
 * on another of the three feels of it; and what a scan keeps in memory, on the node that scans and on the others.
 */
export async function benchScan(records: number, rounds: number): Promise<Report> {
  const [first, second, third, alone] = Array.from({ length: 4 }, () => new ScanProcess()) as [
    ScanProcess,
    ScanProcess,
    ScanProcess,
    ScanProcess
  ]
  try {
    const bare = await alone.ask({ kind: 'bareDatabases', records })
    alone.stop()
    const bootstrap = await first.ask({ kind: 'start', bootstrap: [] })
    for (const other of [second, third]) await other.ask({ kind: 'start', bootstrap })
    await first.ask({ kind: 'settled' })
    await first.ask({ kind: 'fill', records })
    const rows: string[][] = []
    const row = (name: string, value: number, more: readonly [string, string] = ['', '']): void => {
      rows.push([name, figure(value), ...more])
    }
    row('three bare databases merged in one process, keys/s', bare)
    const rates: number[] = []
    for (const way of WAYS) {
      await first.ask({ kind: 'scan', way, seconds: 1 })
      const rate = await first.ask({ kind: 'scan', way, seconds: 3 })
      rates.push(rate)
      const least = Math.min(WANTED_PER_SECOND, bare / 2)
      const wanted = [`≥ ${figure(least)}`, rate >= least ? 'yes' : 'no'] as const
      row(`${way.what} at ${way.level}, ${way.by} by ${way.by}, keys/s`, rate, way === WAYS[0] ? [...wanted] : ['', ''])
    }
    const pairs = await loadBeside(second, first, rounds)
    const ratio = median(pairs.map(({ idle, busy }) => busy / idle))
    row(`p99 of ${PER_SECOND} requests/s at quorum, nothing beside, ms`, median(pairs.map(({ idle }) => idle)))
    row('p99 beside a scan of entries at quorum, ms', median(pairs.map(({ busy }) => busy)))
    row(`p99 beside it ÷ with nothing beside, median of ${rounds} pairs`, ratio, [
      `≤ ${WANTED_P99}`,
      ratio <= WANTED_P99 ? 'yes' : 'no'
    ])
    await second.ask({ kind: 'watchMemory' })
    const scanning = (await first.ask({ kind: 'heldByScan' })) / MIB
    const serving = (await second.ask({ kind: 'heldMemory' })) / MIB
    const judged = (mib: number): [string, string] => [`≤ ${WANTED_MIB}`, mib <= WANTED_MIB ? 'yes' : 'no']
    row('kept by a scan where it runs, MiB', scanning, judged(scanning))
    row('kept by a scan on another node, MiB', serving, judged(serving))
    const head = [
      `${records.toLocaleString('en')} records of 100 bytes in three processes`,
      'found',
      'wanted',
      'reached'
    ]
    const figures = { 'entries scanned at quorum, keys/s': rates[0]!, 'p99 beside a scan ÷ without': ratio }
    return { sections: [{ name: 'scan', head, rows }], figures }
  } finally {
    for (const one of [first, second, third, alone]) one.stop()
  }
}

/** The p99 of a light load on one node by itself, and while another one scans: pairs, measured seconds apart. */
async function loadBeside(
  loaded: ScanProcess,
  scanning: ScanProcess,
  rounds: number
): Promise<readonly { readonly idle: number; readonly busy: number }[]> {
  await loaded.ask({ kind: 'load', perSecond: PER_SECOND })
  await passed(WINDOW_SECONDS / 3)
  const pairs: { readonly idle: number; readonly busy: number }[] = []
  for (let round = 0; round < rounds; round++) {
    await loaded.ask({ kind: 'p99' })
    await passed(WINDOW_SECONDS)
    const idle = await loaded.ask({ kind: 'p99' })
    await scanning.ask({ kind: 'scan', way: WAYS[0]!, seconds: WINDOW_SECONDS })
    pairs.push({ idle, busy: await loaded.ask({ kind: 'p99' }) })
  }
  await loaded.ask({ kind: 'unload' })
  return pairs
}

function passed(seconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, seconds * 1000))
}
