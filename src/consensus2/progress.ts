/** What a leader knows of one follower's log. */
export interface Progress {
  /** Last entry known to match. */
  match: number
  /** Next entry to send. */
  next: number
  /** While probing one message at a time is sent; else they follow each other without waiting (pipelining). */
  probing: boolean
  /** Whether something is under way while probing; cleared by any answer and by each heartbeat. */
  paused: boolean
  /** Whether it has answered since the last check of the quorum. */
  active: boolean
  /** Highest round it has confirmed. */
  round: number
}

/** A follower of which nothing is known yet. */
export function newProgress(lastIndex: number): Progress {
  return { match: 0, next: lastIndex + 1, probing: true, paused: false, active: true, round: 0 }
}
