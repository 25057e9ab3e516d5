import { EventEmitter } from 'node:events'
import { hasMethods, isObject, misuse } from '../base/arguments.ts'
import { KilovoltError } from '../base/errors.ts'
import { assertKnownOptions, show } from '../base/options.ts'
import { isTtl, wholeTtl } from '../base/ttl.ts'
import type { Keyspace } from '../node/keyspace.ts'
import { systemClock } from '../runtime/system-clock.ts'
import { SharedTouches } from './shared-touches.ts'

/** What a session must have: a cookie that may say when it ends. */
export interface SessionData {
  readonly cookie?: {
    /** When it ends; absent, or `null`, for one that ends with the browser. */
    readonly expires?: Date | string | boolean | null | undefined
  }
}

/** Receives what was asked for, or why there is none. */
export type SessionCallback<T = void> = (error?: unknown, result?: T) => void

/** The operations of a keyspace that a session store is made of. */
export type SessionKeyspace<S> = Pick<Keyspace<S>, 'get' | 'put' | 'touch' | 'delete' | 'entries' | 'count' | 'clear'> &
  Partial<Pick<Keyspace<S>, 'conflicts'>>

/** Settings of a session store. */
export interface SessionStoreOptions<Base extends object> {
  /**
   * The class to extend. For express-session its own, `session.Store`, which knows how to make a session of what is
   * stored; @fastify/session needs none. @defaultValue Node's `EventEmitter`
   */
  readonly Store?: (abstract new () => Base) | undefined
  /**
   * How long a session lives after it was used last when its cookie does not say, whole ms; `Infinity`, or more than 10^14, for
   * ever. @defaultValue `86_400_000`: a day
   */
  readonly ttl?: number | undefined
}

/**
 * Sessions in a keyspace, as express-session and @fastify/session call them: with a callback. Without one each method
 * returns a promise, which may be dropped: a failure that nobody looks at ends no process.
 */
export interface SessionStore<S = SessionData> {
  /** A session; `null` when there is none or it has ended. */
  get(id: string, callback: SessionCallback<S | null>): void
  /** The same, as a promise. */
  get(id: string): Promise<S | null>
  /** Stores a session until its cookie ends. One that has ended already is deleted. */
  set(id: string, session: S, callback: SessionCallback): void
  /** The same, as a promise. */
  set(id: string, session: S): Promise<void>
  /**
   * Gives a session that is stored the end of the cookie, and leaves everything else as it is. Those of one session that come
   * while one is under way are one together, with the latest of their ends.
   */
  touch(id: string, session: S, callback: SessionCallback): void
  /** The same, as a promise. */
  touch(id: string, session: S): Promise<void>
  /** Deletes a session. */
  destroy(id: string, callback: SessionCallback): void
  /** The same, as a promise. */
  destroy(id: string): Promise<void>
  /**
   * All sessions by their ids: a scan of the whole keyspace, and all of them in memory. One that is made or ends meanwhile may
   * be among them or not.
   */
  all(callback: SessionCallback<Record<string, S>>): void
  /** The same, as a promise. */
  all(): Promise<Record<string, S>>
  /** How many sessions there are; as costly as a scan of their ids. */
  length(callback: SessionCallback<number>): void
  /** The same, as a promise. */
  length(): Promise<number>
  /** Deletes all sessions, which is all that the keyspace holds, not atomically: one that is made meanwhile may stay. */
  clear(callback: SessionCallback): void
  /** The same, as a promise. */
  clear(): Promise<void>
}

const DAY_MS = 86_400_000
const OPTIONS: ReadonlySet<string> = new Set(['Store', 'ttl'] satisfies (keyof SessionStoreOptions<object>)[])

/**
 * A session store for express-session, @fastify/session and what is called as they are: a session that one process makes
 * is there on all, and ends everywhere when its cookie does.
 *
 * What errors it passes on are those of the keyspace.
 *
 * @throws KilovoltError `KV_CONFIG` when `ttl` is no time, for an option that there is not, or for a keyspace with siblings: the
 *   frameworks store a session as a whole, and what a request has taken out of it, who is logged in say, must not come back
 *
 * @param keyspace - of a `json` encoding, or another that takes plain objects; sessions are its only values
 *
 * @example
 * ```ts
 * const store = createSessionStore(node.keyspace<session.SessionData>('sessions'), { Store: session.Store })
 * app.use(session({ store, secret, resave: false, saveUninitialized: false, cookie: { maxAge: 3_600_000 } }))
 * ```
 */
