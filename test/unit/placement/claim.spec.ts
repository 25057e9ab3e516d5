import assert from 'node:assert/strict'
import { crc32 } from 'node:zlib'
import * as fc from 'fast-check'
import { SeededRandom } from '../../../src/runtime/seeded-random.ts'
import { claim } from '../../../src/placement/claim.ts'
import { type ClaimMember, quotas } from '../../../src/placement/quotas.ts'
import { clusterOf, copiesBetween, figuresOf, heldBy, storeIdOf, type Table } from './claim-figures.ts'

const REPLICAS = 3

function claimed(members: readonly ClaimMember[], current?: Table, partitions = 256, replicas = REPLICAS): Table {
  return claim({ current, members, partitions, replicas })
}

/** The table of a cluster that has grown to its size node by node, as a real one does. */
function grown(count: number, seed: number, shape: Shape, partitions: number): Table {
  let table: Table | undefined
  for (let size = Math.max(1, count - 3); size <= count; size++) {
    table = claimed(clusterOf(size, seed, shape.weights, shape.zones), table, partitions)
  }
  return table!
}

interface Shape {
  readonly weights: readonly number[]
  readonly zones: number
}

/**
 * The least number of copies with which the quotas can be met: what each member is short of. Zones may force more, so
 * it is a lower bound.
 */
function leastCopies(current: Table, members: readonly ClaimMember[]): number {
  const owners = [...members].sort((a, b) => (a.storeId < b.storeId ? -1 : 1))
  const held = heldBy(current)
  const has = owners.map(({ storeId }) => held.get(storeId) ?? 0)
  const due = quotas(owners, current.length, Math.min(REPLICAS, owners.length), has)
  return due.reduce((sum, quota, i) => sum + Math.max(0, quota - has[i]!), 0)
}

function assertSound(table: Table, members: readonly ClaimMember[], replicas = REPLICAS): void {
  const figures = figuresOf(table, members, replicas)
  assert.equal(figures.illegalRows, 0, 'rows of distinct members, of full length')
  assert.equal(figures.zoneBreaks, 0, 'rows within the zones’ caps')
}

