import type { KilovoltError } from '../base/errors.ts'
import type { PeerId } from '../model/node-id.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'

/** How long the same is not said again, ms. */
const QUIET_MS = 60_000
/** Refusals that are remembered: strangers may come under any number of names. */
const KNOWN_MAX = 1000

/** One refusal that was told, and how often it has come again since. */
interface Told {
  readonly atMs: number
  again: number
}

/** Logs who was turned away: the same of the same peer once a minute, as it tries again several times a second. */
export class RefusalLog {
  readonly #clock: Pick<Clock, 'monotonicMs'>
  readonly #logger: Pick<Logger, 'warn'>
  readonly #told = new Map<string, Told>()

  constructor(clock: Pick<Clock, 'monotonicMs'>, logger: Pick<Logger, 'warn'>) {
    this.#clock = clock
    this.#logger = logger
  }

  note(peer: PeerId | undefined, { code, message }: KilovoltError): void {
    const nowMs = this.#clock.monotonicMs()
    const name = `${peer ?? ''} ${code} ${message}`
    const last = this.#told.get(name)
    if (last !== undefined && nowMs - last.atMs < QUIET_MS) {
      last.again++
      return
    }
    this.#told.delete(name)
    this.#told.set(name, { atMs: nowMs, again: 0 })
    if (this.#told.size > KNOWN_MAX) this.#told.delete(this.#told.keys().next().value!)
    const again = last === undefined || last.again === 0 ? {} : { alsoSince: last.again }
    this.#logger.warn('a link was refused', { peer, code, reason: message, ...again })
  }
}
