import { type Random, shuffle } from '../runtime/random.ts'
import type { NetworkOptions } from './conditions.ts'
import type { DiskOptions } from './sim-disk.ts'

/** Something that goes wrong. Machines go by name; durations are virtual ms. */
export type Fault =
  /**
   * The process ends without a word and is started again later; `memory: 'lost'` takes unsynced writes (or all, in
   * memory) with it.
   */
  | { readonly kind: 'crash'; readonly node: string; readonly machine: boolean; readonly forMs: number }
  /** The process stops in good order and is started again later. */
  | { readonly kind: 'restart'; readonly node: string; readonly forMs: number }
  /** The node hands over what it owns and leaves for good; later a stranger starts on the machine, its disk empty. */
  | { readonly kind: 'leave'; readonly node: string; readonly forMs: number }
  /** Groups of machines that do not reach each other. */
  | { readonly kind: 'split'; readonly groups: readonly (readonly string[])[]; readonly forMs: number }
  /** Nothing gets from one machine to another, while the way back is free. */
  | { readonly kind: 'one-way'; readonly from: string; readonly to: string; readonly forMs: number }
  /** What is sent one way arrives at the end of the time only. */
  | { readonly kind: 'clog'; readonly from: string; readonly to: string; readonly forMs: number }
  /** Control traffic and gossip reach a machine at the end of the time only, while reads, writes and copies do at once. */
  | { readonly kind: 'deaf'; readonly node: string; readonly forMs: number }
  /** Reads and writes that a machine sends arrive at the end of the time only, while all else does at once. */
  | { readonly kind: 'starve'; readonly node: string; readonly forMs: number }
  /** All connections between two machines break. */
  | { readonly kind: 'cut'; readonly a: string; readonly b: string }
  /** The network as a whole loses, doubles, reorders or delays. */
  | { readonly kind: 'weather'; readonly options: NetworkOptions; readonly forMs: number }
  /** The process stands still, as in a long collection of garbage. */
  | { readonly kind: 'stall'; readonly node: string; readonly forMs: number }
  /** The wall clock is set. */
  | { readonly kind: 'jump'; readonly node: string; readonly ms: number }
  /** The clock runs at another speed from now on. */
  | { readonly kind: 'drift'; readonly node: string; readonly ppm: number }
  /** The disk is slow, or fails. */
  | { readonly kind: 'disk'; readonly node: string; readonly options: DiskOptions; readonly forMs: number }
  /** A bit of a stored record flips: one that every other disk has whole, or not at all. `pick` says which record and bit. */
  | { readonly kind: 'rot'; readonly node: string; readonly pick: number }

/** A fault with its time. */
export type TimedFault = Fault & { readonly atMs: number }

/** Which faults to draw, and how many. */
export interface FaultPlan {
  readonly kinds: readonly Fault['kind'][]
  readonly count: number
  /** First and last time at which one may begin, ms. */
  readonly fromMs: number
  readonly toMs: number
  /** Shortest and longest duration, ms. */
  readonly minMs: number
  readonly maxMs: number
  /** Whether machines crash, so that writes that were not synced may be lost; else only processes do. Default false. */
  readonly machineCrashes?: boolean
  /** Greatest jump of a clock either way, ms. Default 2,000 */
  readonly jumpMaxMs?: number
}

/**
 * Draws faults over some machines. Crashes and restarts never overlap, since two copies of three may be lost at once
 * otherwise and nobody promises anything then; all other faults do.
 */
export function drawFaults(random: Random, nodes: readonly string[], plan: FaultPlan): TimedFault[] {
  const faults: TimedFault[] = []
  let freeAtMs = plan.fromMs
  const times = Array.from({ length: plan.count }, () => plan.fromMs + random.int(plan.toMs - plan.fromMs + 1))
  for (const drawnMs of times.toSorted((a, b) => a - b)) {
    const fault = drawFault(random, nodes, plan)
    const lastsMs = 'forMs' in fault ? fault.forMs : 0
    const isOutage = fault.kind === 'crash' || fault.kind === 'restart' || fault.kind === 'leave'
    const atMs = isOutage ? Math.max(drawnMs, freeAtMs) : drawnMs
    if (atMs > plan.toMs) continue
    if (isOutage) freeAtMs = atMs + lastsMs + OUTAGE_GAP_MS
    faults.push({ ...fault, atMs })
  }
  return faults.toSorted((a, b) => a.atMs - b.atMs)
}

/** Time between the end of an outage and the next one, in which copies are mended. */
const OUTAGE_GAP_MS = 1000

function drawFault(random: Random, nodes: readonly string[], plan: FaultPlan): Fault {
  const kind = plan.kinds[random.int(plan.kinds.length)]!
  const [first, second] = shuffle(random, [...nodes])
  const node = first!
  const other = second ?? node
  const forMs = plan.minMs + random.int(plan.maxMs - plan.minMs + 1)
  switch (kind) {
    case 'crash':
      return { kind, node, machine: plan.machineCrashes === true && random.chance(1, 2), forMs }
    case 'restart':
    case 'leave':
      return { kind, node, forMs }
    case 'split':
      return { kind, groups: drawGroups(random, nodes), forMs }
    case 'one-way':
    case 'clog':
      return { kind, from: node, to: other, forMs }
    case 'deaf':
    case 'starve':
      return { kind, node, forMs: Math.min(forMs, 2500) }
    case 'cut':
      return { kind, a: node, b: other }
    case 'weather':
      return { kind, options: drawWeather(random), forMs }
    case 'stall':
      return { kind, node, forMs: Math.min(forMs, 3000) }
    case 'jump': {
      const max = plan.jumpMaxMs ?? 2000
      return { kind, node, ms: random.int(2 * max + 1) - max }
    }
    case 'drift':
      return { kind, node, ppm: random.int(2001) - 1000 }
    case 'rot':
      return { kind, node, pick: random.int(2 ** 30) }
    case 'disk':
      return { kind, node, options: { writeMeanMs: 5 + random.int(100), syncMs: 5 + random.int(50) }, forMs }
  }
}

/** Two sides, neither of them empty; the larger one may be any of both. */
function drawGroups(random: Random, nodes: readonly string[]): string[][] {
  const order = shuffle(random, [...nodes])
  const cut = 1 + random.int(Math.max(1, order.length - 1))
  return [order.slice(0, cut), order.slice(cut)]
}

function drawWeather(random: Random): NetworkOptions {
  return {
    lossPer10k: random.int(4) === 0 ? 0 : random.int(500),
    duplicatePer10k: random.int(2) === 0 ? 0 : random.int(500),
    reorderPer10k: random.int(2) === 0 ? 0 : random.int(500),
    delayMeanMs: random.int(20)
  }
}
