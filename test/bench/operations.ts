import { type ChildProcess, fork } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import type { Profiler } from 'node:inspector/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { TransportStats } from '../../src/transport/transport.ts'
import type { BenchCommand, Mix } from './bench-child.ts'
import { costTable } from './costs.ts'
import { type Measurement, table } from './measure.ts'

const MIXES: readonly Mix[] = ['put', 'get', '50/50']
const IN_FLIGHT = [1, 64, 256]
const LEVELS = ['one', 'quorum'] as const
const SECONDS = 1.5
const PROCESSES = 3
const LEGEND = `
(a) the database alone, in one process, by its asynchronous calls
(b) bare frames: the operation's bytes in a frame to each of the two other processes over the same kind of stream, done at
    the first answer
(c) the same with all frames that one turn of the event loop has for one peer gathered into one, as kilovolt does
CPU: what (c) and three of (a) take together, one for each copy, divided by what the operation takes`
const FRAMES = { single: '(b) bare frames', gathered: '(c) bare frames, gathered' } as const

type Operations = BenchCommand & { readonly kind: 'operations' }

/** A process of the bench. */
class BenchProcess {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, (value: unknown) => void>()
  #next = 1

  constructor(execArgv: readonly string[] = []) {
    const file = fileURLToPath(new URL('bench-child.ts', import.meta.url))
    this.#child = fork(file, { execArgv: [...process.execArgv, ...execArgv] })
    this.#child.on('message', (message: { id: number; value: unknown }) => {
      this.#waiting.get(message.id)?.(message.value)
      this.#waiting.delete(message.id)
    })
    this.#child.on('exit', code => {
      if (this.#waiting.size > 0) throw new Error(`a process of the bench has ended with ${code}`)
    })
  }

  ask<T>(command: BenchCommand): Promise<T> {
    const id = this.#next++
    return new Promise<T>(resolve => {
      this.#waiting.set(id, value => resolve(value as T))
      this.#child.send({ id, command })
    })
  }
}

/** CPU seconds that all processes have used. */
async function cpuOf(processes: readonly BenchProcess[]): Promise<number> {
  const each = await Promise.all(processes.map(one => one.ask<number>({ kind: 'cpu' })))
  return each.reduce((sum, seconds) => sum + seconds, 0)
}

/** What each process has used and sent so far. */
function usageOf(
  nodes: readonly BenchProcess[]
): Promise<readonly { cpu: number; messages: number; frames: number }[]> {
  return Promise.all(
    nodes.map(async one => {
      const cpu = await one.ask<number>({ kind: 'cpu' })
      const { messagesSent, framesSent } = await one.ask<TransportStats>({ kind: 'transport' })
      return { cpu, messages: messagesSent, frames: framesSent }
    })
  )
}

/** Prints what each process does for an operation. */
async function reportShares(nodes: readonly BenchProcess[], command: Operations): Promise<void> {
  const before = await usageOf(nodes)
  const { operations, opsPerSecond, p50Us } = await nodes[0]!.ask<Measurement>(command)
  const after = await usageOf(nodes)
  const count = withWarmUp(operations)
  const { mix, level, inFlight } = command
  console.log(
    `\n${mix}, ${level}, ${inFlight} in flight: ${Math.round(opsPerSecond)} ops/s, p50 ${(p50Us / 1000).toFixed(2)} ms`
  )
  const rows = after.map(({ cpu, messages, frames }, i) => {
    const was = before[i]!
    const sent = (messages - was.messages) / (frames - was.frames)
    return [i === 0 ? 'coordinating' : 'other', (((cpu - was.cpu) / count) * 1e6).toFixed(1), sent.toFixed(1)]
  })
  console.log(table(['process', 'CPU µs/op', 'messages in a frame'], rows))
}

interface Timed extends Measurement {
  readonly cpuPer100k: number
}

async function timed(processes: readonly BenchProcess[], command: BenchCommand): Promise<Timed> {
  const before = await cpuOf(processes)
  const result = await processes[0]!.ask<Measurement>(command)
  const cpu = (await cpuOf(processes)) - before
  return { ...result, cpuPer100k: (cpu / withWarmUp(result.operations)) * 100_000 }
}

/** The warm-up takes a third of the measured time, and runs as fast. */
function withWarmUp(operations: number): number {
  return operations * (4 / 3)
}

