import sortedBTree from 'sorted-btree'
import { copyBytes, EMPTY_BYTES, ownBytes, toLatin1 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Store, StoreChange, StoreEntry, StoreRange } from './store.ts'

/** The value of a key, found both by its key and in its place in the order. */
interface Cell {
  value: Uint8Array
}
type Tree = InstanceType<typeof sortedBTree.default<string, Cell>>

/** A range that is being cleared, piece by piece. */
interface Clearing {
  /** Where the next piece begins. */
  from: string
  readonly lt: string | undefined
  /** What has been written since behind that place: it stays. */
  readonly kept: Set<string>
}

const STOP = { break: true } as const
const DELETE = { delete: true } as const
/** Entries that are looked at in one piece of clearing: a millisecond or two. */
const CLEARED_AT_ONCE = 1000

/**
 * The {@link Store} of a node that is given no database: maps, in which keys are looked up, and a B+ tree, which has them in
 * order. Keys are texts of a character for each byte: they are hashed and compared in native code, and an array would take
 * more than twice the memory. In the tree they lie side by side in nodes of up to 32, which are changed in place; what a
 * write does not add or delete leaves it as it is. Everything but the clearing of a large range happens within the call, so
 * that nobody sees half of a batch, and a page is of one moment.
 */
export class MemoryStore implements Store {
  readonly permanent = false
  readonly readsAtOnce = true
  #tree: Tree | undefined = new sortedBTree.default<string, Cell>(undefined, compareNames)
  /** One for each partition: a single map would stand still when it grows, and hold 16 million at most. */
  readonly #cells = new Map<number, Map<string, Cell>>()
  readonly #clock: Pick<Clock, 'soon'>
  readonly #clearings = new Set<Clearing>()

  constructor(clock: Pick<Clock, 'soon'>) {
    this.#clock = clock
  }

  get(key: Uint8Array): Uint8Array | undefined | Promise<undefined> {
    return this.#tree === undefined ? Promise.reject(closed()) : this.#valueOf(key)
  }

  getMany(keys: readonly Uint8Array[]): readonly (Uint8Array | undefined)[] | Promise<never> {
    if (this.#tree === undefined) return Promise.reject(closed())
    const values: (Uint8Array | undefined)[] = []
    for (const key of keys) values.push(this.#valueOf(key))
    return values
  }

  async batch(changes: readonly StoreChange[]): Promise<void> {
    const tree = this.#open()
    for (const { key, value } of changes) {
      const name = toLatin1(key)
      if (value !== undefined) this.#set(tree, name, ownBytes(value))
      else if (this.#forget(name)) tree.delete(name)
    }
  }

  async page(
    range: StoreRange,
    limit: number,
    maxBytes: number = Infinity,
    isReverse: boolean = false
  ): Promise<readonly StoreEntry[]> {
    const entries: StoreEntry[] = []
    this.visit(range, limit, maxBytes, isReverse, (key, value) => entries.push([copyBytes(key), value]))
    return entries
  }

  visit(
    { gte, lt }: StoreRange,
    limit: number,
    maxBytes: number,
    isReverse: boolean,
    take: (key: Uint8Array, value: Uint8Array) => void
  ): void {
    const tree = this.#open()
    if (limit <= 0 || tree.size === 0) return
    const from = toLatin1(gte)
    const end = lt && toLatin1(lt)
    let key = EMPTY_BYTES
    let bytes = 0
    let count = 0
    /** Whether there is room for more. */
    const visited = (name: string, { value }: Cell): boolean => {
      if (key.length !== name.length) key = new Uint8Array(name.length)
      for (let i = 0; i < name.length; i++) key[i] = name.charCodeAt(i)
      take(key, value)
      bytes += name.length + value.length
      return ++count < limit && bytes < maxBytes
    }
    if (isReverse) {
      for (const [name, cell] of tree.entriesReversed(end, undefined, true))
        if (name < from || !visited(name, cell)) break
    } else {
      const stop = (name: string, cell: Cell): typeof STOP | undefined => (visited(name, cell) ? undefined : STOP)
      tree.editRange(from, end ?? tree.maxKey()!, end === undefined, stop)
    }
  }

  /** What is written after the call stays. */
  async clear({ gte, lt }: StoreRange): Promise<void> {
    const tree = this.#open()
    if (gte.length === 0 && lt === undefined) {
      tree.clear()
      this.#cells.clear()
      return
    }
    const clearing: Clearing = { from: toLatin1(gte), lt: lt && toLatin1(lt), kept: new Set() }
    this.#clearings.add(clearing)
    try {
      while (!this.#clearSome(clearing)) await new Promise<void>(resolve => this.#clock.soon(resolve))
    } finally {
      this.#clearings.delete(clearing)
    }
  }

  async close(): Promise<void> {
    this.#tree = undefined
    this.#cells.clear()
  }

  #valueOf(key: Uint8Array): Uint8Array | undefined {
    const name = toLatin1(key)
    return this.#cells.get(mapOf(name))?.get(name)?.value
  }

  #set(tree: Tree, name: string, value: Uint8Array): void {
    if (this.#clearings.size > 0) this.#keep(name)
    const at = mapOf(name)
    const map = this.#cells.get(at)
    const cell = map?.get(name)
    if (cell !== undefined) {
      cell.value = value
      return
    }
    const added: Cell = { value }
    if (map === undefined) this.#cells.set(at, new Map([[name, added]]))
    else map.set(name, added)
    tree.set(name, added)
  }

  /** What is being cleared leaves this as it is. */
  #keep(name: string): void {
    for (const { from, lt, kept } of this.#clearings) {
      if (name >= from && (lt === undefined || name < lt)) kept.add(name)
    }
  }

  /** False where there was nothing. */
  #forget(name: string): boolean {
    const at = mapOf(name)
    const map = this.#cells.get(at)
    if (map?.delete(name) !== true) return false
    if (map.size === 0) this.#cells.delete(at)
    return true
  }

  /** Whether that was the rest of it. */
  #clearSome(clearing: Clearing): boolean {
    const tree = this.#open()
    if (tree.size === 0) return true
    const { from, lt, kept } = clearing
    let looked = 0
    const next = (name: string): typeof STOP | typeof DELETE | undefined => {
      if (looked++ >= CLEARED_AT_ONCE) {
        clearing.from = name
        return STOP
      }
      if (kept.has(name)) return undefined
      this.#forget(name)
      return DELETE
    }
    tree.editRange(from, lt ?? tree.maxKey()!, lt === undefined, next)
    return looked <= CLEARED_AT_ONCE
  }

  #open(): Tree {
    if (this.#tree === undefined) throw closed()
    return this.#tree
  }
}

/** The order of the bytes is that of the characters. */
function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** Which map a key is in: by the second and third byte, which of a record are its partition. */
function mapOf(name: string): number {
  return (name.charCodeAt(1) << 8) | name.charCodeAt(2)
}

function closed(): KilovoltError {
  return new KilovoltError('KV_STORAGE', 'the store is closed')
}
