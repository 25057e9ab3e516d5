import { mkdir } from 'node:fs/promises'
import type { Profiler } from 'node:inspector/promises'
import { join } from 'node:path'
import type { TransportStats } from '../../src/transport/transport.ts'
import { BenchGroup, type Result, withGroups } from './bench-process.ts'
import { costTable } from './costs.ts'
import { type Load, USUAL_LOAD } from './load.ts'
import type { Measurement } from './measure.ts'
import { table } from './table.ts'

const PACE = { inFlight: 64, seconds: 3 }

/**
 * Where the time of quorum operations goes: a table of each process's most expensive files and functions, and the whole
 * profiles in a folder.
 */
export async function profileOperations(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  await withGroups([BenchGroup.nodes()], async nodes => {
    for (const mix of ['put', 'get'] as const) {
      const load: Load = { ...USUAL_LOAD, mix }
      // Once without the profiler, which costs something itself.
      await reportShares(nodes, load)
      await Promise.all(nodes.processes.map(one => one.ask({ kind: 'profileStart' })))
      const { operations } = await nodes.processes[0]!.ask<Measurement>({
        kind: 'run',
        target: 'kilovolt',
        load,
        pace: PACE
      })
      const profiles = await Promise.all(
        nodes.processes.map((one, i) =>
          one.ask<Profiler.Profile>({ kind: 'profileStop', file: join(folder, `${mix}-quorum-64-${i}.cpuprofile`) })
        )
      )
      console.log(costTable('coordinating process', profiles[0]!, operations))
      console.log(costTable('one of the two others', profiles[1]!, operations))
    }
  })
}

/** Prints what each process does for an operation. */
async function reportShares(nodes: BenchGroup, load: Load): Promise<void> {
  const stats = (): Promise<readonly TransportStats[]> =>
    Promise.all(nodes.processes.map(one => one.ask<TransportStats>({ kind: 'transport' })))
  const before = await stats()
  const result: Result = await nodes.measure('kilovolt', load, PACE)
  const after = await stats()
  const { opsPerSecond, p50Us, cpuPer100k } = result
  console.log(
    `\n${load.mix}, ${load.level}, ${PACE.inFlight} in flight: ${Math.round(opsPerSecond)} ops/s, ` +
      `p50 ${(p50Us / 1000).toFixed(2)} ms, ${(cpuPer100k * 10).toFixed(1)} µs of CPU time of all processes for each`
  )
  const rows = after.map(({ messagesSent, framesSent }, i) => {
    const was = before[i]!
    const sent = (messagesSent - was.messagesSent) / (framesSent - was.framesSent)
    return [i === 0 ? 'coordinating' : 'other', sent.toFixed(1)]
  })
  console.log(table(['process', 'messages in a frame'], rows))
}
