import type { StoreId } from '../model/node-id.ts'

/** After this long a refutation counts half, ms. */
const HALF_LIFE_MS = 60_000

/** Counts how often members have been suspected and have refuted, lately. Holds members of the view only. */
export class Flaps {
  readonly #counts = new Map<StoreId, { readonly count: number; readonly atMs: number }>()

  /** The member has refuted a suspicion. */
  note(nowMs: number, store: StoreId): void {
    this.#counts.set(store, { count: this.of(nowMs, store) + 1, atMs: nowMs })
  }

  /** Its refutations, each counting half as much every minute. */
  of(nowMs: number, store: StoreId): number {
    const known = this.#counts.get(store)
    return known === undefined ? 0 : known.count * 2 ** (-(nowMs - known.atMs) / HALF_LIFE_MS)
  }

  forget(store: StoreId): void {
    this.#counts.delete(store)
  }
}
