import type { TimedFault } from '../../../src/testing/faults.ts'
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
    const [first, ...others] = members
    const outages = drawFaultsOf(random, others, {
      kinds: onDisk ? ['leave'] : ['leave', 'crash'],
      count: 8,
      fromMs: 4500,
      toMs: 16_000,
      minMs: 100,
      maxMs: 500
    })
    const stalls = drawFaultsOf(random, members, { kinds: ['stall'], count: 10, toMs: 18_000, minMs: 200, maxMs: 1500 })
    const names = others.map(({ machine }) => machine.name)
    return {
      members,
      network: { delayMeanMs: 40 + random.int(40), dataLossPer10k: 1000 + random.int(1000) },
      workload: {
        clients: 80,
        keys: 1200,
        pauseMs: 40,
        timeoutMs: 1500,
        puts: 95,
        gets: 5,
        deletes: 0,
        one: 0,
        all: 0,
        quorum: 1
      },
      workloadAtMs: 1000,
      faults: [...outages, ...stalls, ...drawDeafness(random, first!.machine.name, names)],
      chaosMs: 20_000,
      convergeMs: 90_000
    }
  }
}

/** Every second or two, two nodes hear nothing of the first one, which is likely to lead, while they hear all others. */
function drawDeafness(random: Random, speaker: string, names: readonly string[]): TimedFault[] {
  const faults: TimedFault[] = []
  for (let atMs = 2000; atMs < 18_000; atMs += 1000 + random.int(1500)) {
    const forMs = 300 + random.int(700)
    for (const to of shuffle(random, [...names]).slice(0, 2)) {
      faults.push({ kind: 'one-way', from: speaker, to, forMs, atMs })
    }
  }
  return faults
}
