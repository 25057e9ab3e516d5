import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/** Splits of all shapes: halves, one way only, one node alone, clogged ways, connections that break. */
export const split: Scenario = {
  name: 'split',
  goal: 'whatever side holds a majority goes on, nothing acknowledged is lost, and all is one again after healing',
  draw: random => {
    const members = drawMembers(random, { count: 3 + random.int(3) })
    const kinds = ['split', 'split', 'one-way', 'clog', 'cut', 'weather'] as const
    return {
      members,
      workload: { clients: 6, keys: 12 },
      workloadAtMs: 1000,
      faults: drawFaultsOf(random, members, { kinds, count: 3 + random.int(6), toMs: 18_000, maxMs: 9000 }),
      chaosMs: 20_000,
      convergeMs: 60_000
    }
  }
}
