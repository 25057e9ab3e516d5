import assert from 'node:assert/strict'
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
      assert.equal(JSON.stringify(resolve([b, c, a])), JSON.stringify(all))
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
