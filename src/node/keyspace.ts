import { type AbortOptions, throwIfAborted } from '../base/abort.ts'
import { toLatin1, utf8 } from '../base/bytes.ts'
import { type ErrorCode, KilovoltError, isKilovoltError, messageOf } from '../base/errors.ts'
import { assertKey, assertValue, KEYSPACE_BYTES_MAX } from '../model/key.ts'
import type { ConsistencyLevel, Requirement } from '../model/quorum.ts'
import { type RecordBytes, recordStamp, recordValue } from '../model/record.ts'
import { formatStamp } from '../model/stamp.ts'
import { type Codec, createCodec, type Encoding } from './encodings.ts'

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
}

/** What a keyspace needs of the node: the coordinator's verbs, in bytes. */
export interface KeyspaceBackend {
  get(
    keyspace: Uint8Array,
    key: Uint8Array,
    options: BackendOptions
  ): RecordBytes | undefined | Promise<RecordBytes | undefined>
  /** Copies the value before it returns. */
  put(
    keyspace: Uint8Array,
    key: Uint8Array,
    value: Uint8Array | undefined,
    options: BackendOptions
  ): Promise<{ readonly existed: boolean }>
  /** Does not reject for single keys. */
  getMany(
    keyspace: Uint8Array,
    keys: readonly Uint8Array[],
    options: BackendOptions
  ): Promise<BackendResults<RecordBytes>>
  /** Copies the values before it returns; does not reject for single keys. No two keys are the same. */
  putMany(
    keyspace: Uint8Array,
    writes: readonly { readonly key: Uint8Array; readonly value: Uint8Array | undefined }[],
    options: BackendOptions
  ): Promise<BackendResults<{ readonly existed: boolean }>>
}

/** What operations on several keys have come to, in their order; what failed is listed by its place. */
export interface BackendResults<T> {
  readonly results: readonly (T | undefined)[]
  readonly failures: ReadonlyMap<number, unknown>
}

/** Where a keyspace finds its backend, at each call anew. */
export interface BackendSource {
  /** Throws `KV_NODE_STOPPED` when the node has stopped. */
  readonly data: KeyspaceBackend
}

/** Options of an operation after defaults. */
export interface BackendOptions {
  readonly requirement: Requirement | 'any'
  readonly timeoutMs: number | undefined
  readonly signal: AbortSignal | undefined
}

/** One operation of a batch in bytes; no value deletes. */
interface EncodedOperation<K> {
  /** The key as the caller has it. */
  readonly name: K
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}

const LEVELS: readonly string[] = ['any', 'one', 'quorum', 'all'] satisfies ConsistencyLevel[]

/** A keyspace over a node's coordinator. */
export class NodeKeyspace<V, K> implements Keyspace<V, K> {
  readonly name: string
  readonly #source: BackendSource
  readonly #nameBytes: Uint8Array
  readonly #keys: Codec<K>
  readonly #values: Codec<V>
  readonly #read: Requirement | 'any'
  readonly #write: Requirement | 'any'
  /** What most calls come to, made once. */
  readonly #plainRead: BackendOptions
  readonly #plainWrite: BackendOptions

  /** @throws KilovoltError `KV_CONFIG` for bad options */
  constructor(source: BackendSource, name: string, options: KeyspaceOptions<V, K> = {}) {
    assertKeyspaceOptions(name, options)
    this.name = name
    this.#source = source
    this.#nameBytes = utf8(name)
    this.#keys = createCodec<K>(options.keyEncoding ?? 'utf8', 'keyEncoding')
    this.#values = createCodec<V>(options.valueEncoding ?? 'json', 'valueEncoding')
    const level = requirement(options.consistency, undefined) ?? 'quorum'
    this.#read = requirement(undefined, options.r) ?? level
    this.#write = requirement(undefined, options.w) ?? level
    this.#plainRead = { requirement: this.#read, timeoutMs: undefined, signal: undefined }
    this.#plainWrite = { requirement: this.#write, timeoutMs: undefined, signal: undefined }
  }

  async get(key: K, options: ReadOptions = NO_OPTIONS): Promise<V | undefined> {
    const found = this.#fetch(key, options)
    // What is known at once is spared a turn.
    return this.#valueOf(found instanceof Promise ? await found : found)
  }

