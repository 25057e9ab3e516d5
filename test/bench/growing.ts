import { setTimeout as pause } from 'node:timers/promises'
import { median } from './measure.ts'
import type { Load, LoadWindow } from './moving-child.ts'
import { MovingNode } from './moving.ts'
import { table } from './table.ts'

const RECORDS = 100_000
/** Clients of each of the members that are there all the time, half of whose requests are reads. */
const CLIENTS = 4
/** Of a window in which nothing happens. */
const QUIET_MS = 3000
/** The load runs so long before anything is measured: code is compiled, and the fill is forgotten. */
const WARM_UP_MS = 5000
/** Members to begin with. */
const MEMBERS = 3
/** Between steps, so that the end of one is not counted as the other, ms. */
const SETTLE_MS = 1000

/** What happens in a window of a round, in order: first one node joins, then the others, each when the one before has settled, they stay a while, and all of them leave. */
const STEPS = ['before', 'processes start', 'one joins', 'others join', 'all are there', 'all leave', 'after'] as const
type Step = (typeof STEPS)[number]
/**
 * What comes: nodes that take their share, or nodes of weight 0 that join and take nothing, which is what it costs the machine
 * that they start and join.
 */
type Kind = 'owners' | 'idle'
const WEIGHTS: Readonly<Record<Kind, number>> = { owners: 1, idle: 0 }

interface Window extends LoadWindow {
  readonly seconds: number
}
type Round = Readonly<Partial<Record<Step, Window>>>

/** How large a cluster grows, and under which load. */
export interface GrowingOptions {
  readonly size: number
  /** Requests a second of a single member, instead of clients at all three. */
  readonly perSecond: number | undefined
  readonly rounds: number
}

/**
 * What requests take while a cluster under load grows from three members to four, and then to as many as are asked for, and
 * shrinks to three again, in real processes; in turn with rounds in which as many processes join for as long and take nothing.
 */
export async function benchGrowing({ size, perSecond, rounds }: GrowingOptions): Promise<void> {
  const members = Array.from({ length: MEMBERS }, () => new MovingNode())
  try {
    const bootstrap = await members[0]!.ask({ kind: 'start', bootstrap: [] })
    for (const node of members.slice(1)) await node.ask({ kind: 'start', bootstrap })
    await askAll(members, 'settled')
    await members[0]!.ask({ kind: 'fill', records: RECORDS })
    const load: Load = perSecond === undefined ? { clients: CLIENTS } : { perSecond }
    const busy = perSecond === undefined ? members : members.slice(0, 1)
    for (const node of busy) await node.ask({ kind: 'load', load, records: RECORDS })
    await pause(WARM_UP_MS)
    const seen: Record<Kind, Round[]> = { owners: [], idle: [] }
    const joining = [1, size - MEMBERS - 1].filter(count => count > 0)
    for (let i = 0; i < rounds; i++) {
      const owners = await round({ members, busy, bootstrap, joining, kind: 'owners' })
      seen.owners.push(owners)
      seen.idle.push(await round({ members, busy, bootstrap, joining, kind: 'idle', like: owners }))
      process.stderr.write(`round ${i + 1} of ${rounds}\n`)
    }
    for (const node of busy) await node.ask({ kind: 'unload' })
    report(seen)
  } finally {
    for (const node of members) node.stop()
  }
}

interface RoundOptions {
  readonly members: readonly MovingNode[]
  /** Those of them that have clients. */
  readonly busy: readonly MovingNode[]
  readonly bootstrap: readonly string[]
  readonly joining: readonly number[]
  readonly kind: Kind
  /** A round whose windows these are at least as long as. */
  readonly like?: Round
}

async function round({ members, busy, bootstrap, joining, kind, like }: RoundOptions): Promise<Round> {
  const windows: Partial<Record<Step, Window>> = {}
  const during = async (step: Step, work: () => Promise<unknown>): Promise<void> => {
    await windowOf(busy)
    const startMs = performance.now()
    await work()
    const leftMs = (like?.[step]?.seconds ?? 0) * 1000 - (performance.now() - startMs)
    if (leftMs > 0) await pause(leftMs)
    windows[step] = {
      ...(await windowOf(busy)),
      seconds: (performance.now() - startMs) / 1000
    }
  }
  const processes: MovingNode[] = []
  const joined: MovingNode[] = []
  try {
    await during('before', () => pause(QUIET_MS))
    await during('processes start', async () => {
      for (const count of joining) processes.push(...Array.from({ length: count }, () => new MovingNode()))
      await askAll(processes, 'loaded')
    })
    await pause(SETTLE_MS)
    for (const [at, count] of joining.entries()) {
      await during(at === 0 ? 'one joins' : 'others join', async () => {
        // One after the other, as a deployment would: so many that start at once are felt for that alone.
        for (const node of processes.slice(joined.length, joined.length + count)) {
          await node.ask({ kind: 'start', bootstrap, weight: WEIGHTS[kind] })
          joined.push(node)
          await askAll([...joined, ...members], 'settled')
        }
      })
    }
    await pause(SETTLE_MS)
    await during('all are there', () => pause(QUIET_MS))
    await during('all leave', async () => {
      for (const node of joined.toReversed()) {
        await node.ask({ kind: 'leave' })
        await askAll(members, 'settled')
      }
    })
    for (const node of processes) node.stop()
    await pause(SETTLE_MS)
    await during('after', () => pause(QUIET_MS))
    return windows
  } finally {
    for (const node of processes) node.stop()
  }
}

/** What the middle one of them has seen, by its 99th percentile. */
async function windowOf(busy: readonly MovingNode[]): Promise<LoadWindow> {
  const windows = await Promise.all(busy.map(node => node.ask({ kind: 'window' })))
  const middle = (what: 'get' | 'put'): LoadWindow['get'] =>
    windows.map(window => window[what]).toSorted((a, b) => a.p99Ms - b.p99Ms)[windows.length >> 1]!
  return {
    get: middle('get'),
    put: middle('put'),
    failed: windows.reduce((sum, { failed }) => sum + failed, 0)
  }
}

async function askAll(nodes: readonly MovingNode[], kind: 'loaded' | 'settled' | 'leave'): Promise<void> {
  await Promise.all(nodes.map(node => node.ask({ kind })))
}

function report(seen: Readonly<Record<Kind, readonly Round[]>>): void {
  const rows: string[][] = []
  for (const step of STEPS) {
    for (const kind of ['idle', 'owners'] as const) {
      const rounds = seen[kind].filter(round => round[step] !== undefined)
      if (rounds.length === 0) continue
      const middle = (pick: (window: Window, before: Window, idle: Window) => number): string =>
        median(rounds.map((round, i) => pick(round[step]!, round.before!, seen.idle[i]![step]!))).toFixed(1)
      rows.push([
        `${step}, ${kind}`,
        middle(({ seconds }) => seconds),
        ...(['get', 'put'] as const).flatMap(what => [
          middle(window => window[what].p50Ms),
          middle(window => window[what].p99Ms),
          middle((window, before) => window[what].p99Ms / before[what].p99Ms),
          kind === 'idle' ? '' : middle((window, _, idle) => window[what].p99Ms / idle[what].p99Ms)
        ]),
        String(rounds.reduce((sum, round) => sum + round[step]!.failed, 0))
      ])
    }
  }
  const columns = (what: string): string[] => [`${what} p50 ms`, 'p99 ms', '÷ before', '÷ idle']
  console.log(table(['window, and who joins', 'seconds', ...columns('get'), ...columns('put'), 'failed'], rows))
}
