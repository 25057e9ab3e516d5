import assert from 'node:assert/strict'
import fc from 'fast-check'
import { compareBytes, utf8 } from '../../../src/base/bytes.ts'
import {
  afterPrefix,
  ALL_KEYS,
  type ByteRange,
  isEmptyRange,
  type KeyBounds,
  partitionOfRange,
  rangeOf,
  restAfter
} from '../../../src/model/key-range.ts'
import { Ring } from '../../../src/model/partition.ts'
import { loadHash64 } from '../../../src/runtime/hash.ts'

/** Few bytes, so that keys are often neighbours, equal, or prefixes of each other. */
const anyKey = fc
  .array(fc.constantFrom(0, 1, 0x61, 0x7b, 0x7d, 0xff), { maxLength: 5 })
  .map(key => Uint8Array.from(key))
const anyBound = fc.option(anyKey, { nil: undefined })
const anyBounds: fc.Arbitrary<KeyBounds> = fc.record({
  gt: anyBound,
  gte: anyBound,
  lt: anyBound,
  lte: anyBound,
  prefix: anyBound
})

function contains({ from, to }: ByteRange, key: Uint8Array): boolean {
  return compareBytes(key, from) >= 0 && (to === undefined || compareBytes(key, to) < 0)
}

describe('a range of keys', () => {
  it('has the keys within all bounds, where gte goes before gt and lte before lt', () => {
    fc.assert(
      fc.property(anyBounds, anyKey, (bounds, key) => {
        const { gt, gte, lt, lte, prefix } = bounds
        const isAbove = gte === undefined ? gt === undefined || compareBytes(key, gt) > 0 : compareBytes(key, gte) >= 0
        const isBelow = lte === undefined ? lt === undefined || compareBytes(key, lt) < 0 : compareBytes(key, lte) <= 0
        const begins = prefix === undefined || compareBytes(key.subarray(0, prefix.length), prefix) === 0
        assert.equal(contains(rangeOf(bounds), key), isAbove && isBelow && begins)
      })
    )
  })

  it('is empty only when no key lies in it', () => {
    fc.assert(
      fc.property(anyBounds, anyKey, (bounds, key) => {
        const range = rangeOf(bounds)
        assert.ok(!isEmptyRange(range) || !contains(range, key))
        assert.ok(isEmptyRange(range) || contains(range, range.from))
      })
    )
  })

  it('leaves behind a key what a scan has not passed yet', () => {
    fc.assert(
      fc.property(anyBounds, anyKey, anyKey, fc.boolean(), (bounds, key, other, isReverse) => {
        const range = rangeOf(bounds)
        fc.pre(contains(range, key))
        const isBehind = compareBytes(other, key) * (isReverse ? -1 : 1) > 0
        assert.equal(contains(restAfter(range, key, isReverse), other), contains(range, other) && isBehind)
      })
    )
  })

  it('leaves no more than the range, wherever the key lies', () => {
    const range = { from: utf8('f'), to: utf8('m') }
    for (const [key, isReverse, left] of [
      ['a', false, range],
      ['z', true, range],
      ['f', false, { from: utf8('f\0'), to: utf8('m') }],
      ['m', true, range],
      ['m', false, { from: utf8('m\0'), to: utf8('m') }],
      ['a', true, { from: utf8('f'), to: utf8('a') }]
    ] as const) {
      assert.deepEqual(restAfter(range, utf8(key), isReverse), left, `${key} ${isReverse}`)
    }
    assert.deepEqual(restAfter({ from: utf8('f'), to: undefined }, utf8('a'), false), {
      from: utf8('f'),
      to: undefined
    })
  })

  it('ends behind a prefix, unless nothing can come behind it', () => {
    assert.deepEqual(afterPrefix(utf8('ab')), utf8('ac'))
    assert.deepEqual(afterPrefix(Uint8Array.of(1, 0xff, 0xff)), Uint8Array.of(2))
    assert.equal(afterPrefix(Uint8Array.of(0xff)), undefined)
    assert.equal(afterPrefix(new Uint8Array()), undefined)
  })
})

describe('the partition of a range', () => {
  let ring: Ring
  before(async () => {
    ring = new Ring(256, await loadHash64())
  })

  const of = (bounds: Readonly<Record<string, string>>): number | undefined =>
    partitionOfRange(
      ring,
      rangeOf(Object.fromEntries(Object.entries(bounds).map(([bound, key]) => [bound, utf8(key)])))
    )

  it('is that of the tag with which all of its keys begin', () => {
    const user = ring.partitionOf(utf8('{user:1}'))
    assert.equal(of({ prefix: '{user:1}' }), user)
    assert.equal(of({ prefix: '{user:1}:cart:' }), user)
    assert.equal(of({ prefix: 'cart:{user:1}' }), user)
    assert.equal(of({ gte: '{user:1}:a', lt: '{user:1}:b' }), user)
    assert.equal(of({ gt: '{user:1}', prefix: '{user:1}' }), user)
  })

  it('is that of its only key', () => {
    assert.equal(of({ gte: 'a', lte: 'a' }), ring.partitionOf(utf8('a')))
  })

  it('is not known otherwise', () => {
    for (const bounds of [
      {},
      { prefix: 'user' },
      { prefix: '{user:1' },
      { prefix: '{}a' },
      { gte: '{user:1}' },
      { gte: '{user:1}', lt: '{user:2}' },
      { gte: '{user:1}a', lt: '~' }
    ]) {
      assert.equal(of(bounds), undefined, JSON.stringify(bounds))
    }
    assert.equal(partitionOfRange(ring, ALL_KEYS), undefined)
  })

  it('is the partition of each of its keys', () => {
    const tagged = fc.tuple(anyKey, anyKey).map(([tag, rest]) => Uint8Array.of(OPEN, ...tag, CLOSE, ...rest))
    fc.assert(
      fc.property(tagged, anyBounds, anyKey, (prefix, bounds, more) => {
        const range = rangeOf({ ...bounds, prefix })
        const key = Uint8Array.of(...prefix, ...more)
        const partition = partitionOfRange(ring, range)
        if (partition !== undefined && contains(range, key)) assert.equal(ring.partitionOf(key), partition)
      })
    )
  })
})

const OPEN = 0x7b
const CLOSE = 0x7d
