import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { resolveOptions } from '../../src/node/options.ts'
import { ROOT } from '../support/run-script.ts'

const PAGE = 'docs/reference/options.md'
const page = readFileSync(join(ROOT, PAGE), 'utf8')
const [, ofNodes, ofKeyspaces] = page.split(/^## /mu)

/** Names and defaults of the members of an interface, the latter as its comments have them; `none` where they have none. */
function optionsOf(file: string, ...names: readonly string[]): [string, string][] {
  const source = readFileSync(join(ROOT, file), 'utf8')
  return names.flatMap(name => {
    const body = new RegExp(`export interface ${name}\\b[^{]*\\{\\n([\\s\\S]*?)\\n\\}`, 'u').exec(source)?.[1]
    assert.ok(body !== undefined, `${file} has no interface ${name}`)
    return [...body.matchAll(/\/\*\*([\s\S]*?)\*\/\s+readonly (\w+)\??:/gu)].map(
      ([, comment, option]): [string, string] => {
        const text = comment!.replaceAll(/\s*\n\s*\*?\s*/gu, ' ').trim()
        const value = /@defaultValue (.*)$/u.exec(text)?.[1] ?? /\bDefault:? (.*)\.$/u.exec(text)?.[1] ?? 'none'
        return [option!, value]
      }
    )
  })
}

/** Names and defaults of the rows of the page's table. */
function rowsOf(section: string | undefined): [string, string][] {
  return [...section!.matchAll(/^\| `(\w+)` \|(.*)\|$/gmu)].map(([, name, rest]) => [
    name!,
    rest!.split(/(?<!\\)\|/u)[1]!.trim()
  ])
}

/** The value that a default in backticks stands for. */
function valueOf(text: string): unknown {
  const code = /^`(.*?)`/u.exec(text)?.[1] ?? ''
  return JSON.parse(code.replaceAll(/(?<=\d)_(?=\d)/gu, '').replaceAll("'", '"'))
}

describe('tidy: options', () => {
  const cases = [
    { what: 'createNode', section: ofNodes, options: optionsOf('src/node/options.ts', 'NodeOptions') },
    {
      what: 'keyspace',
      section: ofKeyspaces,
      options: optionsOf('src/node/keyspace-options.ts', 'KeyspaceOptions', 'SchemaKeyspaceOptions')
    }
  ]

  for (const { what, section, options } of cases) {
    it(`of ${what} are each on the page, in order, with the default that its comment has`, () => {
      const rows = rowsOf(section)
      const known = new Map(rows)
      const missing = options.filter(([name]) => !known.has(name)).map(([name]) => name)
      assert.deepEqual(
        missing,
        [],
        `add rows to the table of ${what} in ${PAGE}: "| \`name\` | type | default, word for word as in its comment | …"`
      )
      assert.deepEqual(rows, options, `${PAGE} and the comments of the options of ${what} differ`)
    })
  }

  it('of createNode have the defaults that the page says', () => {
    const resolved = resolveOptions() as unknown as Record<string, unknown>
    for (const [name, text] of rowsOf(ofNodes)) {
      const actual = resolved[name]
      // What has an empty list by default is told as having none.
      if (Array.isArray(actual) && actual.length === 0 && text === 'none') continue
      if (actual !== undefined) assert.deepEqual(valueOf(text), actual, `the default of ${name} in ${PAGE}`)
    }
  })
})
