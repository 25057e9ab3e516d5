import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/** One node becomes three and then five while clients work: every partition moves, most of them more than once. */
export const growth: Scenario = {
  name: 'growth',
  goal: 'a cluster grows from one to five nodes under load; no acknowledged write is lost or missed',
  draw: random => {
    const steps = [0, 3000, 3000 + random.int(1000), 9000, 9000 + random.int(3000)]
    const members = drawMembers(random, { count: 5, startAtMs: i => steps[i]! })
    return {
      members,
      network: { delayMeanMs: random.int(8), lossPer10k: random.chance(1, 2) ? random.int(200) : 0 },
      workload: { clients: 8, keys: 40, pauseMs: 15 },
      workloadAtMs: 500,
      faults: drawFaultsOf(random, members, {
        kinds: ['cut', 'stall', 'one-way', 'clog'],
        count: random.int(4),
        toMs: 15_000
      }),
      chaosMs: 18_000,
      convergeMs: 90_000
    }
  }
}
