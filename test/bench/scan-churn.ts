import type { Report } from './report.ts'
import { ScanProcess, WANTED_MIB, WANTED_PER_SECOND } from './scan.ts'
import { figure } from './table.ts'

const MIB = 1024 * 1024

/**
 * One scan of everything over three processes, while a fourth joins and takes its share, and one of the others is killed: whether
 * it is complete, in order and without anything twice, how fast it is, and what it keeps in memory where it runs.
 */
export async function benchScanChurn(records: number): Promise<Report> {
  const processes = Array.from({ length: 5 }, () => new ScanProcess())
  const [first, second, third, fourth, alone] = processes as [
    ScanProcess,
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
    const way = { level: 'quorum', what: 'entries', by: 'page' } as const
    const calm = await first.ask({ kind: 'scan', way, seconds: 1 })
    const epoch = await first.ask({ kind: 'epoch' })
    await first.ask({ kind: 'scanOn', keys: records / 10 })
    const joining = fourth.ask({ kind: 'start', bootstrap })
    await first.ask({ kind: 'scanOn', keys: (records * 4) / 10 })
    await joining
    await third.kill()
    const { keys, isDone, wrong, seconds, held } = await first.ask({ kind: 'scanOn', keys: records + 1 })
    const epochs = (await first.ask({ kind: 'epoch' })) - epoch
    const least = Math.min(WANTED_PER_SECOND, bare / 2)
    const rate = keys / seconds
    const judged = (wanted: string, isReached: boolean): [string, string] => [wanted, isReached ? 'yes' : 'no']
    const rows = [
      ['three bare databases merged in one process, keys/s', figure(bare), '', ''],
      [
        'entries at quorum, nothing else going on, keys/s',
        figure(calm),
        ...judged(`≥ ${figure(least)}`, calm >= least)
      ],
      [
        'the same while one joins and one is killed, keys/s',
        figure(rate),
        ...judged(`≥ ${figure(least)}`, rate >= least)
      ],
      ['keys returned', String(keys), ...judged(String(records), isDone && keys === records)],
      ['of these not the next one in order', String(wrong), ...judged('0', wrong === 0)],
      [
        'kept by the scan where it runs, MiB',
        figure(held / MIB),
        ...judged(`≤ ${WANTED_MIB}`, held <= WANTED_MIB * MIB)
      ],
      ['epochs that it saw pass', String(epochs), ...judged('≥ 2', epochs >= 2)]
    ]
    const head = [
      `${records.toLocaleString('en')} records of 100 bytes in three processes`,
      'found',
      'wanted',
      'reached'
    ]
    const figures = {
      'keys/s while one joins and one is killed': rate,
      'keys that were missed or wrong': records - keys + wrong
    }
    return { sections: [{ name: 'scan-churn', head, rows }], figures }
  } finally {
    for (const one of processes) one.stop()
  }
}
