import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { rankByRendezvous } from './rendezvous.ts'
import type { PlacementRules } from './rules.ts'
import type { Row, RowCopy, Topology } from './topology.ts'

/** The next step of one row towards its target. */
export interface PlannedChange {
  readonly partition: PartitionId
  readonly next: readonly StoreId[]
  readonly copies: readonly RowCopy[]
}

/** Bounds of a plan. */
export interface PlanLimits {
  /** Rows that one member may be receiving at the same time, changes under way included. */
  readonly rowsPerNode: number
}

/** What the planner works on. */
export interface PlanInput {
  readonly topology: Topology
  /** Where the rows should end, as the claim says. */
  readonly target: readonly (readonly StoreId[])[]
  /** Whether a member can be copied from and to now. */
  readonly live: (store: StoreId) => boolean
  /**
   * Whether a store's data is certain never to come back. A row that has lost more slots for good than its quorum can
   * bear is then rebuilt from what is left, as nothing is gained by waiting: acknowledged writes may be gone. By
   * default none is, and such a row waits.
   */
  readonly lost?: ((store: StoreId) => boolean) | undefined
  readonly rules: PlacementRules
  readonly limits: PlanLimits
}

/**
 * The changes to begin now, one slot at most for each row that has no change under way:
 *
 * | step      | when                                   | who copies, and from whom                                     |
 * | --------- | -------------------------------------- | ------------------------------------------------------------- |
 * | reorder   | only the order differs                 | nobody                                                        |
 * | grow      | the row has fewer slots than it should | the newcomer, from `sourceCount` old slots                    |
 * | hand over | one slot for another, leaver alive     | the newcomer, from the leaver                                 |
 * | rebuild   | one slot for another, leaver gone      | the newcomer, from `sourceCount` old slots                    |
 * | shrink    | the row has more slots than it should  | each that stays, from `sourceCount` old slots, itself counted |
 *
 * So whoever is in the new row stands for at least one member of every old majority: a quorum of the new row sees what
 * any quorum of the old one has acknowledged (rule C3). A row whose sources are not alive waits. Rows with an owner
 * that is gone go first.
 */
export function planChanges(input: PlanInput): PlannedChange[] {
  const { topology, target, live, limits } = input
  const receiving = new Map<StoreId, number>()
  const receive = (copies: readonly RowCopy[]): void => {
    for (const { to } of copies) receiving.set(to, (receiving.get(to) ?? 0) + 1)
  }
  const urgent: PlannedChange[] = []
  const other: PlannedChange[] = []
  for (const [partition, row] of topology.rows.entries()) {
    const wanted = target[partition] ?? []
    if (row.change !== undefined) receive(row.change.copies)
    else if (wanted.length > 0) {
      const change = nextStep({ partition, row, wanted, input })
      if (change !== undefined) (row.slots.every(live) ? other : urgent).push(change)
    }
  }
  const begun: PlannedChange[] = []
  for (const change of [...urgent, ...other]) {
    if (change.copies.some(({ to }) => (receiving.get(to) ?? 0) >= limits.rowsPerNode)) continue
    receive(change.copies)
    begun.push(change)
  }
  return begun
}

/** One row and all that bears on its next step. */
interface RowPlan {
  readonly partition: PartitionId
  readonly row: Row
  readonly wanted: readonly StoreId[]
  readonly input: PlanInput
}

function nextStep(plan: RowPlan): PlannedChange | undefined {
  const { partition, row, wanted, input } = plan
  const { slots } = row
  const missing = wanted.filter(id => !slots.includes(id))
  const surplus = slots.filter(id => !wanted.includes(id))
  const newcomer = missing.find(input.live)
  if (slots.length < wanted.length && missing.length > 0) {
    return newcomer === undefined ? undefined : grow(plan, newcomer)
  }
  // The slot of a dead owner is the one that lacks a copy.
  const leavers = [...surplus.filter(id => !input.live(id)), ...surplus.filter(id => input.live(id))]
  if (slots.length > wanted.length) return firstOf(leavers, leaver => shrink(plan, leaver))
  if (missing.length > 0) {
    return newcomer === undefined ? undefined : firstOf(leavers, leaver => replace(plan, leaver, newcomer))
  }
  return slots.some((id, i) => id !== wanted[i]) ? { partition, next: [...wanted], copies: [] } : undefined
}

function grow(plan: RowPlan, newcomer: StoreId): PlannedChange | undefined {
  const from = sources(plan, plan.row.slots, 0)
  if (from === undefined) return undefined
  return {
    partition: plan.partition,
    next: inOrder([...plan.row.slots, newcomer], plan.wanted),
    copies: copiesOf(newcomer, from)
  }
}

function replace(plan: RowPlan, leaver: StoreId, newcomer: StoreId): PlannedChange | undefined {
  const { partition, row, wanted, input } = plan
  const others = row.slots.filter(id => id !== leaver)
  const from = input.live(leaver) ? [leaver] : sources(plan, others, 0)
  if (from === undefined) return undefined
  return { partition, next: inOrder([...others, newcomer], wanted), copies: copiesOf(newcomer, from) }
}

function shrink(plan: RowPlan, leaver: StoreId): PlannedChange | undefined {
  const { partition, row, wanted, input } = plan
  const staying = row.slots.filter(id => id !== leaver)
  const copies: RowCopy[] = []
  for (const to of staying) {
    // Who will never come back needs no copy: it takes part in no quorum, and its slot is the next to go.
    if (input.lost?.(to) === true) continue
    const others = row.slots.filter(id => id !== to)
    const from = sources(plan, others, 1)
    if (from === undefined || !input.live(to)) return undefined
    copies.push(...copiesOf(to, from))
  }
  return { partition, next: inOrder(staying, wanted), copies }
}

/**
 * Whom to copy from among `candidates`: with the `already` that need no copying as many old slots as the rules ask for,
 * or `undefined` when too few are alive. Chosen by rendezvous, which spreads the work over the members.
 */
function sources(
  { partition, row, input }: RowPlan,
  candidates: readonly StoreId[],
  already: number
): StoreId[] | undefined {
  const { live, lost, rules } = input
  const needed = row.slots.length === 0 ? 0 : Math.max(0, rules.sourceCount(row.slots.length) - already)
  const ranked = rankByRendezvous(partition, candidates.filter(live))
  if (ranked.length >= needed) return ranked.slice(0, needed)
  const mayReturn = lost === undefined || row.slots.some(id => !live(id) && !lost(id))
  return mayReturn ? undefined : ranked
}

/** No copy where there is nobody to copy from: such a change can end at once. */
function copiesOf(to: StoreId, from: readonly StoreId[]): RowCopy[] {
  return from.length === 0 ? [] : [{ to, from }]
}

function firstOf<T, R>(items: readonly T[], attempt: (item: T) => R | undefined): R | undefined {
  for (const item of items) {
    const result = attempt(item)
    if (result !== undefined) return result
  }
  return undefined
}

/** The members in the order in which the target has them; those it does not have come last. */
function inOrder(members: readonly StoreId[], wanted: readonly StoreId[]): StoreId[] {
  return [...wanted.filter(id => members.includes(id)), ...members.filter(id => !wanted.includes(id))]
}
