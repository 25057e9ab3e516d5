import type { Fault } from '../../../src/testing/faults.ts'
import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

const ALL: readonly Fault['kind'][] = [
  'crash',
  'restart',
  'leave',
  'split',
  'one-way',
  'clog',
  'deaf',
  'starve',
  'cut',
  'weather',
  'stall',
  'jump',
  'drift',
  'disk'
]

/** Anything may go wrong; each seed draws which kinds of faults do, so that none hides the others (swarm testing, 2012). */
export const swarm: Scenario = {
  name: 'swarm',
  goal: 'all promises hold under any mixture of faults',
  draw: random => {
    const count = 1 + random.int(7)
    // Shares and zones as they come, or all alike.
    const isMixed = random.chance(1, 3)
    const gcGraceMs = random.chance(1, 3) ? 2000 : 60_000
    const drawn = drawMembers(random, {
      count,
      // Of two copies in memory none may be lost, so nothing could be done to them.
      ...(count < 3 ? { onDisk: true } : {}),
      startAtMs: i => (i === 0 ? 0 : random.int(6000)),
      offsetMaxMs: random.chance(1, 2) ? 1500 : 20
    })
    const members = drawn.map((member, i) => ({
      ...member,
      config: {
        ...member.config,
        gcGraceMs,
        ...(isMixed ? { weight: [1, 1, 2, 4][random.int(4)]!, zone: `z${i % 3}` } : {})
      }
    }))
    const kinds = ALL.filter(() => random.chance(1, 2))
    return {
      members,
      network: { delayMeanMs: random.int(15) },
      workload: {
        clients: 2 + random.int(8),
        keys: 2 + random.int(30),
        one: random.int(30),
        all: random.int(20),
        deletes: random.int(20)
      },
      workloadAtMs: 500,
      faults:
        kinds.length === 0
          ? []
          : drawFaultsOf(random, members, {
              kinds,
              count: random.int(10),
              toMs: 18_000,
              machineCrashes: random.chance(1, 3)
            }),
      chaosMs: 20_000,
      convergeMs: 90_000
    }
  }
}
