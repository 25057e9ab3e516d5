import type { StoreId } from '../model/node-id.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { Random } from '../runtime/random.ts'
import type { Transport } from '../transport/transport.ts'
import type { Gossip, Rumour } from './gossip.ts'
import { encodeGossip } from './wire.ts'

/** What publishing needs. */
export interface PublisherDeps {
  readonly transport: Pick<Transport, 'publish'>
  readonly clock: Clock
  readonly random: Random
  readonly gossip: Gossip
  /** How late this node's event loop runs, ms. */
  readonly ownLagMs: () => number
}

/**
 * Everybody receives what everybody publishes, in several copies with a signature, while pings and their answers say the same:
 * with more members than this each repeats its record only now and then, by chance: one of ten every eight seconds.
 */
const FULL_RATE_MEMBERS = 5
/** Beyond these the chance is hardly one any more. */
const RATED_MEMBERS_MAX = 1000
/** Epochs change in bursts: a later one within this time replaces one that waits to be published, ms; */
const EPOCH_PAUSE_MS = 100
/** and at all members at once: who waits up to so much longer finds that others have told it already, ms. */
const EPOCH_SPREAD_MS = 50

/** Publishes what this node itself is the source of, in as few messages as may be. */
export class Publisher {
  readonly #transport: PublisherDeps['transport']
  readonly #clock: Clock
  readonly #random: Random
  readonly #gossip: Gossip
  readonly #ownLagMs: () => number
  readonly #outbox = new Map<StoreId, Rumour>()
  #flush: Timer | undefined
  /** The first epoch that waits for the flush. */
  #newsEpoch = 0
  #isOpen = false

  constructor({ transport, clock, random, gossip, ownLagMs }: PublisherDeps) {
    this.#transport = transport
    this.#clock = clock
    this.#random = random
    this.#gossip = gossip
    this.#ownLagMs = ownLagMs
  }

  /** From now on; what was told before is nobody's concern yet. */
  start(): void {
    this.#isOpen = true
  }

  stop(): void {
    this.#isOpen = false
    this.#flush?.cancel()
    this.#outbox.clear()
  }

  /** @param isUrgent - false for news of the epoch alone, which others may tell first */
  publish(rumours: readonly Rumour[], isUrgent = true): void {
    if (rumours.length === 0 || !this.#isOpen) return
    for (const rumour of rumours) this.#outbox.set(rumour.member.storeId, rumour)
    if (isUrgent) this.#clock.soon(() => this.send())
    else if (this.#flush === undefined) this.#flushLater()
  }

  /** The time for a heartbeat has come: repeats the own record, in a large cluster now and then. */
  beat(): void {
    const members = Math.min(RATED_MEMBERS_MAX, Math.max(FULL_RATE_MEMBERS, this.#gossip.view.size))
    if (!this.#random.chance(FULL_RATE_MEMBERS ** 3, members ** 3)) return
    const { storeId } = this.#gossip.self
    this.#outbox.set(storeId, this.#gossip.rumourOf(storeId, this.#clock.monotonicMs())!)
    this.send()
  }

  /** Sends whatever waits, now. */
  send(): void {
    this.#flush?.cancel()
    this.#flush = undefined
    if (!this.#isOpen || this.#outbox.size === 0) return
    const rumours = [...this.#outbox.values()]
    this.#outbox.clear()
    const digest = this.#gossip.digest(this.#clock.monotonicMs())
    const lagMs = this.#ownLagMs()
    this.#transport.publish(encodeGossip({ sender: this.#gossip.self.storeId, lagMs, digest, rumours }))
  }

  #flushLater(): void {
    this.#newsEpoch = this.#gossip.self.epoch
    this.#flush = this.#clock.after(EPOCH_PAUSE_MS + this.#random.int(EPOCH_SPREAD_MS), () => {
      const { storeId, epoch } = this.#gossip.self
      const told = this.#toldEpoch()
      // Each receiver checks a signature for each message, and while rows move all members have the same news, often.
      const isKnown = this.#outbox.size === 1 && this.#outbox.has(storeId) && told >= this.#newsEpoch
      if (!isKnown) this.send()
      else if (told < epoch) this.#flushLater()
      else {
        this.#flush = undefined
        this.#outbox.clear()
      }
    })
  }

  /** The latest epoch that others of this cluster have announced. */
  #toldEpoch(): number {
    const { storeId, clusterId } = this.#gossip.self
    let latest = 0
    for (const other of this.#gossip.view.values()) {
      if (other.storeId !== storeId && other.clusterId === clusterId) latest = Math.max(latest, other.epoch)
    }
    return latest
  }
}
