import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT, runScript } from '../support/run-script.ts'

/** What each example must print, so that a silent failure does not pass. */
const EXPECTED: Readonly<Record<string, readonly RegExp[]>> = {
  '01-one-node.ts': [/get +\{ name: 'Ada' \}/u, /missing undefined/u, /delete +true/u, /\[ 1, 2, undefined \]/u],
  '02-three-nodes.ts': [/on the second: hello/u, /first is gone: hello/u],
  '03-three-processes.ts': [/process one says hello/u, /process two says hello/u, /members 3/u],
  '04-on-disk.ts': [/same identity true/u, /kept +yes/u],
  '05-typed-keyspaces.ts': [/admin/u, /year +2026/u, /no mixing false/u],
  '06-http-sessions.ts': [/port one: visit 1/u, /port two: visit 2/u, /port one: visit 3/u, /port two: visit 4/u],
  '09-watch.ts': [
    /put +shelf-1:apples/u,
    /delete shelf-1:pears/u,
    /copy +\{ 'shelf-1:apples': 3 \}/u,
    /copy +\{ 'shelf-1:apples': 2 \}/u
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

  for (const [file, expected] of Object.entries(EXPECTED)) {
    it(`${file} runs and prints what it says`, async () => {
      const result = await runScript(join(ROOT, 'examples', file), 30_000)
      assert.equal(result.code, 0, result.stderr)
      for (const pattern of expected) assert.match(result.stdout, pattern)
    }).timeout(40_000)
  }
})
