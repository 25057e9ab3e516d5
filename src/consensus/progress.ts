import { type Entry, entryBytes } from './messages.ts'

/** Limits on what is under way to one follower. */
export interface FlightLimits {
  /** Messages sent ahead of their answers. */
  readonly inflightMax: number
  /** Bytes sent ahead of their answers. */
  readonly inflightBytesMax: number
}

interface Flight {
  readonly lastIndex: number
  readonly bytes: number
}

/**
 * What a leader knows of a follower, and hence what it sends next:
 *
 *     probe      where the logs agree is not known: one message at a time, stepping back
 *     replicate  known: entries are sent ahead of the answers, up to the limits
 *     snapshot   the follower needs what is trimmed: nothing but heartbeats until it has installed the snapshot
 *
 *     probe ──accepted──► replicate ──refused──► probe        either ──trimmed──► snapshot ──installed──► replicate
 *                                                                                 snapshot ──no answer──► probe
 */
export class Progress {
  /** The follower's log is known to agree with ours up to here, durably. */
  match = 0
  /** Index of the next entry to send. */
  next: number
  /** Commit index it was last told. */
  toldCommit = 0
  /** Latest round that it answered. */
  round = 0
  /** When it was last heard of. */
  heardAtMs: number
  /** Set when it is not in the configuration any more: how long it is still told that, ms. */
  departsAtMs: number = Number.POSITIVE_INFINITY
  #state: 'probe' | 'replicate' | 'snapshot' = 'probe'
  /** Whether a probe waits for its answer. */
  #probing = false
  #flights: Flight[] = []
  #flightBytes = 0
  #snapshotAtMs = 0
  readonly #limits: FlightLimits

  constructor(next: number, nowMs: number, limits: FlightLimits) {
    this.next = next
    this.heardAtMs = nowMs
    this.#limits = limits
  }

  get state(): 'probe' | 'replicate' | 'snapshot' {
    return this.#state
  }

  /** Whether nothing more may be sent now. */
  get isPaused(): boolean {
    if (this.#state === 'probe') return this.#probing
    if (this.#state === 'snapshot') return true
    return (
      this.#flights.length >= this.#limits.inflightMax ||
      (this.#flights.length > 0 && this.#flightBytes >= this.#limits.inflightBytesMax)
    )
  }

  /** An append with these entries was sent. */
  sent(entries: readonly Entry[], commit: number): void {
    this.toldCommit = commit
    if (this.#state === 'probe') {
      this.#probing = true
      return
    }
    if (entries.length === 0) return
    const lastIndex = entries.at(-1)!.index
    let bytes = 0
    for (const entry of entries) bytes += entryBytes(entry)
    this.next = lastIndex + 1
    this.#flights.push({ lastIndex, bytes })
    this.#flightBytes += bytes
  }

  /** A snapshot was sent. */
  sentSnapshot(nowMs: number): void {
    this.#enter('snapshot')
    this.#snapshotAtMs = nowMs
  }

  /** The snapshot or its answer seems to be lost. */
  giveUpSnapshot(nowMs: number, timeoutMs: number): void {
    if (this.#state === 'snapshot' && nowMs - this.#snapshotAtMs >= timeoutMs) this.restart()
  }

  /** Begins again where the logs were last known to agree. */
  restart(): void {
    this.#enter('probe')
    this.next = this.match + 1
  }

  /**
   * The follower has everything up to the index; our log goes back to `firstIndex`. False when that is no news.
   */
  accepted(index: number, firstIndex: number): boolean {
    const isNews = index > this.match
    if (isNews) this.match = index
    if (this.#state === 'snapshot') {
      // Whatever has brought it there, the rest of the way is in the log.
      if (this.match + 1 >= firstIndex) {
        this.#enter('replicate')
        this.next = this.match + 1
      }
    } else if (this.#state === 'probe') {
      // An answer to an older message says nothing about the place that is probed.
      if (index >= this.next - 1 || isNews) {
        this.#enter('replicate')
        this.next = this.match + 1
      }
    } else {
      this.next = Math.max(this.next, this.match + 1)
      this.#land(this.match)
    }
    return isNews
  }

  /** The follower's log does not agree at `prevIndex`, and can at most up to `agreement`. False for old news. */
  refused(prevIndex: number, agreement: number): boolean {
    if (this.#state === 'snapshot' || prevIndex <= this.match) return false
    if (this.#state === 'probe' && prevIndex !== this.next - 1) return false
    this.next =
      this.#state === 'replicate' ? this.match + 1 : Math.max(this.match, Math.min(prevIndex - 1, agreement)) + 1
    this.#enter('probe')
    return true
  }

  #enter(state: 'probe' | 'replicate' | 'snapshot'): void {
    this.#state = state
    this.#probing = false
    this.#flights = []
    this.#flightBytes = 0
  }

  #land(index: number): void {
    let landed = 0
    for (const { lastIndex, bytes } of this.#flights) {
      if (lastIndex > index) break
      this.#flightBytes -= bytes
      landed++
    }
    this.#flights.splice(0, landed)
  }
}

/** What a leader knows of a follower, for reading only. */
export type ReadableProgress = Readonly<Pick<Progress, 'match' | 'next' | 'state' | 'isPaused' | 'heardAtMs'>>
