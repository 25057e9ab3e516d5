import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/** How far hybrid times may be ahead of all clocks, ms; what is promised of expiry itself is for another scenario to show. */
const AHEAD_MS = 8000

/**
 * Apps that keep a copy of keys by watching them, while nodes die, part, leave and come back, and values expire. One time in six
 * nothing fails: then nobody who reads is told to begin anew.
 */
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
      expiry: {
        clients: 2,
        keys: 3,
        keysForMs: 5000,
        ttlMaxMs: 200 + random.int(2500),
        pauseMs: 80,
        timeoutMs: 1000,
        aheadMs: AHEAD_MS
      },
      workloadAtMs: 1000,
      faults: random.chance(1, 6)
        ? []
        : drawFaultsOf(random, members, {
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
