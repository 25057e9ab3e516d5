import type { StoreId } from '../model/node-id.ts'
import type { Entry, HardState, RaftMessage, Snapshot } from './messages.ts'

/** What a node is in its group. */
export type RaftRole = 'follower' | 'pre-candidate' | 'candidate' | 'leader'

/** What an onlooker wants to know; kept nowhere. */
export interface SoftState {
  readonly term: number
  readonly leader: StoreId | undefined
  readonly role: RaftRole
}

/** A read that may go ahead once the index is applied. */
export interface ReadState {
  readonly id: number
  readonly index: number
}

/**
 * What the machine wants done. The order is part of the protocol:
 *
 * 1. messages of {@link Raft.takeMessages}: at any time, the earlier the better;
 * 2. `hardState`, `snapshot` (in place of the whole log) and `entries` (in place of everything from the first of them
 *    on) in one batch, synced when `sync` says so;
 * 3. only then `messages`: they say that what was written is durable (rule R1);
 * 4. `snapshot` into the state machine, then `committed`, then `reads` whose index is applied;
 * 5. {@link Raft.advance}: the machine may count what was written (rule R2).
 *
 * There is no further `Ready` before `advance`; messages and proposals may come in all the while.
 */
export interface Ready {
  /** Set when any part of it has changed. */
  readonly hardState: HardState | undefined
  readonly snapshot: Snapshot | undefined
  readonly entries: readonly Entry[]
  /** Whether the batch has to survive the machine: a commit index alone need not. */
  readonly sync: boolean
  readonly messages: readonly RaftMessage[]
  readonly committed: readonly Entry[]
  readonly reads: readonly ReadState[]
  /** Set when it has changed. */
  readonly softState: SoftState | undefined
}

export function sameSoftState(a: SoftState, b: SoftState): boolean {
  return a.term === b.term && a.leader === b.leader && a.role === b.role
}
