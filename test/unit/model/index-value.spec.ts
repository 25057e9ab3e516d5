import assert from 'node:assert/strict'
import fc from 'fast-check'
import { compareBytes, concatBytes, toHex, utf8 } from '../../../src/base/bytes.ts'
import {
  decodeIndexValue,
  encodeIndexValue,
  hasValue,
  INDEX_VALUE_BYTES_MAX,
  type IndexBounds,
  indexRange,
  type IndexValue
} from '../../../src/model/index-value.ts'

/** Text of few letters, so that one often begins with another; some of them are more than a byte. */
const letters = fc.constantFrom('\0', '\u0001', 'a', 'b', 'ÿ', '\uffff', '😀')
const text = fc.oneof(
  fc.array(letters, { maxLength: 4 }).map(parts => parts.join('')),
  fc.string({ unit: 'grapheme' })
)
const bytes = fc.oneof(fc.array(fc.constantFrom(0, 1, 254, 255), { maxLength: 4 }), fc.array(fc.nat(255)))
const number = fc.oneof(fc.double({ noNaN: true }), fc.integer(), fc.constantFrom(0, -0, 1, -1, Infinity, -Infinity))
const bigint = fc.oneof(fc.bigInt({ min: -300n, max: 300n }), fc.bigInt({ min: -(1n << 600n), max: 1n << 600n }))
const value: fc.Arbitrary<IndexValue> = fc.oneof(
  fc.boolean(),
  number,
  bigint,
  fc.date({ noInvalidDate: true }),
  text,
  bytes.map(list => Uint8Array.from(list))
)

const TYPES = ['boolean', 'number', 'bigint', 'date', 'string', 'bytes']

function typeOf(one: IndexValue): number {
  return TYPES.indexOf(one instanceof Date ? 'date' : one instanceof Uint8Array ? 'bytes' : typeof one)
}

/** The order that values are to have. */
function compare(a: IndexValue, b: IndexValue): number {
  if (typeOf(a) !== typeOf(b)) return Math.sign(typeOf(a) - typeOf(b))
  if (typeof a === 'string') return Math.sign(compareBytes(utf8(a), utf8(b as string)))
  if (a instanceof Uint8Array) return Math.sign(compareBytes(a, b as Uint8Array))
  const [x, y] = a instanceof Date ? [a.getTime(), (b as Date).getTime()] : [a, b as typeof a]
  return x < y ? -1 : x > y ? 1 : 0
}

describe('values of an index', () => {
  it('have bytes whose order is theirs', () => {
    fc.assert(
      fc.property(value, value, (a, b) => {
        assert.equal(Math.sign(compareBytes(encodeIndexValue(a), encodeIndexValue(b))), compare(a, b))
      }),
      { numRuns: 3000 }
    )
  })

  it('are in their order whatever key stands behind them, and are told from it', () => {
    const key = fc.array(fc.constantFrom(0, 97, 255), { maxLength: 3 }).map(list => Uint8Array.from(list))
    fc.assert(
      fc.property(value, key, value, key, (a, keyA, b, keyB) => {
        const [x, y] = [concatBytes([encodeIndexValue(a), keyA]), concatBytes([encodeIndexValue(b), keyB])]
        const expected = compare(a, b) || Math.sign(compareBytes(keyA, keyB))
        assert.equal(Math.sign(compareBytes(x, y)), expected)
        assert.deepEqual(x.subarray(decodeIndexValue(x).length), keyA)
      }),
      { numRuns: 2000 }
    )
  })

  it('come back as they were, and leave the bytes as they are', () => {
    fc.assert(
      fc.property(value, one => {
        // A Buffer shares its memory with what is sliced off it.
        const encoded = Buffer.from(encodeIndexValue(one))
        const before = toHex(encoded)
        const decoded = decodeIndexValue(encoded)
        assert.deepEqual(decoded, { value: Object.is(one, -0) ? 0 : one, length: encoded.length })
        assert.equal(toHex(encoded), before)
      })
    )
  })

  it('are within bounds when they are', () => {
    const some = fc.option(value, { nil: undefined })
    const bounds = fc.record({ gt: some, gte: some, lt: some, lte: some })
    fc.assert(
      fc.property(bounds, value, ({ gt, gte, lt, lte }, one) => {
        const isOfType = [gte ?? gt, lte ?? lt].every(bound => bound === undefined || typeOf(bound) === typeOf(one))
        const isAbove = gte === undefined ? gt === undefined || compare(one, gt) > 0 : compare(one, gte) >= 0
        const isBelow = lte === undefined ? lt === undefined || compare(one, lt) < 0 : compare(one, lte) <= 0
        assert.equal(isWithin({ gt, gte, lt, lte }, one), isOfType && isAbove && isBelow)
      }),
      { numRuns: 3000 }
    )
  })

  it('equal a value, or begin with it, when they do', () => {
    fc.assert(fc.property(value, value, (a, b) => assert.equal(isWithin({ equals: a }, b), compare(a, b) === 0)))
    fc.assert(
      fc.property(text, text, (prefix, whole) => assert.equal(isWithin({ prefix }, whole), whole.startsWith(prefix)))
    )
    assert.equal(isWithin({ prefix: Uint8Array.of(1, 0) }, Uint8Array.of(1, 0, 5)), true)
    assert.equal(isWithin({ prefix: Uint8Array.of(1, 0) }, Uint8Array.of(1, 1)), false)
    assert.equal(isWithin({ prefix: 'a', gt: 'ab' }, 'aa'), false)
    assert.equal(isWithin({ prefix: '' }, 5), false)
    assert.equal(isWithin({}, 5), true)
  })

  it('are refused when they have no place in an order, or are too long', () => {
    const wrong = [NaN, new Date(NaN), null, undefined, {}, [], () => 5, Symbol('a'), 'a\ud83d', '\ude00b']
    for (const one of wrong) assert.throws(() => encodeIndexValue(one), TypeError, typeof one)
    const most = INDEX_VALUE_BYTES_MAX - 3
    for (const one of ['x'.repeat(most), new Uint8Array(most).fill(1)]) {
      assert.equal(encodeIndexValue(one).length, INDEX_VALUE_BYTES_MAX)
    }
    const long = ['x'.repeat(most + 1), 'x'.repeat(1e6), '\0'.repeat(most), new Uint8Array(most), 1n << 9000n]
    for (const one of long) assert.throws(() => encodeIndexValue(one), RangeError)
  })

  it('are told from other bytes', () => {
    fc.assert(
      fc.property(bytes, list => {
        const input = Uint8Array.from(list)
        try {
          const { value: one, length } = decodeIndexValue(input)
          assert.ok(length <= input.length && length > 0)
          assert.ok(one !== undefined)
        } catch (error) {
          assert.ok(error instanceof RangeError)
        }
      })
    )
    for (const one of [true, 5, 5n, new Date(5), 'five', Uint8Array.of(5)]) {
      const encoded = encodeIndexValue(one)
      assert.throws(() => decodeIndexValue(encoded.subarray(0, -1)), RangeError, typeof one)
    }
  })

  it('are looked for in a list', () => {
    const list = [1, 'a'].map(encodeIndexValue)
    assert.deepEqual(
      [1, 'a', 'b'].map(one => hasValue(list, encodeIndexValue(one))),
      [true, true, false]
    )
  })
})

function isWithin(bounds: IndexBounds, one: IndexValue): boolean {
  const { from, to } = indexRange(bounds)
  const entry = concatBytes([encodeIndexValue(one), utf8('key')])
  return compareBytes(from, entry) <= 0 && (to === undefined || compareBytes(entry, to) < 0)
}
