import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/**
 * Keys are deleted and written again all the time while the past is settled every second, only some hundred ms behind the
 * present, instead of every ten minutes: whatever is on its way for longer than that comes too late. Members stay away for
 * longer than they are remembered.
 */
export const purge: Scenario = {
  name: 'purge',
  goal: 'what was deleted stays deleted although nothing tells of it any more, and nothing acknowledged goes with it',
  draw: random => {
    const gcGraceMs = random.chance(1, 2) ? 1000 : 60_000
    const purgeIntervalMs = 300 + random.int(700)
    // So close to the present that writes under way are settled already, or so far that only what was delayed is.
    const isClose = random.chance(1, 2)
    const purgeLagMs = isClose ? 16 + random.int(24) : 300 + random.int(400)
    const offsetMaxMs = isClose ? 2 : 50
    // Many writes of few keys, or so few that each stands for a while.
    const load = random.chance(1, 2) ? { clients: 10, keys: 12, pauseMs: 10 } : { clients: 6, keys: 90, pauseMs: 40 }
    const members = drawMembers(random, { count: 3 + random.int(3), offsetMaxMs, driftMaxPpm: 20 }).map(member => ({
      ...member,
      config: {
        ...member.config,
        evictAfterMs: 1000,
        gcGraceMs,
        purgeIntervalMs,
        purgeLagMs
      }
    }))
    return {
      members,
      network: { delayMeanMs: random.int(15), dataLossPer10k: random.int(1500) },
      workload: { ...load, puts: 40, gets: 30, deletes: 200, one: random.int(10) },
      workloadAtMs: 1000,
      faults: drawFaultsOf(random, members, {
        kinds: ['crash', 'restart', 'split', 'starve', 'starve', 'starve', 'clog', 'stall', 'cut'],
        count: 8 + random.int(12),
        toMs: 22_000,
        maxMs: 6000,
        machineCrashes: random.chance(1, 3)
      }),
      chaosMs: 25_000,
      convergeMs: 90_000
    }
  }
}
