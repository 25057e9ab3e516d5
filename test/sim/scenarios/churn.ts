import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/**
 * Partitions move all the time while one write in three misses a copy, and few reads mend what that leaves behind before
 * the end: the harshest place for the rules of ownership change, where leaving one of them out must show. There are many
 * keys, so that most writes are the last ones of their keys for a while.
 */
export const churn: Scenario = {
  name: 'churn',
  goal: 'no acknowledged write is lost while members come, leave, die and stand still, and many requests are dropped',
  draw: random => {
    const steps = [0, 50, 100, 2000, 2000 + random.int(2000)]
    const onDisk = random.chance(1, 3)
    const members = drawMembers(random, { count: 5, onDisk, startAtMs: i => steps[i]! }).map(member => ({
      ...member,
      config: { ...member.config, evictAfterMs: 1000 }
    }))
    const outages = drawFaultsOf(random, members, {
      kinds: onDisk ? ['leave'] : ['leave', 'crash'],
      count: 8,
      fromMs: 4500,
      toMs: 16_000,
      minMs: 100,
      maxMs: 500
    })
    const troubles = drawFaultsOf(random, members, {
      kinds: ['stall', 'one-way'],
      count: 30,
      toMs: 18_000,
      minMs: 200,
      maxMs: 1500
    })
    return {
      members,
      network: { delayMeanMs: 20 + random.int(30), dataLossPer10k: 1000 + random.int(1000) },
      workload: {
        clients: 50,
        keys: 1200,
        pauseMs: 40,
        timeoutMs: 800,
        puts: 95,
        gets: 5,
        deletes: 0,
        one: 0,
        all: 0,
        quorum: 1
      },
      workloadAtMs: 1000,
      faults: [...outages, ...troubles],
      chaosMs: 20_000,
      convergeMs: 90_000
    }
  }
}
