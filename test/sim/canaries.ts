import { type PlacementRules, SOUND_RULES } from '../../src/placement/rules.ts'
import type { Row } from '../../src/placement/topology.ts'
import type { PlannedMember, SimulationPlan } from '../../src/testing/simulation.ts'
import { atomic } from './scenarios/atomic.ts'
import { churn } from './scenarios/churn.ts'
import { drawPlan, type Scenario } from './scenarios/draw.ts'
import { indexes } from './scenarios/indexes.ts'
import { late } from './scenarios/late.ts'
import { merge } from './scenarios/merge.ts'
import { purge } from './scenarios/purge.ts'
import { scan } from './scenarios/scan.ts'
import { siblings } from './scenarios/siblings.ts'
import { ttl } from './scenarios/ttl.ts'
import { watch } from './scenarios/watch.ts'

/** A bug that is planted on purpose, to see that the simulator sees it: it breaks one rule, and nothing else. */
export interface Canary {
  readonly name: string
  /** What it changes in a member. */
  readonly sabotage: (member: PlannedMember, index: number) => PlannedMember
  /** A seed that caught it when this was written, to begin with; any change of behaviour moves it. */
  readonly hint: number
  /** Where it shows. Default: {@link churn}, in which nobody compares copies in the background. */
  readonly scenario?: Scenario
}

export const canaries: readonly Canary[] = [
  {
    name: 'C1 left out: while a row changes, the old owners alone decide',
    sabotage: withRules({ quorumSets: row => [row.slots] }),
    hint: 6
  },
  {
    name: 'C2 and C5 left out: replicas admit requests that are older than the row',
    sabotage: withRules({ fenceRequests: false, compareBeforeDrop: false }),
    hint: 40
  },
  {
    name: 'C3 and C5 left out: sources copy before they have applied the epoch of the change',
    sabotage: withRules({ fenceSources: false, compareBeforeDrop: false }),
    hint: 35
  },
  {
    name: 'a rebuilt copy is made from one source, which need not have all that was acknowledged',
    sabotage: withRules({ sourceCount: () => 1 }),
    hint: 1
  },
  {
    name: 'writes are acknowledged by one copy less than a majority',
    sabotage: member => ({ ...member, quorum: { w: 1 } }),
    hint: 1
  },
  {
    name: 'reads are answered by one copy less than a majority, and mend nothing first',
    sabotage: member => ({ ...member, quorum: { r: 1 } }),
    hint: 1
  },
  {
    name: 'quorums do not intersect: for each node another copy decides alone',
    sabotage: (member, index) => withRules({ quorumSets: row => [[turned(row, index)]] })(member),
    hint: 1
  },
  {
    name: 'read repair is skipped: a read does not see to it that a quorum holds what it returns',
    sabotage: withRules({ mendBeforeAnswer: false }),
    hint: 1
  },
  {
    name: 'an old store id is accepted: a node in memory goes on as who it was, with nothing of what it had',
    sabotage: member => ({ ...member, keepsId: true }),
    hint: 1
  },
  {
    name: 'H1 left out: new writes are let into a past that is being settled',
    sabotage: withRules({ closePast: false }),
    scenario: late,
    hint: 17
  },
  {
    name: 'H3 left out: the past is settled although the owners have not been compared',
    sabotage: withRules({ syncPast: false }),
    scenario: purge,
    hint: 3
  },
  {
    name: 'H2 and G1 left out: a hint is handed over after what took its place was purged',
    sabotage: withRules({ drainPast: false, refusePast: false }),
    scenario: purge,
    hint: 46
  },
  {
    name: 'M3 without a last comparison, and C5 left out: members of a cluster that has dissolved go as they are',
    sabotage: withRules({ closeFirst: false, compareBeforeDrop: false }),
    scenario: merge,
    hint: 411
  },
  {
    name: 'G4 with new stamps: what is brought along from another cluster is as good as new',
    sabotage: withRules({ keepAge: false }),
    scenario: merge,
    hint: 2
  },
  {
    name: 'scans return what the first of several nodes has passed, and wait for no other',
    sabotage: withRules({ waitForAllStreams: false }),
    scenario: scan,
    hint: 1
  },
  {
    name: 'what extends a value is stamped like a new write, and takes the place of one that it has not seen',
    sabotage: withRules({ followInPlace: false }),
    scenario: ttl,
    hint: 2
  },
  {
    name: 'U left out: a copy stores the writes of a batch one by one',
    sabotage: withRules({ keepUnits: false }),
    scenario: atomic,
    hint: 1
  },
  {
    name: 'W2 left out: a watch that changes to another copy does not look for what the former one never had',
    sabotage: withRules({ rewindWatches: false }),
    scenario: watch,
    hint: 11
  },
  {
    name: 'a watch that goes on by its token is told nothing of what came since',
    sabotage: withRules({ resumeWatches: false }),
    scenario: watch,
    hint: 15
  },
  {
    name: 'S1 left out: a copy drops a sibling for a later one that has not seen it',
    sabotage: withRules({ joinSiblings: false }),
    scenario: siblings,
    hint: 1
  },
  {
    name: 'S2 left out: coordinators mint by themselves, upon nothing',
    sabotage: withRules({ mintAtOwner: false }),
    scenario: siblings,
    hint: 1
  },
  {
    name: 'S3 left out: an owner that is asked again mints a write twice',
    sabotage: withRules({ mintOnce: false }),
    scenario: siblings,
    hint: 4
  },
  {
    name: 'S4 left out: an owner that has lost what it minted goes on under the same name',
    sabotage: withRules({ renameMint: false }),
    scenario: siblings,
    hint: 38
  },
  {
    name: 'X1 left out: old entries of an index stay, and what is read is not compared with its entry',
    sabotage: withRules({ keepEntries: false }),
    scenario: indexes,
    hint: 1
  },
  {
    name: 'X2 left out: what was written before the app told how to index it counts as indexed',
    sabotage: withRules({ noteUnindexed: false }),
    scenario: indexes,
    hint: 5
  }
]

/** The plan of a seed, with a bug planted in each member, or none. */
export function canaryPlan(canary: Canary | undefined, seed: number): SimulationPlan {
  const { scenario = churn } = canary ?? {}
  const plan = drawPlan(scenario, seed)
  // Comparing copies in the background mends most of the harm before anybody reads; here it must be seen.
  const inChurn = { repairIntervalMs: Infinity, purgeIntervalMs: Infinity }
  const inMerge = { repairIntervalMs: Infinity, purgeIntervalMs: 300, purgeLagMs: 60 }
  const members = plan.members.map(member => ({
    ...member,
    config: { ...member.config, ...(scenario === churn ? inChurn : scenario === merge ? inMerge : {}) }
  }))
  const workload = scenario === merge ? { ...plan.workload, clients: 10, keys: 100, deletes: 120 } : plan.workload
  return { ...plan, workload, members: canary === undefined ? members : members.map(canary.sabotage) }
}

function withRules(change: Partial<PlacementRules>): (member: PlannedMember) => PlannedMember {
  return member => ({ ...member, rules: { ...SOUND_RULES, ...change } })
}

function turned({ slots }: Row, index: number): Row['slots'][number] {
  return slots[index % slots.length]!
}
