import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/** Clocks that are seconds off, drift and jump, and processes that stand still: order must not come from clocks. */
export const clockSkew: Scenario = {
  name: 'clock-skew',
  goal: 'an acknowledged write never loses to an older one, whatever the clocks say',
  draw: random => {
    const members = drawMembers(random, { count: 3 + random.int(3), offsetMaxMs: 2000, driftMaxPpm: 5000 })
    return {
      members,
      workload: { clients: 8, keys: 6 },
      workloadAtMs: 1000,
      faults: drawFaultsOf(random, members, {
        kinds: ['jump', 'jump', 'drift', 'stall', 'cut'],
        count: 4 + random.int(8),
        toMs: 14_000
      }),
      chaosMs: 15_000,
      convergeMs: 60_000
    }
  }
}
