import assert from 'node:assert/strict'
import type { StoreId } from '../../../src/model/node-id.ts'
import type { Requirement } from '../../../src/model/quorum.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Row, Topology } from '../../../src/placement/topology.ts'
import { Routes } from '../../../src/replication/routes.ts'
import { type Plan, type PlanOptions, planScan } from '../../../src/replication/scan-plan.ts'
import { store, storeNumber, topology } from '../cluster/fixtures.ts'
import { MOVING } from './bench.ts'

const MEMBERS = [1, 2, 3, 4, 5].map(n => ({ n }))
const PARTITIONS = Array.from({ length: 60 }, (_, i) => i)

/** Rows whose owners take turns, or all the same row. */
function rows(row: Row | undefined): Topology {
  const base = topology(MEMBERS, { slots: [1, 2, 3], epoch: 5 })
  const turned = (i: number): Row => ({
    slots: [0, 1, 2].map(k => store(((i + k) % 5) + 1)),
    change: undefined,
    rowEpoch: 1
  })
  return { ...base, rows: PARTITIONS.map(i => row ?? turned(i)) }
}

function plan(requirement: Requirement, row?: Row, more: Partial<PlanOptions> = {}): Plan {
  return planScan({
    self: store(1),
    routes: new Routes(rows(row), store(1), SOUND_RULES),
    requirement,
    partitions: PARTITIONS,
    wantsValues: true,
    heard: () => [],
    hasWhole: () => false,
    isUsable: () => true,
    ...more
  })
}

/** How many are asked. */
function askedAtAll({ assignments }: Plan): number {
  return assignments.length
}

/** Who is asked for a partition: for whole records, and for heads. */
function asked({ assignments }: Plan, partition: number): [number[], number[]] {
  const those = (kind: 'whole' | 'heads'): number[] =>
    assignments
      .filter(one => one[kind].includes(partition))
      .map(one => storeNumber(one.store))
      .sort((a, b) => a - b)
  return [those('whole'), those('heads')]
}

function all([whole, heads]: [number[], number[]]): number[] {
  return [...whole, ...heads].sort((a, b) => a - b)
}

describe('whom a scan asks', () => {
  it('is as many replicas of each partition as its level needs, one of them for the values', () => {
    for (const [requirement, heads] of [
      ['one', 0],
      ['quorum', 1],
      ['all', 2],
      [2, 1]
    ] as const) {
      const made = plan(requirement)
      for (const partition of PARTITIONS) {
        const [whole, others] = asked(made, partition)
        assert.deepEqual([whole.length, others.length], [1, heads])
        assert.equal(new Set([...whole, ...others]).size, 1 + heads)
      }
    }
  })

  it('is everybody about as much, less by what merging takes whoever scans', () => {
    for (const requirement of ['one', 'quorum'] as const) {
      const counts = plan(requirement).assignments.map(
        ({ whole, heads, store: id }) => 3 * whole.length + 2 * heads.length + (id === store(1) ? PARTITIONS.length : 0)
      )
      assert.equal(counts.length, requirement === 'one' ? 4 : 5, 'at one the others have less to do than it has anyway')
      assert.ok(Math.max(...counts) - Math.min(...counts) <= 6, counts.join(' '))
    }
  })

  it('is nobody for values that are not wanted', () => {
    assert.ok(plan('one', undefined, { wantsValues: false }).assignments.every(({ whole }) => whole.length === 0))
  })

  it('is, while a row changes, who counts for the old and for the coming owners', () => {
    const made = plan('quorum', MOVING)
    for (const partition of PARTITIONS) assert.deepEqual(all(asked(made, partition)), [1, 2])
    const without = plan('quorum', MOVING, { isUsable: id => id !== store(2) })
    assert.deepEqual(all(asked(without, 0)), [1, 3, 4])
    const one = plan('one', MOVING)
    assert.ok(
      one.assignments.every(({ store: id }) => id !== store(4)),
      'whoever is about to own it has not all of it'
    )
  })

  it('is somebody else for who cannot be asked, and nobody when too few are left', () => {
    const row: Row = { slots: [1, 2, 3].map(store), change: undefined, rowEpoch: 1 }
    const down = (...gone: number[]) => ({ isUsable: (id: StoreId) => !gone.includes(storeNumber(id)) })
    assert.deepEqual(all(asked(plan('quorum', row, down(2)), 0)), [1, 3])
    assert.deepEqual(plan('quorum', row, down(2, 3)), { assignments: [], unreachable: 0 })
    assert.equal(plan('one', row, down(2, 3)).unreachable, undefined)
    assert.equal(plan('all', row, down(2)).unreachable, 0)
    assert.equal(plan(4, row).unreachable, 0)
  })

  it('is only who is still missing', () => {
    const row: Row = { slots: [1, 2, 3].map(store), change: undefined, rowEpoch: 1 }
    const heard = (partition: number): readonly StoreId[] => (partition === 0 ? [store(2)] : [store(1), store(2)])
    const made = plan('quorum', row, { heard, hasWhole: () => true })
    const [whole, heads] = asked(made, 0)
    assert.deepEqual([whole, heads.length], [[], 1])
    assert.deepEqual(asked(made, 1), [[], []])
  })

  it('asks few where that is wanted, itself before others, and who is of use for a partition', () => {
    const spread = plan('one', undefined, { wantsValues: false })
    assert.equal(askedAtAll(spread), 4, 'all others')
    const few = plan('one', undefined, { wantsValues: false, isFew: true })
    assert.ok(askedAtAll(few) <= 3, `${askedAtAll(few)} are asked`)
    assert.equal(storeNumber(few.assignments[0]!.store), 1)
    const without = plan('one', undefined, {
      wantsValues: false,
      isFew: true,
      isUsable: (id, partition) => !(storeNumber(id) === 1 && partition === 0)
    })
    assert.deepEqual(
      without.assignments.filter(({ heads }) => heads.includes(0)).map(({ store: id }) => storeNumber(id)),
      [2]
    )
  })
})
