import type { AbortOptions } from '../base/abort.ts'
import type { ConsistencyLevel } from '../model/quorum.ts'
import type { Encoding } from './encodings.ts'
import type { Watch, WatchOptions } from './watch.ts'

/** What every operation accepts. */
export interface OperationOptions extends AbortOptions {
  /**
   * How many copies must take part; see the table in the README. Default: the keyspace's. `'any'` is `'one'`, but a write
   * of which no owner can be reached is kept on this node, and handed over later.
   */
  readonly consistency?: ConsistencyLevel
  /** Deadline of this call, ms. Default: the node's `requestTimeoutMs`. */
  readonly timeoutMs?: number
}

/** What a read accepts. */
export interface ReadOptions extends OperationOptions {
  /** Copies that must answer, instead of a level: 1 … N. */
  readonly r?: number
}

/** What a write accepts. */
export interface WriteOptions extends OperationOptions {
  /** Copies that must acknowledge, instead of a level: 1 … N. */
  readonly w?: number
}

/** How a keyspace stores its keys and values, and what it promises by default. */
export interface KeyspaceOptions<V, K> {
  /** How keys become bytes. Default `'utf8'`. */
  readonly keyEncoding?: Encoding<K>
  /** How values become bytes. Default `'json'`. */
  readonly valueEncoding?: Encoding<V>
  /** Level of operations that do not name one. Default `'quorum'`. */
  readonly consistency?: ConsistencyLevel
  /** Copies that must answer a read, instead of the level. */
  readonly r?: number
  /** Copies that must acknowledge a write, instead of the level. */
  readonly w?: number
}

/** One operation of a batch. */
export type BatchOperation<V, K = string> =
  { readonly type: 'put'; readonly key: K; readonly value: V } | { readonly type: 'del'; readonly key: K }

/** A value with its version. */
export interface Entry<V> {
  readonly value: V
  /** Opaque; two equal versions are the same write, and versions of one key grow as text. */
  readonly version: string
}

/**
 * Keys and values of one kind. Keyspaces of different names share nothing; the same name is the same data on every node.
 *
 * @typeParam V - type of the values, `unknown` unless given
 * @typeParam K - type of the keys, `string` unless `keyEncoding` says otherwise
 *
 * @example
 * ```ts
 * const sessions = node.keyspace<{ user: string }>('sessions')
 * await sessions.put('a', { user: 'ada' })
 * await sessions.get('a') // { user: 'ada' }
 * ```
 */
export interface Keyspace<V = unknown, K = string> {
  /** Its name; the default keyspace's is empty. */
  readonly name: string
  /**
   * The value of a key, or `undefined`.
   *
   * @throws KilovoltError `KV_QUORUM_NOT_REACHED`, `KV_TIMEOUT`, `KV_ABORTED`, `KV_KEY_TOO_LARGE`, `KV_NODE_STOPPED`
   */
  get(key: K, options?: ReadOptions): Promise<V | undefined>
  /** The value with its version, or `undefined`. Errors as for {@link Keyspace.get}. */
  getEntry(key: K, options?: ReadOptions): Promise<Entry<V> | undefined>
  /** Whether the key has a value. Errors as for {@link Keyspace.get}. */
  has(key: K, options?: ReadOptions): Promise<boolean>
  /**
   * Values of many keys, in the same order; they share messages, and no more than 2,048 are under way at once. Rejects with the
   * error of the first key that could not be read.
   */
  getMany(keys: readonly K[], options?: ReadOptions): Promise<(V | undefined)[]>
  /**
   * Stores a value. Once it resolves, the value (or a newer one) is what reads of the same level return.
   *
   * @throws KilovoltError `KV_QUORUM_NOT_REACHED`, `KV_TIMEOUT` (the outcome is unknown: it may yet be stored),
   *   `KV_VALUE_TOO_LARGE`, `KV_KEY_TOO_LARGE`, `KV_CLOCK_DRIFT`, `KV_ABORTED`, `KV_NODE_STOPPED`
   */
  put(key: K, value: V, options?: WriteOptions): Promise<void>
  /**
   * Removes a key. Resolves with whether some acknowledging copy held a value before. Errors as for {@link Keyspace.put}.
   */
  delete(key: K, options?: WriteOptions): Promise<boolean>
  /**
   * Several operations, not atomically. When some fail the others are done all the same.
   *
   * @throws KilovoltError `KV_BATCH_FAILED`; `details.failures` names each key with its error. What is wrong with the call as a
   *   whole is told as such: `KV_CONFIG`, `KV_ABORTED` before anything was sent, `KV_NODE_STOPPED`
   */
  batch(operations: readonly BatchOperation<V, K>[], options?: WriteOptions): Promise<void>
  /**
   * A live stream of changes of this keyspace, of one key or of those with a prefix, made on whichever node. For each key
   * versions grow, the last one always comes, and none comes twice; versions between may be left out. What fails, fails when
   * events are read.
   *
   * @example
   * ```ts
   * const changes = sessions.watch({ prefix: 'eu:' })
   * await changes.ready
   * for await (const event of changes) console.log(event.type)
   * ```
   */
  watch(options?: WatchOptions<K>): Watch<V, K>
}
