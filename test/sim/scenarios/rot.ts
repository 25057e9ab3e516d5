import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/**
 * Records rot on disks, beside outages too short for anybody to be replaced: whoever is replaced is the second copy of three
 * that is lost.
 */
export const rot: Scenario = {
  name: 'rot',
  goal: 'a damaged record is never served, never stands for a copy, and is healed from the others',
  draw: random => {
    const drawn = drawMembers(random, { count: 3 + random.int(3), onDisk: true })
    const members = drawn.map(member => ({ ...member, config: { ...member.config, evictAfterMs: 60_000 } }))
    return {
      members,
      workload: { clients: 6, keys: 16, one: random.int(20), all: random.int(20), deletes: random.int(20) },
      workloadAtMs: 1000,
      faults: [
        ...drawFaultsOf(random, members, { kinds: ['rot'], count: 20, toMs: 18_000 }),
        ...drawFaultsOf(random, members, {
          kinds: ['restart', 'crash', 'split', 'weather', 'clog', 'disk', 'stall'],
          count: random.int(6),
          toMs: 18_000,
          maxMs: 1500
        })
      ],
      chaosMs: 20_000,
      convergeMs: 90_000
    }
  }
}
