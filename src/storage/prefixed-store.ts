import { partOf } from '../base/bytes.ts'
import { afterPrefix } from '../model/key-range.ts'
import type { Store, StoreChange, StoreEntry, StoreRange } from './store.ts'

/** What a store holds under a prefix, as a store of its own. To close it closes nothing. */
export class PrefixedStore implements Store {
  readonly permanent: boolean
  readonly readsAtOnce: boolean
  readonly #store: Store
  readonly #prefix: Uint8Array

  constructor(store: Store, prefix: Uint8Array) {
    this.permanent = store.permanent
    this.readsAtOnce = store.readsAtOnce
    this.#store = store
    this.#prefix = prefix
  }

  get(key: Uint8Array): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    return this.#store.get(this.#outer(key))
  }

  getMany(
    keys: readonly Uint8Array[],
    asOne?: boolean
  ): readonly (Uint8Array | undefined)[] | Promise<readonly (Uint8Array | undefined)[]> {
    return this.#store.getMany(
      keys.map(key => this.#outer(key)),
      asOne
    )
  }

  batch(changes: readonly StoreChange[], options: { readonly sync: boolean }): Promise<void> {
    return this.#store.batch(
      changes.map(({ key, value }) => ({ key: this.#outer(key), value })),
      options
    )
  }

  async page(range: StoreRange, limit: number, maxBytes?: number, isReverse?: boolean): Promise<readonly StoreEntry[]> {
    const entries = await this.#store.page(this.#range(range), limit, maxBytes, isReverse)
    return entries.map(([key, value]) => [partOf(key, this.#prefix.length), value] as const)
  }

  clear(range: StoreRange): Promise<void> {
    return this.#store.clear(this.#range(range))
  }

  async close(): Promise<void> {}

  #range({ gte, lt }: StoreRange): StoreRange {
    return { gte: this.#outer(gte), lt: lt === undefined ? afterPrefix(this.#prefix) : this.#outer(lt) }
  }

  #outer(key: Uint8Array): Uint8Array {
    const bytes = new Uint8Array(this.#prefix.length + key.length)
    bytes.set(this.#prefix)
    bytes.set(key, this.#prefix.length)
    return bytes
  }
}
