import { mkdir } from 'node:fs/promises'
import type { Profiler } from 'node:inspector/promises'
import { join } from 'node:path'
import type { TransportStats } from '../../src/transport/transport.ts'
import { BenchGroup, type Result, withGroups } from './bench-process.ts'
import { costTable } from './costs.ts'
import { type Load, type Mix, USUAL_LOAD } from './load.ts'
import type { Measurement } from './measure.ts'
import { table } from './table.ts'

const SECONDS = 3

/**
 * Where the time of quorum operations goes: a table of each process's most expensive files and functions, and the whole
 * profiles in a folder.
 */
export async function profileOperations(
  folder: string,
  allInFlight: readonly number[],
  mixes: readonly Mix[]
): Promise<void> {
  await mkdir(folder, { recursive: true })
  await withGroups([BenchGroup.nodes()], async nodes => {
    for (const inFlight of allInFlight) for (const mix of mixes) await profileMix(nodes, folder, mix, inFlight)
  })
}

async function profileMix(nodes: BenchGroup, folder: string, mix: Mix, inFlight: number): Promise<void> {
  const load: Load = { ...USUAL_LOAD, mix }
  const pace = { inFlight, seconds: SECONDS }
  // Once without the profiler, which costs something itself.
  await reportShares(nodes, load, pace)
  await Promise.all(nodes.processes.map(one => one.ask({ kind: 'profileStart' })))
  const { operations } = await nodes.processes[0]!.ask<Measurement>({ kind: 'run', target: 'kilovolt', load, pace })
  const file = (i: number): string => join(folder, `${mix.replace('/', '-')}-quorum-${inFlight}-${i}.cpuprofile`)
  const profiles = await Promise.all(
    nodes.processes.map((one, i) => one.ask<Profiler.Profile>({ kind: 'profileStop', file: file(i) }))
  )
  console.log(costTable('coordinating process', profiles[0]!, operations))
  console.log(costTable('one of the two others', profiles[1]!, operations))
}

/** Prints what each process does for an operation. */
async function reportShares(
  nodes: BenchGroup,
  load: Load,
  pace: { readonly inFlight: number; readonly seconds: number }
): Promise<void> {
  const stats = (): Promise<readonly TransportStats[]> =>
    Promise.all(nodes.processes.map(one => one.ask<TransportStats>({ kind: 'transport' })))
  const before = await stats()
  const result: Result = await nodes.measure('kilovolt', load, pace)
  const after = await stats()
  const { opsPerSecond, p50Us, cpuPer100k } = result
  console.log(
    `\n${load.mix}, ${load.level}, ${pace.inFlight} in flight: ${Math.round(opsPerSecond)} ops/s, ` +
      `p50 ${(p50Us / 1000).toFixed(2)} ms, ${(cpuPer100k * 10).toFixed(1)} µs of CPU time of all processes for each`
  )
  const rows = after.map(({ messagesSent, framesSent }, i) => {
    const was = before[i]!
    const sent = (messagesSent - was.messagesSent) / (framesSent - was.framesSent)
    return [i === 0 ? 'coordinating' : 'other', sent.toFixed(1)]
  })
  console.log(table(['process', 'messages in a frame'], rows))
}
