import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { compile, compiled } from '../support/compiled.ts'
import { freePort } from '../support/free-port.ts'
import { ROOT, runScript, type ScriptResult } from '../support/run-script.ts'

/** Pages whose TypeScript snippets are whole programs. */
const PAGES = [
  'README.md',
  'docs/start.md',
  'docs/guides/batches.md',
  'docs/guides/conflicts.md',
  'docs/guides/faces.md',
  'docs/guides/indexes.md',
  'docs/guides/scans.md',
  'docs/guides/sessions.md',
  'docs/guides/ttl.md',
  'docs/guides/values.md',
  'docs/guides/watch.md'
]

/** A program with this in it is started three times, as the page says. */
const WHICH = 'process.argv[2]'
/** None of the three ends before all have done what they do. */
const TOGETHER = `
const __all = new Promise(resolve => process.once('message', resolve))
process.send('done')
await __all
`

interface Snippet {
  readonly page: string
  readonly line: number
  readonly code: string
}

function snippetsOf(page: string): Snippet[] {
  const text = readFileSync(join(ROOT, page), 'utf8')
  return [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gmu)].map(match => ({
    page,
    line: text.slice(0, match.index).split('\n').length,
    code: match[1]!
  }))
}

/** Turns "await node.get(…) // value" into an assertion, so that the promises of a comment are kept. */
function withAssertions(code: string): string {
  const checked = code.replaceAll(
    /^(await [\w.]+\.(?:get|getItem|getKeys|getMany|has|delete|touch|persist|putIfAbsent|update|keys|values|count|clear)\(.*\)) \/\/ (\S.*)$/gmu,
    (_, call: string, expected: string) => `__assert.deepEqual(${call}, ${expected})`
  )
  return `import __assert from 'node:assert/strict'\n${checked}\n${code.includes(WHICH) ? TOGETHER : ''}\nprocess.exit(0)\n`
}

/** The same program on ports and in a folder of its own. */
async function relocated(code: string, folder: string): Promise<string> {
  let moved = code.replaceAll("'./data'", JSON.stringify(folder))
  for (const [port] of new Set(code.match(/\/tcp\/[1-9]\d*/gu) ?? []).entries()) {
    moved = moved.replaceAll(port, `/tcp/${await freePort()}`)
  }
  return moved
}

describe('snippets of the documentation', () => {
  const snippets = PAGES.flatMap(snippetsOf)
  const nameOf = ({ page, line }: Snippet): string => `${page.replaceAll(/\W/gu, '-')}-${line}`

  // Inside the package, so that 'kilovolt' resolves as it does for a user.
  let folder = ''
  before(async function () {
    this.timeout(60_000)
    folder = join(await compiled(), 'snippets')
    const sources = join(folder, 'sources')
    mkdirSync(sources, { recursive: true })
    for (const snippet of snippets) writeFileSync(join(sources, `${nameOf(snippet)}.ts`), withAssertions(snippet.code))
    await compile(sources, [sources], folder)
  })

  it('are found', () => {
    for (const page of PAGES)
      assert.ok(
        snippets.some(snippet => snippet.page === page),
        page
      )
  })

  async function run(snippet: Snippet): Promise<ScriptResult[]> {
    const { code } = snippet
    const name = nameOf(snippet)
    const file = join(folder, `${name}.js`)
    writeFileSync(file, await relocated(readFileSync(file, 'utf8'), join(folder, `data-${name}`)))
    if (!code.includes(WHICH)) return [await runScript(file, 30_000)]
    const args = ['0', '1', '2']
    const done: (() => void)[] = []
    const onDone = (goOn: () => void): void => {
      if (done.push(goOn) === args.length) for (const next of done) next()
    }
    return Promise.all(args.map(arg => runScript(file, 30_000, {}, [arg], onDone)))
  }

  /** A program takes its time to start: while one is waited for the next one does. */
  const started: Promise<ScriptResult[]>[] = []
  const start = (at: number): Promise<ScriptResult[]> => (started[at] ??= run(snippets[at]!))

  for (const [at, { page, line }] of snippets.entries()) {
    it(`${page}:${line} runs and gives what its comments say`, async () => {
      const results = start(at)
      if (at + 1 < snippets.length) start(at + 1).catch(() => {})
      for (const result of await results) assert.equal(result.code, 0, `${result.stderr}\n${result.stdout}`)
    }).timeout(40_000)
  }
})
