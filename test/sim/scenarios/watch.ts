import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/** Apps that keep a copy of all keys by watching them, while nodes die, part, leave and come back. */
export const watch: Scenario = {
  name: 'watch',
  goal: 'whoever watches is told rising versions of each key, and in the end the last one, whatever becomes of the nodes',
  draw: random => {
    const members = drawMembers(random, { count: 3 + random.int(3) })
    const kinds = ['crash', 'crash', 'restart', 'leave', 'split', 'one-way', 'cut', 'stall', 'weather'] as const
    return {
      members,
      watches: true,
      workload: { clients: 6, keys: 12, puts: 55, gets: 25, deletes: 20, one: 20 },
      workloadAtMs: 1000,
      faults: drawFaultsOf(random, members, {
        kinds,
        count: 3 + random.int(5),
        toMs: 18_000,
        machineCrashes: random.chance(1, 2)
      }),
      chaosMs: 20_000,
      convergeMs: 90_000
    }
  }
}
