import { throwIfAborted } from '../base/abort.ts'
import { copyBytes, toLatin1, utf8 } from '../base/bytes.ts'
import { type ErrorCode, KilovoltError, isKilovoltError, messageOf } from '../base/errors.ts'
import { assertKey, assertValue } from '../model/key.ts'
import type { Requirement } from '../model/quorum.ts'
import { isPacked, type RecordBytes, recordStamp, recordValue } from '../model/record.ts'
import { formatStamp } from '../model/stamp.ts'
import type { BackendOptions, BackendSource, BackendWrite } from './backend.ts'
import { assertKeyspaceOptions, backendOptions, requirement } from './call-options.ts'
import { type Codec, createCodec } from './encodings.ts'
import type { BatchOperation, Entry, Keyspace, KeyspaceOptions, ReadOptions, WriteOptions } from './keyspace.ts'
import { packAbove } from './packing.ts'
import { assertSchema, type StandardSchema, validated } from './schema.ts'

/** One operation of a batch in bytes. */
interface EncodedOperation<K> extends BackendWrite {
  /** The key as the caller has it. */
  readonly name: K
}

/** A keyspace over a node's coordinator. */
export class NodeKeyspace<V, K, In = V> implements Keyspace<V, K, In> {
  readonly name: string
  readonly #source: BackendSource
  readonly #nameBytes: Uint8Array
  readonly #keys: Codec<K>
  readonly #values: Codec<V>
  readonly #schema: StandardSchema<In, V> | undefined
  /** Values of more bytes are packed. */
  readonly #packAbove: number
  readonly #read: Requirement | 'any'
  readonly #write: Requirement | 'any'
  /** What most calls come to, made once. */
  readonly #plainRead: BackendOptions
  readonly #plainWrite: BackendOptions

  /** @throws KilovoltError `KV_CONFIG` for bad options */
  constructor(
    source: BackendSource,
    name: string,
    options: KeyspaceOptions<V, K> & { readonly schema?: StandardSchema<In, V> } = {}
  ) {
    assertKeyspaceOptions(name, options)
    this.name = name
    this.#source = source
    this.#nameBytes = utf8(name)
    this.#keys = createCodec<K>(options.keyEncoding ?? 'utf8', 'keyEncoding')
    this.#values = createCodec<V>(options.valueEncoding ?? 'json', 'valueEncoding')
    this.#schema = options.schema
    if (this.#schema !== undefined) assertSchema(this.#schema)
    this.#packAbove = packAbove(options)
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
    const plain = isPacked(record) ? await this.#source.packing.unpack(value) : value
    return { value: this.#values.decode(plain), version: formatStamp(recordStamp(record)) }
  }

  async has(key: K, options: ReadOptions = NO_OPTIONS): Promise<boolean> {
    return (await this.#fetch(key, options)) !== undefined
  }

  async getMany(keys: readonly K[], options: ReadOptions = NO_OPTIONS): Promise<(V | undefined)[]> {
    const call = this.#readOptions(options, 'getMany')
    const { results, failures } = await this.#source.data.getMany(this.#nameBytes, keys.map(this.#keyBytes), call)
    if (failures.size > 0) throw failures.get(Math.min(...failures.keys()))
    return together(results.map(record => this.#valueOf(record)))
  }

  async put(key: K, value: In, options: WriteOptions = NO_OPTIONS): Promise<void> {
    const bytes = this.#valueBytes(value)
    if (bytes.length > this.#packAbove) await this.#storePacked(key, bytes, options)
    else await this.#store(key, bytes, options)
  }

  async delete(key: K, options: WriteOptions = NO_OPTIONS): Promise<boolean> {
    return (await this.#store(key, undefined, options)).existed
  }

  async batch(operations: readonly BatchOperation<In, K>[], options: WriteOptions = NO_OPTIONS): Promise<void> {
    for (const { type } of operations) {
      if (type !== 'put' && type !== 'del')
        throw new TypeError(`a batch operation is 'put' or 'del', not ${String(type)}`)
    }
    const call = this.#writeOptions(options, 'batch')
    const failures: { key: K; error: unknown }[] = []
    const encoded = this.#encodeBatch(operations, failures)
    const packed = this.#packAbove === Infinity ? encoded : this.#packBatch(encoded)
    const writes = packed instanceof Promise ? await packed : packed
    throwIfAborted(call.signal, 'batch')
    const gathered = await this.#source.data.putMany(this.#nameBytes, writes, call)
    for (const [index, error] of gathered.failures) failures.push({ key: writes[index]!.name, error })
    if (failures.length > 0) throw batchError(failures, operations.length)
  }

  /** Of several operations on one key the last one counts; the earlier ones would only race with it. */
  #encodeBatch(
    operations: readonly BatchOperation<In, K>[],
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

  #packBatch(
    operations: readonly EncodedOperation<K>[]
  ): readonly EncodedOperation<K>[] | Promise<readonly EncodedOperation<K>[]> {
    const packed = operations.map(operation => this.#packOperation(operation))
    // The caller's memory is the caller's again as soon as it is waited for anything.
    return together(packed, one => ({ ...one, value: one.value && copyBytes(one.value) }))
  }

  #packOperation(operation: EncodedOperation<K>): EncodedOperation<K> | Promise<EncodedOperation<K>> {
    const { value } = operation
    if (value === undefined || value.length <= this.#packAbove) return operation
    const body = this.#source.packing.pack(value)
    return body instanceof Promise ? body.then(later => ({ ...operation, ...later })) : { ...operation, ...body }
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

  async #storePacked(key: K, value: Uint8Array, options: WriteOptions): Promise<void> {
    const keyBytes = this.#keyBytes(key)
    const call = this.#writeOptions(options, 'put')
    const packing = this.#source.packing.pack(value)
    // What is known at once goes out in the turn of the call.
    const body = packing instanceof Promise ? await packing : packing
    throwIfAborted(call.signal, 'put')
    await this.#source.data.put(this.#nameBytes, keyBytes, body.value, body.packed ? { ...call, packed: true } : call)
  }

  readonly #keyBytes = (key: K): Uint8Array => {
    const bytes = this.#keys.encode(key)
    assertKey(bytes)
    return bytes
  }

  #valueBytes(value: In): Uint8Array {
    // Without a schema they are of one type.
    const valid = this.#schema === undefined ? (value as unknown as V) : validated(this.#schema, value, this.name)
    const bytes = this.#values.encode(valid)
    assertValue(bytes)
    return bytes
  }

  #valueOf(record: RecordBytes | undefined): V | undefined | Promise<V> {
    if (record === undefined) return undefined
    const value = recordValue(record)
    if (value === undefined) return undefined
    if (!isPacked(record)) return this.#values.decode(value)
    const plain = this.#source.packing.unpack(value)
    return plain instanceof Promise ? plain.then(this.#values.decode) : this.#values.decode(plain)
  }

  #readOptions(options: ReadOptions, what: string): BackendOptions {
    return backendOptions(options, requirement(options.consistency, options.r) ?? this.#read, what)
  }

  #writeOptions(options: WriteOptions, what: string): BackendOptions {
    return backendOptions(options, requirement(options.consistency, options.w) ?? this.#write, what)
  }
}

const NO_OPTIONS = {}

/** All of them, at once when nothing is waited for; else what is known already is kept as `own` has it. */
function together<T>(items: readonly (T | Promise<T>)[], own: (item: T) => T = item => item): T[] | Promise<T[]> {
  if (!items.some(item => item instanceof Promise)) return items as T[]
  return Promise.all(items.map(async item => (item instanceof Promise ? item : own(item))))
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
