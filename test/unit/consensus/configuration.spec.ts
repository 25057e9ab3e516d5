import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import {
  type Configuration,
  isSoleVoter,
  isVoter,
  membersOf,
  quorumReached,
  sameStores,
  voteResult,
  votersOf
} from '../../../src/consensus/configuration.ts'
import { SOUND_RAFT_RULES } from '../../../src/consensus/rules.ts'
import { nextVoterStep } from '../../../src/consensus/voter-change.ts'
import type { StoreId } from '../../../src/model/node-id.ts'
import { storeId } from '../../support/raft-network.ts'

const IDS = Array.from({ length: 6 }, (_, i) => storeId(i + 1))
const anySet = fc.subarray(IDS)
const [A, B, C, D] = IDS as [StoreId, StoreId, StoreId, StoreId]

describe('quorums of a configuration', () => {
  it('reach what a majority of one set has reached', () => {
    const reached = new Map([
      [A, 5],
      [B, 3],
      [C, 9],
      [D, 1]
    ])
    const by = (store: StoreId): number => reached.get(store) ?? 0
    assert.equal(quorumReached([[A]], by), 5)
    assert.equal(quorumReached([[A, B]], by), 3)
    assert.equal(quorumReached([[A, B, C]], by), 5)
    assert.equal(quorumReached([[A, B, C, D]], by), 3)
    assert.equal(quorumReached([[A, B, C], []], by), 5)
    assert.equal(
      quorumReached(
        [
          [A, C],
          [B, D]
        ],
        by
      ),
      1
    )
    assert.equal(quorumReached([[], []], by), 0)
  })

  it('reach exactly the greatest number that a majority of each set has reached (property)', () => {
    fc.assert(
      fc.property(anySet, anySet, fc.array(fc.nat(8), { minLength: 6, maxLength: 6 }), (a, b, values) => {
        const by = (store: StoreId): number => values[IDS.indexOf(store)]!
        const sets = [a, b].filter(set => set.length > 0)
        const holds = (bound: number): boolean =>
          sets.every(set => set.filter(store => by(store) >= bound).length * 2 > set.length)
        let expected = 0
        for (let bound = 0; bound <= 8 && sets.length > 0; bound++) if (holds(bound)) expected = bound
        assert.equal(quorumReached([a, b], by), expected)
      })
    )
  })

  it('decide a vote as soon as it is decided, and no sooner (property)', () => {
    const votes = fc.array(fc.option(fc.boolean(), { nil: undefined }), { minLength: 6, maxLength: 6 })
    fc.assert(
      fc.property(anySet, anySet, votes, (a, b, cast) => {
        const outcomes = new Set<boolean>()
        const open = IDS.filter((_, i) => cast[i] === undefined)
        // All ways in which the open votes may still fall.
        for (let mask = 0; mask < 2 ** open.length; mask++) {
          const vote = (store: StoreId): boolean => {
            const at = open.indexOf(store)
            return at === -1 ? cast[IDS.indexOf(store)] === true : (mask & (1 << at)) !== 0
          }
          outcomes.add([a, b].every(set => set.length === 0 || set.filter(vote).length * 2 > set.length))
        }
        const expected = outcomes.size === 2 ? 'pending' : outcomes.has(true) ? 'won' : 'lost'
        const got = voteResult([a, b], store => cast[IDS.indexOf(store)])
        assert.equal(got, expected)
      })
    )
  })

  it('of a joint configuration meet every quorum of the one before and of the one after (property)', () => {
    fc.assert(
      fc.property(anySet, anySet, anySet, anySet, (voters, outgoing, first, second) => {
        fc.pre(voters.length > 0 && outgoing.length > 0)
        const joint: Configuration = { voters, outgoing, learners: [] }
        const wins = (sets: readonly (readonly StoreId[])[], who: readonly StoreId[]): boolean =>
          voteResult(sets, store => who.includes(store)) === 'won'
        for (const single of [voters, outgoing]) {
          if (wins(SOUND_RAFT_RULES.quorumSets(joint), first) && wins([single], second)) {
            assert.ok(first.some(store => second.includes(store)))
          }
        }
      }),
      { numRuns: 500 }
    )
  })

  it('know who is who', () => {
    const joint: Configuration = { voters: [A, B], outgoing: [B, C], learners: [D] }
    assert.deepEqual(votersOf(joint), [A, B, C])
    assert.deepEqual(membersOf(joint), [A, B, C, D])
    assert.ok(isVoter(joint, C) && !isVoter(joint, D))
    assert.ok(sameStores([A, B], [B, A]) && !sameStores([A], [A, B]))
    assert.ok(isSoleVoter({ voters: [A], outgoing: [], learners: [B] }, A))
    assert.ok(!isSoleVoter({ voters: [A], outgoing: [A, B], learners: [] }, A))
  })
})

describe('the way to other voters', () => {
  const view = (configuration: Configuration, caughtUp: readonly StoreId[] = [], isSettled = true) => ({
    configuration,
    isSettled,
    hasCaughtUp: (store: StoreId): boolean => caughtUp.includes(store)
  })

  it('leads through learners that have caught up and one joint step', () => {
    const before = { voters: [A, B, C], outgoing: [], learners: [] }
    assert.deepEqual(nextVoterStep([A, B, D], view(before)), { kind: 'change', voters: [A, B, C], learners: [D] })
    const waiting = { ...before, learners: [D] }
    assert.deepEqual(nextVoterStep([A, B, D], view(waiting)), { kind: 'wait' })
    assert.deepEqual(nextVoterStep([A, B, D], view(waiting, [D])), { kind: 'change', voters: [A, B, D], learners: [] })
    assert.deepEqual(nextVoterStep([A, B, D], view(waiting, [D], false)), { kind: 'wait' })
    assert.deepEqual(nextVoterStep([A, B, D], view({ voters: [D, B, A], outgoing: [], learners: [] })), {
      kind: 'done'
    })
  })

  it('removes at once, and takes learners along that nobody wants any more', () => {
    const before = { voters: [A, B, C], outgoing: [], learners: [D] }
    assert.deepEqual(nextVoterStep([A], view(before)), { kind: 'change', voters: [A], learners: [] })
    assert.deepEqual(nextVoterStep([A, B, C], view(before)), { kind: 'change', voters: [A, B, C], learners: [] })
  })
})
