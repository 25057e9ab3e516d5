import { crc32 } from 'node:zlib'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { HashTree, TREE_BYTES } from '../model/hash-tree.ts'
import type { PartitionId } from '../model/partition.ts'
import { partitionOfKey, successor, treeKey, treeRange } from './key-layout.ts'
import type { Store } from './store.ts'
import type { TreeIndex } from './tree-index.ts'

const CHECKSUM_BYTES = 4
/** Trees in one batch or page: 768 KiB. */
const TREES_AT_ONCE = 64

/** Keeps the trees of a store that is being closed in good order. What is not known of is left out, and so built anew. */
export async function saveTrees(store: Store, index: TreeIndex): Promise<void> {
  if (!store.permanent || !index.isComplete) return
  const entries = [...index.entries()]
  for (let at = 0; at < entries.length; at += TREES_AT_ONCE) {
    const changes = entries
      .slice(at, at + TREES_AT_ONCE)
      .map(([partition, tree]) => ({ key: treeKey(partition), value: seal(tree) }))
    await store.batch(changes, { sync: false })
  }
  // Last: without it nothing of the rest counts.
  const manifest = new Writer(4).varint(entries.length).finish()
  await store.batch([{ key: treeRange().gte, value: manifest }], { sync: false })
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

async function readTrees(store: Store): Promise<readonly (readonly [PartitionId, HashTree])[] | undefined> {
  const { gte: first, lt } = treeRange()
  const manifest = await store.get(first)
  if (manifest === undefined) return undefined
  const trees: (readonly [PartitionId, HashTree])[] = []
  for (let after = first; ;) {
    const page = await store.page({ gte: successor(after), lt }, TREES_AT_ONCE)
    for (const [key, value] of page) {
      const tree = unseal(value)
      if (tree === undefined) return undefined
      trees.push([partitionOfKey(key), tree])
    }
    const last = page.at(-1)
    if (last === undefined) break
    after = last[0]
  }
  return trees.length === new Reader(manifest).varint() ? trees : undefined
}

function seal(tree: HashTree): Uint8Array {
  const bytes = tree.encode()
  return new Writer(CHECKSUM_BYTES + TREE_BYTES).u32(crc32(bytes)).raw(bytes).finish()
}

function unseal(bytes: Uint8Array): HashTree | undefined {
  if (bytes.length !== CHECKSUM_BYTES + TREE_BYTES) return undefined
  const reader = new Reader(bytes)
  const checksum = reader.u32()
  const rest = reader.rest()
  return crc32(rest) === checksum ? HashTree.decode(rest) : undefined
}
