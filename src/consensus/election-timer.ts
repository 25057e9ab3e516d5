import type { Random } from '../runtime/random.ts'
import type { RaftOptions } from './options.ts'

/** How long a node goes without a leader, drawn anew for each term so that two candidates soon part (Raft §5.2). */
export class ElectionTimer {
  readonly #random: Random
  readonly #options: Required<RaftOptions>
  #timeoutMs = 0
  #heardAtMs = Number.NEGATIVE_INFINITY
  #dueAtMs = 0

  constructor(random: Random, options: Required<RaftOptions>) {
    this.#random = random
    this.#options = options
  }

  /** When the patience ends. */
  get dueAtMs(): number {
    return this.#dueAtMs
  }

  /** Begins with a new timeout; with none at all when there is nobody to wait for. */
  restart(nowMs: number, isAlone = false): void {
    const { electionMinMs, electionMaxMs } = this.#options
    this.#timeoutMs = electionMinMs + this.#random.int(electionMaxMs - electionMinMs)
    this.#dueAtMs = nowMs + (isAlone ? 0 : this.#timeoutMs)
  }

  /** Begins again with the same timeout: there is a candidate worth waiting for. */
  extend(nowMs: number): void {
    this.#dueAtMs = nowMs + this.#timeoutMs
  }

  /** The leader was heard. */
  heard(nowMs: number): void {
    this.#heardAtMs = nowMs
    this.extend(nowMs)
  }

  /** Whether a leader was heard so lately that no voter can have given up on it. */
  hasHeardLately(nowMs: number): boolean {
    return nowMs - this.#heardAtMs < this.#options.electionMinMs
  }
}
