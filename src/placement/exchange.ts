import { type MemberIndex, NOBODY, type SlotMove, type SlotTable } from './slot-table.ts'

/** How the search came to a member. */
interface Reached {
  readonly move: SlotMove
  readonly score: number
  readonly layer: number
}

/**
 * The best single move of one of the given slots to a member with room: to the one with the most, which leaves the most
 * choice to the moves after it (Gale–Ryser), so that they too can be single; among equals by rendezvous score.
 */
export function directMove(
  table: SlotTable,
  partitions: readonly number[],
  from: MemberIndex,
  roomy: readonly MemberIndex[]
): SlotMove | undefined {
  let best: SlotMove | undefined
  let bestRoom = 0
  let bestScore = -1
  for (const to of roomy) {
    const room = table.room(to)
    if (room < bestRoom) continue
    for (const partition of partitions) {
      const score = table.score(partition, to)
      if ((room === bestRoom && score <= bestScore) || !table.fits(partition, to, from)) continue
      best = { partition, from, to }
      bestRoom = room
      bestScore = score
    }
  }
  return best
}

/**
 * The shortest sequence of moves that begins with one of the given slots and ends at a member with room: each member
 * on the way takes one slot and passes another one on. Breadth first over "this slot may go from a to b"; of equally
 * short ways the one with the better rendezvous scores. No partition occurs twice on a way, so that what the zones
 * allow for each move is allowed for all of them together.
 */
export function exchange(table: SlotTable, partitions: readonly number[], from: MemberIndex): SlotMove[] | undefined {
  const reached = new Map<MemberIndex, Reached>()
  const offer = (partition: number, giver: MemberIndex, layer: number): void => {
    for (const to of table.members.keys()) {
      const known = reached.get(to)
      if (to === from || (known !== undefined && known.layer < layer) || !table.fits(partition, to, giver)) continue
      const score = table.score(partition, to)
      if (known === undefined || score > known.score) {
        reached.set(to, { move: { partition, from: giver, to }, score, layer })
      }
    }
  }
  for (const partition of partitions) offer(partition, from, 0)
  for (let layer = 0; ; layer++) {
    const edge = [...table.members.keys()].filter(member => reached.get(member)?.layer === layer)
    if (edge.length === 0) return undefined
    const goals = edge.filter(member => table.room(member) > 0)
    if (goals.length > 0) return wayTo(bestOf(goals, reached), from, reached)
    for (const giver of edge) {
      const used = new Set(wayTo(giver, from, reached).map(({ partition }) => partition))
      for (let partition = 0; partition < table.partitions; partition++) {
        if (table.owns(partition, giver) && !used.has(partition)) offer(partition, giver, layer + 1)
      }
    }
  }
}

function bestOf(goals: readonly MemberIndex[], reached: ReadonlyMap<MemberIndex, Reached>): MemberIndex {
  return goals.reduce((best, goal) => (reached.get(goal)!.score > reached.get(best)!.score ? goal : best))
}

function wayTo(goal: MemberIndex, start: MemberIndex, reached: ReadonlyMap<MemberIndex, Reached>): SlotMove[] {
  const moves: SlotMove[] = []
  for (let at = goal; at !== start && at !== NOBODY; at = reached.get(at)!.move.from) moves.push(reached.get(at)!.move)
  return moves
}
