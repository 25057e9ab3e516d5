import sortedBTree from 'sorted-btree'
import { compareBytes, ownBytes } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import type { Store, StoreChange, StoreEntry, StoreRange } from './store.ts'

type Tree = InstanceType<typeof sortedBTree.default<Uint8Array, Uint8Array>>

const STOP = { break: true } as const

/**
 * The {@link Store} of a node that is given no database: a B+ tree in memory. Keys lie side by side in nodes of up to 32, which
 * are changed in place; the persistent tree of memory-level makes seventeen nodes anew for each insertion among a million.
 * Everything happens within the call, so that nobody sees half of a batch, and a page is of one moment.
 */
export class MemoryStore implements Store {
  readonly permanent = false
  readonly readsAtOnce = true
  #tree: Tree | undefined = new sortedBTree.default<Uint8Array, Uint8Array>(undefined, compareBytes)

  get(key: Uint8Array): Uint8Array | undefined | Promise<undefined> {
    return this.#tree === undefined ? Promise.reject(closed()) : this.#tree.get(key)
  }

  getMany(keys: readonly Uint8Array[]): readonly (Uint8Array | undefined)[] | Promise<never> {
    const tree = this.#tree
    if (tree === undefined) return Promise.reject(closed())
    const values: (Uint8Array | undefined)[] = []
    for (const key of keys) values.push(tree.get(key))
    return values
  }

  async batch(changes: readonly StoreChange[]): Promise<void> {
    const tree = this.#open()
    for (const { key, value } of changes) {
      if (value === undefined) tree.delete(key)
      else tree.set(key, ownBytes(value))
    }
  }

  async page(
    { gte, lt }: StoreRange,
    limit: number,
    maxBytes: number = Infinity,
    isReverse: boolean = false
  ): Promise<readonly StoreEntry[]> {
    const tree = this.#open()
    const entries: StoreEntry[] = []
    if (limit <= 0 || tree.size === 0) return entries
    let bytes = 0
    /** Whether there is room for more. */
    const take = (key: Uint8Array, value: Uint8Array): boolean => {
      entries.push([key, value])
      bytes += key.length + value.length
      return entries.length < limit && bytes < maxBytes
    }
    if (isReverse) {
      for (const [key, value] of tree.entriesReversed(lt, undefined, true)) {
        if (compareBytes(key, gte) < 0 || !take(key, value)) break
      }
    } else {
      const isOpenEnded = lt === undefined
      const stop = (key: Uint8Array, value: Uint8Array): typeof STOP | undefined =>
        take(key, value) ? undefined : STOP
      tree.editRange(gte, isOpenEnded ? tree.maxKey()! : lt, isOpenEnded, stop)
    }
    return entries
  }

  async clear({ gte, lt }: StoreRange): Promise<void> {
    const tree = this.#open()
    if (tree.size > 0) tree.deleteRange(gte, lt ?? tree.maxKey()!, lt === undefined)
  }

  async close(): Promise<void> {
    this.#tree = undefined
  }

  #open(): Tree {
    if (this.#tree === undefined) throw closed()
    return this.#tree
  }
}

function closed(): KilovoltError {
  return new KilovoltError('KV_STORAGE', 'the store is closed')
}