function columns({ opsPerSecond, p50Us, p99Us, cpuPer100k }: Timed): string[] {
  const ms = (us: number): string => (us / 1000).toFixed(2)
  return [Math.round(opsPerSecond).toLocaleString('en'), ms(p50Us), ms(p99Us), cpuPer100k.toFixed(2)]
}

async function bareHosts(): Promise<{ processes: BenchProcess[]; addresses: string[] }> {
  const processes = Array.from({ length: PROCESSES }, () => new BenchProcess())
  const addresses = await Promise.all(processes.map(one => one.ask<readonly string[]>({ kind: 'bareHost' })))
  return { processes, addresses: addresses.slice(1).map(list => list[0]!) }
}

/** A settled cluster with data in it. */
async function startNodes(): Promise<readonly BenchProcess[]> {
  const nodes = Array.from({ length: PROCESSES }, () => new BenchProcess())
  const bootstrap = await nodes[0]!.ask<readonly string[]>({ kind: 'node', bootstrap: [] })
  for (const one of nodes.slice(1)) await one.ask({ kind: 'node', bootstrap })
  await Promise.all(nodes.map(one => one.ask({ kind: 'settled' })))
  await nodes[0]!.ask({ kind: 'fill' })
  return nodes
}

/**
 * Operations of one of three processes with three copies each, beside their two limits in the same run: (a) the same
 * database without kilovolt, (b) and (c) bare frames to the two others over the same kind of stream, done at the first answer.
 */
export async function benchOperations(): Promise<void> {
  const nodes = await startNodes()
  const bare = await bareHosts()
  const rows: string[][] = []
  for (const mix of MIXES) {
    for (const inFlight of IN_FLIGHT) {
      const database = await timed(nodes.slice(0, 1), { kind: 'bareDatabase', mix, inFlight, seconds: SECONDS / 2 })
      rows.push(['(a) bare database', mix, String(inFlight), ...columns(database), '', '', '', ''])
      const limits = [database]
      for (const framing of ['single', 'gathered'] as const) {
        const { addresses } = bare
        const command = { kind: 'bareFrames', addresses, framing, mix, inFlight, seconds: SECONDS / 2 } as const
        const frames = await timed(bare.processes, command)
        limits.push(frames)
        rows.push([FRAMES[framing], mix, String(inFlight), ...columns(frames), '', '', '', ''])
      }
      for (const level of LEVELS) {
        const result = await timed(nodes, { kind: 'operations', mix, level, inFlight, seconds: SECONDS })
        const ratios = limits.map(({ opsPerSecond }) => (result.opsPerSecond / opsPerSecond).toFixed(2))
        const least = PROCESSES * database.cpuPer100k + limits[2]!.cpuPer100k
        const share = level === 'quorum' ? (least / result.cpuPer100k).toFixed(2) : ''
        rows.push([`kilovolt ${level}`, mix, String(inFlight), ...columns(result), ...ratios, share])
      }
    }
    process.stderr.write(`${mix} done\n`)
  }
  await Promise.all([...nodes, ...bare.processes].map(one => one.ask({ kind: 'stop' })))
  const head = [
    'three copies on three processes',
    'mix',
    'in flight',
    'ops/s',
    'p50 ms',
    'p99 ms',
    'CPU s/100k',
    '÷ (a)',
    '÷ (b)',
    '÷ (c)',
    'CPU'
  ]
  console.log(table(head, rows))
  console.log(LEGEND)
}

/**
 * Where the time of quorum operations goes: a table of each process's most expensive files and functions, and the whole
 * profiles in a folder.
 */
export async function profileOperations(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  const nodes = await startNodes()
  for (const mix of ['put', 'get'] as const) {
    const operations = { kind: 'operations', mix, level: 'quorum', inFlight: 64, seconds: 3 } as const
    // Once without the profiler, which costs something itself.
    await reportShares(nodes, operations)
    await Promise.all(nodes.map(one => one.ask({ kind: 'profileStart' })))
    const result = await timed(nodes, operations)
    const profiles = await Promise.all(
      nodes.map((one, i) =>
        one.ask<Profiler.Profile>({ kind: 'profileStop', file: join(folder, `${mix}-quorum-64-${i}.cpuprofile`) })
      )
    )
    const count = withWarmUp(result.operations)
    console.log(costTable('coordinating process', profiles[0]!, count))
    console.log(costTable('one of the two others', profiles[1]!, count))
  }
  await Promise.all(nodes.map(one => one.ask({ kind: 'stop' })))
}
