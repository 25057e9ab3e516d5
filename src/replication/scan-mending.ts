import type { StoreId } from '../model/node-id.ts'
import type { Ring } from '../model/partition.ts'
import type { PackedRows } from '../codec/packed-rows.ts'
import type { PlacedRecord, RepairMany } from './repair-sender.ts'
import type { ScanMerge } from './scan-merge.ts'
import type { ScanRound } from './scan-round.ts'

/** What mending needs. */
export interface ScanMendingDeps {
  readonly ring: Ring
  readonly repairMany: RepairMany
}

/** What one node is given, and where each lies in the page. */
interface Gift {
  readonly records: PlacedRecord[]
  readonly places: number[]
}

/**
 * Gives those who are about to own a partition what a page has found there and they have not copied yet, so that a quorum of the
 * coming owners holds it as well before it is handed out: what a read of each such key would come to (see {@link GetOperation}),
 * without asking anybody again. While rows move these are most of the keys in dispute, an eighth of all keys perhaps.
 *
 * @returns which of the rows of the page need no read of their own any more
 */
export async function mendNewcomers(
  { ring, repairMany }: ScanMendingDeps,
  page: {
    readonly keyspace: Uint8Array
    readonly merge: ScanMerge
    readonly round: ScanRound<PackedRows>
    readonly epoch: number
    readonly timeoutMs: number
  }
): Promise<ReadonlySet<number>> {
  const { keyspace, merge, round, epoch, timeoutMs } = page
  const gifts = new Map<StoreId, Gift>()
  const mended = new Set<number>()
  for (const [at, holders] of merge.incomplete) {
    const key = merge.rows.keyAt(at)
    const partition = ring.partitionOf(key)
    const newcomers = round.newcomersWithout(partition, holders)
    if (newcomers === undefined || newcomers.length === 0) continue
    mended.add(at)
    for (const store of newcomers) {
      let gift = gifts.get(store)
      if (gift === undefined) gifts.set(store, (gift = { records: [], places: [] }))
      gift.records.push({ partition, keyspace, key, record: merge.rows.recordAt(at) })
      gift.places.push(at)
    }
  }
  await Promise.all(
    [...gifts].map(async ([store, { records, places }]) => {
      const held = await repairMany(store, records, epoch, timeoutMs)
      for (const [i, isHeld] of held.entries()) if (!isHeld) mended.delete(places[i]!)
    })
  )
  return mended
}
