import sortedBTree from 'sorted-btree'
import { compareBytes, ownBytes, toLatin1 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Store, StoreChange, StoreEntry, StoreRange } from './store.ts'

type Tree = InstanceType<typeof sortedBTree.default<Uint8Array, Uint8Array>>

/** A range that is being cleared, piece by piece. */
interface Clearing extends Pick<StoreRange, 'lt'> {
  /** Where the next piece begins. */
  from: Uint8Array
  /** What has been written since behind that place: it stays. */
  readonly kept: Set<string>
}

const STOP = { break: true } as const
const DELETE = { delete: true } as const
/** Entries that are looked at in one piece of clearing: a millisecond or two. */
const CLEARED_AT_ONCE = 1000

/**
 * The {@link Store} of a node that is given no database: a B+ tree in memory. Keys lie side by side in nodes of up to 32, which
 * are changed in place; the persistent tree of memory-level makes seventeen nodes anew for each insertion among a million.
 * Everything but the clearing of a large range happens within the call, so that nobody sees half of a batch, and a page is of
 * one moment.
 */
export class MemoryStore implements Store {
  readonly permanent = false
  readonly readsAtOnce = true
  #tree: Tree | undefined = new sortedBTree.default<Uint8Array, Uint8Array>(undefined, compareBytes)
  readonly #clock: Pick<Clock, 'soon'>
  readonly #clearings = new Set<Clearing>()

  constructor(clock: Pick<Clock, 'soon'>) {
    this.#clock = clock
  }

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
    if (this.#clearings.size > 0) this.#keep(changes)
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

  /** What is written after the call stays. */
  async clear({ gte, lt }: StoreRange): Promise<void> {
    if (gte.length === 0 && lt === undefined) return this.#open().clear()
    const clearing: Clearing = { from: gte, lt, kept: new Set() }
    this.#clearings.add(clearing)
    try {
      while (!this.#clearSome(clearing)) await new Promise<void>(resolve => this.#clock.soon(resolve))
    } finally {
      this.#clearings.delete(clearing)
    }
  }

  async close(): Promise<void> {
    this.#tree = undefined
  }

  /** Whether that was the rest of it. */
  #clearSome(clearing: Clearing): boolean {
    const tree = this.#open()
    if (tree.size === 0) return true
    const { from, lt, kept } = clearing
    let looked = 0
    const next = (key: Uint8Array): typeof STOP | typeof DELETE | undefined => {
      if (looked++ < CLEARED_AT_ONCE) return kept.size > 0 && kept.has(toLatin1(key)) ? undefined : DELETE
      clearing.from = key
      return STOP
    }
    tree.editRange(from, lt ?? tree.maxKey()!, lt === undefined, next)
    return looked <= CLEARED_AT_ONCE
  }

  #keep(changes: readonly StoreChange[]): void {
    for (const { from, lt, kept } of this.#clearings) {
      for (const { key, value } of changes) {
        const isInRange = compareBytes(key, from) >= 0 && (lt === undefined || compareBytes(key, lt) < 0)
        if (value !== undefined && isInRange) kept.add(toLatin1(key))
      }
    }
  }

  #open(): Tree {
    if (this.#tree === undefined) throw closed()
    return this.#tree
  }
}

function closed(): KilovoltError {
  return new KilovoltError('KV_STORAGE', 'the store is closed')
}
