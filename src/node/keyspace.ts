import type { AbortOptions } from '../base/abort.ts'
import type { ConsistencyLevel } from '../model/quorum.ts'
import type { IndexValue } from '../model/index-value.ts'
import type { Watch, WatchOptions } from './watch.ts'

/** What every operation accepts. */
export interface OperationOptions extends AbortOptions {
  /**
   * How many copies must take part; see the table in the README. Default: the keyspace's. `'any'` is `'one'`, but a write
   * of which no owner can be reached is kept on this node, and handed over later.
   */
  readonly consistency?: ConsistencyLevel | undefined
  /** Deadline of this call, ms. Default: the node's `requestTimeoutMs`. */
  readonly timeoutMs?: number | undefined
}

/** What a read accepts. */
export interface ReadOptions extends OperationOptions {
  /** Copies that must answer, instead of a level: 1 … N. */
  readonly r?: number | undefined
}

/** What a write accepts. */
export interface WriteOptions extends OperationOptions {
  /** Copies that must acknowledge, instead of a level: 1 … N. */
  readonly w?: number | undefined
}

/** What a write that stores values accepts. */
export interface PutOptions extends WriteOptions {
  /**
   * Time to live, whole ms from 1 to 10^14, in the place of the keyspace's; `Infinity` for ever. It counts from the stamp
   * of the write; see the guide on expiry for how exact that is.
   */
  readonly ttl?: number | undefined
}

/** What a put accepts, that of a keyspace with siblings a context besides. */
export interface SinglePutOptions extends PutOptions {
  /**
   * What a read has seen of this key ({@link Entry.context}): the value takes the place of just that, and stands beside what was
   * written since. Without it the value stands beside all that is there. Only with `conflicts` other than `'newest'`.
   */
  readonly context?: string | undefined
}

/** What a deletion accepts, that of a keyspace with siblings a context besides. */
export interface DeleteOptions extends WriteOptions {
  /**
   * What a read has seen of this key ({@link Entry.context}): that is deleted, and what was written since stays. Without it the
   * key is read first. Only with `conflicts` other than `'newest'`.
   */
  readonly context?: string | undefined
}

/**
 * One operation of a batch; the `ttl` of a put takes the place of that of the call and the keyspace. The `context` is that of
 * {@link SinglePutOptions} and {@link DeleteOptions}.
 */
export type BatchOperation<V, K = string> =
  | {
      readonly type: 'put'
      readonly key: K
      readonly value: V
      readonly ttl?: number | undefined
      readonly context?: string | undefined
    }
  | { readonly type: 'del'; readonly key: K; readonly context?: string | undefined }

/**
 * Part of a keyspace, in the byte order of its encoded keys; without bounds all of it. When both are given `gte` counts
 * and not `gt`, `lte` and not `lt`.
 *
 * @typeParam K - type of the keys
 */
export interface KeyRange<K = string> {
  /** Keys after this one. */
  readonly gt?: K | undefined
  /** This key and those after it. */
  readonly gte?: K | undefined
  /** Keys before this one. */
  readonly lt?: K | undefined
  /** This key and those before it. */
  readonly lte?: K | undefined
  /**
   * Keys whose bytes begin with the bytes of this one; narrows the bounds further. Not of keyspaces with `keyEncoding: 'json'`,
   * where no key begins with another.
   */
  readonly prefix?: K | undefined
}

/** What {@link Keyspace.count} accepts. */
export interface CountOptions<K = string> extends KeyRange<K>, ReadOptions {}

/**
 * What {@link Keyspace.clear} accepts: `r` and the level for finding the keys, `w` and the level for deleting them. A bound, or a
 * `limit`, that is there and `undefined` is refused (`KV_CONFIG`): one that got lost would clear everything.
 */
export interface ClearOptions<K = string> extends KeyRange<K>, ReadOptions, WriteOptions {
  /** From the last key to the first. Default false. */
  readonly reverse?: boolean | undefined
  /** Most keys to delete. Default: all. */
  readonly limit?: number | undefined
}

/** What a scan accepts. `timeoutMs` is the deadline of each of its pages; a scan as a whole has none. */
export interface ScanOptions<K = string> extends KeyRange<K>, ReadOptions {
  /** From the last key to the first. Default false. */
  readonly reverse?: boolean | undefined
  /** Most entries to return. Default: all. */
  readonly limit?: number | undefined
  /** Goes on behind the place of a {@link Scan.token}, of any node's scan of this keyspace in this direction. */
  readonly after?: string | undefined
  /** Entries that are fetched at a time, 1 … 16,384. Default 4,096. One page at most is held ahead of the one being consumed. */
  readonly pageSize?: number | undefined
}

