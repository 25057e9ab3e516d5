import { createDeferred, type Deferred } from '../base/deferred.ts'
import { isKilovoltError } from '../base/errors.ts'
import type { Keyspace } from '../node/keyspace.ts'
import { systemClock } from '../runtime/system-clock.ts'

/** A touch under way, and what is to follow it: one for all who came meanwhile. */
interface Flight {
  next: { endsAt: number; readonly done: Deferred<void> } | undefined
}

/** Most sessions whose touches are shared at a time; those of more are each made for itself. */
const SHARED_MAX = 10_000

/**
 * Touches of sessions, of each session one at a time. A browser that loads a page asks for many things at once, all of one
 * session, and each ends with a touch of it: those that come while one is under way are one together, with the latest of
 * their ends. Touches of one key by several nodes only stand in each other's way.
 */
export class SharedTouches {
  readonly #keyspace: Pick<Keyspace, 'touch'>
  readonly #sharedMax: number
  readonly #flights = new Map<string, Flight>()

  constructor(keyspace: Pick<Keyspace, 'touch'>, sharedMax: number = SHARED_MAX) {
    this.#keyspace = keyspace
    this.#sharedMax = sharedMax
  }

  /** Has a session end so many ms from now. */
  touch(id: string, ttl: number): Promise<void> {
    const flight = this.#flights.get(id)
    if (flight === undefined) return this.#flights.size < this.#sharedMax ? this.#begin(id, ttl) : this.#touch(id, ttl)
    const endsAt = systemClock.wallMs() + ttl
    flight.next ??= { endsAt, done: createDeferred<void>() }
    flight.next.endsAt = Math.max(flight.next.endsAt, endsAt)
    return flight.next.done.promise
  }

  #begin(id: string, ttl: number): Promise<void> {
    const flight: Flight = { next: undefined }
    this.#flights.set(id, flight)
    return this.#touch(id, ttl).finally(() => this.#end(id, flight))
  }

  #end(id: string, { next }: Flight): void {
    this.#flights.delete(id)
    if (next === undefined) return
    const { endsAt, done } = next
    this.#begin(id, Math.max(1, endsAt - systemClock.wallMs())).then(done.resolve, done.reject)
  }

  async #touch(id: string, ttl: number): Promise<void> {
    try {
      await this.#keyspace.touch(id, ttl)
    } catch (error) {
      // Other nodes have touched or stored it just now, time and again: it lives on.
      if (!isKilovoltError(error, 'KV_CONTENDED')) throw error
    }
  }
}
