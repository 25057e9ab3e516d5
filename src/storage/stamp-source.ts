import { KilovoltError } from '../base/errors.ts'
import { HLC_COUNTERS_PER_MS, HybridClock, hlcFromMs } from '../model/hlc.ts'
import type { Actor } from '../model/node-id.ts'
import { nameOf } from '../model/sibling-form.ts'
import type { Stamp } from '../model/stamp.ts'
import type { Clock } from '../runtime/clock.ts'
import { ceilingChange } from './identity.ts'
import type { StampSource } from './record-store.ts'
import { storageError } from './storage-error.ts'
import type { Store } from './store.ts'

/** What a stamp source needs. */
export interface StampSourceDeps {
  readonly store: Store
  readonly clock: Pick<Clock, 'wallMs'>
}

/** Whose stamps, and from where on. */
export interface StampSourceOptions {
  readonly actor: Actor
  /** The ceiling that the store held: nothing at or below it is issued. */
  readonly ceiling: number
  /** How far ahead of this node's clock a version seen elsewhere may be to be taken note of, ms. Default: any. */
  readonly maxAheadMs?: number
  /** How far beyond the present the ceiling is set, ms. Default 5,000. */
  readonly windowMs?: number
}

const WINDOW_MS = 5000
/**
 * How far a ceiling is set beyond a clock that is ahead of the wall clock, ms of hybrid time: a million stamps. Small,
 * because a start begins at the old ceiling: a node that crashes over and over must not run away from the wall clock.
 */
const WINDOW_AHEAD_MS = 256
/** How often one stamp waits for a ceiling that others' stamps overtake meanwhile. */
const RAISES_MAX = 8

/**
 * Issues stamps below a ceiling that the store remembers; a start begins at the ceiling, so no stamp is used twice even
 * though single stamps are never written down. Half way to the ceiling the next one is written in the background: while
 * a node is busy, `next` never waits.
 *
 * A ceiling is synced to the medium whatever the durability of the data is: records that are lost with a machine live on
 * in other replicas, so a ceiling that is lost with it would let the same stamp name two different values. It costs one
 * synced write each 2.5 s of activity, and one at the first write after a pause.
 *
 * What is too far ahead is not taken note of (rule D2): else whoever reads one record of a clock that is wrong would have a
 * wrong clock itself. What has to be stamped later than that all the same, to take its place, is stamped right after it, which
 * nobody remembers: under a name of its own, then, as whoever follows it again, in this life or another, has the same time.
 *
 * A store in memory has a new actor at each start, whose stamps cannot collide with earlier ones: nothing is written.
 */
export class CeilingStampSource implements StampSource {
  readonly #store: Store
  readonly #clock: Pick<Clock, 'wallMs'>
  readonly #actor: Actor
  readonly #maxAheadMs: number
  readonly #windowMs: number
  readonly #hybrid: HybridClock
  #ceiling: number
  /** Hybrid time from which on the next ceiling is due. */
  #renewAt: number
  #raising: Promise<void> | undefined
  #closed = false

  constructor({ store, clock }: StampSourceDeps, options: StampSourceOptions) {
    const { actor, ceiling, maxAheadMs = Infinity, windowMs = WINDOW_MS } = options
    this.#store = store
    this.#clock = clock
    this.#actor = actor
    this.#maxAheadMs = maxAheadMs
    this.#windowMs = windowMs
    this.#hybrid = new HybridClock(ceiling)
    this.#ceiling = store.permanent ? ceiling : Infinity
    this.#renewAt = this.#ceiling
  }

  get last(): number {
    return this.#hybrid.last
  }

  /**
   * A new version. Failures are rejections, never thrown.
   *
   * @throws KilovoltError `KV_STORAGE` when the ceiling cannot be written, `KV_NODE_STOPPED` after {@link close}
   */
  next(after: number = 0): Stamp | Promise<Stamp> {
    this.observe(after)
    const stamp = this.#next()
    return stamp instanceof Promise ? stamp.then(later => behind(later, after)) : behind(stamp, after)
  }

  #next(): Stamp | Promise<Stamp> {
    if (this.#closed) return Promise.reject(stopped())
    const hlc = this.#hybrid.tick(this.#clock.wallMs())
    if (hlc > this.#ceiling) return this.#nextLater()
    if (hlc > this.#renewAt) this.#renew()
    return { hlc, actor: this.#actor }
  }

  observe(hlc: number): void {
    if (hlc <= this.#hybrid.last) return
    if (hlc <= hlcFromMs(this.#clock.wallMs() + this.#maxAheadMs)) this.#hybrid.observe(hlc)
  }

  /** Ends the issuing of stamps; resolves when no ceiling is being written any more. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#raising?.catch(() => {})
  }

  async #nextLater(): Promise<Stamp> {
    for (let i = 0; i < RAISES_MAX; i++) {
      await (this.#raising ?? this.#raise())
      if (this.#closed) throw stopped()
      // Once more: what was observed during the wait must stay below.
      const hlc = this.#hybrid.tick(this.#clock.wallMs())
      if (hlc <= this.#ceiling) return { hlc, actor: this.#actor }
    }
    throw new KilovoltError(
      'KV_CLOCK_DRIFT',
      'versions seen elsewhere push the clock ahead faster than it can be kept',
      {
        retryable: true
      }
    )
  }

  /** In the background: when it fails, a later stamp tries again, and reports it once it cannot do without. */
  #renew(): void {
    if (this.#raising === undefined) this.#raise().catch(() => {})
  }

  #raise(): Promise<void> {
    const last = this.#hybrid.last
    const now = hlcFromMs(this.#clock.wallMs())
    // Never below the present one, though the wall clock was set back: until this one is written, stamps are issued up to that.
    const ceiling = Math.max(
      this.#ceiling,
      now + this.#windowMs * HLC_COUNTERS_PER_MS,
      last + WINDOW_AHEAD_MS * HLC_COUNTERS_PER_MS
    )
    this.#raising = this.#persist(ceiling)
      .then(() => {
        this.#ceiling = ceiling
        this.#renewAt = last + Math.floor((ceiling - last) / 2)
      })
      .finally(() => {
        this.#raising = undefined
      })
    return this.#raising
  }

  async #persist(ceiling: number): Promise<void> {
    try {
      await this.#store.batch([ceilingChange(ceiling)], { sync: true })
    } catch (error) {
      throw storageError(error, 'writing the ceiling of the clock')
    }
  }
}

/** A stamp that was issued, or one of its own right after what is further ahead. */
function behind(issued: Stamp, after: number): Stamp {
  return issued.hlc > after ? issued : { hlc: after + 1, actor: nameOf(issued) as Actor }
}

function stopped(): KilovoltError {
  return new KilovoltError('KV_NODE_STOPPED', 'the store is closed: no more versions are issued')
}