  async getEntry(key: K, options: ReadOptions = NO_OPTIONS): Promise<Entry<V> | undefined> {
    const record = await this.#fetch(key, options)
    const value = record === undefined ? undefined : recordValue(record)
    if (record === undefined || value === undefined) return undefined
    return { value: this.#values.decode(value), version: formatStamp(recordStamp(record)) }
  }

  async has(key: K, options: ReadOptions = NO_OPTIONS): Promise<boolean> {
    return (await this.#fetch(key, options)) !== undefined
  }

  async getMany(keys: readonly K[], options: ReadOptions = NO_OPTIONS): Promise<(V | undefined)[]> {
    const call = this.#readOptions(options, 'getMany')
    const { results, failures } = await this.#source.data.getMany(this.#nameBytes, keys.map(this.#keyBytes), call)
    if (failures.size > 0) throw failures.get(Math.min(...failures.keys()))
    return results.map(record => this.#valueOf(record))
  }

  async put(key: K, value: V, options: WriteOptions = NO_OPTIONS): Promise<void> {
    await this.#store(key, this.#valueBytes(value), options)
  }

  async delete(key: K, options: WriteOptions = NO_OPTIONS): Promise<boolean> {
    return (await this.#store(key, undefined, options)).existed
  }

  async batch(operations: readonly BatchOperation<V, K>[], options: WriteOptions = NO_OPTIONS): Promise<void> {
    for (const { type } of operations) {
      if (type !== 'put' && type !== 'del')
        throw new TypeError(`a batch operation is 'put' or 'del', not ${String(type)}`)
    }
    const call = this.#writeOptions(options, 'batch')
    const failures: { key: K; error: unknown }[] = []
    const writes = this.#encodeBatch(operations, failures)
    const gathered = await this.#source.data.putMany(this.#nameBytes, writes, call)
    for (const [index, error] of gathered.failures) failures.push({ key: writes[index]!.name, error })
    if (failures.length > 0) throw batchError(failures, operations.length)
  }

  /** Of several operations on one key the last one counts; the earlier ones would only race with it. */
  #encodeBatch(
    operations: readonly BatchOperation<V, K>[],
    failures: { key: K; error: unknown }[]
  ): readonly EncodedOperation<K>[] {
    const last = new Map<string, EncodedOperation<K>>()
    for (const operation of operations) {
      const { key: name } = operation
      try {
        const key = this.#keyBytes(name)
        const value = operation.type === 'put' ? this.#valueBytes(operation.value) : undefined
        last.set(toLatin1(key), { name, key, value })
      } catch (error) {
        failures.push({ key: name, error })
      }
    }
    return [...last.values()]
  }

  #fetch(key: K, options: ReadOptions): RecordBytes | undefined | Promise<RecordBytes | undefined> {
    const call = options === NO_OPTIONS ? this.#plainRead : this.#readOptions(options, 'get')
    return this.#source.data.get(this.#nameBytes, this.#keyBytes(key), call)
  }

  #store(key: K, value: Uint8Array | undefined, options: WriteOptions): Promise<{ readonly existed: boolean }> {
    const what = value === undefined ? 'delete' : 'put'
    const call = options === NO_OPTIONS ? this.#plainWrite : this.#writeOptions(options, what)
    return this.#source.data.put(this.#nameBytes, this.#keyBytes(key), value, call)
  }

  readonly #keyBytes = (key: K): Uint8Array => {
    const bytes = this.#keys.encode(key)
    assertKey(bytes)
    return bytes
  }

  #valueBytes(value: V): Uint8Array {
    const bytes = this.#values.encode(value)
    assertValue(bytes)
    return bytes
  }

  #valueOf(record: RecordBytes | undefined): V | undefined {
    const value = record === undefined ? undefined : recordValue(record)
    return value === undefined ? undefined : this.#values.decode(value)
  }

  #readOptions(options: ReadOptions, what: string): BackendOptions {
    return backendOptions(options, requirement(options.consistency, options.r) ?? this.#read, what)
  }

  #writeOptions(options: WriteOptions, what: string): BackendOptions {
    return backendOptions(options, requirement(options.consistency, options.w) ?? this.#write, what)
  }
}

const NO_OPTIONS = {}
const KEYSPACE_OPTIONS = new Set(['keyEncoding', 'valueEncoding', 'consistency', 'r', 'w'])
const OPERATION_OPTIONS = new Set(['consistency', 'timeoutMs', 'signal', 'r', 'w'])

function assertKeyspaceOptions(name: string, options: object): void {
  if (typeof name !== 'string' || utf8(name).length > KEYSPACE_BYTES_MAX) {
    throw new KilovoltError('KV_CONFIG', `a keyspace's name is a string of at most ${KEYSPACE_BYTES_MAX} bytes`)
  }
  for (const option of Object.keys(options)) {
    if (!KEYSPACE_OPTIONS.has(option)) throw unknownOption(option, 'a keyspace', KEYSPACE_OPTIONS)
  }
}

function checkedOptions(options: OperationOptions): OperationOptions {
  for (const option in options) {
    if (!OPERATION_OPTIONS.has(option)) throw unknownOption(option, 'an operation', OPERATION_OPTIONS)
  }
  const { timeoutMs } = options
  if (timeoutMs !== undefined && !(timeoutMs >= 1 && timeoutMs <= 600_000)) {
    throw new KilovoltError('KV_CONFIG', `"timeoutMs" must be from 1 to 600000, not ${timeoutMs}`)
  }
  return options
}

function backendOptions(options: OperationOptions, level: Requirement | 'any', what: string): BackendOptions {
  throwIfAborted(options.signal, what)
  const { signal, timeoutMs } = checkedOptions(options)
  return { requirement: level, timeoutMs, signal }
}

function unknownOption(option: string, owner: string, known: ReadonlySet<string>): KilovoltError {
  return new KilovoltError('KV_CONFIG', `"${option}" is not an option of ${owner}; there are ${[...known].join(', ')}`)
}

function requirement(level: ConsistencyLevel | undefined, count: number | undefined): Requirement | 'any' | undefined {
  if (count !== undefined) {
    if (!Number.isInteger(count) || count < 1) {
      throw new KilovoltError('KV_CONFIG', `"r" and "w" are whole numbers of copies, not ${count}`)
    }
    return count
  }
  if (level !== undefined && !LEVELS.includes(level)) {
    throw new KilovoltError('KV_CONFIG', `"consistency" must be one of ${LEVELS.join(', ')}, not ${level}`)
  }
  return level
}

function batchError(failures: readonly { key: unknown; error: unknown }[], total: number): KilovoltError {
  const first = failures[0]!.error
  const codes: ReadonlySet<ErrorCode | 'other'> = new Set(
    failures.map(({ error }) => (isKilovoltError(error) ? error.code : 'other'))
  )
  return new KilovoltError(
    'KV_BATCH_FAILED',
    `${failures.length} of ${total} operations failed (${[...codes].join(', ')}); the first: ${messageOf(first)}`,
    {
      cause: first,
      retryable: failures.every(({ error }) => isKilovoltError(error) && error.retryable),
      details: { failures }
    }
  )
}
