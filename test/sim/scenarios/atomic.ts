import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/**
 * Clients write batches within hash tags. In one half of the seeds nothing but batches and hints reaches the copies, disks are
 * slow, and processes and machines die in the middle of writes: no disk may ever show a part of a batch. In the other half
 * partitions move and the network splits while copies are compared: at rest each copy must have each batch whole.
 */
export const atomic: Scenario = {
  name: 'atomic',
  goal: 'a batch within a hash tag is on a copy as a whole or not at all, whatever dies or moves meanwhile',
  draw: random => {
    const isStrict = random.chance(1, 2)
    const onDisk = isStrict || random.chance(1, 2)
    const drawn = drawMembers(random, { count: 3 + random.int(3), onDisk })
    const members = drawn.map(({ machine, config, ...member }) => ({
      ...member,
      machine: { ...machine, disk: { ...machine.disk, ...(isStrict ? { writeMeanMs: 1 + random.int(6) } : {}) } },
      // What was deleted stays to be seen, and nobody is replaced while no copy may be made.
      config: {
        ...config,
        purgeIntervalMs: Infinity,
        ...(isStrict ? { evictAfterMs: 120_000, repairIntervalMs: Infinity } : {})
      }
    }))
    return {
      members,
      network: { delayMeanMs: random.int(8), dataLossPer10k: random.chance(1, 2) ? random.int(500) : 0 },
      workload: { clients: 2, keys: 8 },
      workloadAtMs: 1000,
      batches: {
        atMs: isStrict ? 4000 : 2000,
        clients: 3,
        tags: 4,
        keysPerTag: 4,
        pauseMs: 30,
        timeoutMs: 1000,
        isStrict
      },
      faults: drawFaultsOf(random, members, {
        kinds: isStrict
          ? ['crash', 'crash', 'crash', 'restart', 'cut', 'stall', 'split', 'jump']
          : ['crash', 'leave', 'split', 'one-way', 'stall', 'weather'],
        count: 3 + random.int(4),
        fromMs: isStrict ? 5000 : 4000,
        toMs: 11_000,
        maxMs: 3000,
        machineCrashes: isStrict
      }),
      chaosMs: 12_000,
      convergeMs: 90_000
    }
  }
}
