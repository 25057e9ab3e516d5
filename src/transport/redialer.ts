import type { PeerId } from '../model/node-id.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import { jitter, type Random } from '../runtime/random.ts'

/** What a redialer needs. */
export interface RedialerDeps {
  readonly self: PeerId
  readonly clock: Clock
  readonly random: Random
  readonly isLinked: (peer: PeerId) => boolean
  /** Tries once; resolves whether or not it worked. */
  readonly dial: (peer: PeerId, addresses: readonly string[], signal: AbortSignal) => Promise<void>
}

/** First pause between two dials of a peer, ms; it doubles up to the last. */
const PAUSE_FIRST_MS = 250
const PAUSE_LAST_MS = 10_000
/** A link that has held this long was a good one: the next loss is no part of a series, ms. */
const STABLE_MS = 5000

interface Kept {
  addresses: readonly string[]
  /** Dials since the last link that held. */
  attempts: number
  upSinceMs: number | undefined
  timer: Timer | undefined
  dialing: AbortController | undefined
}

/**
 * Dials the peers that are to be kept, again and again. Of two that keep each other the one with the smaller id dials
 * first, so that there is seldom more than one connection; the other waits a little and then dials as well, because it
 * may be the only one that can.
 */
export class Redialer {
  readonly #deps: RedialerDeps
  readonly #kept = new Map<PeerId, Kept>()
  #stopped = false

  constructor(deps: RedialerDeps) {
    this.#deps = deps
  }

  isKept(peer: PeerId): boolean {
    return this.#kept.has(peer)
  }

  /** Keeps a peer from now on. New addresses are tried at once. */
  keep(peer: PeerId, addresses: readonly string[]): void {
    if (this.#stopped) return
    const known = this.#kept.get(peer)
    if (known === undefined) {
      const isLinked = this.#deps.isLinked(peer)
      const upSinceMs = isLinked ? this.#deps.clock.monotonicMs() : undefined
      this.#kept.set(peer, { addresses, attempts: 0, upSinceMs, timer: undefined, dialing: undefined })
      if (!isLinked) this.#next(peer)
      return
    }
    const isNews = addresses.some(address => !known.addresses.includes(address))
    known.addresses = addresses
    if (!isNews || known.timer === undefined) return
    known.timer.cancel()
    known.timer = undefined
    known.attempts = 0
    this.#next(peer)
  }

  /** Forgets a peer and gives up dialing it. */
  drop(peer: PeerId): void {
    const kept = this.#kept.get(peer)
    this.#kept.delete(peer)
    kept?.timer?.cancel()
    kept?.dialing?.abort(new Error('the peer was dropped'))
  }

  /** The peer is linked, whoever dialed. */
  up(peer: PeerId): void {
    const kept = this.#kept.get(peer)
    if (kept === undefined) return
    kept.upSinceMs = this.#deps.clock.monotonicMs()
    kept.timer?.cancel()
    kept.timer = undefined
  }

  /** The link to the peer is gone: it is dialed again, at once unless this happens over and over. */
  down(peer: PeerId): void {
    const kept = this.#kept.get(peer)
    if (kept === undefined || this.#stopped) return
    const { upSinceMs } = kept
    kept.upSinceMs = undefined
    if (upSinceMs !== undefined && this.#deps.clock.monotonicMs() - upSinceMs >= STABLE_MS) kept.attempts = 0
    this.#next(peer)
  }

  stop(): void {
    this.#stopped = true
    for (const peer of this.#kept.keys()) this.drop(peer)
  }

  #next(peer: PeerId): void {
    const kept = this.#kept.get(peer)
    if (kept === undefined || kept.timer !== undefined || kept.dialing !== undefined) return
    kept.timer = this.#deps.clock.after(this.#pauseMs(peer, kept.attempts), () => {
      kept.timer = undefined
      void this.#dial(peer, kept)
    })
  }

  #pauseMs(peer: PeerId, attempts: number): number {
    const { self, random } = this.#deps
    if (attempts === 0 && self < peer) return 0
    return jitter(random, Math.min(PAUSE_LAST_MS, PAUSE_FIRST_MS * 2 ** Math.min(16, Math.max(0, attempts - 1))))
  }

  async #dial(peer: PeerId, kept: Kept): Promise<void> {
    if (this.#deps.isLinked(peer)) return
    kept.attempts++
    const dialing = new AbortController()
    kept.dialing = dialing
    await this.#deps.dial(peer, kept.addresses, dialing.signal)
    kept.dialing = undefined
    if (this.#kept.get(peer) === kept && !this.#deps.isLinked(peer)) this.#next(peer)
  }
}
