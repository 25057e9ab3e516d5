import type { StoreId } from '../model/node-id.ts'

/**
 * Rendezvous scores (Thaler and Ravishankar, 1998): how well a member suits a partition, by hash alone. They break
 * ties, which spreads the sources and the targets of movements, and rank fallbacks; how much a member holds is the
 * quotas' business, so weights do not enter. Weighted scores would need a logarithm, whose last bits differ between
 * engines; these are 32-bit integers, so every machine agrees.
 */
export function rendezvousScore(partition: number, store: StoreId): number {
  return scoreOf(partition, storeHash(store))
}

/** Hash of a store for {@link scoreOf} (FNV-1a); to be kept where many scores of one store are wanted. */
export function storeHash(store: StoreId): number {
  let h = 0x811c9dc5
  for (let i = 0; i < store.length; i++) h = Math.imul(h ^ store.charCodeAt(i), 0x01000193)
  return h
}

/** {@link rendezvousScore} of the store with this hash. */
export function scoreOf(partition: number, hash: number): number {
  return avalanche(hash ^ avalanche(partition + 0x9e3779b9)) >>> 0
}

/** The stores ordered by how well they suit the partition, best first. */
export function rankByRendezvous(partition: number, stores: readonly StoreId[]): StoreId[] {
  return stores
    .map(store => ({ store, score: rendezvousScore(partition, store) }))
    .sort((a, b) => b.score - a.score || (a.store < b.store ? -1 : 1))
    .map(({ store }) => store)
}

/** The finaliser of MurmurHash3. */
function avalanche(value: number): number {
  let h = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}
