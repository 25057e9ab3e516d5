import assert from 'node:assert/strict'
import type { ClusterId, StoreId } from '../../../src/model/node-id.ts'
import { claim } from '../../../src/placement/claim.ts'
import { planChanges } from '../../../src/placement/plan.ts'
import type { ClaimMember } from '../../../src/placement/quotas.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Row, Topology } from '../../../src/placement/topology.ts'
import type { Random } from '../../../src/runtime/random.ts'
import { SeededRandom } from '../../../src/runtime/seeded-random.ts'
import { clusterOf, copiesBetween, figuresOf, heldBy, storeIdOf, type Table } from './claim-figures.ts'

const PARTITIONS = 128
const REPLICAS = 3

// Goal: claim and plan, run over and over while changes begin and end in any order, bring the table to rest, and move no
// more than one claim at once would have.
// Method: a leader that claims from where the rows will be once the open changes have ended, begins what the planner
// says, and sees a random part of the open changes end in each round; members come and go meanwhile.
class Leader {
  rows: Row[]
  members: readonly ClaimMember[]
  copies = 0
  readonly #random: Random

  constructor(members: readonly ClaimMember[], random: Random) {
    this.members = members
    this.#random = random
    const table = claim({ current: undefined, members, partitions: PARTITIONS, replicas: REPLICAS })
    this.rows = table.map(slots => ({ slots, change: undefined, rowEpoch: 0 }))
  }

  /** Where the rows will be once all open changes have ended. */
  get table(): Table {
    return this.rows.map(({ slots, change }) => change?.next ?? slots)
  }

  target(): Table {
    return claim({ current: this.table, members: this.members, partitions: PARTITIONS, replicas: REPLICAS })
  }

  /** One plan, and a random part of the open changes ends. True when there was nothing left to do. */
  round(live: (store: StoreId) => boolean): boolean {
    const changes = planChanges({
      topology: topologyOf(this.rows),
      target: this.target(),
      live,
      rules: SOUND_RULES,
      limits: { rowsPerNode: 4 }
    })
    for (const { partition, next, copies } of changes) {
      const row = this.rows[partition]!
      this.rows[partition] = { slots: row.slots, change: { next, copies }, rowEpoch: row.rowEpoch + 1 }
      this.copies += next.filter(id => !row.slots.includes(id)).length
    }
    const atRest = this.rows.every(({ change }) => change === undefined)
    this.rows = this.rows.map(row =>
      row.change === undefined || this.#random.chance(1, 3)
        ? row
        : { slots: row.change.next, change: undefined, rowEpoch: row.rowEpoch + 1 }
    )
    return atRest
  }

  settle(live: (store: StoreId) => boolean = () => true): void {
    for (let round = 0; !this.round(live); round++) assert.ok(round < 2000, 'the table comes to rest')
    assert.deepEqual(this.table, this.target())
    const figures = figuresOf(this.table, this.members, REPLICAS)
    assert.equal(figures.illegalRows, 0)
    assert.equal(figures.zoneBreaks, 0)
    assert.ok(figures.worstSlots < 1)
  }
}

function topologyOf(rows: readonly Row[]): Topology {
  return { clusterId: '' as ClusterId, name: '', epoch: 1, replicas: REPLICAS, members: new Map(), rows }
}

describe('claim and plan together', () => {
  const shapes: [string, readonly number[], number][] = [
    ['equal members', [1], 1],
    ['weights 1, 2, 4', [1, 2, 4], 1],
    ['three zones', [1, 1, 2], 3]
  ]
  for (const [name, weights, zones] of shapes) {
    it(`bring a joiner in with as many copies as one claim moves: ${name}`, () => {
      for (const count of [1, 2, 3, 7, 15]) {
        const leader = new Leader(clusterOf(count, 5, weights, zones), new SeededRandom(count))
        const before = leader.table
        leader.members = clusterOf(count + 1, 5, weights, zones)
        const atOnce = copiesBetween(before, leader.target())
        leader.settle()
        assert.ok(leader.copies <= atOnce * 1.05, `${count} members: ${leader.copies} copies instead of ${atOnce}`)
      }
    })

    it(`rebuild what a dead member held with as many copies as it had slots: ${name}`, () => {
      for (const count of [4, 7, 15]) {
        const members = clusterOf(count, 6, weights, zones)
        const leader = new Leader(members, new SeededRandom(count))
        const gone = members[1]!.storeId
        leader.members = members.filter(({ storeId }) => storeId !== gone)
        const atOnce = copiesBetween(leader.table, leader.target())
        const held = heldBy(leader.table).get(gone)!
        leader.settle(store => store !== gone)
        assert.ok(
          leader.copies <= atOnce * 1.05,
          `${count} members: ${leader.copies} copies instead of ${atOnce} for ${held}`
        )
      }
    })
  }

  it('come to rest when members keep joining and leaving before the last change has ended', () => {
    for (let seed = 0; seed < 5; seed++) {
      const random = new SeededRandom(`storm ${seed}`)
      const leader = new Leader(clusterOf(3, seed, [1], 2), random)
      for (let event = 0; event < 30; event++) {
        if (leader.members.length < 4 || random.chance(1, 2)) {
          const weight = 1 + random.int(3)
          const joiner = { storeId: storeIdOf(seed + 50, event), weight, zone: `z${random.int(3)}` }
          leader.members = [...leader.members, joiner]
        } else {
          const leaver = random.int(leader.members.length)
          leader.members = leader.members.filter((_, i) => i !== leaver)
        }
        for (let rounds = random.int(6); rounds > 0; rounds--) leader.round(() => true)
      }
      leader.settle()
    }
  })
})
