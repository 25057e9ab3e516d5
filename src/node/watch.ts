import type { AbortOptions } from '../base/abort.ts'

/** What to watch, and from where on. */
export interface WatchOptions<K = string> extends AbortOptions {
  /** This key alone. */
  readonly key?: K | undefined
  /** All keys whose bytes begin with those of this one. Default: all keys of the keyspace. */
  readonly prefix?: K | undefined
  /**
   * Token of an event, or of a watch, of the same keyspace and the same `key` or `prefix`: what came after it is told, on any node.
   * What happens meanwhile comes in between. Default: from now on.
   */
  readonly since?: string | undefined
  /**
   * Most events that may wait to be taken, from 1 to 1,000,000; all of them together have up to 32 MiB. Who falls behind
   * further loses them, and is told so by a `reset`. Default 8,192.
   */
  readonly buffer?: number | undefined
}

/** A key has a value, or a new one. */
export interface PutEvent<V = unknown, K = string> {
  readonly type: 'put'
  readonly key: K
  readonly value: V
  /** As {@link Entry.version}: grows with each event of a key. */
  readonly version: string
  /** Version of the value that this one took the place of, where that is known. */
  readonly previous?: string
  /** Where to go on after this event: see {@link WatchOptions.since}. */
  readonly token: string
}

/** A key was removed. */
export interface DeleteEvent<K = string> {
  readonly type: 'delete'
  readonly key: K
  readonly version: string
  /** Version of the value that was removed, where that is known. */
  readonly previous?: string
  readonly token: string
}

/** The value of a key has come to its end. */
export interface ExpireEvent<K = string> {
  readonly type: 'expire'
  readonly key: K
  /** That of the value. */
  readonly version: string
  readonly token: string
}

/**
 * Some events are missing: read anew what you need. It holds what was there when this event came, and events go on from
 * there.
 */
export interface ResetEvent {
  readonly type: 'reset'
  readonly token: string
}

/** What a watch tells. */
export type WatchEvent<V = unknown, K = string> = PutEvent<V, K> | DeleteEvent<K> | ExpireEvent<K> | ResetEvent

/**
 * A live stream of changes, to be read with `for await`. It begins when it is made, not when it is first read; `break`, an
 * error in the loop, `close()` and `await using` end it.
 */
export interface Watch<V = unknown, K = string> extends AsyncIterable<WatchEvent<V, K>> {
  /**
   * Resolves when whatever is written from now on, by anybody, will be told, which may be before what came after `since` has been.
   * Rejects as the watch does when that fails first.
   */
  readonly ready: Promise<void>
  /**
   * Where to go on after the last event that was taken. Where nothing happens it moves on all the same: save it now and then,
   * so that it does not grow old. What the watch began with before there is more to tell: `since`, or `undefined`.
   */
  readonly token: string | undefined
  /**
   * The next event.
   *
   * @throws KilovoltError `KV_CONFIG`, `KV_TOKEN`, `KV_ABORTED`, `KV_NODE_STOPPED`, `KV_OVERLOADED`, `KV_ENCODING`; the watch has
   *   ended then
   */
  next(): Promise<IteratorResult<WatchEvent<V, K>, undefined>>
  /** Ends the watch; as `break` does. */
  return(): Promise<IteratorResult<WatchEvent<V, K>, undefined>>
  /** Ends the watch. Idempotent. */
  close(): void
  /** Itself: for `for await`. */
  [Symbol.asyncIterator](): Watch<V, K>
  /** The same as {@link Watch.close}. */
  [Symbol.asyncDispose](): Promise<void>
}
