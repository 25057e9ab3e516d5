import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { fromUtf8, utf8 } from '../../../src/base/bytes.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { assertKey, assertValue, hashTag, KEY_BYTES_MAX, VALUE_BYTES_MAX } from '../../../src/model/key.ts'

const tagOf = (key: string): string => fromUtf8(hashTag(utf8(key)))

describe('hashTag', () => {
  it('is what stands between the first { and the next }, when that is not empty, else the whole key', () => {
    const cases: [string, string][] = [
      ['', ''],
      ['plain', 'plain'],
      ['{user:1}:cart', 'user:1'],
      ['a{b}c{d}e', 'b'],
      ['a{{b}}c', '{b'],
      ['{}a{b}', '{}a{b}'],
      ['a{b', 'a{b'],
      ['a}b', 'a}b'],
      ['}a{b}', 'b'],
      ['{a}', 'a'],
      ['{', '{'],
      ['{}', '{}']
    ]
    for (const [key, tag] of cases) assert.equal(tagOf(key), tag, key)
  })

  it('is the same for all keys with one tag', () => {
    const noBrace = fc.string({ maxLength: 20 }).map(text => text.replaceAll(/[{}]/gu, ''))
    fc.assert(
      fc.property(
        noBrace.filter(tag => tag.length > 0),
        noBrace,
        fc.string({ maxLength: 20 }),
        (tag, before, after) => assert.equal(tagOf(`${before}{${tag}}${after}`), tag)
      )
    )
  })

  it('is a part of any bytes whatever, never empty unless the key is', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(0x7b, 0x7d, 0, 0xff), { maxLength: 12 }), list => {
        const key = Uint8Array.from(list)
        const tag = hashTag(key)
        assert.equal(tag.length === 0, key.length === 0)
        assert.equal(tag.buffer, key.buffer)
      })
    )
  })
})

describe('limits of keys and values', () => {
  it('take what is as long as allowed, the empty key too, and refuse a byte more', () => {
    assertKey(new Uint8Array(0))
    assertKey(new Uint8Array(KEY_BYTES_MAX))
    assertValue(new Uint8Array(VALUE_BYTES_MAX))
    assert.throws(
      () => assertKey(new Uint8Array(KEY_BYTES_MAX + 1)),
      error => isKilovoltError(error, 'KV_KEY_TOO_LARGE')
    )
    assert.throws(
      () => assertValue(new Uint8Array(VALUE_BYTES_MAX + 1)),
      error => isKilovoltError(error, 'KV_VALUE_TOO_LARGE')
    )
  })
})
