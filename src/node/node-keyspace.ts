import { toLatin1, utf8 } from '../base/bytes.ts'
import { type ErrorCode, KilovoltError, isKilovoltError, messageOf } from '../base/errors.ts'
import { assertKey, assertValue } from '../model/key.ts'
import type { Requirement } from '../model/quorum.ts'
import { type RecordBytes, recordStamp, recordValue } from '../model/record.ts'
import { formatStamp } from '../model/stamp.ts'
import type { BackendOptions, BackendSource } from './backend.ts'
import { assertKeyspaceOptions, backendOptions, requirement } from './call-options.ts'
import { type Codec, createCodec } from './encodings.ts'
import type { BatchOperation, Entry, Keyspace, KeyspaceOptions, ReadOptions, WriteOptions } from './keyspace.ts'
import { NodeWatch } from './node-watch.ts'
import type { Watch, WatchOptions } from './watch.ts'

/** One operation of a batch in bytes; no value deletes. */
interface EncodedOperation<K> {
  /** The key as the caller has it. */
  readonly name: K
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}

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

  watch(options: WatchOptions<K> = {}): Watch<V, K> {
    const codec = {
      keyspace: this.#nameBytes,
      encodeKey: this.#keyBytes,
      decodeKey: this.#keys.decode,
      valueOf: (record: RecordBytes) => this.#valueOf(record)
    }
    return new NodeWatch(() => this.#source.watches, codec, options)
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
