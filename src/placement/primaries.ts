import type { StoreId } from '../model/node-id.ts'
import { rankByRendezvous } from './rendezvous.ts'

/**
 * Puts one owner of each row first, so that each member leads in proportion to what it holds: within one row of it in
 * nearly all cases. Keeps the old first owner and the order of the others where it can. No data moves for any of this.
 *
 * @param rows - all of the same length
 * @param old - the rows as they were
 */
export function balancePrimaries(
  rows: readonly (readonly StoreId[])[],
  old: readonly (readonly StoreId[])[] | undefined
): readonly (readonly StoreId[])[] {
  const ordered = rows.map((row, partition) => keepOrder(partition, row, old?.[partition] ?? []))
  const slots = rows[0]?.length ?? 0
  // Rows led × slots of a row − slots held: in whole numbers, so that no rounding can make it go in circles.
  const excess = new Map<StoreId, number>()
  for (const row of ordered) {
    for (const id of row) excess.set(id, (excess.get(id) ?? 0) - 1)
    if (row.length > 0) excess.set(row[0]!, excess.get(row[0]!)! + slots)
  }
  // Each change brings the two closer together, so that the sum of squares falls: it ends.
  for (let changed = true; changed;) {
    changed = false
    for (const row of ordered) {
      const first = row[0]
      if (first === undefined) continue
      const to = row.reduce((best, id) => (excess.get(id)! < excess.get(best)! ? id : best), first)
      if (excess.get(first)! - excess.get(to)! <= slots) continue
      excess.set(first, excess.get(first)! - slots)
      excess.set(to, excess.get(to)! + slots)
      row.splice(row.indexOf(to), 1)
      row.unshift(to)
      changed = true
    }
  }
  return ordered
}

/** Newcomers stand where those stood whom they replace, so that they take over first places along with data. */
function keepOrder(partition: number, row: readonly StoreId[], old: readonly StoreId[]): StoreId[] {
  const newcomers = rankByRendezvous(
    partition,
    row.filter(id => !old.includes(id))
  )
  const places = old.map(id => (row.includes(id) ? id : newcomers.shift()))
  return [...places.filter(id => id !== undefined), ...newcomers]
}
