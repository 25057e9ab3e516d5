import type { StoreId } from '../model/node-id.ts'
import type { Configuration } from './configuration.ts'

/**
 * What the members of a group say to each other. Every message names its sender, its addressee and the sender's term.
 *
 *     message         sent by                           and the addressee
 *     vote            a candidate, or with `pre` one    grants or refuses; refuses to listen at all while it hears from
 *                     that asks before it raises its    a leader, unless the leader itself has asked for the election
 *                     term (thesis §9.6)                (`transfer`)
 *     voteReply       whoever was asked                 counts
 *     append          the leader: entries, or none as   adds the entries where its log agrees, and answers
 *                     a heartbeat (Raft §5.3)
 *     appendReply     a follower whose log agrees       moves on, commits, confirms reads
 *     appendRefusal   a follower whose log does not     steps back to where the logs may agree
 *     snapshot        the leader, in place of entries   replaces log and state; answers by appendReply
 *                     that it has trimmed (Raft §7)
 *     timeoutNow      the leader that hands over        holds an election at once (thesis §3.10)
 *     read            a follower with a reader          confirms that it still leads (thesis §6.4)
 *     readReply       the leader                        reads when it has applied the index
 *
 * The paper has no refusal hints, no pre-vote and no rounds; `round` numbers the leader's heartbeats within its term, so
 * that one exchange confirms all reads that came before it.
 */
export type RaftMessage =
  | VoteRequest
  | VoteReply
  | Append
  | AppendReply
  | AppendRefusal
  | SnapshotMessage
  | TimeoutNow
  | ReadRequest
  | ReadReply

/** What all messages have. */
export interface MessageHeader {
  readonly from: StoreId
  readonly to: StoreId
  /** The sender's term; of a pre-vote and its granting, the term that the election would be held in. */
  readonly term: number
}

export interface VoteRequest extends MessageHeader {
  readonly kind: 'vote'
  readonly pre: boolean
  /** The leader wants this election. */
  readonly transfer: boolean
  readonly lastIndex: number
  readonly lastTerm: number
}

export interface VoteReply extends MessageHeader {
  readonly kind: 'voteReply'
  readonly pre: boolean
  readonly granted: boolean
}

export interface Append extends MessageHeader {
  readonly kind: 'append'
  /** Place after which the entries come; 0 agrees with every log. */
  readonly prevIndex: number
  readonly prevTerm: number
  readonly commit: number
  readonly round: number
  readonly entries: readonly Entry[]
}

export interface AppendReply extends MessageHeader {
  readonly kind: 'appendReply'
  /** The log agrees with the leader's up to here, durably. */
  readonly match: number
  readonly round: number
}

export interface AppendRefusal extends MessageHeader {
  readonly kind: 'appendRefusal'
  /** The place that was refused. */
  readonly prevIndex: number
  /** Greatest index at which the logs may agree, and the follower's term there. */
  readonly hintIndex: number
  readonly hintTerm: number
  readonly round: number
}

export interface SnapshotMessage extends MessageHeader {
  readonly kind: 'snapshot'
  readonly round: number
  readonly snapshot: Snapshot
}

export interface TimeoutNow extends MessageHeader {
  readonly kind: 'timeoutNow'
}

export interface ReadRequest extends MessageHeader {
  readonly kind: 'read'
  /** The asker's own number. */
  readonly id: number
}

export interface ReadReply extends MessageHeader {
  readonly kind: 'readReply'
  readonly id: number
  /** Whoever has applied this has applied all that was committed when the leader was asked. */
  readonly index: number
}

/** One place in the log. */
export type Entry = EntryPlace & EntryContent

export interface EntryPlace {
  /** From 1. */
  readonly index: number
  /** Term of the leader that made it. */
  readonly term: number
}

/** A command of the state machine, the empty entry that begins a leader's term, or a configuration. */
export type EntryContent =
  | { readonly kind: 'command'; readonly command: Uint8Array }
  | { readonly kind: 'empty' }
  | { readonly kind: 'configuration'; readonly configuration: Configuration }

/** The state of the machine at an index, in place of all entries up to it. */
export interface Snapshot extends EntryPlace {
  /** The latest configuration up to the index. */
  readonly configuration: Configuration
  readonly data: Uint8Array
}

/** What a node must remember besides the log (Raft figure 2). */
export interface HardState {
  readonly term: number
  /** Who got the vote of this term. */
  readonly vote: StoreId | undefined
  /** A lower bound: what was known to be committed. */
  readonly commit: number
}

/** Greatest term; elections come a second apart at the fastest. */
export const TERM_MAX: number = 2 ** 48 - 1

const ENTRY_OVERHEAD_BYTES = 32

/** About what an entry costs in memory and on the wire. */
export function entryBytes(entry: EntryContent): number {
  if (entry.kind === 'command') return ENTRY_OVERHEAD_BYTES + entry.command.length
  if (entry.kind === 'empty') return ENTRY_OVERHEAD_BYTES
  const { voters, outgoing, learners } = entry.configuration
  return ENTRY_OVERHEAD_BYTES + 16 * (voters.length + outgoing.length + learners.length)
}
