import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/**
 * An index is queried again and again, from every node, while members come, leave, die, restart and are cut off, and keys are
 * written, overwritten and deleted. After its start a node takes a while to open the keyspace: what it takes before that it cannot index.
 */
export const indexes: Scenario = {
  name: 'index',
  goal: 'a query finds only what has its value, none twice, and at rest all of it; each disk holds the entries of its records alone',
  draw: random => {
    const steps = [0, 50, 100, 2500 + random.int(3000)]
    const onDisk = random.chance(2, 3)
    const members = drawMembers(random, { count: 4, onDisk, startAtMs: i => steps[i]! }).map(member => ({
      ...member,
      config: { ...member.config, evictAfterMs: 1000 + random.int(3000) }
    }))
    const outages = drawFaultsOf(random, members, {
      kinds: ['leave', 'crash', 'restart', 'restart', 'split', 'cut'],
      count: 6,
      fromMs: 3000,
      toMs: 9500,
      minMs: 100,
      maxMs: 2500
    })
    const troubles = drawFaultsOf(random, members, {
      kinds: ['stall', 'deaf', 'one-way', 'clog'],
      count: 3,
      toMs: 10_500,
      minMs: 200,
      maxMs: 1500
    })
    return {
      members,
      network: { delayMeanMs: random.int(12), dataLossPer10k: random.int(600) },
      workload: { clients: 6, keys: 120, pauseMs: 30, puts: 80, gets: 10, deletes: 40, one: 4, all: 2 },
      indexes: { clients: 2, pageSizeMax: 60, pauseMs: 40, timeoutMs: 2000, opensWithinMs: random.int(3000) },
      workloadAtMs: 1000,
      faults: [...outages, ...troubles],
      chaosMs: 11_000,
      convergeMs: 90_000
    }
  }
}
