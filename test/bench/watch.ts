import { AskedChild } from './asked-child.ts'
import { median } from './measure.ts'
import type { Report } from './report.ts'
import { figure } from './table.ts'
import type { WatchAnswers, WatchCommand } from './watch-child.ts'

const WATCHERS = 100
/** Changes one after the other, whose events are timed. */
const TIMED = 2000
const IN_FLIGHT = 64
const WANTED_RATIO = 2

/** A process with a node. */
class WatchProcess extends AskedChild<WatchCommand, WatchAnswers> {
  constructor() {
    super('watch-child')
  }
}

/**
 * How long after a put has begun on one of three processes its event comes on another, beside what the put itself takes there;
 * and whether a hundred watchers of one process hear of so many changes, each of all of them.
 */
export async function benchWatch(changes: number, rounds: number): Promise<Report> {
  const processes = [new WatchProcess(), new WatchProcess(), new WatchProcess()] as const
  const [writer, second, watcher] = processes
  try {
    const bootstrap = await writer.ask({ kind: 'start', bootstrap: [] })
    for (const other of [second, watcher]) await other.ask({ kind: 'start', bootstrap })
    await writer.ask({ kind: 'settled' })
    await writer.ask({ kind: 'put', changes: TIMED, inFlight: 1 })
    const pairs: { readonly putMs: number; readonly toldMs: number }[] = []
    for (let round = 0; round < rounds; round++) {
      await watcher.ask({ kind: 'watch', watchers: 1 })
      const { p50Ms } = await writer.ask({ kind: 'put', changes: TIMED, inFlight: 1 })
      pairs.push({ putMs: p50Ms, toldMs: (await watcher.ask({ kind: 'told', changes: TIMED })).p50Ms })
    }
    const ratio = median(pairs.map(({ putMs, toldMs }) => toldMs / putMs))
    await watcher.ask({ kind: 'watch', watchers: WATCHERS })
    const put = await writer.ask({ kind: 'put', changes, inFlight: IN_FLIGHT })
    const told = await watcher.ask({ kind: 'told', changes })
    const lost = changes - told.least
    const rows = [
      ['a put at quorum, p50, ms', figure(median(pairs.map(({ putMs }) => putMs))), '', ''],
      [
        'from its beginning to its event on another node, p50, ms',
        figure(median(pairs.map(({ toldMs }) => toldMs))),
        '',
        ''
      ],
      ['event ÷ put', figure(ratio), `≤ ${WANTED_RATIO}`, ratio <= WANTED_RATIO ? 'yes' : 'no'],
      [`puts/s, ${IN_FLIGHT} in flight, while ${WATCHERS} watch elsewhere`, figure(put.perSecond), '', ''],
      [`events/s of ${WATCHERS} watchers together`, figure(told.perSecond), '', ''],
      [
        `changes of ${changes.toLocaleString('en')} that some watcher missed`,
        figure(lost),
        '0',
        lost === 0 ? 'yes' : 'no'
      ],
      ['resets', figure(told.resets), '0', told.resets === 0 ? 'yes' : 'no']
    ]
    const head = ['three processes', 'found', 'wanted', 'reached']
    return { sections: [{ name: 'watch', head, rows }], figures: { 'event ÷ put': ratio } }
  } finally {
    for (const one of processes) one.stop()
  }
}
