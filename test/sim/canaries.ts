import { type PlacementRules, SOUND_RULES } from '../../src/placement/rules.ts'
import type { Row } from '../../src/placement/topology.ts'
import type { PlannedMember, SimulationPlan } from '../../src/testing/simulation.ts'
import { drawPlan, type Scenario } from './scenarios/draw.ts'
import { churn } from './scenarios/churn.ts'

/** What a planted bug changes in a member. */
type Sabotage = (member: PlannedMember, index: number) => PlannedMember

/** A bug that is planted on purpose, to see that the simulator sees it. */
export interface Canary {
  readonly name: string
  readonly sabotage: Sabotage
}

function rules(change: Partial<PlacementRules>): Sabotage {
  return member => ({ ...member, rules: { ...SOUND_RULES, ...change } })
}

/** Each breaks one rule on which the promises rest, and nothing else. */
export const canaries: readonly Canary[] = [
  {
    name: 'C1 left out: the old owners alone decide while a row changes',
    sabotage: rules({ quorumSets: row => [row.slots] })
  },
  {
    name: 'C2 and C3 left out: requests of an earlier epoch are admitted, and sources copy before they have the new one',
    sabotage: rules({ fenceRequests: false, fenceSources: false })
  },
  { name: 'C2 left out: requests of an earlier epoch are admitted', sabotage: rules({ fenceRequests: false }) },
  {
    name: 'C3 left out: sources copy before they have the epoch of the change',
    sabotage: rules({ fenceSources: false })
  },
  { name: 'a rebuilt copy is made from one source', sabotage: rules({ sourceCount: () => 1 }) },
  { name: 'a write quorum of one too few', sabotage: member => ({ ...member, quorum: { w: 1 } }) },
  { name: 'a read quorum of one too few', sabotage: member => ({ ...member, quorum: { r: 1 } }) },
  {
    name: 'each node has another copy that decides alone',
    sabotage: (member, index) => rules({ quorumSets: row => [[turned(row, index)]] })(member, index)
  }
]

function turned({ slots }: Row, index: number): Row['slots'][number] {
  return slots[index % slots.length]!
}

/** The plan of a seed of the scenario that moves partitions all the time, with a bug planted. */
export function canaryPlan(canary: Canary | undefined, seed: number, scenario: Scenario = churn): SimulationPlan {
  const plan = drawPlan(scenario, seed)
  return canary === undefined ? plan : { ...plan, members: plan.members.map(canary.sabotage) }
}
