import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Job, runJob } from './job.ts'

/** Where the traces that must not change by accident are kept. */
export const RECORDED: string = fileURLToPath(new URL('../fixtures/sim/traces.json', import.meta.url))

/** A seed with the hash of its trace. */
export interface RecordedTrace extends Job {
  readonly hash: string
}

const JOBS: readonly Job[] = [
  { scenario: 'steady', seed: 8 },
  { scenario: 'swarm', seed: 7 }
]

/** Runs the seeds and writes down their traces: after behaviour was changed on purpose. */
export async function record(): Promise<readonly RecordedTrace[]> {
  const traces: RecordedTrace[] = []
  for (const job of JOBS) traces.push({ ...job, hash: (await runJob(job)).hash })
  mkdirSync(dirname(RECORDED), { recursive: true })
  writeFileSync(RECORDED, `${JSON.stringify(traces, null, 2)}\n`)
  return traces
}
