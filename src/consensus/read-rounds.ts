import type { StoreId } from '../model/node-id.ts'

/** A read that waits until a majority has confirmed its round. */
export interface WaitingRead {
  /** The asker's own number. */
  readonly id: number
  readonly from: StoreId
  /** What was committed when its round began. */
  readonly index: number
}

interface Round {
  readonly number: number
  readonly reads: readonly WaitingRead[]
}

/**
 * Reads by rounds of heartbeats (ReadIndex, thesis §6.4): every heartbeat and append of a leader carries the number of
 * the latest round, every answer repeats it, and an answer to a round shows that its sender knew of no later leader after
 * the round had begun. All reads that come between two rounds share the next one.
 */
export class ReadRounds {
  readonly #max: number
  #round = 0
  #new: { readonly id: number; readonly from: StoreId }[] = []
  #rounds: Round[] = []
  #count = 0

  constructor(max: number) {
    this.#max = max
  }

  /** The latest round. */
  get round(): number {
    return this.#round
  }

  /** A read for the next round; forgotten when too many wait, so that its asker asks again. */
  add(id: number, from: StoreId): void {
    if (this.#count >= this.#max) return
    this.#new.push({ id, from })
    this.#count++
  }

  /** Begins a round for the reads that have come. False when there are none. */
  begin(committed: number): boolean {
    if (this.#new.length === 0) return false
    this.#round++
    this.#rounds.push({ number: this.#round, reads: this.#new.map(read => ({ ...read, index: committed })) })
    this.#new = []
    return true
  }

  /** The reads of all rounds up to the given one. */
  take(confirmed: number): WaitingRead[] {
    const done = this.#rounds.filter(({ number }) => number <= confirmed).flatMap(({ reads }) => reads)
    if (done.length === 0) return done
    this.#rounds = this.#rounds.filter(({ number }) => number > confirmed)
    this.#count -= done.length
    return done
  }
}
