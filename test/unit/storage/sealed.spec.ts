import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { toHex, utf8 } from '../../../src/base/bytes.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { Reader } from '../../../src/codec/reader.ts'
import { raftStateKey } from '../../../src/storage/key-layout.ts'
import { opened, seal, unseal } from '../../../src/storage/sealed.ts'

const keys = fc.uint8Array({ minLength: 1, maxLength: 40 })
const bodies = fc.uint8Array({ maxLength: 200 })

/** The bytes with one bit flipped. */
function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const other = new Uint8Array(bytes)
  const bit = at % (bytes.length * 8)
  other[bit >> 3]! ^= 1 << (bit & 7)
  return other
}

const damaged = (why: string): KilovoltError => new KilovoltError('KV_CORRUPT', why)
const rest = (reader: Reader): Uint8Array => reader.rest()

describe('a sealed value', () => {
  it('is what was sealed', () => {
    fc.assert(
      fc.property(keys, bodies, (key, body) => {
        const { key: under, value } = seal(key, body)
        assert.equal(under, key)
        assert.deepEqual(toHex(opened(key, value)!), toHex(body))
        assert.deepEqual(toHex(unseal(key, value, rest, damaged)), toHex(body))
      })
    )
  })

  it('is never accepted with any bit of it flipped', () => {
    fc.assert(
      fc.property(keys, bodies, fc.nat(), (key, body, at) => {
        const value = flipped(seal(key, body).value, at)
        assert.equal(opened(key, value), undefined)
        assert.throws(() => unseal(key, value, rest, damaged), { code: 'KV_CORRUPT', message: /fails its checksum/u })
      }),
      { numRuns: 1000 }
    )
  })

  it('is never accepted under a key of which any bit is another', () => {
    fc.assert(
      fc.property(keys, bodies, fc.nat(), (key, body, at) => {
        assert.equal(opened(flipped(key, at), seal(key, body).value), undefined)
      })
    )
  })

  it('is never accepted when bytes in a row are overwritten, as many as the checksum has', () => {
    fc.assert(
      fc.property(keys, bodies, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 4 }), (key, body, at, other) => {
        const { value } = seal(key, body)
        const spoilt = new Uint8Array(value)
        spoilt.set(other.subarray(0, value.length - (at % value.length)), at % value.length)
        fc.pre(toHex(spoilt) !== toHex(value))
        // Across the end of the checksum two errors may meet: that is a matter of 1 in 2^32, no promise.
        fc.pre(at % value.length >= 4 || (at % value.length) + other.length <= 4)
        assert.equal(opened(key, spoilt), undefined)
      })
    )
  })

  it('is never accepted when it is cut off anywhere', () => {
    const key = raftStateKey(1, 0)
    const { value } = seal(key, utf8('what has to be kept'))
    for (let length = 0; length < value.length; length++) {
      assert.equal(opened(key, value.subarray(0, length)), undefined)
    }
  })

  it('is damaged as well when it is whole and cannot be read, but not when a later version wrote it', () => {
    const key = raftStateKey(1, 0)
    const { value } = seal(key, Uint8Array.of(1))
    assert.throws(() => unseal(key, value, reader => reader.u32(), damaged), {
      code: 'KV_CORRUPT',
      message: /cannot be read: malformed bytes/u
    })
    const later = new KilovoltError('KV_STORAGE_FORMAT', 'upgrade')
    const parse = (): never => {
      throw later
    }
    assert.throws(
      () => unseal(key, value, parse, damaged),
      error => error === later
    )
  })

  it('shares no memory with what the store handed out', () => {
    const key = raftStateKey(1, 0)
    const { value } = seal(key, utf8('state'))
    const body = unseal(key, value, rest, damaged)
    value.fill(0)
    assert.equal(Buffer.from(body).toString(), 'state')
  })

  it('has the bytes that the reference tells', () => {
    const body = Buffer.from(`01${'cc'.repeat(16)}`, 'hex')
    assert.equal(toHex(seal(Uint8Array.of(0x13, 1), body).value), `86070677${toHex(body)}`)
  })
})
