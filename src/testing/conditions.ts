import type { TrafficClass } from '../transport/transport.ts'
import type { Random } from '../runtime/random.ts'

/** How the network behaves. Chances are whole numbers in ten thousand, so that a seed means the same everywhere. */
export interface NetworkOptions {
  /** Least one-way delay, ms. Default 0.2 */
  readonly delayMinMs?: number
  /** Mean of what comes on top, ms. Default 0.5 */
  readonly delayMeanMs?: number
  /** Frames and gossip that vanish. TCP does not do this; peers that drop what they cannot take do. Default 0 */
  readonly lossPer10k?: number
  /** Frames of reads and writes that vanish on top of that, as an overloaded replica drops requests. Default 0 */
  readonly dataLossPer10k?: number
  /** Frames and gossip that come twice. Default 0 */
  readonly duplicatePer10k?: number
  /** Frames that overtake or fall behind others of their link. Default 0 */
  readonly reorderPer10k?: number
  /** Bandwidth of a link. Default 100,000 (100 MB/s) */
  readonly bytesPerMs?: number
  /** How long a connection survives with frames that cannot get through, ms. Default 8,000 */
  readonly breakAfterMs?: number
  /** How long a dial tries, ms. Default 5,000 */
  readonly connectTimeoutMs?: number
  /** Age at which a connection begins to carry gossip (grafting), ms. Default 200 */
  readonly graftMs?: number
}

/** What becomes of one frame. */
export interface Fate {
  readonly delayUs: number
  readonly lost: boolean
  readonly duplicate: boolean
  readonly reorder: boolean
}

const DEFAULTS: Required<NetworkOptions> = {
  delayMinMs: 0.2,
  delayMeanMs: 0.5,
  lossPer10k: 0,
  dataLossPer10k: 0,
  duplicatePer10k: 0,
  reorderPer10k: 0,
  bytesPerMs: 100_000,
  breakAfterMs: 8000,
  connectTimeoutMs: 5000,
  graftMs: 200
}

/** The state of the cables between machines: who reaches whom, how fast, and what gets lost. Machines go by name. */
export class Conditions {
  readonly #random: Random
  readonly #listeners = new Set<() => void>()
  readonly #blocked = new Set<string>()
  readonly #clogged = new Map<string, number>()
  readonly #deaf = new Map<string, number>()
  readonly #starved = new Map<string, number>()
  #options = DEFAULTS

  constructor(random: Random, options: NetworkOptions = {}) {
    this.#random = random
    this.set(options)
  }

  get options(): Required<NetworkOptions> {
    return this.#options
  }

  /** Changes what is named and leaves the rest. */
  set(options: NetworkOptions): void {
    this.#options = { ...this.#options, ...options }
  }

  /** Nothing gets from one machine to the other (the way back is another matter). */
  block(from: string, to: string): void {
    this.#blocked.add(lane(from, to))
  }

  unblock(from: string, to: string): void {
    this.#blocked.delete(lane(from, to))
    this.#changed()
  }

  /** What is sent that way arrives no earlier than the given true time, µs. */
  clog(from: string, to: string, untilUs: number): void {
    this.#clogged.set(lane(from, to), untilUs)
  }

  /** Control traffic and gossip reach a machine no earlier than the given true time, µs; reads, writes and copies do. */
  deafen(machine: string, untilUs: number): void {
    this.#deaf.set(machine, untilUs)
  }

  /** Reads and writes that a machine sends arrive no earlier than the given true time, µs; all else does. */
  starve(machine: string, untilUs: number): void {
    this.#starved.set(machine, untilUs)
  }

  /** Lifts all blocks, clogs, deafness and starving. */
  heal(): void {
    this.#blocked.clear()
    this.#clogged.clear()
    this.#deaf.clear()
    this.#starved.clear()
    this.#changed()
  }

  isBlocked(from: string, to: string): boolean {
    return this.#blocked.size > 0 && this.#blocked.has(lane(from, to))
  }

  /** Whether anything is blocked at all. */
  get isSplit(): boolean {
    return this.#blocked.size > 0
  }

  /** Time until which the way is clogged for a class of traffic, µs; gossip counts as control. */
  cloggedUntilUs(from: string, to: string, trafficClass: TrafficClass | undefined): number {
    const clogged = this.#clogged.size === 0 ? 0 : (this.#clogged.get(lane(from, to)) ?? 0)
    if (trafficClass === 'control') return Math.max(clogged, this.#deaf.get(to) ?? 0)
    return trafficClass === 'data' ? Math.max(clogged, this.#starved.get(from) ?? 0) : clogged
  }

  /** Draws what becomes of one frame, or of gossip. */
  fate(trafficClass?: TrafficClass): Fate {
    const { lossPer10k, dataLossPer10k, duplicatePer10k, reorderPer10k } = this.#options
    return {
      delayUs: this.delayUs(),
      lost: this.#roll(trafficClass === 'data' ? lossPer10k + dataLossPer10k : lossPer10k),
      duplicate: this.#roll(duplicatePer10k),
      reorder: this.#roll(reorderPer10k)
    }
  }

  /** A one-way delay: the least one plus an even draw around the mean, and eight times that once in 64 draws. */
  delayUs(): number {
    const { delayMinMs, delayMeanMs } = this.#options
    const spread = this.#random.int(Math.round(delayMeanMs * 2000) + 1)
    return Math.round(delayMinMs * 1000) + (this.#random.int(64) === 0 ? spread * 8 : spread)
  }

  /** Calls back when a way may have been freed; the returned function ends that. */
  onFreed(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }

  // No draw when the chance is none: switching a fault off leaves the rest of a seed alone.
  #roll(per10k: number): boolean {
    return per10k > 0 && this.#random.chance(per10k, 10_000)
  }
}

function lane(from: string, to: string): string {
  return `${from}>${to}`
}
