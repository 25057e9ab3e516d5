import type { StoreId } from '../model/node-id.ts'
import { directMove, exchange } from './exchange.ts'
import { balancePrimaries } from './primaries.ts'
import type { ClaimMember } from './quotas.ts'
import { type MemberIndex, NOBODY, type SlotMove, SlotTable } from './slot-table.ts'

/** What the claim works on. */
export interface ClaimInput {
  /** The rows as they are, first owner first; `undefined` for a table that begins empty. */
  readonly current: readonly (readonly StoreId[])[] | undefined
  /** Members that may own something, in any order; those of weight 0 never do. */
  readonly members: readonly ClaimMember[]
  readonly partitions: number
  /** Replication factor N. */
  readonly replicas: number
}

/**
 * Who should own what, first owner first: of the tables that are balanced by weight and spread over zones, one to which
 * least has to move. Keeps every legal slot, fills the holes, then drains whoever is above its quota, each by the
 * shortest exchange (nearly always a single move), and last balances the first owners.
 *
 * Run by the leader of the meta group alone; its *result* goes into the log. Stateless hashing cannot have both balance
 * and little movement at this granularity; a log makes state free. Riak's claim (version 4) minimises movement too, but
 * its replicas are neighbours on a ring, which makes some shapes unsolvable; here a row is free to be any set.
 *
 * The same input gives the same table on every machine, whatever the order of the members, and its own result is left
 * as it is. Without a member of a weight above 0 nothing can be better than what is: the rows stay.
 */
export function claim({ current, members, partitions, replicas }: ClaimInput): readonly (readonly StoreId[])[] {
  const owners = members.filter(({ weight }) => weight > 0).sort((a, b) => (a.storeId < b.storeId ? -1 : 1))
  if (owners.length === 0) return current ?? Array.from({ length: partitions }, () => [])
  const table = new SlotTable(owners, current, partitions, replicas)
  fillHoles(table)
  drain(table)
  return balancePrimaries(table.rows(), current)
}

/** Fills each hole by the best suited member with room, else by an exchange. */
function fillHoles(table: SlotTable): void {
  for (let partition = 0; partition < table.partitions; partition++) {
    while (table.holes(partition) > 0) {
      const moves = freeing(table, [partition], NOBODY)
      // Where the quotas cannot be met, rather a slot too many somewhere than a copy too few.
      if (moves === undefined) table.move({ partition, from: NOBODY, to: roomiest(table, partition) })
      else for (const move of moves) table.move(move)
    }
  }
}

/** Takes slots from members above their quota. */
function drain(table: SlotTable): void {
  for (const from of table.members.keys()) {
    while (table.room(from) < 0) {
      const partitions: number[] = []
      for (let p = 0; p < table.partitions; p++) if (table.owns(p, from)) partitions.push(p)
      const moves = freeing(table, partitions, from)
      if (moves === undefined) break
      for (const move of moves) table.move(move)
    }
  }
}

/** The moves that take one slot of the given partitions off `from`, and end at a member with room. */
function freeing(table: SlotTable, partitions: readonly number[], from: MemberIndex): SlotMove[] | undefined {
  const roomy = [...table.members.keys()].filter(member => table.room(member) > 0)
  if (roomy.length === 0) return undefined
  const direct = directMove(table, partitions, from, roomy)
  return direct === undefined ? exchange(table, partitions, from) : [direct]
}

/** Of the members that may have the slot, the one furthest below its quota; the caps always leave one. */
function roomiest(table: SlotTable, partition: number): MemberIndex {
  let best = NOBODY
  for (const member of table.members.keys()) {
    if (table.fits(partition, member, NOBODY) && (best === NOBODY || table.room(member) > table.room(best)))
      best = member
  }
  return best
}
