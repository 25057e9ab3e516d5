import { compareBytes, toHex } from '../base/bytes.ts'
import { HashTree, RecordDigest, type TreeRoot } from '../model/hash-tree.ts'
import type { PartitionId } from '../model/partition.ts'
import { isMortal, type RecordBytes } from '../model/record.ts'
import { dataKey, partitionOfKey } from './key-layout.ts'
import type { RecordKey, StoredRecord } from './record-store.ts'
import type { StoreChange } from './store.ts'

/** A change of a record, with what it takes the place of. */
export interface RecordChange extends StoreChange {
  readonly before: RecordBytes | undefined
  /** Whether it only comes from another copy, in bulk: nobody has asked for it. */
  readonly isCopy: boolean
}

/** Reads the next records of a partition after a place, as {@link RecordStore.page} does. */
export type PageReader = (
  after: { readonly keyspace: Uint8Array; readonly key: Uint8Array } | undefined
) => Promise<readonly StoredRecord[]>

/** What is known of a partition without reading it. */
export interface PartitionTree {
  readonly tree: HashTree
  /** Records that will be spent some day: those that say "deleted", and those that expire. */
  mortals: number
}

/** A tree that is being made by reading its partition. */
interface Building extends PartitionTree {
  /** Store key up to which the tree is complete; `undefined` before the first page. */
  passed: Uint8Array | undefined
  /** Records written, or deleted, while a page was being read, by store key in hex: the page may show either version. */
  readonly touched: Map<string, RecordBytes | undefined>
}

const EMPTY_ROOT: TreeRoot = new HashTree().root()

/**
 * A hash tree for each partition, kept up by the apply loop: each written record is taken out in its old version and put
 * in in its new one. What a store held when it was opened after a crash is not known; a tree is then built by reading its
 * partition once, while writes go on.
 *
 * Costs 12 KiB for each partition that holds records, and a hash a write.
 */
export class TreeIndex {
  readonly #digest = new RecordDigest()
  /** `undefined`: nothing is known of the partition. */
  readonly #trees: (PartitionTree | undefined)[]
  readonly #roots: (TreeRoot | undefined)[]
  readonly #building = new Map<PartitionId, Building>()
  /** What is being written now: the store may show it, or the versions before it. */
  #writing: readonly RecordChange[] = []

  /** @param isEmpty - whether the store is new, so that every tree is known to be empty */
  constructor(partitions: number, isEmpty: boolean) {
    this.#trees = Array.from({ length: partitions }, () => (isEmpty ? NONE : undefined))
    this.#roots = Array.from({ length: partitions })
  }

  /** Whether every tree is known. */
  get isComplete(): boolean {
    return this.#trees.every(tree => tree !== undefined)
  }

  /** Whether the tree of a partition is known. */
  isReady(partition: PartitionId): boolean {
    return this.#trees[partition] !== undefined
  }

