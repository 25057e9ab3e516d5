import { type MemberIndex, NOBODY, type SlotMove, type SlotTable } from './slot-table.ts'

/** How the search came to a member. */
interface Reached {
  readonly move: SlotMove
  readonly score: number
  readonly layer: number
}

/**
 * The best move that fills a hole of a partition: to the member with the most room, which leaves the most choice to the moves
 * after it (Gale–Ryser), so that they too can be single; among equals by rendezvous score.
 */
export function fillingMove(table: SlotTable, partition: number): SlotMove | undefined {
  for (let room = table.mostRoom(Infinity); room > 0; room = table.mostRoom(room)) {
    let best = NOBODY
    let bestScore = -1
    for (let to = 0; to < table.members.length; to++) {
      if (table.room(to) !== room || !table.fits(partition, to, NOBODY)) continue
      const score = table.score(partition, to)
      if (score <= bestScore) continue
      best = to
      bestScore = score
    }
    if (best !== NOBODY) return { partition, from: NOBODY, to: best }
  }
  return undefined
}

/**
 * The single moves of one member's slots to members with room, the best one first, by the rule of {@link fillingMove}. Each
 * member's order of the slots is worked out once; it holds for as long as no other moves are made.
 */
export class DirectMoves {
  readonly #table: SlotTable
  readonly #from: MemberIndex
  readonly #partitions: readonly number[]
  /** For each member the slots in the order in which it would have them; what cannot be had any more is taken off the end. */
  readonly #wishes: (number[] | undefined)[] = []

  constructor(table: SlotTable, from: MemberIndex) {
    this.#table = table
    this.#from = from
    this.#partitions = table.ownedBy(from)
  }

  best(): SlotMove | undefined {
    const table = this.#table
    for (let room = table.mostRoom(Infinity); room > 0; room = table.mostRoom(room)) {
      let best: SlotMove | undefined
      let bestScore = -1
      for (let to = 0; to < table.members.length; to++) {
        if (table.room(to) !== room) continue
        const partition = this.#wishOf(to)
        if (partition === undefined) continue
        const score = table.score(partition, to)
        if (score <= bestScore) continue
        best = { partition, from: this.#from, to }
        bestScore = score
      }
      if (best !== undefined) return best
    }
    return undefined
  }

  #wishOf(to: MemberIndex): number | undefined {
    const wishes = (this.#wishes[to] ??= this.#wishesOf(to))
    for (let partition = wishes.at(-1); partition !== undefined; partition = wishes.at(-1)) {
      if (this.#table.owns(partition, this.#from) && this.#table.fits(partition, to, this.#from)) return partition
      wishes.pop()
    }
    return undefined
  }

  /** The last is the best. */
  #wishesOf(to: MemberIndex): number[] {
    const scored = this.#partitions.map(partition => ({ partition, score: this.#table.score(partition, to) }))
    return scored.sort((a, b) => a.score - b.score || b.partition - a.partition).map(({ partition }) => partition)
  }
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
