import type { KilovoltError } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'

/** What a group replicates into: deterministic, and driven by committed entries only. */
export interface StateMachine {
  /** Applies one committed command; `index` only grows. Entries of the group's own (no command) are announced too. */
  apply(index: number, command: Uint8Array | undefined): void
  /** The whole state, for followers that are too far behind and for trimming the log. */
  snapshot(): Uint8Array
  /** Replaces the state by a snapshot taken after `index`. */
  restore(index: number, snapshot: Uint8Array): void
}

/** Voters and learners of a group. */
export interface GroupMembers {
  readonly voters: readonly StoreId[]
  readonly learners: readonly StoreId[]
  /** Whether a change of voters is still under way. */
  readonly changing: boolean
}

/** What a group tells. */
export interface GroupEvents {
  /** The leader as known here changed; `undefined` while there is none. */
  leader: { readonly leader: StoreId | undefined; readonly term: number }
  /** Entries up to this index are applied to the state machine here. */
  applied: { readonly index: number }
  /** The group takes no part any more: its log cannot be written, or its state machine failed. */
  failed: { readonly error: KilovoltError }
}

/** One Raft group as its user sees it. */
export interface Group {
  readonly self: StoreId
  readonly leader: StoreId | undefined
  readonly term: number
  readonly isLeader: boolean
  /** Index of the last entry applied here. */
  readonly appliedIndex: number
  members(): GroupMembers
  /**
   * Appends a command and resolves with its index once it is applied here.
   *
   * @throws KilovoltError `KV_NOT_LEADER` (definite: `details.leader` says who is), `KV_OVERLOADED` and
   *   `KV_VALUE_TOO_LARGE` (definite), `KV_TIMEOUT` (outcome unknown), `KV_NODE_STOPPED`, `KV_STORAGE`
   */
  propose(command: Uint8Array, timeoutMs: number): Promise<number>
  /**
   * Leader only: moves the group to the given voters through learners and one joint step. Resolves when it is done.
   *
   * @throws KilovoltError `KV_NOT_LEADER`, `KV_OVERLOADED` (another change is under way), `KV_TIMEOUT` (it may go on, and
   *   the same call goes on with it), `KV_NODE_STOPPED`, `KV_STORAGE`
   */
  changeVoters(voters: readonly StoreId[], timeoutMs: number): Promise<void>
  /** Leader only: hands leadership to a voter that has caught up. */
  transferLeadership(to: StoreId): void
  /**
   * Resolves when everything committed before this call is applied here (ReadIndex: one round, nothing is written).
   *
   * @throws KilovoltError `KV_OVERLOADED`, `KV_TIMEOUT`, `KV_NODE_STOPPED`, `KV_STORAGE`
   */
  readBarrier(timeoutMs: number): Promise<void>
  on<K extends keyof GroupEvents>(type: K, listener: (detail: GroupEvents[K]) => void): () => void
  /** Loads what the log store holds and begins to take part. */
  start(): Promise<void>
  stop(): Promise<void>
}
