import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/** Disks that take a tenth of a second for a write, now and then, on some of the machines. */
export const slowStore: Scenario = {
  name: 'slow-store',
  goal: 'slow disks make things slow and nothing worse',
  draw: random => {
    const members = drawMembers(random, { count: 3 + random.int(3), onDisk: true })
    return {
      members,
      workload: { clients: 6, keys: 12 },
      workloadAtMs: 1000,
      faults: drawFaultsOf(random, members, {
        kinds: ['disk', 'disk', 'disk', 'crash', 'cut'],
        count: 4 + random.int(6),
        toMs: 18_000,
        maxMs: 8000
      }),
      chaosMs: 20_000,
      convergeMs: 90_000
    }
  }
}
