import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import type { ClusterId, StoreId } from '../../../src/model/node-id.ts'
import { planChanges, type PlanInput, type PlannedChange } from '../../../src/placement/plan.ts'
import { majority, SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Row, RowChange, Topology } from '../../../src/placement/topology.ts'

const stores = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'] as StoreId[]

function topologyOf(rows: readonly (Row | string)[]): Topology {
  return {
    clusterId: '' as ClusterId,
    name: '',
    epoch: 1,
    replicas: 3,
    members: new Map(),
    rows: rows.map(row => (typeof row === 'string' ? { slots: ids(row), change: undefined, rowEpoch: 0 } : row))
  }
}

/** `'abc'` as the stores a, b and c. */
function ids(text: string): StoreId[] {
  return text.split('') as StoreId[]
}

interface Situation {
  readonly rows: readonly (Row | string)[]
  readonly target: readonly string[]
  readonly dead?: string
  readonly lost?: string
  readonly rowsPerNode?: number
}

function inputOf({ rows, target, dead = '', lost, rowsPerNode = 4 }: Situation): PlanInput {
  return {
    topology: topologyOf(rows),
    target: target.map(ids),
    live: store => !dead.includes(store),
    lost: lost === undefined ? undefined : store => lost.includes(store),
    rules: SOUND_RULES,
    limits: { rowsPerNode }
  }
}

/** Each change in short: `abd: d<c` for the next row a, b, d, with d copying from c. */
function plan(situation: Situation): string[] {
  return planChanges(inputOf(situation)).map(
    ({ next, copies }) =>
      `${next.join('')}:${copies.map(({ to, from }) => ` ${to}<${[...from].sort().join('')}`).join('')}`
  )
}

function subsets(set: readonly StoreId[], size: number): StoreId[][] {
  if (size === 0) return [[]]
  return set.flatMap((id, i) => subsets(set.slice(i + 1), size - 1).map(rest => [id, ...rest]))
}

/**
 * C3: whatever an old majority has acknowledged is with at least one member of every new majority, either since it was
 * in both or since it has copied from one who was.
 */
function assertQuorumsMeet(old: readonly StoreId[], { next, copies }: PlannedChange): void {
  for (const before of subsets(old, majority(old.length))) {
    for (const after of subsets(next, majority(next.length))) {
      const knows = after.some(
        id =>
          before.includes(id) ||
          copies.some(({ to, from }) => to === id && from.some(source => before.includes(source)))
      )
      assert.ok(
        knows,
        `${before.join('')} is unknown to ${after.join('')} after ${JSON.stringify({ old, next, copies })}`
      )
    }
  }
}

