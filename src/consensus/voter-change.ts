import type { StoreId } from '../model/node-id.ts'
import { type Configuration, sameStores } from './configuration.ts'

/** What a leader knows that a change of voters depends on. */
export interface VoterChangeView {
  readonly configuration: Configuration
  /** Whether the configuration is committed and not joint. */
  readonly isSettled: boolean
  /** Whether a learner has so much of the log that it would not hold up a majority. */
  hasCaughtUp(store: StoreId): boolean
}

/** What to do next on the way to the wanted voters. */
export type VoterStep =
  | { readonly kind: 'done' }
  | { readonly kind: 'wait' }
  | { readonly kind: 'change'; readonly voters: readonly StoreId[]; readonly learners: readonly StoreId[] }

/**
 * Newcomers become learners first, so that no majority has to wait for them; when all have caught up, one joint step
 * takes all of them in and all others out. The group is never without a majority of voters that have the log, and never
 * passes through a number of voters that nobody asked for.
 */
export function nextVoterStep(wanted: readonly StoreId[], view: VoterChangeView): VoterStep {
  const { voters, learners } = view.configuration
  if (!view.isSettled) return { kind: 'wait' }
  const newcomers = wanted.filter(store => !voters.includes(store))
  if (newcomers.some(store => !learners.includes(store))) return { kind: 'change', voters, learners: newcomers }
  if (!newcomers.every(store => view.hasCaughtUp(store))) return { kind: 'wait' }
  if (sameStores(voters, wanted) && learners.length === 0) return { kind: 'done' }
  return { kind: 'change', voters: wanted, learners: [] }
}
