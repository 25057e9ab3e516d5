import { type FaultPlan, drawFaults } from '../../../src/testing/faults.ts'
import type { Random } from '../../../src/runtime/random.ts'
import { SeededRandom } from '../../../src/runtime/seeded-random.ts'
import type { PlannedMember, SimulationPlan } from '../../../src/testing/simulation.ts'

/** Draws plans from seeds. */
export interface Scenario {
  readonly name: string
  /** What it is about, in a sentence. */
  readonly goal: string
  readonly draw: (random: Random) => Omit<SimulationPlan, 'seed'>
}

/** The plan of a scenario's seed. */
export function drawPlan(scenario: Scenario, seed: number): SimulationPlan {
  const label = `${scenario.name} ${seed}`
  return { seed: label, ...scenario.draw(new SeededRandom(label).fork('plan')) }
}

/** How to draw members. */
export interface MemberDraw {
  readonly count: number
  /** When each starts, ms; default: the first at once, the others a little later. */
  readonly startAtMs?: (index: number) => number
  /** Whether members keep their data on disk. Default: one in two clusters does. */
  readonly onDisk?: boolean
  /** Greatest error of the wall clocks either way, ms. Default 50 */
  readonly offsetMaxMs?: number
  readonly driftMaxPpm?: number
}

export function drawMembers(random: Random, draw: MemberDraw): PlannedMember[] {
  const onDisk = draw.onDisk ?? random.chance(1, 2)
  const syncReads = random.chance(1, 2)
  const durability = onDisk && random.chance(1, 2) ? 'fsync' : 'os'
  const evictAfterMs = 2000 + random.int(4000)
  const repairIntervalMs = 3000 + random.int(17_000)
  const purgeIntervalMs = random.chance(1, 2) ? 2000 + random.int(6000) : Infinity
  const purgeLagMs = 500 + random.int(2000)
  const { offsetMaxMs = 50, driftMaxPpm = 100 } = draw
  return Array.from({ length: draw.count }, (_, i) => ({
    startAtMs: draw.startAtMs?.(i) ?? (i === 0 ? 0 : 50 + random.int(500)),
    machine: {
      name: `n${i}`,
      clock: { offsetMs: either(random, offsetMaxMs), driftPpm: either(random, driftMaxPpm) },
      disk: { permanent: onDisk, syncReads }
    },
    config: { partitions: 64, durability, evictAfterMs, repairIntervalMs, purgeIntervalMs, purgeLagMs }
  }))
}

/** Faults over members, between the time when the cluster has formed and the end of the chaos. */
export function drawFaultsOf(
  random: Random,
  members: readonly PlannedMember[],
  plan: Partial<FaultPlan> & Pick<FaultPlan, 'kinds' | 'count' | 'toMs'>
): ReturnType<typeof drawFaults> {
  const names = members.map(({ machine }) => machine.name)
  return drawFaults(random, names, { fromMs: 4000, minMs: 200, maxMs: 5000, ...plan })
}

/** A whole number from −max to max. */
function either(random: Random, max: number): number {
  return random.int(2 * max + 1) - max
}