describe('claim, as clusters grow and shrink', () => {
  // The greatest load over the fair share, for 3 → 4, 10 → 11 and 100 → 101 nodes.
  const cases: { name: string; shape: Shape; partitions: number; max: [number, number, number] }[] = [
    { name: 'equal weights', shape: { weights: [1], zones: 1 }, partitions: 256, max: [1, 1.005, 1.055] },
    { name: 'equal weights', shape: { weights: [1], zones: 1 }, partitions: 1024, max: [1, 1.005, 1.025] },
    { name: 'weights 1, 2, 4', shape: { weights: [1, 2, 4], zones: 1 }, partitions: 256, max: [1, 1.005, 1.075] },
    { name: 'three zones', shape: { weights: [1], zones: 3 }, partitions: 256, max: [1, 1.015, 1.065] }
  ]
  for (const { name, shape, partitions, max } of cases) {
    for (const [i, count] of [3, 10, 100].entries()) {
      it(`keeps ${count} → ${count + 1} nodes balanced and moves the least: ${name}, ${partitions} partitions`, () => {
        for (let seed = 1; seed <= 3; seed++) {
          const before = grown(count, seed, shape, partitions)
          const more = clusterOf(count + 1, seed, shape.weights, shape.zones)
          const joined = claimed(more, before, partitions)
          assertSound(joined, more)
          const figures = figuresOf(joined, more, REPLICAS)
          assert.ok(figures.maxLoad <= max[i]!, `load ${figures.maxLoad}`)
          assert.ok(figures.worstSlots < 1, `${figures.worstSlots} slots off the fair share`)
          assert.ok(figures.worstPrimaries <= 1, `${figures.worstPrimaries} rows too many led`)
          const joinCopies = copiesBetween(before, joined)
          assert.ok(joinCopies <= 1.05 * leastCopies(before, more), `${joinCopies} copies on a join`)

          const gone = more[seed % count]!
          const rest = more.filter(member => member !== gone)
          const lost = claimed(rest, joined, partitions)
          assertSound(lost, rest)
          const needed = leastCopies(joined, rest)
          const lossCopies = copiesBetween(joined, lost)
          assert.ok(lossCopies <= 1.05 * needed, `${lossCopies} copies on a loss; ${needed} are the least`)
        }
      })
    }
  }

  it('stays balanced, legal and at rest through 400 joins and leaves, and moves at most 5 % more than the least', () => {
    const random = new SeededRandom('churn')
    let members: ClaimMember[] = clusterOf(1, 1)
    let table = claimed(members)
    let copies = 0
    let least = 0
    for (let step = 0; step < 400; step++) {
      if (members.length === 1 || (members.length < 60 && random.chance(54, 100))) {
        const weight = [1, 2, 4][random.int(3)]!
        members = [...members, { storeId: storeIdOf(2, step), weight, zone: `z${random.int(4)}` }]
      } else {
        const leaver = random.int(members.length)
        members = members.filter((_, i) => i !== leaver)
      }
      const next = claimed(members, table)
      assertSound(next, members)
      const { worstSlots, worstPrimaries } = figuresOf(next, members, REPLICAS)
      assert.ok(worstSlots < 1, `step ${step}: ${worstSlots} slots off the fair share`)
      assert.ok(worstPrimaries < 1.5, `step ${step}: ${worstPrimaries} rows too many led`)
      assert.deepEqual(claimed(members, next), next, `step ${step}: at rest`)
      copies += copiesBetween(table, next)
      least += leastCopies(table, members)
      table = next
    }
    assert.ok(copies <= 1.05 * least, `${copies} copies; ${least} are a lower bound`)
  })

  it('gives the tables that it gave before it was made faster', () => {
    const sums = [1, 2, 3].map(seed => {
      const members = clusterOf(40, seed, [1, 2, 4], seed)
      const few = claimed(members.slice(0, seed))
      const all = claimed(members, few)
      const fewer = claimed(members.slice(7, 31), all)
      return crc32(JSON.stringify([few, all, fewer, claimed(members, fewer, 256, 4)]))
    })
    assert.deepEqual(sums, [1_221_555_831, 2_553_255_150, 3_934_587_498])
  })

  it('plans for 100 nodes and 256 partitions ten times in a second', function () {
    this.timeout(1000)
    const members = clusterOf(100, 5, [1, 2, 4], 3)
    for (let run = 0; run < 10; run++) claimed(members)
  })

  it('spreads what a lost member held over many of the others', () => {
    const members = clusterOf(12, 3)
    const table = claimed(members)
    const rest = members.slice(1)
    const after = claimed(rest, table)
    const takers = new Set(after.flatMap((row, p) => row.filter(id => !table[p]!.includes(id))))
    assert.equal(takers.size, rest.length)
  })
})

