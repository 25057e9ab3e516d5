import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT } from '../support/run-script.ts'
import { ChaosCluster } from './cluster.ts'
import { faults } from './faults.ts'

/** What one fault did to the operations of an app. */
interface Outcome {
  readonly name: string
  readonly ok: number
  readonly failed: number
  readonly unknown: number
  readonly anomalies: number
  readonly healMs: number
}

const { values } = parseArgs({ options: { write: { type: 'boolean', default: false } } })
const KEYS = 2000
const WORKERS = 16

const HEAD = '| fault | ok | failed | of these unknown | anomalies | served | whole again after |'
const RULE = '| --- | --: | --: | --: | --: | --: | --: |'

function line({ name, ok, failed, unknown, anomalies, healMs }: Outcome): string {
  const served = ((ok / Math.max(1, ok + failed)) * 100).toFixed(2)
  return `| ${name} | ${ok} | ${failed} | ${unknown} | ${anomalies} | ${served} % | ${(healMs / 1000).toFixed(1)} s |`
}

async function strikeAll(cluster: ChaosCluster): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  for (const { name, strike } of faults) {
    const before = await cluster.client.loadReport()
    await strike(cluster)
    const healMs = await cluster.healed()
    const after = await cluster.client.loadReport()
    const outcome = {
      name,
      ok: after.ok - before.ok,
      failed: after.failed - before.failed,
      unknown: after.unknown - before.unknown,
      anomalies: after.anomalies.length - before.anomalies.length,
      healMs
    }
    outcomes.push(outcome)
    console.log(line(outcome))
  }
  return outcomes
}

/** How many acknowledged counts are missing in the end. */
async function countMissing(cluster: ChaosCluster): Promise<{ readonly expected: number; readonly missing: number }> {
  const { acknowledged } = await cluster.client.stopLoad()
  const expected = Object.entries(acknowledged)
  const found = (await cluster.client.call(
    'getMany',
    expected.map(([key]) => key)
  )) as (number | null | undefined)[]
  return { expected: expected.length, missing: expected.filter(([, count], i) => (found[i] ?? 0) < count).length }
}

function page(outcomes: readonly Outcome[], summary: string): string {
  return [
    '# Chaos',
    '',
    'What `npm run chaos` saw in one run on two cores: five nodes in processes of their own, three on disk and two in memory,',
    'three copies of everything, and one process without data that reads and writes counters at `quorum` throughout, sixteen',
    'at a time. It makes nothing twice: each refusal counts as failed. An anomaly is a read that is older than what was',
    'acknowledged before. *Whole again* is when all see all, nothing moves, and any node could be stopped.',
    '',
    HEAD,
    RULE,
    ...outcomes.map(line),
    '',
    summary,
    '',
    'Links are cut by proxies that stand still, so that nobody is told. A disk is full as its database says so.',
    ''
  ].join('\n')
}

const cluster = new ChaosCluster()
try {
  await cluster.start()
  await cluster.client.startLoad('chaos', KEYS, WORKERS)
  console.log(`${HEAD}\n${RULE}`)
  const outcomes = await strikeAll(cluster)
  const { expected, missing } = await countMissing(cluster)
  const summary = `In the end ${missing} of ${expected} acknowledged counters are missing.`
  console.log(`\n${summary}`)
  if (values.write) writeFileSync(join(ROOT, 'docs/chaos.md'), page(outcomes, summary))
  if (missing > 0 || outcomes.some(({ anomalies }) => anomalies > 0)) process.exitCode = 1
} finally {
  await cluster.stop()
}