export function createSessionStore<S extends SessionData, Base extends object = EventEmitter>(
  keyspace: SessionKeyspace<S>,
  options: SessionStoreOptions<Base> = {}
): SessionStore<S> & Base {
  assertKnownOptions(options, 'a session store', OPTIONS)
  if (!hasMethods(keyspace, 'get', 'put', 'touch', 'delete')) throw misuse('the first argument', 'a keyspace', keyspace)
  if (keyspace.conflicts === 'siblings') {
    throw new KilovoltError(
      'KV_CONFIG',
      'a session store needs a keyspace whose "conflicts" are \'newest\': siblings would bring back what a session had before'
    )
  }
  const Parent = (options.Store ?? EventEmitter) as unknown as new () => object
  const { ttl = DAY_MS } = options
  if (!isTtl(ttl) || (ttl !== Infinity && !Number.isInteger(ttl))) {
    throw new KilovoltError('KV_CONFIG', `"ttl" must be whole ms from 1 up, or Infinity, not ${show(ttl)}`)
  }
  const ttlDefault = wholeTtl(ttl)

  const touches = new SharedTouches(keyspace)

  class KeyspaceSessionStore extends Parent {
    get(id: string, callback?: SessionCallback<S | null>): Promise<S | null> | void {
      return told(
        keyspace.get(id).then(session => session ?? null),
        callback
      )
    }

    set(id: string, session: S, callback?: SessionCallback): Promise<void> | void {
      return told(this.#set(id, session), callback)
    }

    touch(id: string, session: S, callback?: SessionCallback): Promise<void> | void {
      return told(this.#touch(id, session), callback)
    }

    destroy(id: string, callback?: SessionCallback): Promise<void> | void {
      return told(keyspace.delete(id).then(nothing), callback)
    }

    all(callback?: SessionCallback<Record<string, S>>): Promise<Record<string, S>> | void {
      return told(this.#all(), callback)
    }

    length(callback?: SessionCallback<number>): Promise<number> | void {
      return told(keyspace.count(), callback)
    }

    clear(callback?: SessionCallback): Promise<void> | void {
      return told(keyspace.clear().then(nothing), callback)
    }

    /** What has ended would not be found, and need not be kept. */
    async #set(id: string, session: S): Promise<void> {
      const ttl = ttlOf(session, ttlDefault)
      // What it is now: the frameworks hand out an object of their own class, which goes on changing.
      if (ttl > 0) await keyspace.put(id, JSON.parse(JSON.stringify(session)) as S, { ttl })
      else await keyspace.delete(id)
    }

    async #all(): Promise<Record<string, S>> {
      // Ids are names of any kind.
      const all = Object.create(null) as Record<string, S>
      for await (const [id, session] of keyspace.entries()) all[id] = session
      return all
    }

    async #touch(id: string, session: S): Promise<void> {
      const ttl = ttlOf(session, ttlDefault)
      if (ttl > 0) await touches.touch(id, ttl)
      else await keyspace.delete(id)
    }
  }

  return new KeyspaceSessionStore() as unknown as SessionStore<S> & Base
}

/** Time that is left to a session by its cookie, ms; 0 when there is none. */
function ttlOf(session: SessionData, ttlDefault: number): number {
  if (!isObject(session)) throw misuse('the session', 'an object', session)
  const expires = session.cookie?.expires
  if (expires === undefined || expires === null || typeof expires === 'boolean') return ttlDefault
  const endsAt = new Date(expires).getTime()
  if (Number.isNaN(endsAt)) return ttlDefault
  return wholeTtl(Math.max(0, endsAt - systemClock.wallMs()))
}

function told<T>(done: Promise<T>, callback: SessionCallback<T> | undefined): Promise<T> | void {
  if (callback !== undefined && typeof callback !== 'function') {
    return told(
      done.then(() => Promise.reject(misuse('the callback', 'a function', callback))),
      undefined
    )
  }
  if (callback === undefined) {
    // The frameworks pass none on when they were given none, and drop the promise.
    done.catch(nothing)
    return done
  }
  // A callback that throws is not called again with what it has thrown.
  void done.then(
    result => callback(null, result),
    (error: unknown) => callback(error)
  )
}

function nothing(): void {}
