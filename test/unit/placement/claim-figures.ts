import type { StoreId } from '../../../src/model/node-id.ts'
import { type ClaimMember, fairShares, zoneCaps } from '../../../src/placement/quotas.ts'

/** Rows of owners, first owner first. */
export type Table = readonly (readonly StoreId[])[]

/** What can be said of one table. */
export interface TableFigures {
  /** Greatest and least of slots held ÷ fair share. */
  readonly maxLoad: number
  readonly minLoad: number
  /** Greatest distance between slots held and the fair share. */
  readonly worstSlots: number
  /** Greatest distance between rows led and their fair number, which is a row's part of what is held. */
  readonly worstPrimaries: number
  /** Rows that break the zone rule. */
  readonly zoneBreaks: number
  /** Rows that are too short, too long, or hold somebody twice or a stranger. */
  readonly illegalRows: number
}

/** Members 1 … `count` of the cluster `seed`, with weights and zones dealt out in turn. */
export function clusterOf(
  count: number,
  seed: number,
  weights: readonly number[] = [1],
  zones: number = 1
): ClaimMember[] {
  return Array.from({ length: count }, (_, i) => ({
    storeId: storeIdOf(seed, i),
    weight: weights[i % weights.length]!,
    zone: `z${i % zones}`
  }))
}

/** A store id that looks drawn by chance, but is the same each time. */
export function storeIdOf(seed: number, index: number): StoreId {
  let text = ''
  for (let word = 0; word < 4; word++) {
    let h = Math.imul(seed * 0x1_0001 + index * 4 + word, 0x9e3779b1)
    h = Math.imul(h ^ (h >>> 15), 0x85ebca6b)
    text += ((h ^ (h >>> 13)) >>> 0).toString(16).padStart(8, '0')
  }
  return text as StoreId
}

/** Measures a table. */
export function figuresOf(table: Table, members: readonly ClaimMember[], replicas: number): TableFigures {
  const owners = members.filter(({ weight }) => weight > 0)
  const slots = Math.min(replicas, owners.length)
  const shares = fairShares(owners, table.length, slots)
  const caps = zoneCaps(owners, slots)
  const zoneOf = new Map(owners.map(({ storeId, zone }) => [storeId, zone]))
  const held = heldBy(table)
  const led = heldBy(table.map(row => row.slice(0, 1)))
  const loads = owners.map(({ storeId }, i) => (held.get(storeId) ?? 0) / shares[i]!)
  return {
    maxLoad: Math.max(...loads),
    minLoad: Math.min(...loads),
    worstSlots: Math.max(...owners.map(({ storeId }, i) => Math.abs((held.get(storeId) ?? 0) - shares[i]!))),
    worstPrimaries: Math.max(
      ...owners.map(({ storeId }) => Math.abs((led.get(storeId) ?? 0) - (held.get(storeId) ?? 0) / slots))
    ),
    zoneBreaks: table.filter(row => {
      const zones = row.map(id => zoneOf.get(id)!)
      return zones.some(zone => zones.filter(other => other === zone).length > caps.get(zone)!)
    }).length,
    illegalRows: table.filter(
      row => row.length !== slots || new Set(row).size !== slots || row.some(id => !zoneOf.has(id))
    ).length
  }
}

/** Slots of each store. */
export function heldBy(table: Table): ReadonlyMap<StoreId, number> {
  const held = new Map<StoreId, number>()
  for (const row of table) for (const id of row) held.set(id, (held.get(id) ?? 0) + 1)
  return held
}

/** Copies that somebody must fetch to come from one table to another. */
export function copiesBetween(before: Table, after: Table): number {
  let copies = 0
  for (const [partition, row] of after.entries()) {
    for (const id of row) if (!before[partition]!.includes(id)) copies++
  }
  return copies
}
