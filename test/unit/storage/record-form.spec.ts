import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { toHex, utf8 } from '../../../src/base/bytes.ts'
import { formFor, PLAIN, SEALED } from '../../../src/storage/record-form.ts'
import { dataKey } from '../../../src/storage/key-layout.ts'
import { record } from '../../conformance/record-store-suite.ts'

const CORRUPT = { code: 'KV_CORRUPT' }
const keys = fc
  .record({ partition: fc.nat(0xffff), keyspace: fc.uint8Array({ maxLength: 64 }), key: fc.uint8Array() })
  .map(({ partition, keyspace, key }) => dataKey(partition, keyspace, key))
const records = fc
  .record({ hlc: fc.nat(), value: fc.option(fc.string({ maxLength: 200 }), { nil: undefined }) })
  .map(({ hlc, value }) => record(hlc, value))

describe('a record on a medium', () => {
  it('is what was sealed', () => {
    fc.assert(
      fc.property(keys, records, (key, bytes) => {
        assert.deepEqual(toHex(SEALED.open(key, SEALED.seal(key, bytes))), toHex(bytes))
      })
    )
  })

  it('fails its checksum whichever bit of it is flipped', () => {
    fc.assert(
      fc.property(keys, records, fc.nat(), (key, bytes, at) => {
        const stored = SEALED.seal(key, bytes)
        const bit = at % (stored.length * 8)
        stored[bit >> 3]! ^= 1 << (bit & 7)
        assert.throws(() => SEALED.open(key, stored), CORRUPT)
      })
    )
  })

  it('fails it under a key of which any bit is another', () => {
    fc.assert(
      fc.property(keys, records, fc.nat(), (key, bytes, at) => {
        const stored = SEALED.seal(key, bytes)
        const other = new Uint8Array(key)
        const bit = at % (key.length * 8)
        other[bit >> 3]! ^= 1 << (bit & 7)
        assert.throws(() => SEALED.open(other, stored), CORRUPT)
      })
    )
  })

  it('fails it when it is cut off anywhere', () => {
    const key = dataKey(1, utf8('ks'), utf8('k'))
    const stored = SEALED.seal(key, record(1, 'value'))
    for (let length = 0; length < stored.length; length++) {
      assert.throws(() => SEALED.open(key, stored.subarray(0, length)), CORRUPT)
    }
  })

  it('is refused when it is whole but no record', () => {
    const key = dataKey(1, utf8(''), utf8('k'))
    assert.throws(() => SEALED.open(key, SEALED.seal(key, Uint8Array.of(1, 2, 3))), CORRUPT)
  })

  it('has the bytes that the reference tells', () => {
    const key = dataKey(258, utf8('ab'), utf8('k'))
    const bytes = Buffer.from('0102c1e42a72e0090123456789abcdef76616c7565', 'hex')
    assert.equal(toHex(SEALED.seal(key, bytes)), `7af30b51${toHex(bytes)}`)
  })

  it('has a checksum, and one in memory has none', () => {
    assert.equal(formFor({ permanent: true }), SEALED)
    assert.equal(formFor({ permanent: false }), PLAIN)
    const bytes = record(1, 'x')
    assert.equal(PLAIN.open(utf8('k'), PLAIN.seal(utf8('k'), bytes)), bytes)
    assert.throws(() => PLAIN.open(utf8('k'), Uint8Array.of(1, 2, 3)), CORRUPT)
  })
})
