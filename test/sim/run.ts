import { execFileSync, fork, type ChildProcess } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type Job, type JobResult, runJob } from './job.ts'
import { record } from './record.ts'
import { scenarios } from './scenarios/index.ts'
import { shrink } from './shrink.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    scenario: { type: 'string' },
    workers: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
    swarm: { type: 'boolean', default: false },
    shrink: { type: 'boolean', default: false },
    without: { type: 'string' }
  }
})

/** The jobs in order: each seed runs one scenario, in turn, unless one is named. */
function jobs(): Job[] {
  const first = whole(values.seed ?? values.from, 'seed')
  const count = values.seed === undefined ? whole(values.seeds, 'seeds') : 1
  const named = values.swarm ? 'swarm' : values.scenario
  const names = named === undefined ? [...scenarios.keys()] : [named]
  const without = values.without?.split(',').map(number => whole(number, 'without'))
  for (const name of names)
    if (!scenarios.has(name)) fail(`no such scenario: ${name}; there are ${[...scenarios.keys()].join(', ')}`)
  return Array.from({ length: count }, (_, i) => ({
    scenario: names[(first + i) % names.length]!,
    seed: first + i,
    ...(without === undefined ? {} : { without })
  }))
}

function whole(text: string, what: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 0) fail(`--${what} must be a whole number`)
  return value
}

function fail(message: string): never {
  console.error(message)
  process.exit(2)
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  } catch {
    return 'unknown'
  }
}

function report(result: JobResult): void {
  const { job, violations, hash, events, lastEvents, faults } = result
  console.log(
    `\nFAILED  scenario ${job.scenario}, seed ${job.seed}, commit ${commit()}, trace ${hash}, ${events} events`
  )
  for (const { rule, message } of violations) console.log(`  ${rule}\n    ${message}`)
  console.log(`  faults\n${faults.map(line => `    ${line}`).join('\n')}`)
  console.log(`  last events\n${lastEvents.map(line => `    ${line}`).join('\n')}`)
  const without = job.without === undefined ? '' : ` --without ${job.without.join(',')}`
  console.log(`  replay: npm run sim -- --scenario ${job.scenario} --seed ${job.seed}${without}\n`)
}

/** Hands jobs to worker processes, one at a time each. */
async function runAll(list: readonly Job[], workers: number, done: (result: JobResult) => void): Promise<void> {
  const queue = [...list].reverse()
  const work = async (): Promise<void> => {
    const child = fork(fileURLToPath(new URL('worker.ts', import.meta.url)), { execArgv: process.execArgv })
    try {
      for (let job = queue.pop(); job !== undefined; job = queue.pop()) done(await ask(child, job))
    } finally {
      child.disconnect()
    }
  }
  await Promise.all(Array.from({ length: Math.min(workers, list.length) }, work))
}

function ask(child: ChildProcess, job: Job): Promise<JobResult> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void =>
      reject(new Error(`a worker ended with ${code} at ${JSON.stringify(job)}`))
    child.once('exit', onExit)
    child.once('message', message => {
      child.off('exit', onExit)
      resolve(message as JobResult)
    })
    child.send(job)
  })
}

if (values.record) {
  for (const { scenario, seed, hash } of await record()) console.log(`${scenario} ${seed}  ${hash}`)
  process.exit(0)
}

const list = jobs()
const startedAt = performance.now()
const totals = { runs: 0, failed: 0, events: 0, operations: 0, virtualMs: 0 }
const perScenario = new Map<string, number>()

function count(result: JobResult): void {
  totals.runs++
  totals.events += result.events
  totals.operations += result.operations
  totals.virtualMs += result.virtualMs
  perScenario.set(result.job.scenario, (perScenario.get(result.job.scenario) ?? 0) + 1)
  if (result.violations.length > 0) {
    totals.failed++
    report(result)
  } else if (values.verbose || list.length === 1) {
    const { job, hash, events, operations, virtualMs } = result
    console.log(
      `ok  ${job.scenario} ${job.seed}  trace ${hash}  ${events} events, ${operations} operations, ${virtualMs / 1000} s`
    )
  } else if (totals.runs % 25 === 0) {
    console.log(`${totals.runs} of ${list.length} seeds, ${totals.failed} failed`)
  }
}

if (list.length === 1) {
  const result = await runJob(list[0]!)
  count(values.shrink && result.violations.length > 0 ? await shrink(result) : result)
} else
  await runAll(
    list,
    values.workers === undefined ? Math.max(2, availableParallelism()) : whole(values.workers, 'workers'),
    count
  )

const seconds = (performance.now() - startedAt) / 1000
console.log(
  `${totals.runs} seeds (${[...perScenario].map(([name, runs]) => `${name} ${runs}`).join(', ')}): ${totals.failed} failed; ` +
    `${totals.operations} operations, ${totals.events} events, ${Math.round(totals.virtualMs / 60_000)} virtual minutes ` +
    `in ${seconds.toFixed(1)} s`
)
process.exitCode = totals.failed > 0 ? 1 : 0
