import assert from 'node:assert/strict'
import { type RaftRules, SOUND_RAFT_RULES } from '../../../src/consensus/rules.ts'
import { Breach } from '../../support/raft-invariants.ts'
import { type StormOptions, type StormReport, storm } from '../../support/raft-storm.ts'

const SEEDS = 400
/** Seeds that a planted bug may need to show itself. */
const HUNT_SEEDS = 600

/** Breaks one rule, tries seeds until somebody is harmed, and returns which promise was broken. */
function hunt(broken: Partial<RaftRules>, options: StormOptions = {}): string {
  for (let seed = 1; seed <= HUNT_SEEDS; seed++) {
    try {
      storm(seed, { ...options, rules: { ...SOUND_RAFT_RULES, ...broken } })
    } catch (error) {
      if (error instanceof Breach) return error.message.slice(0, error.message.indexOf(':'))
    }
  }
  return `no harm in ${HUNT_SEEDS} storms`
}

describe('a consensus group in bad weather', () => {
  it(`keeps its promises in ${SEEDS} storms, and works again after each`, function () {
    this.timeout(60_000)
    const sum: StormReport = { committed: 0, terms: 0, reads: 0, crashes: 0, changes: 0, snapshots: 0 }
    for (let seed = 1; seed <= SEEDS; seed++) {
      try {
        const report = storm(seed)
        for (const what of Object.keys(sum) as (keyof StormReport)[]) sum[what] += report[what]
      } catch (error) {
        throw new Error(`sim seed ${seed}: storm(${seed}) fails again`, { cause: error })
      }
    }
    // A storm in which nothing happens proves nothing.
    for (const [what, count] of Object.entries(sum)) assert.ok(count > SEEDS, `only ${count} ${what}`)
  })

  it('does the same again for the same seed', () => {
    assert.deepEqual(storm(7), storm(7))
    assert.notDeepEqual(storm(7), storm(8))
  })

  describe('is harmed, and that is noticed, when', () => {
    it('a leader counts itself before its own batch is durable (R2)', () => {
      assert.equal(hunt({ leaderMatch: (_durable, last) => last }), 'leaders are complete')
    }).timeout(60_000)

    it('a voter forgets its vote at a restart', () => {
      assert.equal(hunt({ restoredVote: () => undefined }), 'one vote per term')
    }).timeout(60_000)

    it('a joint configuration needs the majority of the coming voters alone', () => {
      const only = ['change', 'split', 'heal', 'propose', 'proposeAnywhere', 'isolateLeader']
      const harm = hunt({ quorumSets: ({ voters }) => [voters] }, { only })
      assert.match(harm, /^(?:leaders are complete|one leader per term|what is committed stays)$/u)
    }).timeout(60_000)

    it('a joint configuration needs the majority of the outgoing voters alone', () => {
      const only = ['change', 'split', 'heal', 'propose', 'proposeAnywhere', 'isolateLeader']
      const harm = hunt({ quorumSets: ({ voters, outgoing }) => [outgoing.length > 0 ? outgoing : voters] }, { only })
      assert.match(harm, /^(?:leaders are complete|one leader per term|what is committed stays)$/u)
    }).timeout(60_000)

    it('voters vote for whoever lacks what they have', () => {
      assert.match(hunt({ isUpToDate: () => true }), /^(?:leaders are complete|one leader per term)$/u)
    }).timeout(60_000)

    it('votes and acknowledgements leave before their batch is durable (R1)', () => {
      assert.equal(hunt({ waitsForDisk: false }), 'no promise before it is durable')
    }).timeout(60_000)

    it('a leader lets read without making sure that it still leads', () => {
      assert.equal(hunt({ confirmsReads: false }), 'reads see what was committed before them')
    }).timeout(60_000)
  })
})