describe('claim', () => {
  /** Members with weights (0 too) and zones, and a current table of some of them and of strangers. */
  const situation = fc
    .record({
      sizes: fc.array(fc.record({ weight: fc.constantFrom(0, 0.5, 1, 1, 2, 4, 7), zone: fc.nat(3) }), {
        minLength: 1,
        maxLength: 14
      }),
      replicas: fc.integer({ min: 1, max: 5 }),
      seed: fc.nat(1000)
    })
    .map(({ sizes, replicas, seed }) => {
      const members = sizes.map(({ weight, zone }, i) => ({ storeId: storeIdOf(seed, i), weight, zone: `z${zone}` }))
      const random = new SeededRandom(seed)
      const current = Array.from({ length: 64 }, () => {
        const pool = Array.from({ length: sizes.length + 2 }, (_, i) => storeIdOf(seed, i))
        return Array.from({ length: Math.min(pool.length, random.int(6)) }, () =>
          pool.splice(random.int(pool.length), 1).at(0)!
        )
      })
      return { members, replicas, current: seed % 3 === 0 ? undefined : current }
    })
  const runs = { numRuns: 300 }

  it('gives legal rows whatever the rows were, and never any to a weight of 0', () => {
    fc.assert(
      fc.property(situation, ({ members, replicas, current }) => {
        if (members.every(({ weight }) => weight === 0)) return
        const table = claimed(members, current, 64, replicas)
        assert.equal(table.length, 64)
        assertSound(table, members, replicas)
        const held = heldBy(table)
        for (const { storeId, weight } of members) if (weight === 0) assert.equal(held.has(storeId), false)
      }),
      runs
    )
  })

  it('leaves its own result as it is (I8)', () => {
    fc.assert(
      fc.property(situation, ({ members, replicas, current }) => {
        const table = claimed(members, current, 64, replicas)
        assert.deepEqual(claimed(members, table, 64, replicas), table)
      }),
      runs
    )
  })

  it('gives the same table whatever the order of the members', () => {
    fc.assert(
      fc.property(situation, ({ members, replicas, current }) => {
        assert.deepEqual(
          claimed([...members].reverse(), current, 64, replicas),
          claimed(members, current, 64, replicas)
        )
      }),
      runs
    )
  })

  it('keeps a row’s first owner and the order of the others where balance allows it', () => {
    const members = clusterOf(6, 4)
    const table = claimed(members)
    const after = claimed([...members, ...clusterOf(1, 77)], table)
    const kept = after.filter((row, p) => row[0] === table[p]![0])
    assert.ok(kept.length >= 215, `${kept.length} of 256 first owners kept`)
    for (const [p, row] of after.entries()) {
      const stayed = row.slice(1).filter(id => table[p]!.includes(id))
      assert.deepEqual(
        stayed,
        table[p]!.filter(id => stayed.includes(id))
      )
    }
  })

  it('changes nothing in the table it is given', () => {
    const members = clusterOf(5, 6)
    const table = claimed(members).map(row => Object.freeze([...row]))
    assert.doesNotThrow(() => claimed(clusterOf(7, 6), Object.freeze(table)))
  })

  it('leaves the rows as they are when nobody may own anything', () => {
    const table = claimed(clusterOf(3, 1))
    assert.deepEqual(claimed([], table), table)
    assert.deepEqual(claimed(clusterOf(3, 1, [0]), table), table)
    assert.deepEqual(
      claimed([]),
      Array.from({ length: 256 }, () => [])
    )
  })

  it('moves everything away from a member whose weight becomes 0', () => {
    const members = clusterOf(4, 8)
    const table = claimed(members)
    const drained = members.map((member, i) => (i === 0 ? { ...member, weight: 0 } : member))
    const after = claimed(drained, table)
    assertSound(after, drained)
    assert.equal(copiesBetween(table, after), heldBy(table).get(members[0]!.storeId))
  })

  it('gives every member every row while there are no more members than copies', () => {
    for (const count of [1, 2, 3]) {
      const members = clusterOf(count, 9, [1, 2, 4], 2)
      assert.ok(claimed(members).every(row => row.length === count))
    }
  })

  it('puts the copies of a row into as many zones as there are', () => {
    const members = clusterOf(9, 2, [1, 1, 1, 5], 3)
    const zoneOf = new Map(members.map(({ storeId, zone }) => [storeId, zone]))
    for (const row of claimed(members)) assert.equal(new Set(row.map(id => zoneOf.get(id))).size, 3)
  })

  it('gives the table that it gave on every machine before', () => {
    const table = claimed(clusterOf(5, 1, [1, 2], 2), undefined, 64)
    const short = table.slice(0, 6).map(row => row.map(id => id.slice(0, 4)).join(' '))
    assert.deepEqual(short, [
      'a9ef 04b9 024f',
      'a9ef 04b9 eb0c',
      'a9ef 024f 04b9',
      'a9ef 04b9 4a2b',
      'a9ef 024f 04b9',
      'a9ef 04b9 4a2b'
    ])
  })
})
