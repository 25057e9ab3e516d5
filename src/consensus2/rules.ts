import type { StoreId } from '../model/node-id.ts'
import type { Configuration } from './configuration.ts'

/**
 * The rules on which Raft's safety rests, as a value, so that tests can break one at a time and see that the harm is
 * noticed. Production uses {@link RAFT_RULES} only.
 */
export interface RaftRules {
  /** Whether the stores for which `has` holds decide: a majority of each set of voters (§6). */
  isQuorum(configuration: Configuration, has: (store: StoreId) => boolean): boolean
  /** Whether an entry of an earlier term may be committed by counting copies (§5.4.2 says no). */
  readonly commitEarlierTerms: boolean
  /** Whether a leader counts itself before its own copy is durable (R2 says no). */
  readonly countSelfEarly: boolean
}

/** The rules in force. */
export const RAFT_RULES: RaftRules = {
  isQuorum: ({ voters, next }, has) => majorityOf(voters, has) && (next === undefined || majorityOf(next, has)),
  commitEarlierTerms: false,
  countSelfEarly: false
}

function majorityOf(voters: readonly StoreId[], has: (store: StoreId) => boolean): boolean {
  return voters.length > 0 && voters.filter(has).length > voters.length / 2
}
