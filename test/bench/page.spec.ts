import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { renewPage } from './page.ts'

const report = (name: string): Parameters<typeof renewPage>[1] => [
  { sections: [{ name, head: ['what', 'much'], rows: [['a', '1']] }], figures: {} }
]

describe('the page of benchmarks', () => {
  it('gets new figures between its marks and keeps everything else', () => {
    const page =
      'before\n<!-- figures: a -->\nold\n<!-- end -->\nbetween\n<!-- figures: b -->\nkept\n<!-- end -->\nafter\n'
    const renewed = renewPage(page, report('a'))
    assert.match(
      renewed,
      /^before\n<!-- figures: a -->\n\nNode\.js [^\n]+:\n\n\| what \| much \|\n[^\n]+\n\| a    \|    1 \|\n\n<!-- end -->\n/u
    )
    assert.ok(renewed.endsWith('\nbetween\n<!-- figures: b -->\nkept\n<!-- end -->\nafter\n'))
    assert.equal(renewPage(renewed, report('a')), renewed)
  })

  it('has a place for every table that the benches find', () => {
    const page = readFileSync(new URL('../../docs/benchmarks.md', import.meta.url), 'utf8')
    for (const name of ['ratios', 'limits', 'matrix', 'open-loop', 'memory', 'soak', 'start-up', 'encryption']) {
      assert.match(renewPage(page, report(name)), /\| a {4}\| {4}1 \|/u)
    }
    assert.throws(() => renewPage(page, report('nothing')), /no place for "nothing"/u)
  })
})
