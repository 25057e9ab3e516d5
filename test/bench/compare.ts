import { execFileSync } from 'node:child_process'
import { cpSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { build } from './build.ts'
import { median } from './measure.ts'
import type { Report } from './report.ts'
import { figure, pageTable } from './table.ts'

/** What comparing needs. */
export interface CompareOptions {
  /** The checkout whose benches are used, for both revisions: only the sources differ. */
  readonly root: string
  /** Folder for everything temporary. */
  readonly folder: string
  readonly revisions: readonly [string, string]
  readonly pairs: number
  /** Runs a compiled suite; whether it went well. */
  readonly run: (suite: string, results: string) => Promise<void>
}

/** Runs a part with the sources of two revisions, A/B/A/B, and prints the ratio of each figure, pair by pair. */
export async function compare({ root, folder, revisions, pairs, run }: CompareOptions): Promise<void> {
  const checkouts = revisions.map((_, i) => join(folder, `checkout-${'ab'[i]}`))
  try {
    const suites = revisions.map((revision, i) => {
      checkOut(root, revision, checkouts[i]!)
      return build(checkouts[i]!, join(folder, `built-${'ab'[i]}`))
    })
    const seen: [Record<string, number>, Record<string, number>][] = []
    for (let pair = 0; pair < pairs; pair++) {
      const found: Record<string, number>[] = []
      for (const [i, suite] of suites.entries()) {
        process.stderr.write(`pair ${pair + 1} of ${pairs}: ${revisions[i]}\n`)
        const results = join(folder, 'results.json')
        await run(suite, results)
        const reports = JSON.parse(readFileSync(results, 'utf8')) as Report[]
        found.push(Object.assign({}, ...reports.map(({ figures }) => figures)) as Record<string, number>)
      }
      seen.push([found[0]!, found[1]!])
    }
    console.log(`\n${comparison(revisions, seen)}`)
  } finally {
    for (const checkout of checkouts) remove(root, checkout)
  }
}

function comparison(
  [a, b]: readonly [string, string],
  seen: readonly (readonly [Record<string, number>, Record<string, number>])[]
): string {
  const rows = Object.keys(seen[0]![0]).map(name => {
    const ratios = seen.map(([was, is]) => is[name]! / was[name]!)
    return [
      name,
      figure(median(seen.map(([was]) => was[name]!))),
      figure(median(seen.map(([, is]) => is[name]!))),
      ratios.map(figure).join(' '),
      figure(median(ratios))
    ]
  })
  return pageTable(['medians, and pair by pair', `A: ${a}`, `B: ${b}`, 'B ÷ A', 'median'], rows)
}

/** The revision in a folder of its own, with the benches of today and the packages that are installed. */
function checkOut(root: string, revision: string, checkout: string): void {
  git(root, ['worktree', 'add', '--quiet', '--detach', checkout, revision])
  symlinkSync(join(root, 'node_modules'), join(checkout, 'node_modules'), 'dir')
  rmSync(join(checkout, 'test/bench'), { recursive: true, force: true })
  cpSync(join(root, 'test/bench'), join(checkout, 'test/bench'), { recursive: true })
}

function remove(root: string, checkout: string): void {
  rmSync(checkout, { recursive: true, force: true })
  git(root, ['worktree', 'prune'])
}

function git(root: string, args: readonly string[]): void {
  execFileSync('git', ['-C', root, ...args], { stdio: ['ignore', 'ignore', 'inherit'] })
}
