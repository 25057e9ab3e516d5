import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { compiled } from '../support/compiled.ts'
import { ROOT, runScript, type ScriptResult } from '../support/run-script.ts'

/** What each example must print, so that a silent failure does not pass. */
const EXPECTED: Readonly<Record<string, readonly RegExp[]>> = {
  '01-one-node.ts': [/get +\{ name: 'Ada' \}/u, /missing undefined/u, /delete +true/u, /\[ 1, 2, undefined \]/u],
  '02-three-nodes.ts': [/on the second: hello/u, /first is gone: hello/u],
  '03-three-processes.ts': [/process one says hello/u, /process two says hello/u, /members 3/u],
  '04-on-disk.ts': [/same identity true/u, /kept +yes/u],
  '05-typed-keyspaces.ts': [/admin/u, /year +2026/u, /no mixing false/u],
  '06-http-sessions.ts': [/port one: visit 1/u, /port two: visit 2/u, /port one: visit 3/u, /port two: visit 4/u],
  '07-expiry.ts': [
    /at once +\[ \{ user: 'ada' \}, \{ user: 'grace' \} \]/u,
    /touched +true/u,
    /still +\{ user: 'ada' \}/u,
    /later +\[ undefined, \{ user: 'grace' \} \]/u,
    /was first 1\n/u,
    /hits +100\n/u
  ],
  '08-scans.ts': [
    /sensor-1:0001 21\nsensor-1:0004 24/u,
    /newest \[ 'sensor-2:0299' \]/u,
    /count 100/u,
    /warm 42/u,
    /before 100 after 200 from sensor-1:0001/u,
    /cleared 100/u,
    /left 200/u
  ],
  '09-watch.ts': [
    /put +shelf-1:apples/u,
    /delete shelf-1:pears/u,
    /copy +\{ 'shelf-1:apples': 3 \}/u,
    /copy +\{ 'shelf-1:apples': 2 \}/u
  ],
  '10-values.ts': [
    /1970-01-01/u,
    /Set\(2\) \{ 12, 14 \}/u,
    /name: 'Ada', visits: 0/u,
    /refused .*name/u,
    /page +10000/u
  ],
  '11-carts.ts': [/siblings 2\n/u, /merged +\[ 'milk', 'tea' \]/u, /resolved \{ bread: 1, jam: 1 \}/u, /likes +99\n/u],
  '12-level.ts': [
    /get +Moby-Dick/u,
    /entry +melville Moby-Dick\nentry +austen Emma/u,
    /years +\[ '1851' \]/u,
    /left +\[ 'austen' \]/u
  ],
  '13-indexes.ts': [
    /moby 1851\ntypee 1846/u,
    /forties \[ 'Typee' \]/u,
    /newest +\[ 'Moby-Dick' \]/u,
    /at sea +\[ 'Moby-Dick', 'Persuasion', 'Typee' \]\nat sea +\[ 'Persuasion' \]/u,
    /byAuthor ready, byYear ready, bySubject ready/u
  ]
}

describe('examples', () => {
  const files = readdirSync(join(ROOT, 'examples')).filter(name => name.endsWith('.ts'))

  it('are all known to this test, and short', () => {
    assert.deepEqual(files.toSorted(), Object.keys(EXPECTED))
    for (const file of files) {
      const lines = readFileSync(join(ROOT, 'examples', file), 'utf8').split('\n').length
      assert.ok(lines <= 60, `${file} has ${lines} lines`)
    }
  })

  /** Most of a program's time is waiting: while one is waited for the next one runs. */
  const programs = Object.keys(EXPECTED)
  const started: Promise<ScriptResult>[] = []
  const start = (at: number): Promise<ScriptResult> => (started[at] ??= run(programs[at]!))

  async function run(file: string): Promise<ScriptResult> {
    return runScript(join(await compiled(), 'examples', file.replace(/\.ts$/u, '.js')), 30_000)
  }

  for (const [at, [file, expected]] of Object.entries(EXPECTED).entries()) {
    it(`${file} runs and prints what it says`, async () => {
      const running = start(at)
      if (at + 1 < programs.length) start(at + 1).catch(() => {})
      const result = await running
      assert.equal(result.code, 0, result.stderr)
      for (const pattern of expected) assert.match(result.stdout, pattern)
    }).timeout(40_000)
  }
})
