import { copyBytes, toLatin1, utf8 } from '../base/bytes.ts'
import { type ErrorCode, KilovoltError, isKilovoltError, messageOf } from '../base/errors.ts'
import { assertKey, assertValue } from '../model/key.ts'
import type { Requirement } from '../model/quorum.ts'
import { type RecordBytes, recordExpiresAt, recordStamp, recordValue } from '../model/record.ts'
import { formatStamp } from '../model/stamp.ts'
import type { BackendOptions, BackendSource } from './backend.ts'
import { assertKeyspaceOptions, backendOptions, lifetime, requirement, STORE_OPTIONS } from './call-options.ts'
import { ConditionalWrites } from './conditional-writes.ts'
import { type Codec, createCodec } from './encodings.ts'
import type {
  BatchOperation,
  ClearOptions,
  CountOptions,
  Entry,
  Keyspace,
  KeyspaceOptions,
  PutOptions,
  ReadOptions,
  Scan,
  ScanOptions,
  WriteOptions
} from './keyspace.ts'
import { KeyspaceScans } from './keyspace-scans.ts'

/** One operation of a batch in bytes; no value deletes. */
interface EncodedOperation<K> {
  /** The key as the caller has it. */
  readonly name: K
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
  readonly ttl: number | undefined
}

/** A keyspace over a node's coordinator. */
export class NodeKeyspace<V, K> implements Keyspace<V, K> {
  readonly name: string
  readonly #source: BackendSource
  readonly #nameBytes: Uint8Array
  readonly #keys: Codec<K>
  readonly #values: Codec<V>
  readonly #scans: KeyspaceScans<V, K>
  readonly #read: Requirement | 'any'
  readonly #write: Requirement | 'any'
  readonly #ttl: number | undefined
  readonly #conditional: ConditionalWrites
  /** What most calls come to, made once. */
  readonly #plainRead: BackendOptions
  readonly #plainWrite: BackendOptions
  readonly #plainPut: BackendOptions

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
    this.#scans = new KeyspaceScans({
      source,
      name: this.#nameBytes,
      encodeKey: this.#keyBytes,
      decodeKey: this.#keys.decode,
      decodeValue: record => this.#values.decode(recordValue(record)!),
      read: this.#read,
      write: this.#write
    })
    this.#ttl = lifetime(options.ttl)
    this.#conditional = new ConditionalWrites(source, this.#nameBytes)
    this.#plainRead = { requirement: this.#read, timeoutMs: undefined, signal: undefined }
    this.#plainWrite = { requirement: this.#write, timeoutMs: undefined, signal: undefined }
    this.#plainPut = this.#ttl === undefined ? this.#plainWrite : { ...this.#plainWrite, ttl: this.#ttl }
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
    const entry = { value: this.#values.decode(value), version: formatStamp(recordStamp(record)) }
    const expiresAt = recordExpiresAt(record)
    if (expiresAt === undefined) return entry
    return { ...entry, expiresAt, ttl: Math.max(0, expiresAt - this.#source.data.nowMs) }
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

  async put(key: K, value: V, options: PutOptions = NO_OPTIONS): Promise<void> {
    const call = options === NO_OPTIONS ? this.#plainPut : this.#putOptions(options, 'put')
    await this.#source.data.put(this.#nameBytes, this.#keyBytes(key), this.#valueBytes(value), call)
  }

  async delete(key: K, options: WriteOptions = NO_OPTIONS): Promise<boolean> {
    const call = options === NO_OPTIONS ? this.#plainWrite : this.#writeOptions(options, 'delete')
    return (await this.#source.data.put(this.#nameBytes, this.#keyBytes(key), undefined, call)).existed
  }

  async touch(key: K, ttl?: number, options: WriteOptions = NO_OPTIONS): Promise<boolean> {
    const wanted = ttl === undefined ? this.#ttl : lifetime(ttl)
    if (ttl === undefined && wanted === undefined) {
      throw new KilovoltError('KV_CONFIG', 'touch needs a "ttl": this keyspace has none of its own')
    }
    const name = this.#keyBytes(key)
    const call = this.#writeOptions(options, 'touch')
    return (await this.#conditional.expire(name, wanted, call)) !== 'absent'
  }

  async persist(key: K, options: WriteOptions = NO_OPTIONS): Promise<boolean> {
    const call = this.#writeOptions(options, 'persist')
    return (await this.#conditional.expire(this.#keyBytes(key), undefined, call)) === 'changed'
  }

  async putIfAbsent(key: K, value: V, options: PutOptions = NO_OPTIONS): Promise<boolean> {
    const call = this.#putOptions(options, 'putIfAbsent')
    return this.#conditional.putIfAbsent(this.#keyBytes(key), copyBytes(this.#valueBytes(value)), call)
  }

  async update(
    key: K,
    change: (current: V | undefined) => V | undefined | Promise<V | undefined>,
    options: PutOptions = NO_OPTIONS
  ): Promise<V | undefined> {
    if (typeof change !== 'function') throw new TypeError('update takes a function of the present value')
    const call = this.#putOptions(options, 'update')
    let latest: V | undefined
    const make = async (current: Uint8Array | undefined): Promise<Uint8Array | undefined> => {
      latest = await change(current && this.#values.decode(current))
      return latest === undefined ? undefined : this.#valueBytes(latest)
    }
    await this.#conditional.update(this.#keyBytes(key), { make, keepsExpiry: options.ttl === undefined }, call)
    return latest
  }

  async batch(operations: readonly BatchOperation<V, K>[], options: PutOptions = NO_OPTIONS): Promise<void> {
    const call = this.#putOptions(options, 'batch')
    for (const operation of operations) assertBatchOperation(operation)
    const failures: { key: K; error: unknown }[] = []
    const writes = this.#encodeBatch(operations, call.ttl, failures)
    const gathered = await this.#source.data.putMany(this.#nameBytes, writes, call)
    for (const [index, error] of gathered.failures) failures.push({ key: writes[index]!.name, error })
    if (failures.length > 0) throw batchError(failures, operations.length)
  }

  entries(options: ScanOptions<K> = NO_OPTIONS): Scan<[key: K, value: V]> {
    return this.#scans.entries(options)
  }

  keys(options: ScanOptions<K> = NO_OPTIONS): Scan<K> {
    return this.#scans.keys(options)
  }

  values(options: ScanOptions<K> = NO_OPTIONS): Scan<V> {
    return this.#scans.values(options)
  }

  async count(options: CountOptions<K> = NO_OPTIONS): Promise<number> {
    return this.#scans.count(options)
  }

  async clear(options: ClearOptions<K> = NO_OPTIONS): Promise<number> {
    return this.#scans.clear(options)
  }

  /** Of several operations on one key the last one counts; the earlier ones would only race with it. */
  #encodeBatch(
    operations: readonly BatchOperation<V, K>[],
    ttl: number | undefined,
    failures: { key: K; error: unknown }[]
  ): readonly EncodedOperation<K>[] {
    const last = new Map<string, EncodedOperation<K>>()
    for (const operation of operations) {
      const { key: name } = operation
      try {
        const key = this.#keyBytes(name)
        const isPut = operation.type === 'put'
        const value = isPut ? this.#valueBytes(operation.value) : undefined
        const own = isPut && operation.ttl !== undefined ? lifetime(operation.ttl) : ttl
        last.set(toLatin1(key), { name, key, value, ttl: own })
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

  #putOptions(options: PutOptions, what: string): BackendOptions {
    const level = requirement(options.consistency, options.w) ?? this.#write
    const call = backendOptions(options, level, what, STORE_OPTIONS)
    const ttl = options.ttl === undefined ? this.#ttl : lifetime(options.ttl)
    return ttl === undefined ? call : { ...call, ttl }
  }
}

/** Wrong options are those of the call as a whole: nothing is done. */
function assertBatchOperation({ type, ...more }: BatchOperation<unknown, unknown>): void {
  if (type !== 'put' && type !== 'del') throw new TypeError(`a batch operation is 'put' or 'del', not ${String(type)}`)
  if (!('ttl' in more) || more.ttl === undefined) return
  if (type === 'del') throw new KilovoltError('KV_CONFIG', 'a batch operation that deletes has no "ttl"')
  lifetime(more.ttl)
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
