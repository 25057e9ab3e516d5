import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/**
 * The whole keyspace is scanned again and again, from both ends and from every node, while members come, leave, die and are cut
 * off, and keys are written and deleted. Pages are small, so that most scans see several epochs.
 */
export const scan: Scenario = {
  name: 'scan',
  goal: 'a scan returns every key that is there throughout, in order, none twice, and none that was deleted before it began',
  draw: random => {
    const steps = [0, 50, 100, 2500, 2500 + random.int(3000)]
    const onDisk = random.chance(1, 3)
    const members = drawMembers(random, { count: 5, onDisk, startAtMs: i => steps[i]! }).map(member => ({
      ...member,
      config: { ...member.config, evictAfterMs: 1000 + random.int(2000) }
    }))
    const outages = drawFaultsOf(random, members, {
      kinds: ['leave', 'crash', 'restart', 'split', 'cut'],
      count: 6,
      fromMs: 3500,
      toMs: 9500,
      minMs: 100,
      maxMs: 2500
    })
    const troubles = drawFaultsOf(random, members, {
      kinds: ['stall', 'deaf', 'one-way', 'clog'],
      count: 4,
      toMs: 10_500,
      minMs: 200,
      maxMs: 1500
    })
    return {
      members,
      network: { delayMeanMs: random.int(12), dataLossPer10k: random.int(600) },
      workload: { clients: 8, keys: 160, pauseMs: 30, puts: 60, gets: 10, deletes: 60, one: 4, all: 2 },
      scans: { clients: 2, pageSizeMax: 80, pauseMs: 40, timeoutMs: 2000 },
      workloadAtMs: 1000,
      faults: [...outages, ...troubles],
      chaosMs: 11_000,
      convergeMs: 90_000
    }
  }
}
