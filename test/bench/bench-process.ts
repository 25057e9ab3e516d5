import { type ChildProcess, fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Encryption } from './bare-frames.ts'
import type { BareAddresses } from './bare-host.ts'
import type { BenchCommand, StoreSetup } from './bench-child.ts'
import { type Load, type Pace, USUAL_LOAD } from './load.ts'
import type { Measurement } from './measure.ts'
import type { Reading } from './meter.ts'
import type { TargetName } from './target.ts'

/** A load runs so long before it is measured: what was before is forgotten. */
const WARM_UP_SECONDS = 0.15
/** How long a process that is new runs before anything counts. */
const COMPILE_SECONDS = 2
const PROCESSES = 3

/** Where nodes keep their data; on disk what a write must survive is said with it. */
export const STORES = ['memory', 'os', 'fsync'] as const
export type StoreName = (typeof STORES)[number]

/** A process of the bench. */
export class BenchProcess {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  #next = 1

  constructor(setup: StoreSetup = {}) {
    const file = fileURLToPath(new URL(`bench-child${extname(import.meta.url)}`, import.meta.url))
    this.#child = fork(file, [JSON.stringify(setup)], {
      execArgv: [...process.execArgv, '--expose-gc', '--max-old-space-size=4096']
    })
    this.#child.on('message', (message: { id: number; value: unknown }) => {
      this.#waiting.get(message.id)?.resolve(message.value)
      this.#waiting.delete(message.id)
    })
    this.#child.on('exit', code => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`a process of the bench has ended with ${code}`))
      this.#waiting.clear()
    })
  }

  ask<T>(command: BenchCommand): Promise<T> {
    const id = this.#next++
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: value => resolve(value as T), reject })
      this.#child.send({ id, command })
    })
  }

  kill(): void {
    this.#child.kill()
  }
}

/** What a load took, of all processes together where nothing else is said. */
export interface Result extends Measurement {
  /** CPU seconds, for 100,000 operations. */
  readonly cpuPer100k: number
  /** Bytes on the wire, for each operation. */
  readonly wireBytesPerOp: number
  /** Time in which the coordinating process collected garbage, as a part of all time. */
  readonly gcShare: number
  /** How late the coordinating process's event loop ran, 99th percentile, ms. */
  readonly lateP99Ms: number
  /** Resident memory of the coordinating process. */
  readonly rssBytes: number
}

/** Processes of which the first runs loads, with the others or alone. */
export class BenchGroup {
  readonly processes: readonly BenchProcess[]
  readonly #folders: readonly string[]

  /** A settled cluster. */
  static async nodes(count: number = PROCESSES, store: StoreName = 'memory'): Promise<BenchGroup> {
    const group = new BenchGroup(count, store)
    try {
      const [first, ...others] = group.processes
      const bootstrap = await first!.ask<readonly string[]>({ kind: 'node', bootstrap: [] })
      for (const one of others) await one.ask({ kind: 'node', bootstrap })
      await Promise.all(group.processes.map(one => one.ask({ kind: 'settled' })))
      return group
    } catch (error) {
      group.kill()
      throw error
    }
  }

  /** Senders of bare frames, connected from the first to all others, which also run what needs no others. */
  static async bare(store: StoreName = 'memory', encryption?: Encryption): Promise<BenchGroup> {
    const group = new BenchGroup(PROCESSES, store)
    try {
      const addresses = await Promise.all(
        group.processes.map(one => one.ask<BareAddresses>({ kind: 'bareHost', encryption }))
      )
      await group.processes[0]!.ask({ kind: 'connect', others: addresses.slice(1) })
      return group
    } catch (error) {
      group.kill()
      throw error
    }
  }

  private constructor(count: number, store: StoreName) {
    this.#folders =
      store === 'memory' ? [] : Array.from({ length: count }, () => mkdtempSync(join(tmpdir(), 'kilovolt-bench-')))
    this.processes = Array.from({ length: count }, (_, i) =>
      store === 'memory' ? new BenchProcess() : new BenchProcess({ folder: this.#folders[i]!, durability: store })
    )
  }

  /** Lets code be compiled as far as it ever is; it takes seconds until operations are as fast as they become. */
  async warmUp(targets: readonly TargetName[]): Promise<void> {
    for (const target of targets) {
      for (const mix of ['50/50', 'batch', 'getMany'] as const) {
        const load = { ...USUAL_LOAD, mix }
        const pace = {
          inFlight: mix === '50/50' ? 64 : 1,
          seconds: mix === '50/50' ? COMPILE_SECONDS : COMPILE_SECONDS / 4
        }
        await this.processes[0]!.ask({ kind: 'run', target, load, pace })
      }
    }
  }

  /** Runs a load, after a warm-up, and reads all meters. */
  async measure(target: TargetName, load: Load, pace: Pace): Promise<Result> {
    const first = this.processes[0]!
    const run = (seconds: number): Promise<Measurement> =>
      first.ask<Measurement>({ kind: 'run', target, load, pace: { ...pace, seconds } })
    await run(Math.min(WARM_UP_SECONDS, pace.seconds))
    await this.meters()
    const measurement = await run(pace.seconds)
    const readings = await this.meters()
    const sum = (pick: (reading: Reading) => number): number =>
      readings.reduce((total, reading) => total + pick(reading), 0)
    const count = Math.max(1, measurement.operations)
    const { gcMs, lateP99Ms, rssBytes } = readings[0]!
    return {
      ...measurement,
      cpuPer100k: (sum(({ cpuSeconds }) => cpuSeconds) / count) * 100_000,
      wireBytesPerOp: sum(({ wireBytes }) => wireBytes) / count,
      gcShare: gcMs / 1000 / measurement.seconds,
      lateP99Ms,
      rssBytes
    }
  }

  /** What each process has used since the last time. */
  meters(): Promise<readonly Reading[]> {
    return Promise.all(this.processes.map(one => one.ask<Reading>({ kind: 'meter' })))
  }

  async stop(): Promise<void> {
    await Promise.all(this.processes.map(one => one.ask({ kind: 'stop' })))
    this.#clear()
  }

  /** For when something has failed. */
  kill(): void {
    for (const one of this.processes) one.kill()
    this.#clear()
  }

  #clear(): void {
    for (const folder of this.#folders) rmSync(folder, { recursive: true, force: true })
  }
}

/** Does something with groups that are stopped afterwards, or killed when it fails. */
export async function withGroups<T>(
  making: readonly Promise<BenchGroup>[],
  use: (...groups: BenchGroup[]) => Promise<T>
): Promise<T> {
  const groups = await Promise.all(making)
  try {
    const result = await use(...groups)
    await Promise.all(groups.map(group => group.stop()))
    return result
  } catch (error) {
    for (const group of groups) group.kill()
    throw error
  }
}
