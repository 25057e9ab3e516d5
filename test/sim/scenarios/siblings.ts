import type { Random } from '../../../src/runtime/random.ts'
import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

type Drawn = ReturnType<Scenario['draw']>

/**
 * Clients of keyspaces with siblings write upon what they have read some time ago, and count. In one half of the seeds nodes die
 * with and without their last writes, the network splits, clocks jump, partitions move and the past is settled. In a quarter
 * connections break all the time among more nodes than copies, so that answers of owners are lost. In the last one machines die
 * with writes that were acknowledged, come back soon, and are written to before anything has mended them.
 */
export const siblings: Scenario = {
  name: 'siblings',
  goal: 'no put is lost to one that has not seen it, what was replaced stays so, and counters come to the true sum',
  draw: random => [general, general, broken, forgetful][random.int(4)]!(random)
}

function general(random: Random): Drawn {
  const onDisk = random.chance(2, 3)
  const count = 3 + random.int(5)
  const members = drawMembers(random, { count, onDisk, offsetMaxMs: random.chance(1, 3) ? 1500 : 50 })
  return {
    ...common(random),
    members,
    network: { delayMeanMs: random.int(12), dataLossPer10k: random.chance(1, 2) ? random.int(800) : 0 },
    faults: drawFaultsOf(random, members, {
      kinds: ['crash', 'crash', 'restart', 'split', 'one-way', 'cut', 'clog', 'stall', 'jump', 'drift', 'leave'],
      count: 3 + random.int(8),
      fromMs: 2500,
      toMs: 9000,
      maxMs: 3000,
      jumpMaxMs: 300,
      machineCrashes: random.chance(1, 2)
    })
  }
}

function broken(random: Random): Drawn {
  const members = drawMembers(random, { count: 6 + random.int(3) })
  return {
    ...common(random),
    members,
    network: { delayMeanMs: 5 + random.int(20) },
    faults: drawFaultsOf(random, members, { kinds: ['cut'], count: 60 + random.int(100), fromMs: 2500, toMs: 10_000 })
  }
}

function forgetful(random: Random): Drawn {
  const members = drawMembers(random, { count: 3, onDisk: true }).map(({ config, ...member }) => ({
    ...member,
    config: { ...config, durability: 'os' as const, evictAfterMs: 120_000, repairIntervalMs: 20_000 }
  }))
  const { siblings: options, ...more } = common(random)
  return {
    ...more,
    siblings: { ...options!, keys: 1 + random.int(2), gets: 1 },
    members,
    network: { delayMeanMs: random.int(5) },
    faults: drawFaultsOf(random, members, {
      kinds: ['crash'],
      count: 6,
      fromMs: 2500,
      toMs: 10_000,
      maxMs: 600,
      machineCrashes: true
    })
  }
}

function common(random: Random): Omit<Drawn, 'members' | 'faults'> {
  return {
    workload: { clients: 2, keys: 6 },
    siblings: {
      clients: 6 + random.int(6),
      keys: 2 + random.int(6),
      counters: 2,
      gets: 3,
      pauseMs: 10 + random.int(20),
      timeoutMs: 1500
    },
    workloadAtMs: 1500,
    chaosMs: 11_000,
    convergeMs: 90_000
  }
}
