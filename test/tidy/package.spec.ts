import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ROOT, runScript } from '../support/run-script.ts'

describe('tidy: the package', () => {
  it('has the top level that was agreed, beside dot files', () => {
    // `npm run check` packs beside the tests: the package stands there for a moment.
    const names = readdirSync(ROOT).filter(name => !name.startsWith('.') && !name.endsWith('.tgz'))
    const generated = ['node_modules', 'dist', 'coverage', 'package-lock.json']
    const agreed = [
      'src',
      'examples',
      'test',
      'docs',
      'package.json',
      'tsconfig.json',
      'typedoc.json',
      'README.md',
      'LICENSE'
    ]
    assert.deepEqual(names.filter(name => !generated.includes(name)).toSorted(), agreed.toSorted())
  })

  it('locks its dependencies without download addresses', () => {
    const lock = readFileSync(join(ROOT, 'package-lock.json'), 'utf8')
    assert.doesNotMatch(lock, /"resolved": "https?:/u)
  })

  it('installs nothing that runs a script or holds native code', () => {
    const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
      packages: Readonly<Record<string, { hasInstallScript?: boolean; dev?: boolean; optional?: boolean }>>
    }
    const scripted = Object.entries(lock.packages)
      .filter(([, { hasInstallScript, dev }]) => hasInstallScript === true && dev !== true)
      .map(([name]) => name)
    assert.deepEqual(scripted, [])
  })

  it('exports what it says, and nothing by accident', async () => {
    const main = await import('kilovolt')
    const names = ['KilovoltError', 'PnCounter', 'createNode', 'isKilovoltError', 'resolvers']
    assert.deepEqual(Object.keys(main).toSorted(), names)
    const session = await import('kilovolt/session')
    assert.deepEqual(Object.keys(session), ['createSessionStore'])
    const faces = await Promise.all([import('kilovolt/keyv'), import('kilovolt/level'), import('kilovolt/unstorage')])
    assert.deepEqual(
      faces.map(face => Object.keys(face).toSorted()),
      [['KilovoltKeyv'], ['KilovoltLevel', 'LevelError'], ['createDriver']]
    )
  })

  it('has no top-level await, so that require() works', () => {
    const files = readdirSync(join(ROOT, 'src'), { withFileTypes: true, recursive: true })
    for (const entry of files.filter(file => file.isFile() && file.name.endsWith('.ts'))) {
      const text = readFileSync(join(entry.parentPath, entry.name), 'utf8')
      assert.doesNotMatch(text, /^(?:const .*= )?await /mu, entry.name)
    }
  })

  it('has no module that cannot be loaded by itself', async () => {
    const files = readdirSync(join(ROOT, 'src'), { withFileTypes: true, recursive: true })
    for (const entry of files.filter(file => file.isFile() && file.name.endsWith('.ts'))) {
      await import(pathToFileURL(join(entry.parentPath, entry.name)).href)
    }
  })

  it('does nothing on import but install the one shim', async () => {
    const result = await runScript(join(ROOT, 'test/support/import-effects.ts'), 30_000)
    assert.equal(result.code, 0, result.stderr)
    assert.deepEqual(JSON.parse(result.stdout), { globals: [], listeners: 0, handles: [], early: [] })
  }).timeout(40_000)

  it('holds every page and heading that the README and its pages name', () => {
    const { files } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { files: readonly string[] }
    const isShipped = (path: string): boolean =>
      ['README.md', 'LICENSE'].includes(path) ||
      (files.includes('docs/**/*.md') && /^docs\/(?:.*\.md|decisions)$/u.test(path)) ||
      (files.includes('examples/*.ts') && /^examples\/[^/]+\.ts$/u.test(path))
    const pages = readdirSync(join(ROOT, 'docs'), { withFileTypes: true })
      // `npm run docs` makes docs/api, which is not shipped, and perhaps just now.
      .filter(({ name }) => name !== 'api')
      .flatMap(entry => (entry.isDirectory() ? pagesIn(entry.name) : [entry.name]))
      .filter(name => name.endsWith('.md'))
      .map(name => posix.join('docs', name))
    const dead = ['README.md', ...pages].flatMap(page =>
      linksOf(page)
        .filter(({ path, anchor }) => !isShipped(path) || !existsSync(join(ROOT, path)) || !hasHeading(path, anchor))
        .map(({ path, anchor }) => `${page}: ${path}#${anchor}`)
    )
    assert.deepEqual(dead, [], 'links that lead nowhere in the package')
  })
})

/** Everything in a folder of the documentation and below. */
function pagesIn(folder: string): string[] {
  const names = readdirSync(join(ROOT, 'docs', folder), { recursive: true, encoding: 'utf8' })
  return names.map(name => posix.join(folder, name.replaceAll('\\', '/')))
}

/** Where the links of a page lead, from the root; not those into the web. */
function linksOf(page: string): { readonly path: string; readonly anchor: string }[] {
  const text = readFileSync(join(ROOT, page), 'utf8')
  return [...text.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/gu)].map(([, target, anchor = '']) => ({
    path: target === '' ? page : posix.join(posix.dirname(page), target!.replaceAll(/\s+/gu, '')),
    anchor
  }))
}

/** Whether a page has the heading that a link names, as GitHub makes names of headings. */
function hasHeading(page: string, anchor: string): boolean {
  if (anchor === '') return true
  const text = readFileSync(join(ROOT, page), 'utf8')
  const headings = [...text.matchAll(/^#+ (.*)$/gmu)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-')
  )
  return headings.includes(anchor)
}
