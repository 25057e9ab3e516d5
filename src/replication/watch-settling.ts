import type { PartitionId } from '../model/partition.ts'
import type { Clock } from '../runtime/clock.ts'
import type { WatchShard } from './watch-shard.ts'
import type { WatchSubscription } from './watch-subscription.ts'

/** What waiting for the past needs. */
export interface WatchSettlingDeps {
  readonly clock: Clock
  /** Whether all members are there. */
  readonly isComplete: () => boolean
  /** Time between two comparisons of the copies, ms. */
  readonly repairIntervalMs: number
  readonly shard: (partition: PartitionId) => WatchShard | undefined
}

/** How often it is looked how far the past has moved on, and who is there, ms. */
const LOOK_EVERY_MS = 5000
/** By then what was under way is over, and who was missed has got it from whoever kept it, ms. */
const SOON_MS = 60_000
/** Copies are compared twice in less than this, or seldom, ms. */
const COMPARED_MAX_MS = 3_600_000
/** Where nothing is purged it does not: then this is waited for, ms. */
const SEEN_FOR_MS = 3_600_000

/** Who is to be told again to look anew. */
interface Again {
  /** All are there since then. */
  sinceMs: number
  turn: number
}

/**
 * Watches that wait for the copies to agree. Those that have gone on where an earlier one stood remember by themselves what they
 * were told, until nothing of it can come again. Those that were reset are reset again, soon and when the copies agree: whoever reads right after the first
 * time at `quorum` does not see what a single copy has, of a write that is under way, or was not acknowledged; that was told
 * already, and dropped, and is told of no more when the other copies get it.
 */
export class WatchSettling {
  readonly #deps: WatchSettlingDeps
  /** Each since when. */
  readonly #resumed = new Map<WatchSubscription, number>()
  /** When those that were reset are reset again, ms after all are there, in rising order. */
  readonly #againAfterMs: readonly number[]
  readonly #again = new Map<WatchSubscription, Again>()
  #lookedMs = -Infinity

  constructor(deps: WatchSettlingDeps) {
    this.#deps = deps
    const comparedMs = Math.min(2 * deps.repairIntervalMs, COMPARED_MAX_MS)
    this.#againAfterMs = comparedMs > SOON_MS ? [SOON_MS, comparedMs] : [SOON_MS]
  }

  /** A watch goes on where an earlier one stood. */
  resumed(subscription: WatchSubscription): void {
    this.#resumed.set(subscription, this.#deps.clock.monotonicMs())
  }

  /** Tells a watch that something cannot be told. */
  reset(subscription: WatchSubscription): void {
    this.#again.set(subscription, { sinceMs: this.#deps.clock.monotonicMs(), turn: 0 })
    subscription.reset()
  }

  /** A watch has ended. */
  forget(subscription: WatchSubscription): void {
    this.#resumed.delete(subscription)
    this.#again.delete(subscription)
  }

  /** Looks who has waited long enough; now and then is often enough to call it. */
  look(): void {
    const nowMs = this.#deps.clock.monotonicMs()
    if (nowMs - this.#lookedMs < LOOK_EVERY_MS) return
    this.#lookedMs = nowMs
    for (const [subscription, sinceMs] of this.#resumed) {
      if (!subscription.isInOrder) this.#resumed.set(subscription, nowMs)
      else this.#settle(subscription, nowMs - sinceMs)
    }
    const isComplete = this.#again.size > 0 && this.#deps.isComplete()
    for (const [subscription, again] of this.#again) {
      if (!isComplete) again.sinceMs = nowMs
      if (nowMs - again.sinceMs < this.#againAfterMs[again.turn]!) continue
      again.turn++
      if (again.turn === this.#againAfterMs.length) this.#again.delete(subscription)
      subscription.reset()
    }
  }

  #settle(subscription: WatchSubscription, forMs: number): void {
    let low = Infinity
    let endedMs = Infinity
    for (const partition of subscription.partitions) {
      const shard = this.#deps.shard(partition)
      low = Math.min(low, shard?.low ?? 0)
      endedMs = Math.min(endedMs, shard?.endedMs ?? 0)
    }
    subscription.settled(low, endedMs)
    if (subscription.remembers && forMs >= SEEN_FOR_MS) subscription.forget()
    if (!subscription.remembers) this.#resumed.delete(subscription)
  }
}