describe('planChanges', () => {
  it('plans nothing for a row that is as it should be', () => {
    assert.deepEqual(plan({ rows: ['abc'], target: ['abc'] }), [])
  })

  it('reorders a row of which only the order differs, without a copy', () => {
    assert.deepEqual(plan({ rows: ['abc'], target: ['bac'] }), ['bac:'])
  })

  it('grows a row by one slot, the newcomer copying from enough old slots to meet each of their majorities', () => {
    assert.deepEqual(plan({ rows: ['a'], target: ['ab'] }), ['ab: b<a'])
    const [three] = plan({ rows: ['ab'], target: ['abc'] })
    assert.match(three!, /^abc: c<[ab]$/u)
    const [four] = plan({ rows: ['abc'], target: ['abcd'] })
    assert.match(four!, /^abcd: d<(ab|ac|bc)$/u)
  })

  it('hands a slot over from the leaver alone while that is alive', () => {
    assert.deepEqual(plan({ rows: ['abc'], target: ['abd'] }), ['abd: d<c'])
  })

  it('rebuilds a slot whose owner is gone from a set of old slots that meets each of their majorities', () => {
    assert.deepEqual(plan({ rows: ['abc'], target: ['abd'], dead: 'c' }), ['abd: d<ab'])
  })

  it('shrinks a row once each that stays has what any old majority had, itself counted', () => {
    const [change] = planChanges(inputOf({ rows: ['abc'], target: ['ab'] }))
    assert.deepEqual(change!.next, ids('ab'))
    assert.deepEqual(
      change!.copies.map(({ to }) => to),
      ids('ab')
    )
    for (const { to, from } of change!.copies) {
      assert.equal(from.length, 1)
      assert.ok(!from.includes(to))
    }
    assert.deepEqual(plan({ rows: ['ab'], target: ['a'] }), ['a:'], 'of two, each has all that both acknowledged')
  })

  it('changes one slot of a row at a time, and one of a dead owner first', () => {
    assert.deepEqual(plan({ rows: ['abc'], target: ['ade'] }), ['adc: d<b'])
    assert.deepEqual(plan({ rows: ['abc'], target: ['ade'], dead: 'c' }), ['adb: d<ab'])
    assert.deepEqual(plan({ rows: ['abcd'], target: ['ab'], dead: 'd' }).length, 1)
    assert.match(plan({ rows: ['abcd'], target: ['ab'], dead: 'd' })[0]!, /^abc:/u)
  })

  it('leaves a row alone that has a change under way', () => {
    const change: RowChange = { next: ids('abd'), copies: [{ to: stores[3]!, from: [stores[2]!] }] }
    assert.deepEqual(plan({ rows: [{ slots: ids('abc'), change, rowEpoch: 3 }], target: ['efg'] }), [])
  })

  it('waits for sources: a rebuild with too few old slots alive is not begun', () => {
    assert.deepEqual(plan({ rows: ['abc'], target: ['ade'], dead: 'bc' }), [])
    assert.deepEqual(plan({ rows: ['ab'], target: ['abc'], dead: 'ab' }), [])
    assert.deepEqual(plan({ rows: ['abc'], target: ['a'], dead: 'bc' }), [])
  })

  it('still hands over from a living leaver when there are too few sources to rebuild', () => {
    assert.deepEqual(plan({ rows: ['abc'], target: ['def'], dead: 'ab' }), ['dab: d<c'])
  })

  it('passes over newcomers that are not alive', () => {
    assert.deepEqual(plan({ rows: ['abc'], target: ['ade'], dead: 'd' }), ['aec: e<b'])
    assert.deepEqual(plan({ rows: ['abc'], target: ['abd'], dead: 'd' }), [])
  })

  it('begins no more rows for a member than it may receive at once, those under way included', () => {
    const change: RowChange = { next: ids('abd'), copies: [{ to: stores[3]!, from: [stores[2]!] }] }
    const rows = [{ slots: ids('abc'), change, rowEpoch: 3 }, 'abc', 'abc', 'abc', 'abc']
    const target = ['abd', 'abd', 'abd', 'abd', 'abe']
    assert.deepEqual(plan({ rows, target, rowsPerNode: 2 }), ['abd: d<c', 'abe: e<c'])
  })

  it('puts rows with a dead owner before those that only move', () => {
    assert.deepEqual(plan({ rows: ['abc', 'abf'], target: ['abd', 'abd'], dead: 'f', rowsPerNode: 1 }), ['abd: d<ab'])
  })

  it('gives a row that has no owner its first one with nothing to copy', () => {
    assert.deepEqual(plan({ rows: [''], target: ['abc'] }), ['a:'])
  })

  it('plans nothing where there is no target', () => {
    assert.deepEqual(plan({ rows: ['abc'], target: [''] }), [])
    assert.deepEqual(plan({ rows: ['abc'], target: [] }), [])
  })

  it('spreads the sources of many rows over their owners', () => {
    const rows = Array.from({ length: 300 }, () => 'abc')
    const sources = new Map<string, number>()
    for (const { copies } of planChanges(inputOf({ rows, target: rows.map(() => 'abcd'), rowsPerNode: Infinity }))) {
      for (const { from } of copies) for (const id of from) sources.set(id, (sources.get(id) ?? 0) + 1)
    }
    assert.equal(
      [...sources.values()].reduce((a, b) => a + b),
      600
    )
    for (const count of sources.values()) assert.ok(count > 150 && count < 250, String(count))
  })

  it('asks the rules how many sources are enough', () => {
    const input = inputOf({ rows: ['abc'], target: ['abd'], dead: 'c' })
    const [change] = planChanges({ ...input, rules: { ...SOUND_RULES, sourceCount: () => 1 } })
    assert.equal(change!.copies[0]!.from.length, 1)
    assert.throws(() => assertQuorumsMeet(ids('abc'), change!), 'a rule that is broken breaks what the others rest on')
  })
})

