import assert from 'node:assert/strict'
import { checkSiblings, SIBLING_RULES, type SiblingOperation } from '../../../../src/testing/checkers/siblings.ts'

const at = (beganMs: number, more: Partial<SiblingOperation>): SiblingOperation => ({
  kind: 'get',
  key: 'k',
  seen: [],
  isQuorum: true,
  beganMs,
  endedMs: beganMs + 1,
  outcome: 'ok',
  ...more
})
const put = (beganMs: number, value: string, more: Partial<SiblingOperation> = {}): SiblingOperation =>
  at(beganMs, { kind: 'put', value, ...more })
const read = (beganMs: number, ...found: string[]): SiblingOperation => at(beganMs, { found })

function rulesOf(...operations: SiblingOperation[]): string[] {
  return checkSiblings(operations).map(({ rule }) => rule)
}

describe('the checker of siblings', () => {
  it('sees nothing wrong in what may be', () => {
    assert.deepEqual(rulesOf(put(1, 'a'), put(1, 'b'), read(5, 'a', 'b')), [])
    assert.deepEqual(rulesOf(put(1, 'a'), put(3, 'b', { seen: ['a'] }), read(5, 'b')), [])
    assert.deepEqual(rulesOf(put(1, 'a'), at(3, { kind: 'delete', seen: ['a'] }), read(5)), [])
    // Who has replaced it may have been stored, or not.
    assert.deepEqual(
      rulesOf(put(1, 'a'), put(3, 'b', { seen: ['a'], outcome: 'unknown', endedMs: Infinity }), read(9)),
      []
    )
    assert.deepEqual(rulesOf(put(1, 'a'), put(3, 'b', { seen: ['a'], outcome: 'unknown' }), read(9, 'a')), [])
    // Nothing is promised before the end of a write, nor at one copy.
    assert.deepEqual(rulesOf(put(1, 'a', { endedMs: 9 }), read(5)), [])
    assert.deepEqual(rulesOf(put(1, 'a', { isQuorum: false }), read(5)), [])
    assert.deepEqual(rulesOf(put(1, 'a'), at(5, { found: [], isQuorum: false })), [])
  })

  it('sees a put that is lost', () => {
    assert.deepEqual(rulesOf(put(1, 'a'), put(1, 'b'), read(5, 'b')), [SIBLING_RULES.kept])
    assert.deepEqual(rulesOf(put(1, 'a'), put(7, 'b', { seen: ['a'] }), read(4)), [SIBLING_RULES.kept])
    assert.deepEqual(rulesOf(put(1, 'a'), put(3, 'b', { seen: ['a'], outcome: 'failed' }), read(5)), [
      SIBLING_RULES.kept
    ])
  })

  it('sees what comes back, and what is there twice', () => {
    assert.deepEqual(rulesOf(put(1, 'a'), put(3, 'b', { seen: ['a'] }), read(5, 'a', 'b')), [SIBLING_RULES.replaced])
    assert.deepEqual(rulesOf(put(1, 'a'), at(3, { kind: 'delete', seen: ['a'] }), read(5, 'a')), [
      SIBLING_RULES.replaced
    ])
    assert.deepEqual(rulesOf(put(1, 'a'), read(5, 'a', 'a')), [SIBLING_RULES.once])
  })
})
