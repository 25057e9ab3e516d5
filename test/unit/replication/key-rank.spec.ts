import assert from 'node:assert/strict'
import fc from 'fast-check'
import { compareBytes, utf8 } from '../../../src/base/bytes.ts'
import { KeyRank } from '../../../src/replication/key-rank.ts'
import { anyBytes } from './arbitraries.ts'

describe('the rank of a key', () => {
  it('puts keys in no other order than their bytes do, whatever they begin with', () => {
    const key = fc.oneof(
      anyBytes(12),
      anyBytes(12).map(end => Uint8Array.of(...utf8('key-'), ...end)),
      fc.integer({ min: 0, max: 3 }).map(zeros => Uint8Array.of(...utf8('key-'), ...new Uint8Array(zeros)))
    )
    fc.assert(
      fc.property(fc.array(key, { minLength: 1, maxLength: 5 }), fc.boolean(), key, key, (known, isReverse, a, b) => {
        const rank = new KeyRank(known, isReverse)
        const order = compareBytes(a, b) * (isReverse ? -1 : 1)
        const difference = rankOf(rank, a) - rankOf(rank, b)
        assert.ok(difference === 0 || Math.sign(difference) === Math.sign(order), `${difference} ${order}`)
      })
    )
  })

  it('tells keys apart by the six bytes behind what all begin with', () => {
    const name = (i: number): Uint8Array => utf8(`key-000000${String(i).padStart(6, '0')}`)
    const up = new KeyRank([name(100_000), name(999_999)], false)
    const down = new KeyRank([name(999_999), name(100_000)], true)
    assert.ok(rankOf(up, name(500_000)) < rankOf(up, name(500_001)))
    assert.ok(rankOf(down, name(500_000)) > rankOf(down, name(500_001)))
    assert.ok(rankOf(up, utf8('key-1')) > rankOf(up, name(999_999)), 'what begins otherwise and comes later')
    assert.ok(rankOf(up, utf8('a')) < rankOf(up, name(100_000)), 'or earlier')
    assert.ok(rankOf(down, utf8('a')) > rankOf(down, name(100_000)))
    assert.ok(rankOf(down, utf8('key-1')) < rankOf(down, name(999_999)))
  })
})

function rankOf(rank: KeyRank, key: Uint8Array): number {
  const bytes = Uint8Array.of(255, ...key, 255)
  return rank.of(bytes, 1, 1 + key.length)
}