describe('planChanges, when data is lost for good', () => {
  it('rebuilds from what is left, rather than wait for ever', () => {
    assert.deepEqual(plan({ rows: ['abc'], target: ['cde'], dead: 'ab', lost: 'ab' }), ['cdb: d<c'])
    assert.deepEqual(plan({ rows: ['abc'], target: ['def'], dead: 'abc', lost: 'abc' }), ['dbc:'])
  })

  it('still waits while one of those that are missing may come back', () => {
    assert.deepEqual(plan({ rows: ['abc'], target: ['cde'], dead: 'ab', lost: 'a' }), [])
  })

  it('takes the slots of the lost away from a row that shrinks', () => {
    assert.deepEqual(plan({ rows: ['abc'], target: ['c'], dead: 'ab', lost: 'ab' }), ['cb:'])
    assert.deepEqual(plan({ rows: ['cb'], target: ['c'], dead: 'ab', lost: 'ab' }), ['c:'])
  })

  it('copies from as many as the rules ask for where they are alive', () => {
    assert.deepEqual(plan({ rows: ['abc'], target: ['abd'], dead: 'c', lost: 'c' }), ['abd: d<ab'])
  })
})

describe('the changes that are planned', () => {
  const row = fc.shuffledSubarray(stores, { minLength: 1, maxLength: 6 }).map(list => list.join(''))
  const dead = fc.shuffledSubarray(stores, { maxLength: 5 }).map(list => list.join(''))

  it('let every majority of the new row know what any majority of the old one acknowledged (C3)', () => {
    fc.assert(
      fc.property(row, row, dead, (slots, target, gone) => {
        for (const change of planChanges(inputOf({ rows: [slots], target: [target], dead: gone }))) {
          assertQuorumsMeet(ids(slots), change)
        }
      }),
      { numRuns: 5000 }
    )
  })

  it('change one slot at most, and copy only between the living, to members of the new row from the old one', () => {
    fc.assert(
      fc.property(row, row, dead, (slots, target, gone) => {
        for (const { next, copies } of planChanges(inputOf({ rows: [slots], target: [target], dead: gone }))) {
          assert.equal(new Set(next).size, next.length)
          const joined = next.filter(id => !slots.includes(id))
          const left = ids(slots).filter(id => !next.includes(id))
          assert.ok(joined.length <= 1 && left.length <= 1)
          assert.ok(joined.length === 0 || copies.some(({ to }) => to === joined[0]), 'a newcomer copies')
          for (const { to, from } of copies) {
            assert.ok(next.includes(to) && !gone.includes(to))
            assert.ok(from.every(id => slots.includes(id) && !gone.includes(id) && id !== to))
          }
        }
      }),
      { numRuns: 5000 }
    )
  })

  it('lead a row to its target step by step when all are alive', () => {
    fc.assert(
      fc.property(row, row, (slots, target) => {
        let now = slots
        for (let steps = 0; now !== target; steps++) {
          assert.ok(steps < 14, `${slots} to ${target} has come to ${now}`)
          const [change] = planChanges(inputOf({ rows: [now], target: [target] }))
          now = change!.next.join('')
        }
      }),
      { numRuns: 2000 }
    )
  })

  it('are the same for the same input', () => {
    fc.assert(
      fc.property(row, row, dead, (slots, target, gone) => {
        const situation = { rows: [slots], target: [target], dead: gone }
        assert.deepEqual(planChanges(inputOf(situation)), planChanges(inputOf(situation)))
      })
    )
  })
})