/**
 * What {@link Keyspace.query} accepts: which values of the index, in which order, and how. A bound on one side finds values of
 * its own type alone; without any bound all values of the index are found. `timeoutMs` is the deadline of each page.
 */
export interface QueryOptions extends ReadOptions {
  /** This value alone. Not with any of the bounds; `undefined` is refused (`KV_CONFIG`), as one that got lost would find everything. */
  readonly equals?: IndexValue | undefined
  /** Values after this one. */
  readonly gt?: IndexValue | undefined
  /** This value and those after it; counts before `gt`. */
  readonly gte?: IndexValue | undefined
  /** Values before this one. */
  readonly lt?: IndexValue | undefined
  /** This value and those before it; counts before `lt`. */
  readonly lte?: IndexValue | undefined
  /** Text that begins with this text, or bytes that begin with these; narrows the bounds further. */
  readonly prefix?: string | Uint8Array | undefined
  /** From the last value to the first. Default false. */
  readonly reverse?: boolean | undefined
  /** Most matches to return. Default: all. */
  readonly limit?: number | undefined
  /** Goes on behind the place of a {@link Scan.token}, of any node's query of this index in this direction. */
  readonly after?: string | undefined
  /** Matches that are fetched at a time, 1 … 16,384. Default 1,024. One page at most is held ahead of the one being consumed. */
  readonly pageSize?: number | undefined
}

/**
 * A record that a query has found.
 *
 * @typeParam V - type of the value
 * @typeParam K - type of the key
 */
export interface IndexMatch<V, K = string> {
  readonly key: K
  readonly value: V
  /** The value of the index that it was found by. */
  readonly index: IndexValue
}

/**
 * A scan under way: an async iterator over the whole cluster, in the byte order of the encoded keys. Nothing is fetched
 * before the first entry is asked for, and no more than one page ahead. It ends by itself at the end, on an error, and when
 * a `for await` is left; otherwise call `return()`, or use `await using`.
 *
 * @typeParam T - what it yields: `[key, value]`, keys or values
 *
 * @example
 * ```ts
 * const scan = node.keyspace('carts').entries({ prefix: 'eu:' })
 * for await (const [key, value] of scan) console.log(key, value, scan.token)
 * ```
 */
export interface Scan<T> extends AsyncIterableIterator<T, undefined> {
  /**
   * The place behind the last entry that was returned, as text; `undefined` before the first one (or the token that the
   * scan began with). To go on there, on this node or on any other, today or after a restart of the whole cluster,
   * begin a scan with the same options and `after: token`.
   */
  readonly token: string | undefined
  /** The next entry. May be called again before the last call is answered. */
  next(): Promise<IteratorResult<T, undefined>>
  /** Ends the scan: what is being fetched is dropped. Idempotent. */
  return(): Promise<IteratorResult<T, undefined>>
  /** The rest as arrays, each a page that has entries: one promise for many of them. Ends and disposes as the scan does. */
  pages(): AsyncIterableIterator<T[], undefined>
  /** The rest in one array. Mind the size: give a `limit`, or know the range. */
  all(): Promise<T[]>
  /** Itself: for `for await`. */
  [Symbol.asyncIterator](): Scan<T>
  /** As `return()`: for `await using`. */
  [Symbol.asyncDispose](): Promise<void>
}

/** A value with its version. */
export interface Entry<V> {
  readonly value: V
  /** Opaque; two equal versions are the same write, and versions of one key grow as text. */
  readonly version: string
  /** Unix ms at which it expires. Absent for one that lives until it is deleted. */
  readonly expiresAt?: number
  /** Time that is left to it now, ms, as this node sees it; absent as well. */
  readonly ttl?: number
  /**
   * All values that were written without having seen each other, the newest last; what is the same twice is one. Of keyspaces with
   * `conflicts` other than `'newest'` alone.
   */
  readonly siblings?: readonly V[]
  /** What this read has seen, as text: to be given to the put or the deletion that takes its place. Of those as well. */
  readonly context?: string
}

/**
 * Keys and values of one kind. Keyspaces of different names share nothing; the same name is the same data on every node.
 *
 * @typeParam V - type of the values, `unknown` unless given
 * @typeParam K - type of the keys, `string` unless `keyEncoding` says otherwise
 * @typeParam In - type of what is put, where a schema makes something else of it
 * @typeParam I - names of the indexes, where TypeScript infers them from the options
 *
 * @example
 * ```ts
 * const sessions = node.keyspace<{ user: string }>('sessions')
 * await sessions.put('a', { user: 'ada' })
 * await sessions.get('a') // { user: 'ada' }
 * ```
 */