  /** What two replicas compare first; `undefined` while it is not known. */
  rootOf(partition: PartitionId): TreeRoot | undefined {
    const tree = this.#trees[partition]
    if (tree === undefined) return undefined
    return (this.#roots[partition] ??= tree === NONE ? EMPTY_ROOT : tree.tree.root())
  }

  /** The tree itself, to be looked at only; `undefined` while it is not known. */
  treeOf(partition: PartitionId): HashTree | undefined {
    return this.#trees[partition]?.tree
  }

  /** How many records of a partition will be spent some day; `undefined` while it is not known. */
  mortalsIn(partition: PartitionId): number | undefined {
    return this.#trees[partition]?.mortals
  }

  /** The leaf of a record in its partition's tree. */
  leafOf({ partition, keyspace, key }: RecordKey): number {
    return this.#digest.name(dataKey(partition, keyspace, key))
  }

  /** A batch is about to be written. */
  writing(changes: readonly RecordChange[]): void {
    this.#writing = changes
  }

  /** The batch is written. */
  written(changes: readonly RecordChange[]): void {
    for (const change of changes) {
      try {
        this.#apply(change)
      } catch {
        // A tree from which a record cannot be taken out never was this store's; it is made anew.
        this.forget(partitionOfKey(change.key))
      }
    }
    this.#writing = []
  }

  /** Writing failed: what the store holds is not known until its partitions have been read. */
  failed(changes: readonly RecordChange[]): void {
    for (const { key } of changes) this.forget(partitionOfKey(key))
    this.#writing = []
  }

  /** All records of a partition have been deleted. */
  dropped(partition: PartitionId): void {
    this.#building.delete(partition)
    this.#set(partition, NONE)
  }

  /** Nothing is known of a partition any more. */
  forget(partition: PartitionId): void {
    this.#building.delete(partition)
    this.#set(partition, undefined)
  }

  /**
   * A record cannot be read any more: whether the tree counts it, and as what, is not known. One that is being made has
   * left it out if it has not come so far yet.
   */
  damaged(key: Uint8Array): void {
    const partition = partitionOfKey(key)
    const building = this.#building.get(partition)
    if (building === undefined) return this.forget(partition)
    const isAhead = building.passed === undefined || compareBytes(key, building.passed) > 0
    if (!isAhead || building.touched.has(toHex(key))) this.forget(partition)
  }

  /**
   * Makes the tree of a partition by reading it. Resolves early, without one, when the partition is dropped meanwhile.
   *
   * @param rest - called between two pages: the place to let others work; false to give up
   */
  async build(partition: PartitionId, page: PageReader, rest: () => Promise<boolean>): Promise<void> {
    const building: Building = { tree: new HashTree(), mortals: 0, passed: undefined, touched: new Map() }
    this.#building.set(partition, building)
    const isCurrent = (): boolean => this.#building.get(partition) === building
    try {
      for (let after: StoredRecord | undefined; ;) {
        building.touched.clear()
        const records = await page(after)
        if (!isCurrent()) return
        this.#takePage(building, partition, records)
        after = records.at(-1)
        if (after === undefined) {
          const { tree, mortals } = building
          return this.#set(partition, tree.count === 0 ? NONE : { tree, mortals })
        }
        if (!(await rest()) || !isCurrent()) return
      }
    } finally {
      if (isCurrent()) this.#building.delete(partition)
    }
  }

  /** Trees of partitions that hold records, to be kept over a clean stop. */
  *entries(): Iterable<readonly [PartitionId, PartitionTree]> {
    for (const [partition, tree] of this.#trees.entries()) {
      if (tree !== undefined && tree !== NONE) yield [partition, tree]
    }
  }

  /** Only these partitions hold records: the trees of all others are empty. To be called before anything is written. */
  onlyHolds(held: readonly PartitionId[]): void {
    const known = new Set(held)
    for (let partition = 0; partition < this.#trees.length; partition++) {
      if (!known.has(partition)) this.#set(partition, NONE)
    }
  }

  /** Takes over trees that were kept; every partition that is not among them is empty. */
  restore(trees: Iterable<readonly [PartitionId, PartitionTree]>): void {
    this.onlyHolds([])
    for (const [partition, tree] of trees) if (partition < this.#trees.length) this.#trees[partition] = tree
  }

  #takePage(building: Building, partition: PartitionId, records: readonly StoredRecord[]): void {
    const from = building.passed
    const last = records.at(-1)
    const to = last === undefined ? undefined : dataKey(partition, last.keyspace, last.key)
    const isOfPage = (hex: string): boolean => {
      const key = Buffer.from(hex, 'hex')
      return (from === undefined || compareBytes(key, from) > 0) && (to === undefined || compareBytes(key, to) <= 0)
    }
    const writing = new Map<string, RecordBytes | undefined>()
    for (const { key, before } of this.#writing) {
      if (partitionOfKey(key) === partition) writing.set(toHex(key), before)
    }
    for (const { keyspace, key, record } of records) {
      const storeKey = dataKey(partition, keyspace, key)
      const hex = toHex(storeKey)
      if (!writing.has(hex) && !building.touched.has(hex)) this.#add(building, storeKey, record)
    }
    for (const [hex, record] of building.touched) {
      if (record !== undefined && !writing.has(hex) && isOfPage(hex))
        this.#add(building, Buffer.from(hex, 'hex'), record)
    }
    // The change is counted once it is written: until then the old version stands.
    for (const [hex, before] of writing) {
      if (before !== undefined && isOfPage(hex)) this.#add(building, Buffer.from(hex, 'hex'), before)
    }
    building.passed = to
  }

  #apply({ key, value, before }: RecordChange): void {
    const partition = partitionOfKey(key)
    if (this.#building.size > 0) {
      const building = this.#building.get(partition)
      if (building !== undefined) {
        if (building.passed === undefined || compareBytes(key, building.passed) > 0) {
          building.touched.set(toHex(key), value)
        } else this.#replace(building, key, before, value)
        return
      }
    }
    let tree = this.#trees[partition]
    if (tree === undefined) return
    if (tree === NONE) this.#trees[partition] = tree = { tree: new HashTree(), mortals: 0 }
    this.#roots[partition] = undefined
    this.#replace(tree, key, before, value)
  }

  #replace(
    known: PartitionTree,
    key: Uint8Array,
    before: RecordBytes | undefined,
    after: RecordBytes | undefined
  ): void {
    const leaf = this.#digest.name(key)
    if (before !== undefined) {
      known.tree.subtract(leaf, this.#digest.of(before))
      if (isMortal(before)) known.mortals--
    }
    if (after !== undefined) {
      known.tree.add(leaf, this.#digest.of(after))
      if (isMortal(after)) known.mortals++
    }
  }

  #add(known: PartitionTree, key: Uint8Array, record: RecordBytes): void {
    this.#replace(known, key, undefined, record)
  }

  #set(partition: PartitionId, tree: PartitionTree | undefined): void {
    this.#trees[partition] = tree
    this.#roots[partition] = undefined
  }
}

/** The tree of a partition without records: shared, never written to. */
const NONE: PartitionTree = { tree: new HashTree(), mortals: 0 }
