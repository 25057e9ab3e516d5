import type { StoreId } from '../model/node-id.ts'
import { DirectMoves, exchange, fillingMove } from './exchange.ts'
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
      const move = fillingMove(table, partition)
      const moves = move === undefined ? exchangeTo(table, [partition], NOBODY) : [move]
      // Where the quotas cannot be met, rather a slot too many somewhere than a copy too few.
      if (moves === undefined) table.move({ partition, from: NOBODY, to: roomiest(table, partition) })
      else for (const each of moves) table.move(each)
    }
  }
}

/** Takes slots from members above their quota. */
function drain(table: SlotTable): void {
  for (const from of table.members.keys()) {
    if (table.room(from) >= 0) continue
    let direct = new DirectMoves(table, from)
    while (table.room(from) < 0) {
      const move = direct.best()
      if (move !== undefined) {
        table.move(move)
        continue
      }
      const moves = exchangeTo(table, table.ownedBy(from), from)
      if (moves === undefined) break
      for (const each of moves) table.move(each)
      direct = new DirectMoves(table, from)
    }
  }
}

/** The moves that take one of the given slots off `from` by way of others, and end at a member with room. */
function exchangeTo(table: SlotTable, partitions: readonly number[], from: MemberIndex): SlotMove[] | undefined {
  return table.mostRoom(Infinity) === 0 ? undefined : exchange(table, partitions, from)
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
