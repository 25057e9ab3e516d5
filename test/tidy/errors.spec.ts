import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../support/run-script.ts'

const source = readFileSync(join(ROOT, 'src/base/errors.ts'), 'utf8')
const codes = [...source.slice(0, source.indexOf('/** What else')).matchAll(/'(KV_[A-Z_]+)'/gu)].map(match => match[1]!)

function textBelow(folder: string): string {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter(entry => entry.isFile() && entry.name.endsWith('.ts'))
    .map(entry => readFileSync(join(entry.parentPath, entry.name), 'utf8'))
    .join('\n')
}

describe('tidy: error codes', () => {
  it('are sorted, and each has a heading in the reference', () => {
    const page = readFileSync(join(ROOT, 'docs/reference/errors.md'), 'utf8')
    const headings = [...page.matchAll(/^## (KV_[A-Z_]+)$/gmu)].map(match => match[1])
    assert.deepEqual(codes, codes.toSorted())
    assert.deepEqual(headings, codes)
  })

  it('are each thrown somewhere', () => {
    const text = textBelow(join(ROOT, 'src')).replace(source, '')
    assert.deepEqual(
      codes.filter(code => !text.includes(`'${code}'`)),
      []
    )
  })

  it('are each expected by a test', () => {
    const text = textBelow(join(ROOT, 'test'))
    // A broken invariant cannot be provoked from outside.
    assert.deepEqual(
      codes.filter(code => code !== 'KV_INTERNAL' && !text.includes(code)),
      []
    )
  })
})
