import assert from 'node:assert/strict'
import { inspect, isDeepStrictEqual } from 'node:util'
import * as fc from 'fast-check'
import { resolvers } from '../../../src/node/resolvers.ts'
import { pnTotal } from '../../../src/node/pn-counter.ts'

/** Whether a resolver comes to the same in any order, and of its own results. */
function assertJoins<T>(values: fc.Arbitrary<T>, resolve: (siblings: readonly T[]) => T): void {
  fc.assert(
    fc.property(values, values, values, (a, b, c) => {
      const all = resolve([a, b, c])
      assert.deepEqual(resolve([c, a, b]), all)
      assert.deepEqual(resolve([resolve([a, b]), c]), all)
      assert.deepEqual(resolve([a, resolve([c, b])]), all)
      assert.deepEqual(resolve([all, b]), all)
      assert.equal(inspect(resolve([b, c, a]), { depth: 9 }), inspect(all, { depth: 9 }))
    })
  )
}

const plain = { noNullPrototype: true }
const counts = fc.dictionary(fc.constantFrom('a', 'b', '__proto__'), fc.tuple(fc.nat(9), fc.nat(9)), {
  noNullPrototype: true
})

describe('resolvers', () => {
  it('come to the same in any order, and of their own results', () => {
    assertJoins<readonly unknown[]>(fc.array(fc.oneof(fc.nat(5), fc.string({ maxLength: 2 }))), resolvers.union)
    assertJoins(fc.integer(), resolvers.max)
    assertJoins(fc.integer(), resolvers.min)
    const leaf = fc.oneof(fc.nat(3), fc.constantFrom('x', null), fc.array(fc.nat(2), { maxLength: 2 }))
    const inner = fc.dictionary(fc.constantFrom('c', 'd'), leaf, plain)
    const object = fc.dictionary(fc.constantFrom('a', 'b', '__proto__'), fc.oneof(leaf, inner), plain)
    assertJoins<object>(object, resolvers.deepMerge)
    assertJoins(counts, resolvers.pnCounter)
  })

  it('tell apart what JSON does not, as values that are stored as structured have it', () => {
    const kinds: readonly unknown[] = [
      null,
      'null',
      undefined,
      'undefined',
      NaN,
      Infinity,
      -Infinity,
      0,
      -0,
      5n,
      '5n',
      new Date(0),
      new Date(0).toISOString(),
      new Map([['a', 1]]),
      ['Map', ['a', 1]],
      new Set([1]),
      ['Set', 1],
      /a/u,
      /b/u,
      new TypeError('a'),
      new RangeError('a'),
      new Error('a'),
      Uint8Array.of(1),
      Int8Array.of(1),
      Uint8Array.of(1, 0),
      Uint16Array.of(1),
      {},
      { a: undefined },
      { a: null }
    ]
    const all = resolvers.union(kinds.map(kind => [kind]))
    assert.equal(all.length, kinds.length)
    for (const kind of kinds) assert.ok(all.some(other => isDeepStrictEqual(other, kind)))
    const field = fc.constantFrom(...kinds)
    assertJoins<readonly unknown[]>(fc.array(field, { maxLength: 4 }), resolvers.union)
    const leaf = fc.oneof(field, fc.dictionary(fc.constantFrom('/', '1', 'a'), field, plain))
    assertJoins<object>(fc.dictionary(fc.constantFrom('x', 'y'), leaf, plain), resolvers.deepMerge)
  })

  it('make what they say', () => {
    assert.deepEqual(resolvers.union([[{ a: 1, b: 2 }, 'x'], [{ b: 2, a: 1 }], ['y']]), ['x', 'y', { b: 2, a: 1 }])
    assert.equal(resolvers.max([3, 7, 5]), 7)
    assert.equal(resolvers.min([3, 7, 5]), 3)
    const merged = resolvers.deepMerge<object>([
      { a: { b: 1 }, at: new Date(5) },
      { a: { c: 2 }, at: new Date(7) },
      { d: [1] }
    ])
    assert.deepEqual(merged, { a: { b: 1, c: 2 }, at: new Date(7), d: [1] })
    assert.deepEqual(
      resolvers.deepMerge<object>([
        { x: 5n, m: new Map([[1, 2]]) },
        { x: 6n, s: new Set([1]) }
      ]),
      {
        m: new Map([[1, 2]]),
        s: new Set([1]),
        x: 6n
      }
    )
    assert.equal(pnTotal(resolvers.pnCounter([{ a: [5, 1] }, { a: [3, 2], b: [1, 0] }])), 4)
  })

  it('put nothing into a prototype', () => {
    const evil = JSON.parse('{"__proto__":{"polluted":1}}') as object
    const merged = resolvers.deepMerge<object>([evil, { a: 1 }])
    assert.equal(Object.getPrototypeOf(merged), Object.prototype)
    assert.equal((merged as { polluted?: number }).polluted, undefined)
    assert.deepEqual(Object.keys(merged), ['__proto__', 'a'])
  })
})
