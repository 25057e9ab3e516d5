import type { Violation } from '../../src/testing/checkers/violation.ts'
import { loadHash64 } from '../../src/runtime/hash.ts'
import { Simulation } from '../../src/testing/simulation.ts'
import { drawPlan } from './scenarios/draw.ts'
import { scenarios } from './scenarios/index.ts'

/** One simulation to run. */
export interface Job {
  readonly scenario: string
  readonly seed: number
  /** Numbers of drawn faults that are left out. */
  readonly without?: readonly number[]
}

/** What came of it; plain data, so that it can be sent between processes. */
export interface JobResult {
  readonly job: Job
  readonly violations: readonly Violation[]
  readonly hash: string
  readonly events: number
  readonly operations: number
  readonly succeeded: number
  readonly virtualMs: number
  readonly lastEvents: readonly string[]
  /** The faults that were drawn, one line each. */
  readonly faults: readonly string[]
}

export async function runJob(job: Job): Promise<JobResult> {
  const scenario = scenarios.get(job.scenario)
  if (scenario === undefined) throw new Error(`no such scenario: ${job.scenario}`)
  const drawn = drawPlan(scenario, job.seed)
  const isKept = (_: unknown, number: number): boolean => job.without?.includes(number) !== true
  const plan = { ...drawn, faults: drawn.faults.filter(isKept) }
  const stray: Violation[] = []
  const onStray = (reason: unknown): void => {
    const message = reason instanceof Error ? (reason.stack ?? reason.message) : String(reason)
    stray.push({ rule: 'no rejection goes unhandled', message })
  }
  process.on('unhandledRejection', onStray)
  try {
    const report = await new Simulation(plan, await loadHash64()).run()
    const members = plan.members.map(({ machine, startAtMs }) => `${startAtMs} start ${JSON.stringify(machine)}`)
    const faults = drawn.faults
      .map(({ atMs, ...fault }, number) => `${atMs} #${number} ${JSON.stringify(fault)}`)
      .filter(isKept)
    return { job, ...report, violations: [...report.violations, ...stray], faults: [...members, ...faults] }
  } finally {
    process.off('unhandledRejection', onStray)
  }
}
