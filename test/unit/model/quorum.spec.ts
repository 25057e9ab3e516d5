import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import type { StoreId } from '../../../src/model/node-id.ts'
import { neededOf, type Requirement, requiredAnswers, Tally, type TallyState } from '../../../src/model/quorum.ts'

const stores = ['a', 'b', 'c', 'd', 'e', 'f', 'g'] as StoreId[]
const [a, b, c, d] = stores as [StoreId, StoreId, StoreId, StoreId]

const set = fc.shuffledSubarray(stores, { minLength: 1, maxLength: 6 })
const sets = fc.oneof(
  set.map(one => [one]),
  fc.tuple(set, set)
)
const requirement = fc.oneof(fc.constantFrom<Requirement>('one', 'quorum', 'all'), fc.integer({ min: 1, max: 7 }))
const answers = fc.array(fc.record({ store: fc.constantFrom(...stores), ok: fc.boolean() }), { maxLength: 20 })

/** What the requirement says, written down once more without thought of speed. */
function judge(
  all: readonly (readonly StoreId[])[],
  need: Requirement,
  answered: ReadonlyMap<StoreId, boolean>
): TallyState {
  const counting = need === 'one' ? all.slice(0, 1) : all
  const wanted = (size: number): number =>
    need === 'one' ? 1 : need === 'quorum' ? Math.floor(size / 2) + 1 : need === 'all' ? size : need
  const yes = (members: readonly StoreId[]): number => members.filter(id => answered.get(id) === true).length
  const no = (members: readonly StoreId[]): number => members.filter(id => answered.get(id) === false).length
  if (counting.some(members => members.length - no(members) < wanted(members.length))) return 'lost'
  return counting.every(members => yes(members) >= wanted(members.length)) ? 'won' : 'pending'
}

describe('Tally', () => {
  it('stands where the requirement says, until it is decided, and then stays', () => {
    fc.assert(
      fc.property(sets, requirement, answers, (all, need, list) => {
        const tally = new Tally(all, need)
        const answered = new Map<StoreId, boolean>()
        let expected = judge(all, need, answered)
        assert.equal(tally.state, expected)
        for (const { store, ok } of list) {
          if (!answered.has(store)) answered.set(store, ok)
          if (expected === 'pending') expected = judge(all, need, answered)
          assert.equal(ok ? tally.yes(store) : tally.no(store), expected)
          assert.equal(tally.state, expected)
        }
      }),
      { numRuns: 2000 }
    )
  })

  it('is decided once every member has answered', () => {
    fc.assert(
      fc.property(sets, requirement, fc.array(fc.boolean(), { minLength: 7, maxLength: 7 }), (all, need, oks) => {
        const tally = new Tally(all, need)
        for (const [i, store] of stores.entries()) if (oks[i] === true) tally.yes(store)
        for (const [i, store] of stores.entries()) if (oks[i] === false) tally.no(store)
        assert.notEqual(tally.state, 'pending')
      })
    )
  })

  it('lets two won quorums of one row meet in a member, whether the row changes or not (C1)', () => {
    fc.assert(
      fc.property(set, set, fc.shuffledSubarray(stores), fc.shuffledSubarray(stores), (old, next, first, second) => {
        const won = (all: StoreId[][], who: readonly StoreId[]): boolean => {
          const tally = new Tally(all, 'quorum')
          for (const store of who) tally.yes(store)
          return tally.state === 'won'
        }
        for (const before of [[old], [old, next]]) {
          for (const after of [[old, next], [next]]) {
            // A quorum from before the change need not meet one from after it: that is what the copies are for.
            if (before.length === 1 && after.length === 1) continue
            if (won(before, first) && won(after, second)) assert.ok(first.some(store => second.includes(store)))
          }
        }
      }),
      { numRuns: 2000 }
    )
  })

  it('needs a majority of both sets for a quorum while the row changes', () => {
    const tally = new Tally(
      [
        [a, b, c],
        [a, b, d]
      ],
      'quorum'
    )
    assert.deepEqual(tally.needed, [2, 2])
    tally.yes(c)
    assert.equal(tally.yes(a), 'pending', 'two of the old, one of the new')
    assert.equal(tally.yes(d), 'won')
    assert.deepEqual(tally.answered, [c, a, d])
  })

  it('asks only the old owners for one', () => {
    const tally = new Tally([[a], [b]], 'one')
    assert.equal(tally.yes(b), 'pending')
    assert.equal(tally.yes(a), 'won')
  })

  it('is lost as soon as the requirement is out of reach, not when all have answered', () => {
    const tally = new Tally([[a, b, c]], 'quorum')
    assert.equal(tally.no(a), 'pending')
    assert.equal(tally.no(b), 'lost')
    assert.equal(tally.yes(c), 'lost')
    assert.equal(new Tally([[a, b, c]], 'all').no(c), 'lost')
  })

  it('is lost at once when more copies are asked for than there are owners', () => {
    assert.equal(new Tally([[a, b]], 3).state, 'lost')
  })

  it('counts a store once, by its first answer', () => {
    const tally = new Tally([[a, b, c]], 'quorum')
    tally.yes(a)
    assert.equal(tally.yes(a), 'pending')
    tally.no(a)
    assert.equal(tally.no(b), 'pending')
    assert.equal(tally.yes(c), 'won')
  })

  it('never takes a row without owners for a success', () => {
    for (const need of ['one', 'quorum', 'all', 1, 0] as const) {
      assert.equal(new Tally([[]], need).state, 'lost', String(need))
      assert.equal(new Tally([], need).state, 'lost', String(need))
    }
  })
})

describe('neededOf', () => {
  it('is one, a majority, everybody or so many of a set, and never nobody', () => {
    const sizes = [0, 1, 2, 3, 4, 5, 7]
    const of = (need: Requirement): number[] => sizes.map(size => neededOf(size, need))
    assert.deepEqual(of('one'), [1, 1, 1, 1, 1, 1, 1])
    assert.deepEqual(of('quorum'), [1, 1, 2, 2, 3, 3, 4])
    assert.deepEqual(of('all'), [1, 1, 2, 3, 4, 5, 7])
    assert.deepEqual(of(2), [2, 2, 2, 2, 2, 2, 2])
    assert.deepEqual(of(0), [1, 1, 1, 1, 1, 1, 1])
  })

  it('is what wins, and one answer less does not', () => {
    fc.assert(
      fc.property(set, requirement, (members, need) => {
        const needed = neededOf(members.length, need)
        const tally = new Tally([members], need)
        for (const [i, store] of members.entries()) {
          assert.equal(tally.state, i < needed ? (needed > members.length ? 'lost' : 'pending') : 'won')
          tally.yes(store)
        }
        assert.equal(tally.state, needed > members.length ? 'lost' : 'won')
      })
    )
  })
})

describe('requiredAnswers', () => {
  it('tells the answers needed of each set that counts', () => {
    assert.deepEqual(requiredAnswers([[a, b, c]], 'quorum'), [2])
    assert.deepEqual(
      requiredAnswers(
        [
          [a, b, c],
          [a, b, c, d]
        ],
        'quorum'
      ),
      [2, 3]
    )
    assert.deepEqual(
      requiredAnswers(
        [
          [a, b, c],
          [a, b, d]
        ],
        'one'
      ),
      [1]
    )
    assert.deepEqual(
      requiredAnswers(
        [
          [a, b, c],
          [a, b]
        ],
        'all'
      ),
      [3, 2]
    )
    assert.deepEqual(
      requiredAnswers(
        [
          [a, b, c],
          [a, b, d]
        ],
        2
      ),
      [2, 2]
    )
  })
})
