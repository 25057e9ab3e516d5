import { drawMembers, type Scenario } from './draw.ts'

/** Three to five nodes, a network that is slow or lossy at worst: nothing may ever be wrong here. */
export const steady: Scenario = {
  name: 'steady',
  goal: 'a cluster forms and serves its clients on an ordinary network',
  draw: random => ({
    members: drawMembers(random, { count: 3 + random.int(3) }),
    network: { delayMeanMs: random.int(10), lossPer10k: random.chance(1, 2) ? random.int(100) : 0 },
    workload: { clients: 4 + random.int(8), keys: 4 + random.int(20) },
    workloadAtMs: 1000,
    faults: [],
    chaosMs: 10_000,
    convergeMs: 60_000
  })
}
