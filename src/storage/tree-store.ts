import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import type { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { HashTree, TREE_BYTES } from '../model/hash-tree.ts'
import { successor } from '../model/key-range.ts'
import type { PartitionId } from '../model/partition.ts'
import { partitionOfKey, treeKey, treeRange } from './key-layout.ts'
import { seal, unseal } from './sealed.ts'
import type { Store } from './store.ts'
import type { PartitionTree, TreeIndex } from './tree-index.ts'

const BODY_BYTES = 4 + TREE_BYTES
/** Trees in one batch or page: 768 KiB. */
const TREES_AT_ONCE = 64

/** Keeps the trees of a store that is being closed in good order. What is not known of is left out, and so built anew. */
export async function saveTrees(store: Store, index: TreeIndex): Promise<void> {
  if (!store.permanent || !index.isComplete) return
  const entries = [...index.entries()]
  for (let at = 0; at < entries.length; at += TREES_AT_ONCE) {
    const changes = entries
      .slice(at, at + TREES_AT_ONCE)
      .map(([partition, tree]) => seal(treeKey(partition), encode(tree)))
    await store.batch(changes, { sync: false })
  }
  // Last: without it nothing of the rest counts.
  const manifest = new Writer(4).varint(entries.length).finish()
  await store.batch([seal(treeRange().gte, manifest)], { sync: false })
}

/**
 * Takes over the trees that were kept at a clean stop, and deletes them, so that they cannot be taken for those of a later
 * life. After a crash there is nothing to take over: what was kept before is out of date.
 */
export async function loadTrees(store: Store, index: TreeIndex, openedClean: boolean): Promise<void> {
  const trees = openedClean ? await readTrees(store) : undefined
  await store.clear(treeRange())
  if (trees !== undefined) index.restore(trees)
}

type Trees = readonly (readonly [PartitionId, PartitionTree])[]

/**
 * All or none: a partition without a tree would pass for empty. They can be made anew, so what is damaged stops nobody.
 */
async function readTrees(store: Store): Promise<Trees | undefined> {
  try {
    return await readAll(store)
  } catch (error) {
    if (isKilovoltError(error, 'KV_CORRUPT')) return undefined
    throw error
  }
}

async function readAll(store: Store): Promise<Trees | undefined> {
  const { gte: first, lt } = treeRange()
  const manifest = await store.get(first)
  if (manifest === undefined) return undefined
  const count = unseal(first, manifest, reader => reader.varint(), corrupt)
  const trees: (readonly [PartitionId, PartitionTree])[] = []
  for (let after = first; ;) {
    const page = await store.page({ gte: successor(after), lt }, TREES_AT_ONCE)
    for (const [key, value] of page) trees.push([partitionOfKey(key), unseal(key, value, read, corrupt)])
    const last = page.at(-1)
    if (last === undefined) break
    after = last[0]
  }
  return trees.length === count ? trees : undefined
}

/** Number of mortal records u32 · tree */
function encode({ tree, mortals }: PartitionTree): Uint8Array {
  return new Writer(BODY_BYTES).u32(mortals).raw(tree.encode()).finish()
}

function read(reader: Reader): PartitionTree {
  const mortals = reader.u32()
  return { tree: HashTree.decode(reader.raw(TREE_BYTES)), mortals }
}

function corrupt(why: string): KilovoltError {
  return new KilovoltError('KV_CORRUPT', `a kept hash tree ${why}`)
}
