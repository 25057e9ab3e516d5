import type { StoreId } from '../model/node-id.ts'
import type { Configuration } from './configuration.ts'

/**
 * The rules on which Raft's safety rests, as a value. Production has one set, {@link SOUND_RAFT_RULES}; tests break one
 * rule at a time and must see the harm, which is what shows that they would see a fault.
 */
export interface RaftRules {
  /** Raft §6: the sets of which a majority each is needed to commit and to win an election. */
  quorumSets(configuration: Configuration): readonly (readonly StoreId[])[]
  /** Raft §5.4.2: a leader commits entries of older terms only along with one of its own. */
  mayCommit(entryTerm: number, term: number): boolean
  /** Raft §5.4.1: only who has all that the voter has may have its vote. */
  isUpToDate(candidate: LogEnd, voter: LogEnd): boolean
  /** R2: how much of its own log a leader may count, given what is durable and all there is. */
  leaderMatch(durableIndex: number, lastIndex: number): number
  /** R1: whether votes, vote requests and acknowledgements wait until what they speak of is durable. */
  readonly waitsForDisk: boolean
  /** What a node takes for its vote after a restart. */
  restoredVote(vote: StoreId | undefined): StoreId | undefined
  /** Thesis §6.4: whether a leader makes sure that it still leads before it lets anybody read. */
  readonly confirmsReads: boolean
}

/** Where a log ends. */
export interface LogEnd {
  readonly lastIndex: number
  readonly lastTerm: number
}

/** The rules in force. */
export const SOUND_RAFT_RULES: RaftRules = {
  quorumSets: ({ voters, outgoing }) => [voters, outgoing],
  mayCommit: (entryTerm, term) => entryTerm === term,
  isUpToDate: (candidate, voter) =>
    candidate.lastTerm > voter.lastTerm ||
    (candidate.lastTerm === voter.lastTerm && candidate.lastIndex >= voter.lastIndex),
  leaderMatch: durableIndex => durableIndex,
  waitsForDisk: true,
  restoredVote: vote => vote,
  confirmsReads: true
}
