import { drawMembers, type Scenario } from './draw.ts'

/**
 * The voters of a cluster end for good, all at once, and nobody can agree on anything any more: those who are left found it
 * again where it stood.
 */
export const refound: Scenario = {
  name: 'refound',
  goal: 'a cluster whose log has lost its majority for good goes on with its members and its data',
  draw: random => {
    const count = 3 + random.int(4)
    const members = drawMembers(random, { count, onDisk: true }).map(member => ({
      ...member,
      config: { ...member.config, evictAfterMs: 5000 }
    }))
    // Of so many voters these are the fewest that keep the others from agreeing.
    const lost = count >= 5 ? 3 : 2
    const names = members.map(({ machine }) => machine.name)
    const gone = names.slice(0, lost)
    const left = names.slice(lost)
    // They are back after ten minutes and more, and find that it went on without them.
    const forMs = 620_000 + random.int(30_000)
    return {
      members,
      network: { delayMeanMs: random.int(5) },
      workload: { clients: 3, keys: 12, one: 0, pauseMs: 400 },
      workloadAtMs: 1000,
      faults: [{ kind: 'split', atMs: 8000, forMs, groups: [...gone.map(name => [name]), left] }],
      chaosMs: forMs + 20_000,
      convergeMs: 120_000
    }
  }
}
