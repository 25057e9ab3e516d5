import type { TimedFault } from '../../../src/testing/faults.ts'
import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/** Two clusters of one name are founded on either side of a split; when it ends they meet and become one. */
export const merge: Scenario = {
  name: 'merge',
  goal: 'of two clusters that were founded apart one remains, with everything that was acknowledged in either',
  draw: random => {
    const first = 1 + random.int(4)
    // Somebody has to look for the others.
    const second = (first === 1 ? 2 : 1) + random.int(3)
    const drawn = drawMembers(random, { count: first + second, ...(first < 3 || second < 3 ? { onDisk: true } : {}) })
    const names = drawn.map(({ machine }) => machine.name)
    const sides = [names.slice(0, first), names.slice(first)]
    // The past is settled close behind the present, so that most of what is brought along lies in it.
    const purgeIntervalMs = 200 + random.int(2000)
    const purgeLagMs = 40 + random.int(1000)
    const members = drawn.map((member, i) => ({
      ...member,
      config: { ...member.config, purgeIntervalMs, purgeLagMs },
      startAtMs: i === first ? random.int(500) : member.startAtMs,
      ...(i === first ? { bootstrap: 'founder' as const } : {})
    }))
    const metMs = 5000 + random.int(6000)
    // Clients that write on would hide what was lost.
    const endMs = random.chance(1, 2) ? 20_000 : metMs + 1000 + random.int(3000)
    const apart: TimedFault = { kind: 'split', atMs: 0, forMs: metMs, groups: sides }
    // Just before they meet, some copies in either may miss what others are given.
    const missed = sides.flatMap((side): TimedFault[] => {
      const [from, to] = [side[random.int(side.length)]!, side[random.int(side.length)]!]
      if (from === to || random.chance(1, 4)) return []
      return [{ kind: 'one-way', from, to, atMs: metMs - 2000 + random.int(1500), forMs: 1500 + random.int(2500) }]
    })
    const kinds = ['crash', 'restart', 'one-way', 'cut', 'stall', 'weather', 'starve', 'deaf', 'clog'] as const
    const others = drawFaultsOf(random, members, { kinds, count: random.int(12), fromMs: 2500, toMs: endMs - 1000 })
    return {
      members,
      sides,
      network: { delayMeanMs: random.int(20) },
      workload: { clients: 3 + random.int(8), keys: 4 + random.int(100), one: 0, deletes: random.int(120) },
      workloadAtMs: 500,
      faults: [apart, ...missed, ...others],
      chaosMs: endMs,
      convergeMs: 120_000
    }
  }
}
