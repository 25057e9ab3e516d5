import type { StoreId } from '../model/node-id.ts'
import { type Random, shuffle } from '../runtime/random.ts'

/**
 * The order in which members are probed: everybody once in each round, each round in a new random order (SWIM §4.3), so
 * that a member is probed at least once in two rounds and not by all others at the same time.
 */
export class ProbeRound {
  readonly #random: Random
  #order: StoreId[] = []
  #at = 0

  constructor(random: Random) {
    this.#random = random
  }

  /** Puts a newcomer at a random place in what is left of the round. */
  add(store: StoreId): void {
    this.#order.splice(this.#at + this.#random.int(this.#order.length - this.#at + 1), 0, store)
  }

  /** The next member; may name one that is gone by now. `members` are asked for when a new round begins. */
  next(members: () => Iterable<StoreId>): StoreId | undefined {
    if (this.#at >= this.#order.length) {
      this.#order = shuffle(this.#random, [...members()])
      this.#at = 0
    }
    return this.#order[this.#at++]
  }
}
