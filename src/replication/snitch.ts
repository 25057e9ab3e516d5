import type { StoreId } from '../model/node-id.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Outcome } from '../transport/transport.ts'
import type { Route } from './routes.ts'

/** How one store has answered lately. */
interface Score {
  /** Smoothed time from a request to its answer, ms; 0 before the first. */
  ms: number
  /** When that was last measured, ms of the monotonic clock. */
  heardMs: number
  /** Until when it is asked last, ms of the monotonic clock. */
  avoidUntilMs: number
}

/** Weight of one measurement. */
const WEIGHT = 0.1
/** A store is slow when it takes so many times as long as the fastest, and so many ms beyond that. */
const SLOW_FACTOR = 3
const SLOW_BEYOND_MS = 10
/** How often slow ones are told from fast ones, ms. */
const JUDGE_EVERY_MS = 100
/** What was measured longer ago says nothing: who was slow is tried again, ms. */
const FORGET_MS = 1000
/** How long one that failed is avoided, ms. */
const AVOID_FAILED_MS = 1000
/** How long one that is late is avoided: so many times as long as it was waited for. */
const AVOID_LATE_FACTOR = 4
/** An answer is late after so many times the usual, within these bounds, ms. */
const LATE_FACTOR = 4
const LATE_MIN_MS = 20
const LATE_MAX_MS = 250
/** Where nothing is known yet, ms. */
const LATE_UNKNOWN_MS = 50

/**
 * Tells which replicas a read should ask. It asks as many as it needs, not all: the rest would do the same work for
 * nothing. Whom that is takes turns, so that all share the work and any two copies are compared sooner or later; who
 * has been slow, late or failing is asked last for a while (the dynamic snitch of Cassandra). An answer that is late is not
 * waited for: another replica is asked as well (hedged requests: Dean and Barroso, The Tail at Scale, 2013). That
 * cannot pile up, as all together are never more requests than asking everybody at once.
 */
export class Snitch {
  readonly #clock: Pick<Clock, 'monotonicMs'>
  readonly #scores = new Map<StoreId, Score>()
  #rotation = 0
  #judgedMs = -Infinity

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock
  }

  /** Where whoever is asked during this turn begins to look. */
  get rotation(): number {
    return this.#rotation
  }

  /** A turn of the event loop is over: what comes next asks others first. */
  rotate(): void {
    this.#rotation = (this.#rotation + 1) % ROTATIONS
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#judgedMs < JUDGE_EVERY_MS) return
    this.#judgedMs = nowMs
    this.#judge(nowMs)
  }

  /**
   * Place in the route of the replica to be asked next, this node left aside; -1 when there is none.
   *
   * @param tried - a bit for each place that is not to be asked any more
   * @param from - where to begin: all but the slow ones take turns by it
   */
  next({ replicas, locals }: Route, tried: number, from: number): number {
    const others = replicas.length - locals
    let slow = -1
    for (let i = 0; i < others; i++) {
      const at = locals + ((from + i) % others)
      if (((tried >> at) & 1) === 1) continue
      if (!this.#isAvoided(replicas[at]!)) return at
      if (slow === -1) slow = at
    }
    return slow
  }

  /** How a request to a store has ended, so many ms after it was sent. */
  ended(store: StoreId, ms: number, outcome: Outcome): void {
    if (outcome.kind === 'reply') this.heard(store, ms)
    // A damaged record is no fault of the others that lie there.
    else if (outcome.kind !== 'refused' || outcome.error.code !== 'KV_CORRUPT') this.failed(store)
  }

  /** A store has answered, so many ms after it was asked. */
  heard(store: StoreId, ms: number): void {
    const score = this.#score(store)
    score.ms = score.ms === 0 ? ms : score.ms + (ms - score.ms) * WEIGHT
    score.heardMs = this.#clock.monotonicMs()
  }

  /** A store has not answered as it should. */
  failed(store: StoreId): void {
    this.#avoid(store, AVOID_FAILED_MS)
  }

  /** A store was waited for in vain. */
  late(store: StoreId): void {
    this.#avoid(store, AVOID_LATE_FACTOR * this.lateAfterMs(store))
  }

  /** How long to wait for a store before another one is asked as well, ms. */
  lateAfterMs(store: StoreId): number {
    const ms = this.#scores.get(store)?.ms ?? 0
    return ms === 0 ? LATE_UNKNOWN_MS : Math.min(LATE_MAX_MS, Math.max(LATE_MIN_MS, LATE_FACTOR * ms))
  }

  #isAvoided(store: StoreId): boolean {
    const until = this.#scores.get(store)?.avoidUntilMs ?? 0
    return until > 0 && until > this.#clock.monotonicMs()
  }

  #avoid(store: StoreId, ms: number): void {
    const score = this.#score(store)
    score.avoidUntilMs = Math.max(score.avoidUntilMs, this.#clock.monotonicMs() + ms)
  }

  #judge(nowMs: number): void {
    let fastest = Infinity
    for (const [store, score] of this.#scores) {
      // Stores that are gone must not be remembered for ever.
      if (nowMs - score.heardMs > FORGET_MS && nowMs > score.avoidUntilMs) this.#scores.delete(store)
      else if (score.ms > 0) fastest = Math.min(fastest, score.ms)
    }
    for (const [store, { ms, heardMs }] of this.#scores) {
      const isFresh = nowMs - heardMs <= FORGET_MS
      if (isFresh && ms > SLOW_FACTOR * fastest + SLOW_BEYOND_MS) this.#avoid(store, FORGET_MS)
    }
  }

  #score(store: StoreId): Score {
    let score = this.#scores.get(store)
    if (score === undefined) {
      score = { ms: 0, heardMs: this.#clock.monotonicMs(), avoidUntilMs: 0 }
      this.#scores.set(store, score)
    }
    return score
  }
}

/** The rotation stays a small number. */
const ROTATIONS = 1 << 20
