import type { StoreId } from '../model/node-id.ts'

/** A member as the claim sees it. */
export interface ClaimMember {
  readonly storeId: StoreId
  /** Share of the slots, relative to others; 0 owns nothing. */
  readonly weight: number
  readonly zone: string
}

/** Two shares closer than this are the same: sums of weights are inexact. */
const EPSILON = 1e-9
/** Remainders are compared in units of this size, so that "the same" is transitive. */
const REMAINDER_UNITS = 2 ** 20

/**
 * How many slots of one row each zone may hold: the smallest cap at which all zones together have room for the row, and
 * never more than the zone has members.
 */
export function zoneCaps(members: readonly ClaimMember[], slots: number): ReadonlyMap<string, number> {
  const sizes = new Map<string, number>()
  for (const { zone } of members) sizes.set(zone, (sizes.get(zone) ?? 0) + 1)
  const wanted = Math.min(slots, members.length)
  for (let cap = 1; ; cap++) {
    let room = 0
    for (const size of sizes.values()) room += Math.min(cap, size)
    if (room >= wanted) return new Map([...sizes].map(([zone, size]) => [zone, Math.min(cap, size)]))
  }
}

/**
 * The fair number of slots of each member, a real number: in proportion to its weight, but at most one slot of each
 * row, and at most the zone's cap in each row for a zone as a whole. What a limit cuts off is shared among the others.
 *
 * @param members - all of a weight above 0
 * @returns one share for each member, in their order
 */
export function fairShares(members: readonly ClaimMember[], partitions: number, slots: number): readonly number[] {
  const zones = new Map<string, number[]>()
  for (const [index, { zone }] of members.entries()) {
    const list = zones.get(zone)
    if (list === undefined) zones.set(zone, [index])
    else list.push(index)
  }
  const caps = zoneCaps(members, slots)
  const weightOf = (indices: readonly number[]): number => indices.reduce((sum, i) => sum + members[i]!.weight, 0)
  const zoneShares = pour(
    [...zones].map(([zone, indices]) => ({ weight: weightOf(indices), limit: partitions * caps.get(zone)! })),
    partitions * Math.min(slots, members.length)
  )
  const shares = members.map(() => 0)
  for (const [z, indices] of [...zones.values()].entries()) {
    const within = pour(
      indices.map(i => ({ weight: members[i]!.weight, limit: partitions })),
      zoneShares[z]!
    )
    for (const [at, i] of indices.entries()) shares[i] = within[at]!
  }
  return shares
}

interface Vessel {
  readonly weight: number
  readonly limit: number
}

/** Water filling: `total` shared out in proportion to the weights, nobody beyond its limit. */
function pour(vessels: readonly Vessel[], total: number): number[] {
  const levels = vessels.map(() => 0)
  let open = [...vessels.keys()]
  let left = total
  while (open.length > 0) {
    const weight = open.reduce((sum, i) => sum + vessels[i]!.weight, 0)
    const level = (i: number): number => (left * vessels[i]!.weight) / weight
    const full = open.filter(i => level(i) >= vessels[i]!.limit - EPSILON)
    if (full.length === 0) {
      for (const i of open) levels[i] = level(i)
      break
    }
    for (const i of full) {
      levels[i] = vessels[i]!.limit
      left -= vessels[i]!.limit
    }
    open = open.filter(i => levels[i] === 0)
  }
  return levels
}

/**
 * Whole quotas that add up to all slots: the fair shares rounded down, and the spare slots first to those who hold more
 * than that already (so that nothing moves for them), next to the largest remainders.
 *
 * @param members - all of a weight above 0, in an order that does not depend on the caller
 * @param held - how many slots each has now, in the order of the members
 */
export function quotas(
  members: readonly ClaimMember[],
  partitions: number,
  slots: number,
  held: readonly number[]
): readonly number[] {
  const shares = fairShares(members, partitions, slots)
  const result = shares.map(share => Math.floor(share + EPSILON))
  const remainders = shares.map((share, i) => Math.round((share - result[i]!) * REMAINDER_UNITS))
  const zoneRoom = new Map([...zoneCaps(members, slots)].map(([zone, cap]) => [zone, cap * partitions]))
  let spare = partitions * Math.min(slots, members.length)
  for (const [i, { zone }] of members.entries()) {
    zoneRoom.set(zone, zoneRoom.get(zone)! - result[i]!)
    spare -= result[i]!
  }
  const keeps = shares.map((_, i) => Number(held[i]! > result[i]!))
  const order = [...members.keys()].sort(
    (a, b) => keeps[b]! - keeps[a]! || remainders[b]! - remainders[a]! || compare(members[a]!, members[b]!)
  )
  // The first round is for those whose share was rounded down. Where a zone's limit leaves some of it over, the next
  // rounds give it to whoever has room.
  for (let round = 0; spare > 0 && round < 3; round++) {
    for (const i of order) {
      const { zone } = members[i]!
      const fits = result[i]! < partitions && zoneRoom.get(zone)! > 0
      if (spare === 0 || !fits || (round === 0 && remainders[i] === 0)) continue
      result[i]!++
      zoneRoom.set(zone, zoneRoom.get(zone)! - 1)
      spare--
    }
  }
  return result
}

function compare(a: ClaimMember, b: ClaimMember): number {
  return a.storeId < b.storeId ? -1 : 1
}
