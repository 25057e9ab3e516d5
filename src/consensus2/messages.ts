import type { StoreId } from '../model/node-id.ts'
import type { Configuration } from './configuration.ts'

/** One entry of the log. `empty` is what a new leader begins its term with. */
export interface Entry {
  readonly index: number
  readonly term: number
  readonly content:
    | { readonly kind: 'command'; readonly command: Uint8Array }
    | { readonly kind: 'configuration'; readonly configuration: Configuration }
    | { readonly kind: 'empty' }
}

/** State of the machine up to and including `index`, with the configuration of that point. */
export interface Snapshot {
  readonly index: number
  readonly term: number
  readonly configuration: Configuration
  readonly data: Uint8Array
}

/**
 * | message | sent by | answered by |
 * |---|---|---|
 * | `vote` | a candidate, or with `pre` one that asks whether it would win (thesis §9.6) | `voteReply` |
 * | `append` | the leader: entries, or none as a heartbeat; `round` confirms leadership for reads | `appendReply` |
 * | `snapshot` | the leader, to a follower that needs entries already trimmed | `appendReply` |
 * | `timeoutNow` | a leader that hands over (thesis §3.10) | a `vote` with `force` |
 */
export type RaftMessage =
  | {
      readonly kind: 'vote'
      readonly term: number
      readonly pre: boolean
      readonly force: boolean
      readonly lastIndex: number
      readonly lastTerm: number
    }
  | { readonly kind: 'voteReply'; readonly term: number; readonly pre: boolean; readonly granted: boolean }
  | {
      readonly kind: 'append'
      readonly term: number
      readonly prevIndex: number
      readonly prevTerm: number
      readonly entries: readonly Entry[]
      readonly commit: number
      readonly round: number
    }
  /** `index` is the last entry that matches, or when `ok` is false where the leader should try next. */
  | {
      readonly kind: 'appendReply'
      readonly term: number
      readonly ok: boolean
      readonly index: number
      readonly round: number
    }
  | { readonly kind: 'snapshot'; readonly term: number; readonly snapshot: Snapshot; readonly round: number }
  | { readonly kind: 'timeoutNow'; readonly term: number }

/** A message with its receiver. */
export interface Outgoing {
  readonly to: StoreId
  readonly message: RaftMessage
}
