import assert from 'node:assert/strict'
import fc from 'fast-check'
import { isKilovoltError } from '../../src/base/errors.ts'

/** Plain copies, as views into one buffer and arrays of their own are the same thing here. */
export function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, field) => (field instanceof Uint8Array ? [...field] : (field as unknown)))
  )
}

/** Two tests of a message: it comes back as it was; and damaged it is read or refused, and never anything else. */
export function itTravels<T>(
  name: string,
  values: fc.Arbitrary<T>,
  encode: (value: T) => Uint8Array,
  decode: (bytes: Uint8Array) => T
): void {
  it(`${name} comes back as it was`, () => {
    fc.assert(fc.property(values, value => assert.deepEqual(plain(decode(encode(value))), plain(value))))
  })

  it(`${name} that is cut, or of which a bit is wrong, is read or refused, and never anything else`, () => {
    fc.assert(
      fc.property(values, fc.nat(), fc.nat(7), fc.boolean(), (value, at, bit, cut) => {
        const encoded = encode(value)
        const damaged = cut ? encoded.slice(0, at % encoded.length) : encoded.slice()
        if (!cut) damaged[at % damaged.length]! ^= 1 << bit
        try {
          decode(damaged)
        } catch (error) {
          assert.ok(isKilovoltError(error, 'KV_PROTOCOL') || isKilovoltError(error, 'KV_CORRUPT'), String(error))
        }
      })
    )
  })
}
