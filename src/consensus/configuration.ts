import type { StoreId } from '../model/node-id.ts'

/**
 * Who takes part in a group. The latest configuration in a node's log is the one it goes by, committed or not (Raft §6).
 * While it is joint, everything needs a majority of the coming voters and another of the outgoing ones.
 */
export interface Configuration {
  /** Voters; while joint, the coming ones. */
  readonly voters: readonly StoreId[]
  /** While joint, the voters that are being replaced; otherwise empty. */
  readonly outgoing: readonly StoreId[]
  /** Receive the log but have no vote. */
  readonly learners: readonly StoreId[]
}

/** What a store has before it hears of any group: it takes no part. */
export const NO_CONFIGURATION: Configuration = { voters: [], outgoing: [], learners: [] }

/** Most members that a configuration may name in each of its lists. */
export const MEMBERS_MAX = 64

/** Whether a change of voters is under way. */
export function isJoint(configuration: Configuration): boolean {
  return configuration.outgoing.length > 0
}

/** Whether a store has a vote. */
export function isVoter({ voters, outgoing }: Configuration, store: StoreId): boolean {
  return voters.includes(store) || outgoing.includes(store)
}

/** Whether a store has the only vote there is. */
export function isSoleVoter({ voters, outgoing }: Configuration, store: StoreId): boolean {
  return voters.length === 1 && voters[0] === store && outgoing.length === 0
}

/** Everybody with a vote, each once. */
export function votersOf({ voters, outgoing }: Configuration): StoreId[] {
  return [...new Set([...voters, ...outgoing])]
}

/** Everybody it names, each once. */
export function membersOf({ voters, outgoing, learners }: Configuration): StoreId[] {
  return [...new Set([...voters, ...outgoing, ...learners])]
}

/** Whether two lists name the same stores. */
export function sameStores(a: readonly StoreId[], b: readonly StoreId[]): boolean {
  const inB = new Set(b)
  return new Set(a).size === inB.size && a.every(store => inB.has(store))
}

/** What has been decided by the votes that have come in. */
export type VoteResult = 'pending' | 'won' | 'lost'

/** The result of a vote that needs a majority of every set; an empty set has nothing to say. */
export function voteResult(
  sets: readonly (readonly StoreId[])[],
  voteOf: (store: StoreId) => boolean | undefined
): VoteResult {
  let result: VoteResult = 'won'
  for (const set of sets.filter(({ length }) => length > 0)) {
    const needed = majorityOf(set)
    const granted = set.filter(store => voteOf(store) === true).length
    const refused = set.filter(store => voteOf(store) === false).length
    if (refused > set.length - needed) return 'lost'
    if (granted < needed) result = 'pending'
  }
  return result
}

/**
 * The greatest number that a majority of every set has reached: the commit index of match indexes (Raft §5.3), the
 * confirmed round of acknowledged rounds. With no voters at all nothing is ever reached: 0.
 */
export function quorumReached(sets: readonly (readonly StoreId[])[], reachedBy: (store: StoreId) => number): number {
  let least = Number.POSITIVE_INFINITY
  for (const set of sets.filter(({ length }) => length > 0)) {
    const reached = set.map(reachedBy).sort((a, b) => b - a)
    least = Math.min(least, reached[majorityOf(set) - 1]!)
  }
  return least === Number.POSITIVE_INFINITY ? 0 : least
}

function majorityOf(set: readonly StoreId[]): number {
  return Math.floor(set.length / 2) + 1
}
