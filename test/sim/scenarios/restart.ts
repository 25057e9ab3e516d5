import type { TimedFault } from '../../../src/testing/faults.ts'
import { drawMembers, type Scenario } from './draw.ts'

/** All nodes of a cluster on disk go down, one after the other or all at once, and come back with what they had. */
export const restart: Scenario = {
  name: 'restart',
  goal: 'a cluster on disk survives the end of all its processes',
  draw: random => {
    const members = drawMembers(random, { count: 3 + random.int(3), onDisk: true })
    const gapMs = random.chance(1, 2) ? 0 : 500 + random.int(2000)
    const faults = members.map(({ machine }, i): TimedFault => {
      const atMs = 6000 + i * gapMs
      const forMs = 300 + random.int(3000)
      if (random.chance(1, 2)) return { kind: 'restart', node: machine.name, forMs, atMs }
      return { kind: 'crash', node: machine.name, machine: false, forMs, atMs }
    })
    return {
      members,
      workload: { clients: 6, keys: 16 },
      workloadAtMs: 1000,
      faults,
      chaosMs: 20_000,
      convergeMs: 90_000
    }
  }
}
