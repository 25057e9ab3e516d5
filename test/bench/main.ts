// Compiles the sources and the benches into a temporary folder and runs them there; see docs/benchmarks.md for what there is.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArguments } from './arguments.ts'
import { build } from './build.ts'
import { compare } from './compare.ts'
import { benchMembership } from './membership.ts'
import { renewPage } from './page.ts'
import type { Report } from './report.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const pageFile = join(root, 'docs/benchmarks.md')

const argv = process.argv.slice(2)
const args = parseArguments(argv)
const folder = mkdtempSync(join(tmpdir(), 'kilovolt-bench-'))

let suite: ReturnType<typeof spawn> | undefined
let isEnded = false
// Ended from outside: what is temporary goes all the same, as the suite, which is told as well, ends with an error.
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    isEnded = true
    suite?.kill(signal)
  })
}

async function run(file: string, rest: readonly string[]): Promise<void> {
  if (isEnded) throw new Error('the bench was ended')
  // Databases are in the folder as well, so that nothing of them is left either.
  const env = { ...process.env, TMPDIR: folder }
  suite = spawn(process.execPath, [file, ...rest], { stdio: 'inherit', cwd: root, env })
  const [code] = (await once(suite, 'exit')) as [number | null]
  if (code !== 0) throw new Error(`the bench has ended with ${code}`)
}

async function main(): Promise<void> {
  if (args.part === 'membership') {
    // Times of hundreds of milliseconds: how the sources are run does not matter.
    await benchMembership(Number(args.argument ?? 20))
    return
  }
  const { compare: revisions } = args
  if (revisions !== undefined) {
    const rest = argv.toSpliced(argv.indexOf('--compare'), 3)
    await compare({
      root,
      folder,
      revisions,
      pairs: args.rounds,
      run: (file, results) => run(file, [...rest, '--rounds', '1', '--results', results])
    })
    return
  }
  const results = join(folder, 'results.json')
  await run(build(root, join(folder, 'built')), [...argv, '--results', results])
  if (!args.page) return
  const reports = JSON.parse(readFileSync(results, 'utf8')) as Report[]
  writeFileSync(pageFile, renewPage(readFileSync(pageFile, 'utf8'), reports))
}

try {
  await main()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode ??= 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
