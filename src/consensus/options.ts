import type { StoreId } from '../model/node-id.ts'

/** Figures of a group. */
export interface RaftOptions {
  readonly self: StoreId
  /** Between two heartbeats of a leader, ms. Default 150. */
  readonly heartbeatMs?: number
  /**
   * Without a leader for a random time from the first to the second, a voter stands for election, ms; whoever has heard
   * from a leader within the first elects no other, and a leader that a majority has not answered for the second steps
   * down. Defaults 1000 and 2000: a Node process may stand still for 100 ms now and then.
   */
  readonly electionMinMs?: number
  readonly electionMaxMs?: number
  /** Bytes of entries in one message; a single entry may be longer. Default 1 MiB. */
  readonly appendBytesMax?: number
  /** Messages with entries to one follower ahead of its answers. Default 64. */
  readonly inflightMax?: number
  /** Bytes of entries to one follower ahead of its answers. Default 8 MiB. */
  readonly inflightBytesMax?: number
  /** Bytes of entries that wait to be committed; proposals beyond are refused. Default 16 MiB. */
  readonly uncommittedBytesMax?: number
  /** Reads that wait for their confirmation; more are forgotten, and asked for again. Default 4096. */
  readonly readsMax?: number
  /** Entries handed out to be applied at a time. Default 256. */
  readonly applyMax?: number
  /** A snapshot that is not answered for so long is sent again, ms. Default 5000. */
  readonly snapshotTimeoutMs?: number
}

/** The figures with their defaults. */
export function withDefaults(options: RaftOptions): Required<RaftOptions> {
  return {
    heartbeatMs: 150,
    electionMinMs: 1000,
    electionMaxMs: 2000,
    appendBytesMax: 1024 * 1024,
    inflightMax: 64,
    inflightBytesMax: 8 * 1024 * 1024,
    uncommittedBytesMax: 16 * 1024 * 1024,
    readsMax: 4096,
    applyMax: 256,
    snapshotTimeoutMs: 5000,
    ...options
  }
}
