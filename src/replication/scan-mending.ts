import type { StoreId } from '../model/node-id.ts'
import type { Ring } from '../model/partition.ts'
import type { PackedRows } from '../codec/packed-rows.ts'
import { type RepairMany, Repairs } from './repair-sender.ts'
import type { ScanMerge } from './scan-merge.ts'
import type { ScanRound } from './scan-round.ts'

/** What mending needs. */
export interface ScanMendingDeps {
  readonly ring: Ring
  readonly repairMany: RepairMany
}

/** What one node is given, and where each lies in the page. */
interface Gift {
  readonly repairs: Repairs
  readonly places: number[]
}

/**
 * Gives those who are about to own a partition what a page has found there and they have not copied yet, so that a quorum of the
 * coming owners holds it as well before it is handed out: what a read of each such key would come to (see {@link GetOperation}),
 * without asking anybody again. While rows move these are most of the keys in dispute, an eighth of all keys perhaps.
 *
 * @returns which rows of the page are still in dispute; rising
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
): Promise<readonly number[]> {
  const { keyspace, merge, round, epoch, timeoutMs } = page
  const { rows, incomplete, holders } = merge
  const gifts = new Map<StoreId, Gift>()
  const isMended = new Uint8Array(rows.length)
  for (const [i, at] of incomplete.entries()) {
    const key = rows.keyAt(at)
    const partition = ring.partitionOf(key)
    const newcomers = round.newcomersWithout(partition, holders[i]!)
    if (newcomers === undefined || newcomers.length === 0) continue
    isMended[at] = 1
    for (const store of newcomers) {
      let gift = gifts.get(store)
      if (gift === undefined) gifts.set(store, (gift = { repairs: new Repairs(), places: [] }))
      gift.repairs.add({ partition, keyspace, key }, rows.recordAt(at))
      gift.places.push(at)
    }
  }
  await Promise.all(
    [...gifts].map(async ([store, { repairs, places }]) => {
      const held = await repairMany(store, repairs, epoch, timeoutMs)
      for (const [i, at] of places.entries()) if (held[i] !== true) isMended[at] = 0
    })
  )
  return merge.disputed.filter(at => isMended[at] === 0)
}
