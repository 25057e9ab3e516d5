import type { StoreId } from '../model/node-id.ts'
import type { Topology, TopologyMember } from '../placement/topology.ts'

/** What the choice of voters depends on. */
export interface VoterInput {
  readonly topology: Topology
  readonly voters: readonly StoreId[]
  readonly leader: StoreId
  /** How long gossip has held a member for dead, ms; 0 while it lives. */
  readonly deadForMs: (store: StoreId) => number
}

/** Dead this long, a voter in memory is replaced; its log is gone. */
const REPLACE_VOLATILE_MS = 5000
/** Dead this long, a voter on disk is replaced. */
const REPLACE_DISK_MS = 30_000

/**
 * How many of so many members vote: odd on purpose, as an even number tolerates no more failures than the odd one below
 * it, and at most five, as each voter costs a write for each command.
 */
export function voterTarget(members: number): 1 | 3 | 5 {
  return members < 3 ? 1 : members < 5 ? 3 : 5
}

/**
 * The voters that the group should have; the present ones when nothing needs to change. Prefers who votes already, the
 * leader first, then the living, then disk over memory, then a zone that has no voter yet, then who joined first.
 */
export function chooseVoters(input: VoterInput): readonly StoreId[] {
  const { topology, voters, leader, deadForMs } = input
  const members = voters.flatMap(store => topology.members.get(store) ?? [])
  const kept = members.filter(member => !isGone(member, deadForMs)).sort(byWorth(leader, deadForMs))
  const candidates = [...topology.members.values()].filter(
    ({ storeId, status }) => status === 'up' && deadForMs(storeId) === 0 && !voters.includes(storeId)
  )
  // A log on disk comes back: its place is kept until somebody takes it.
  const waiting = members.filter(member => isGone(member, deadForMs) && isExpected(member))
  const target = voterTarget(kept.length + candidates.length + waiting.length)
  const chosen = kept.slice(0, target).map(({ storeId }) => storeId)
  while (chosen.length < target) {
    const best = bestCandidate(
      candidates.filter(({ storeId }) => !chosen.includes(storeId)),
      chosen,
      topology
    )
    if (best === undefined) break
    chosen.push(best.storeId)
  }
  for (const { storeId } of waiting) if (chosen.length < target) chosen.push(storeId)
  // An even number would need as many answers as the odd one above it: rather wait than pass through it.
  if (chosen.length % 2 === 0 && chosen.length > 1) chosen.pop()
  const alive = chosen.filter(store => deadForMs(store) === 0).length
  // Never move to a group that could not answer.
  if (alive * 2 <= chosen.length) return voters
  return sameMembers(chosen, voters) ? voters : chosen
}

/** Whether somebody else should vote in its place. */
function isGone(member: TopologyMember, deadForMs: VoterInput['deadForMs']): boolean {
  const { storeId, status, volatile } = member
  if (status === 'leaving' || status === 'evicted') return true
  return deadForMs(storeId) >= (volatile ? REPLACE_VOLATILE_MS : REPLACE_DISK_MS)
}

function isExpected({ status, volatile }: TopologyMember): boolean {
  return !volatile && status !== 'leaving' && status !== 'evicted'
}

function byWorth(
  leader: StoreId,
  deadForMs: VoterInput['deadForMs']
): (a: TopologyMember, b: TopologyMember) => number {
  const isDead = ({ storeId }: TopologyMember): number => Number(deadForMs(storeId) > 0)
  return (a, b) =>
    Number(b.storeId === leader) - Number(a.storeId === leader) ||
    isDead(a) - isDead(b) ||
    Number(a.volatile) - Number(b.volatile) ||
    a.joinedEpoch - b.joinedEpoch
}

function bestCandidate(
  candidates: readonly TopologyMember[],
  chosen: readonly StoreId[],
  topology: Topology
): TopologyMember | undefined {
  const zones = new Set(chosen.map(store => topology.members.get(store)?.zone))
  return [...candidates].sort(
    (a, b) =>
      Number(a.volatile) - Number(b.volatile) ||
      Number(zones.has(a.zone)) - Number(zones.has(b.zone)) ||
      a.joinedEpoch - b.joinedEpoch ||
      (a.storeId < b.storeId ? -1 : 1)
  )[0]
}

function sameMembers(a: readonly StoreId[], b: readonly StoreId[]): boolean {
  return a.length === b.length && a.every(store => b.includes(store))
}
