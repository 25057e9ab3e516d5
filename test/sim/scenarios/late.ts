import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/**
 * Nothing is wrong but that writes take a second now and then, while the past is settled a few ms behind the present: the
 * place where a write that comes too late must be noticed by somebody.
 */
export const late: Scenario = {
  name: 'late',
  goal: 'a write that arrives when its time is settled already is stamped anew, and never acknowledged and forgotten',
  draw: random => {
    const purgeIntervalMs = 200 + random.int(200)
    const purgeLagMs = 16 + random.int(8)
    const members = drawMembers(random, { count: 5, offsetMaxMs: 1, driftMaxPpm: 20 }).map(member => ({
      ...member,
      config: { ...member.config, purgeIntervalMs, purgeLagMs }
    }))
    return {
      members,
      network: { delayMeanMs: random.int(3) },
      workload: { clients: 20, keys: 240, pauseMs: 60, puts: 50, gets: 50, deletes: 200, one: 0, all: 0, quorum: 1 },
      workloadAtMs: 1000,
      faults: drawFaultsOf(random, members, { kinds: ['starve'], count: 40, toMs: 20_000, minMs: 300, maxMs: 1500 }),
      chaosMs: 22_000,
      convergeMs: 60_000
    }
  }
}
