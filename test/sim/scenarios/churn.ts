import type { TimedFault } from '../../../src/testing/faults.ts'
import type { PlannedMember } from '../../../src/testing/simulation.ts'
import { type Random, shuffle } from '../../../src/runtime/random.ts'
import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/**
 * Partitions move all the time while one write in three misses a copy, some nodes learn late of what has changed, and few
 * reads mend what that leaves behind before the end: the harshest place for the rules of ownership change, where leaving
 * one of them out must show. There are many keys, so that most writes are the last ones of their keys for a while.
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
      kinds: ['stall'],
      count: 8,
      toMs: 18_000,
      minMs: 300,
      maxMs: 1300
    })
    return {
      members,
      network: { delayMeanMs: 5 + random.int(20), dataLossPer10k: 1500 + random.int(1500) },
      workload: {
        clients: 60,
        keys: 4000,
        pauseMs: 40,
        timeoutMs: 500,
        puts: 95,
        gets: 5,
        deletes: 0,
        one: 0,
        all: 0,
        quorum: 1
      },
      workloadAtMs: 1000,
      faults: [...outages, ...troubles, ...drawDeafness(random, members)],
      chaosMs: 20_000,
      convergeMs: 90_000
    }
  }
}

/** Nearly all the time two nodes do not hear what has changed, while they go on reading, writing and copying. */
function drawDeafness(random: Random, members: readonly PlannedMember[]): TimedFault[] {
  const faults: TimedFault[] = []
  for (let atMs = 2000; atMs < 18_000; atMs += 1500 + random.int(1000)) {
    for (const { machine } of shuffle(random, [...members]).slice(0, 2)) {
      faults.push({ kind: 'deaf', node: machine.name, forMs: 400 + random.int(2100), atMs })
    }
  }
  return faults
}
