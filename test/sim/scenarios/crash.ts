import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/** Processes and machines die, with and without what they knew, and come back. */
export const crash: Scenario = {
  name: 'crash',
  goal: 'one node after the other dies and returns, or a stranger in its place, and no acknowledged write is lost',
  draw: random => {
    const members = drawMembers(random, { count: 3 + random.int(3) })
    return {
      members,
      workload: { clients: 6, keys: 12 },
      workloadAtMs: 1000,
      faults: drawFaultsOf(random, members, {
        kinds: ['crash', 'crash', 'restart', 'cut', 'stall'],
        count: 3 + random.int(4),
        toMs: 22_000,
        machineCrashes: random.chance(1, 2)
      }),
      chaosMs: 25_000,
      convergeMs: 90_000
    }
  }
}
