import { drawFaultsOf, drawMembers, type Scenario } from './draw.ts'

/** How far ahead a killed node with a disk begins, and each further time it is killed, ms, with room to spare. */
const AHEAD_ON_DISK_MS = 8000
/** Stamps of one ms may be those of the next. */
const AHEAD_MS = 2

/**
 * Values that expire are written, extended and looked at while clocks are off, drift and jump, nodes die and come back, and the
 * past is settled all the time, so that what has expired is swept while others still ask for it.
 */
export const ttl: Scenario = {
  name: 'ttl',
  goal: 'nobody is shown a value that has expired, none ends before its time, and none takes the place of a later one',
  draw: random => {
    const onDisk = random.chance(1, 3)
    // One clock in three clusters is far off: then no more can be said than that it is.
    const offsetMaxMs = random.chance(1, 3) ? 1500 : 20
    const members = drawMembers(random, { count: 3 + random.int(3), onDisk, offsetMaxMs }).map(member => ({
      ...member,
      config: { ...member.config, evictAfterMs: 1000, purgeIntervalMs: 500 + random.int(2000) }
    }))
    return {
      members,
      network: { delayMeanMs: random.int(12), dataLossPer10k: random.int(4) === 0 ? random.int(1000) : 0 },
      workload: { clients: 2, keys: 6 },
      expiry: {
        clients: 8,
        keys: 3 + random.int(8),
        keysForMs: 500 + random.int(2500),
        ttlMaxMs: 200 + random.int(3000),
        pauseMs: 15,
        timeoutMs: 1000,
        aheadMs: onDisk ? AHEAD_ON_DISK_MS : AHEAD_MS
      },
      workloadAtMs: 1000,
      faults: drawFaultsOf(random, members, {
        kinds: ['crash', 'restart', 'split', 'stall', 'cut', 'clog', 'jump', 'drift', 'leave'],
        count: 3 + random.int(8),
        toMs: 9000,
        jumpMaxMs: 300,
        machineCrashes: random.chance(1, 3)
      }),
      chaosMs: 11_000,
      convergeMs: 90_000
    }
  }
}
