import { fromHex, toHex } from '../base/bytes.ts'
import type { PartitionId } from '../model/partition.ts'
import { dataKey, decodeDataKey } from './key-layout.ts'
import type { RecordKey } from './record-store.ts'
import type { TreeIndex } from './tree-index.ts'

/** What a list of damaged records needs. */
export interface DamageDeps {
  /**
   * A hybrid time that nothing stored so far is stamped after: what is stamped later is newer than a damaged record was.
   * Default: −1, which lets anything take its place.
   */
  readonly latest?: () => number
  /** Trees that may count a damaged record still. */
  readonly trees?: Pick<TreeIndex, 'damaged'>
  /** Told of each damaged record that was not known of, by its key in the store. */
  readonly onFound?: (key: Uint8Array) => void
}

/** Most damaged records that are remembered: some 20 MiB. Those beyond are found anew whenever they are read. */
const KNOWN_MAX = 100_000

/**
 * The damaged records of a store, as far as they were met: they lie there still, and nothing is known of them but that
 * they are not stamped after the time at which they were found.
 */
export class Damage {
  readonly #deps: DamageDeps
  /** By key in the store, in hex: nothing that was there is stamped after this. */
  readonly #bounds = new Map<string, number>()
  #found = 0

  constructor(deps: DamageDeps = {}) {
    this.#deps = deps
  }

  /** How many were found, counting anew one that was replaced and damaged again. */
  get found(): number {
    return this.#found
  }

  /** How many of those are there still. */
  get left(): number {
    return this.#bounds.size
  }

  /** Where those are that are there still; in one partition, or in all. */
  places(partition?: PartitionId): RecordKey[] {
    const places = [...this.#bounds.keys()].map(hex => decodeDataKey(fromHex(hex)!))
    return partition === undefined ? places : places.filter(place => place.partition === partition)
  }

  /** A record cannot be read. Returns a hybrid time that it is not stamped after. */
  add(key: Uint8Array): number {
    const hex = toHex(key)
    const known = this.#bounds.get(hex)
    if (known !== undefined) return known
    const { latest, trees, onFound } = this.#deps
    const bound = latest?.() ?? -1
    const [oldest] = this.#bounds.keys()
    if (this.#bounds.size >= KNOWN_MAX && oldest !== undefined) this.#bounds.delete(oldest)
    this.#bounds.set(hex, bound)
    this.#found++
    trees?.damaged(key)
    onFound?.(key)
    return bound
  }

  /** What lies under a key is whole, or nothing does. */
  remove(key: Uint8Array): void {
    if (this.#bounds.size > 0) this.#bounds.delete(toHex(key))
  }

  /** All records of a partition have been deleted. */
  dropped(partition: PartitionId): void {
    for (const { keyspace, key } of this.places(partition)) this.remove(dataKey(partition, keyspace, key))
  }
}
