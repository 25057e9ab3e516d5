import assert from 'node:assert/strict'
import { LeaderDuties } from '../../../src/cluster/leader-duties.ts'
import type { Group, GroupMembers } from '../../../src/consensus/group.ts'
import type { Membership } from '../../../src/membership/membership.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { CARE, store, topology } from './fixtures.ts'

/** Duties of store 1, which leads three members; returns the changes of voters that it asks for within a second. */
async function changesOfVoters(members: GroupMembers): Promise<(readonly string[])[]> {
  const world = new SimWorld()
  const changes: (readonly string[])[] = []
  const group = {
    self: store(1),
    isLeader: true,
    members: () => members,
    propose: async () => 1,
    changeVoters: async (voters: readonly string[]) => void changes.push(voters)
  }
  const duties = new LeaderDuties(
    {
      clock: world.clock('n'),
      membership: { view: new Map() } as unknown as Membership,
      transport: { isRefusing: () => false },
      rules: SOUND_RULES,
      logger: silentLogger,
      group: group as unknown as Group,
      topology: () => topology([{ n: 1 }, { n: 2 }, { n: 3 }])
    },
    CARE
  )
  duties.follow()
  await world.advance(1000)
  duties.stop()
  return changes
}

describe('the duties of a leader', () => {
  const voters = [1, 2, 3].map(store)

  it('change no voters when they are as they should be', async () => {
    assert.deepEqual(await changesOfVoters({ voters, learners: [], changing: false }), [])
  })

  it('make voters of as many members as there should be', async () => {
    const [first] = await changesOfVoters({ voters: [store(1)], learners: [], changing: false })
    assert.deepEqual(first?.toSorted(), voters)
  })

  it('rid the group of learners whose change was broken off: they would be members for ever', async () => {
    const [first] = await changesOfVoters({ voters, learners: [store(9)], changing: false })
    assert.deepEqual(first, voters)
  })

  it('leave a change alone that is under way', async () => {
    assert.deepEqual(await changesOfVoters({ voters, learners: [store(9)], changing: true }), [])
  })
})
