import assert from 'node:assert/strict'
import { youngArray, youngPair } from '../../../src/base/young-arrays.ts'

describe('arrays that are copies', () => {
  it('are as good as literals, and each by itself', () => {
    const [one, other] = [youngArray<number>(), youngArray<number>()]
    one.push(1)
    assert.deepEqual([one, other], [[1], []])
    const pair = youngPair('a', 1)
    youngPair('b', 2)
    assert.deepEqual(pair, ['a', 1])
    assert.equal(pair.length, 2)
  })
})