export interface Keyspace<V = unknown, K = string, In = V, I extends string = string> {
  /** Its name; the default keyspace's is empty. */
  readonly name: string
  /** Whether what was written without having seen each other stays, or only the newest; `'siblings'` also with a resolver. */
  readonly conflicts: 'newest' | 'siblings'
  /**
   * The value of a key, or `undefined`.
   *
   * @throws KilovoltError `KV_QUORUM_NOT_REACHED`, `KV_TIMEOUT`, `KV_ABORTED`, `KV_KEY_TOO_LARGE`, `KV_NODE_STOPPED`;
   *   `KV_RESOLVER` when the resolver of the keyspace fails
   */
  get(key: K, options?: ReadOptions): Promise<V | undefined>
  /** The value with its version, or `undefined`. Errors as for {@link Keyspace.get}. */
  getEntry(key: K, options?: ReadOptions): Promise<Entry<V> | undefined>
  /** Whether the key has a value. Errors as for {@link Keyspace.get}. */
  has(key: K, options?: ReadOptions): Promise<boolean>
  /**
   * Values of many keys, in the same order; they share messages, and no more than 2,048 are under way at once.
   *
   * @throws KilovoltError as for {@link Keyspace.get}, with the code of the first key that could not be read:
   *   `details.failures` lists each of them as `{ key, error }`, and `details.values` has what the others are, in their order
   */
  getMany(keys: readonly K[], options?: ReadOptions): Promise<(V | undefined)[]>
  /**
   * Stores a value. Once it resolves, the value (or a newer one) is what reads of the same level return.
   *
   * @throws KilovoltError `KV_QUORUM_NOT_REACHED`, `KV_TIMEOUT` (the outcome is unknown: it may yet be stored),
   *   `KV_VALUE_TOO_LARGE`, `KV_KEY_TOO_LARGE`, `KV_INVALID_VALUE`, `KV_CLOCK_DRIFT`, `KV_ABORTED`, `KV_NODE_STOPPED`; in a
   *   keyspace with siblings `KV_TOO_MANY_SIBLINGS`, and `KV_TOKEN` for a context of another key
   */
  put(key: K, value: In, options?: SinglePutOptions): Promise<void>
  /**
   * Removes a key. Resolves with whether some acknowledging copy held a value before. Errors as for {@link Keyspace.put}.
   */
  delete(key: K, options?: DeleteOptions): Promise<boolean>
  /**
   * Several operations. Those that lie in one partition, as keys with the same `{tag}` do, are stored by each copy together or
   * not at all, and fail together; nothing is promised between partitions, or between copies. When some fail the others are done
   * all the same. Of several operations on one key the last one counts. In a keyspace with siblings each goes by itself: nothing
   * is stored together there.
   *
   * @throws KilovoltError `KV_BATCH_FAILED`: `details.failures` lists each key that failed as `{ key, error }`; when an operation
   *   makes no sense (its key or value is too large, or cannot be encoded) nothing was sent. `KV_BATCH_TOO_LARGE`: more than 4,096
   *   operations, or 12 MiB, lie in one partition; nothing was sent. What is wrong with the call as a whole is told as such:
   *   `KV_CONFIG`, `KV_ABORTED` before anything was sent, `KV_NODE_STOPPED`
   *
   * @example
   * ```ts
   * await carts.batch([
   *   { type: 'put', key: '{cart:7}:items', value: ['tea'] },
   *   { type: 'put', key: '{cart:7}:total', value: 4.2 }
   * ])
   * ```
   */
  batch(operations: readonly BatchOperation<In, K>[], options?: PutOptions): Promise<void>
  /**
   * Gives a value that is there another time to live. It reads at `quorum` at least and writes what it has read at the level,
   * right after the version that it has read: a write that comes at the same time is never undone by it.
   *
   * @param ttl - ms from now, `Infinity` for ever; default the keyspace's
   * @returns whether there was a value
   * @throws KilovoltError as {@link Keyspace.put}, `KV_CONFIG` when there is no `ttl` to give and in a keyspace with siblings, whose
   *   values are one by one not to be followed, `KV_CONTENDED` when other nodes
   *   came between 16 times, `KV_OVERLOADED` when 1,000 calls on this key wait for their turn
   *
   * @example
   * ```ts
   * await sessions.touch('s1') // it lives for as long again
   * ```
   */
  touch(key: K, ttl?: number, options?: WriteOptions): Promise<boolean>
  /**
   * Takes the expiry of a value away: it lives until it is deleted. Otherwise as {@link Keyspace.touch}.
   *
   * @returns whether there was an expiry to take away
   */
  persist(key: K, options?: WriteOptions): Promise<boolean>
  /**
   * Stores a value if the key has none: reads at `quorum` at least, writes at the level, reads what it wrote. A best effort:
   * calls of one node on one key take turns, so that one of them at most is told `true`; of calls of several nodes at the same
   * time more than one may be.
   *
   * @returns whether this value was stored, and still found when it was read back
   * @throws KilovoltError as {@link Keyspace.put}, `KV_CONFIG` in a keyspace with siblings, and `KV_OVERLOADED` when 1,000 calls on this key wait for their turn
   */
  putIfAbsent(key: K, value: In, options?: PutOptions): Promise<boolean>
  /**
   * Makes a new value of the one that is there, and stores it; deletes the key when it comes to `undefined`. Reads at `quorum` at
   * least, writes at the level, and reads what it wrote. A best effort: calls of one node on one key take turns; a write of
   * another node that comes between wins and is nearly always noticed, so that `change` is called again with what that has
   * stored. It may then be given what it has made itself, with what others made of it: let a second call on that do no harm.
   *
   * A value that expires keeps its expiry unless `ttl` is given; a new one has that of the keyspace.
   *
   * @param change - the new value, given the present one or `undefined`; it must not write its own key, which would come between each
   *   time, nor wait for another `update` of it, which waits for this one; it may take its time within the deadline of the call,
   *   and what it throws is what the call rejects with
   * @returns the new value
   * @throws KilovoltError as {@link Keyspace.touch}
   *
   * @example
   * ```ts
   * await hits.update('home', (count = 0) => count + 1)
   * ```
   */
  update(
    key: K,
    change: (current: V | undefined) => In | undefined | Promise<In | undefined>,
    options?: PutOptions
  ): Promise<V | undefined>
  /**
   * Keys with their values in the byte order of the encoded keys, over the whole cluster. Every key that is there from the
   * beginning of the scan to its end is returned, once; what is written or deleted meanwhile may be or may not be. Each entry is
   * as new as a read at the scan's level when its page was fetched; a scan is no snapshot.
   *
   * @throws KilovoltError `KV_CONFIG`, `KV_TOKEN` for a token of another keyspace or direction, both at once; while it runs,
   *   and then with a {@link Scan.token} to go on from: `KV_QUORUM_NOT_REACHED`, `KV_TIMEOUT`, `KV_ABORTED`, `KV_NODE_STOPPED`
   */
  entries(options?: ScanOptions<K>): Scan<[key: K, value: V]>
  /** As {@link Keyspace.entries}, of the keys alone: values are not sent. */
  keys(options?: ScanOptions<K>): Scan<K>
  /** As {@link Keyspace.entries}, of the values alone. */
  values(options?: ScanOptions<K>): Scan<V>
  /** How many keys of a range have a value. As costly as a scan of the keys. Errors as for {@link Keyspace.entries}. */
  count(options?: CountOptions<K>): Promise<number>
  /**
   * Deletes the keys of a range, not atomically: those that are there when it begins, and perhaps some that are put
   * meanwhile. Resolves with how many had a value.
   *
   * @throws KilovoltError as {@link Keyspace.entries} and {@link Keyspace.batch}; `details.deleted` tells how many are deleted
   */
  clear(options?: ClearOptions<K>): Promise<number>
  /**
   * The records whose value in an index is the given one, or lies within bounds, by that value and then by key; a record with
   * several values is found by each of them. What is returned is as new as a read at the level of the call, and has the value
   * that it was found by; what was written a moment ago may not be found yet: an index follows its copies, and one copy is
   * asked.
   *
   * @param index - name of an index of the options with which this node has opened the keyspace
   * @throws KilovoltError `KV_CONFIG`, `KV_TOKEN`, both at once; while it runs, and then with a {@link Scan.token} to go on from:
   *   `KV_INDEX_NOT_READY` when of some partition no owner that can be reached has built the index within `timeoutMs`,
   *   `KV_QUORUM_NOT_REACHED`, `KV_TIMEOUT`, `KV_ABORTED`, `KV_NODE_STOPPED`
   *
   * @example
   * ```ts
   * const users = node.keyspace('users', { indexes: { byAge: (user: User) => user.age } })
   * for await (const { key, index } of users.query('byAge', { gte: 18, lt: 65 })) console.log(key, index)
   * ```
   */
  query(index: I, options?: QueryOptions): Scan<IndexMatch<V, K>>
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
