import { crc32 } from 'node:zlib'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { HashTree, TREE_BYTES } from '../model/hash-tree.ts'
import type { PartitionId } from '../model/partition.ts'
import { partitionOfKey, successor, treeKey, treeRange } from './key-layout.ts'
import type { Store } from './store.ts'
import type { PartitionTree, TreeIndex } from './tree-index.ts'

const CHECKSUM_BYTES = 4
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

async function readTrees(store: Store): Promise<readonly (readonly [PartitionId, PartitionTree])[] | undefined> {
  const { gte: first, lt } = treeRange()
  const manifest = await store.get(first)
  if (manifest === undefined) return undefined
  const trees: (readonly [PartitionId, PartitionTree])[] = []
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

/** Checksum u32 of the rest · number of mortal records u32 · tree */
function seal({ tree, mortals }: PartitionTree): Uint8Array {
  const body = new Writer(BODY_BYTES).u32(mortals).raw(tree.encode()).finish()
  return new Writer(CHECKSUM_BYTES + BODY_BYTES).u32(crc32(body)).raw(body).finish()
}

function unseal(bytes: Uint8Array): PartitionTree | undefined {
  if (bytes.length !== CHECKSUM_BYTES + BODY_BYTES) return undefined
  const reader = new Reader(bytes)
  const checksum = reader.u32()
  if (crc32(bytes.subarray(CHECKSUM_BYTES)) !== checksum) return undefined
  const mortals = reader.u32()
  return { tree: HashTree.decode(reader.rest()), mortals }
}
