import assert from 'node:assert/strict'
import { utf8 } from '../../../src/base/bytes.ts'
import { loadHash64 } from '../../../src/runtime/hash.ts'

describe('loadHash64', () => {
  it('gives XXH64 with seed 0', async () => {
    const hash = await loadHash64()
    // Published test values of XXH64.
    assert.equal(hash(new Uint8Array(0)), 0xef46db3751d8e999n)
    assert.equal(hash(utf8('a')), 0xd24ec4f1a98c6e5bn)
    assert.equal(hash(utf8('abc')), 0x44bc2cf5ad770999n)
  })

  it('gives instances that do not disturb each other', async () => {
    const [first, second] = await Promise.all([loadHash64(), loadHash64()])
    const long = new Uint8Array(1_000_000).fill(3)
    const before = first(utf8('x'))
    assert.equal(second(long), first(long))
    assert.equal(first(utf8('x')), before)
  })
})
