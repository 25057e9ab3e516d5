import { createDeferred, type Deferred } from '../base/deferred.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { WatchSubscription } from './watch-subscription.ts'

/** Longest wait for a watch that is told more than it reads, ms. */
const ROOM_WAIT_MS = 1000

/**
 * Waits for room in watches that are told what is old. However many wait for however many watches, there is one timer, and
 * one listener to each watch: some never read.
 */
export class WatchRooms {
  readonly #clock: Clock
  readonly #waits = new Map<WatchSubscription, Deferred<void>>()
  /** Those that will say when they have room. */
  readonly #asked = new WeakSet<WatchSubscription>()
  #timer: Timer | undefined
  #isStopped = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Resolves when these have room, or soon: nobody waits for long for one that does not read. */
  async wait(subscriptions: Iterable<WatchSubscription>): Promise<void> {
    const waits: Promise<void>[] = []
    for (const subscription of subscriptions) {
      const room = subscription.room()
      if (room !== undefined) waits.push(this.#waitFor(subscription, room))
    }
    if (waits.length > 0) await Promise.all(waits)
  }

  /** Ends all waits, and those to come. */
  stop(): void {
    this.#isStopped = true
    this.#endAll()
  }

  #waitFor(subscription: WatchSubscription, room: Promise<void>): Promise<void> {
    if (this.#isStopped) return Promise.resolve()
    let wait = this.#waits.get(subscription)
    if (wait === undefined) this.#waits.set(subscription, (wait = createDeferred()))
    this.#timer ??= this.#clock.after(ROOM_WAIT_MS, () => this.#endAll())
    if (!this.#asked.has(subscription)) {
      this.#asked.add(subscription)
      void room.then(() => {
        this.#asked.delete(subscription)
        this.#end(subscription)
      })
    }
    return wait.promise
  }

  #end(subscription: WatchSubscription): void {
    this.#waits.get(subscription)?.resolve()
    this.#waits.delete(subscription)
    if (this.#waits.size > 0) return
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #endAll(): void {
    for (const subscription of this.#waits.keys()) this.#end(subscription)
  }
}
