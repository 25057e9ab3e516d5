import { type Job, type JobResult, runJob } from './job.ts'

/**
 * Leaves out one fault after another for as long as the run goes on breaking one of the same rules: what is left is what it
 * takes. A run without some fault draws the same numbers for all others, so it stays the same but for what that fault did.
 */
export async function shrink(failed: JobResult): Promise<JobResult> {
  const rules = new Set(failed.violations.map(({ rule }) => rule))
  const numbers = failed.faults.flatMap(line => /#(\d+)/u.exec(line)?.[1] ?? []).map(Number)
  let smallest = failed
  // From the end: what came later is the more likely to matter least.
  for (const number of numbers.toReversed()) {
    const job: Job = { ...failed.job, without: [...(smallest.job.without ?? []), number] }
    const result = await runJob(job)
    if (result.violations.some(({ rule }) => rules.has(rule))) smallest = result
  }
  return smallest
}
