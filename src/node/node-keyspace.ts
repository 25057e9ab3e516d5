import { throwIfAborted } from '../base/abort.ts'
import { copyBytes, toLatin1, utf8 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { show } from '../base/options.ts'
import { assertKey } from '../model/key.ts'
import type { Requirement } from '../model/quorum.ts'
import { type RecordBytes, recordExpiresAt, recordStamp } from '../model/record.ts'
import { formatStamp } from '../model/stamp.ts'
import type { BackendOptions, BackendSource, BackendWrite } from './backend.ts'
import { assertKeyspaceOptions, backendOptions, lifetime, requirement, STORE_OPTIONS } from './call-options.ts'
import { ConditionalWrites } from './conditional-writes.ts'
import { type Codec, createCodec } from './encodings.ts'
import { batchError, type KeyFailure, readError } from './key-failures.ts'
import type {
  BatchOperation,
  ClearOptions,
  CountOptions,
  Entry,
  IndexMatch,
  Keyspace,
  KeyspaceOptions,
  PutOptions,
  QueryOptions,
  ReadOptions,
  Scan,
  ScanOptions,
  WriteOptions
} from './keyspace.ts'
import { indexDefinitions } from './index-definitions.ts'
import { KeyspaceQueries } from './keyspace-queries.ts'
import { KeyspaceScans } from './keyspace-scans.ts'
import { KeyspaceValues } from './keyspace-values.ts'
import type { Body } from './packing.ts'
import type { StandardSchema } from './schema.ts'
import { NodeWatch } from './node-watch.ts'
import type { Watch, WatchOptions } from './watch.ts'

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
  readonly #values: KeyspaceValues<V, In>
  readonly #scans: KeyspaceScans<V, K>
  readonly #queries: KeyspaceQueries<V, K>
  readonly #read: Requirement | 'any'
  readonly #write: Requirement | 'any'
  readonly #ttl: number | undefined
  readonly #conditional: ConditionalWrites
  /** What most calls come to, made once. */
  readonly #plainRead: BackendOptions
  readonly #plainWrite: BackendOptions
  readonly #plainPut: BackendOptions

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
    this.#keys = createCodec<K>(options.keyEncoding ?? 'utf8', 'keyEncoding', this.#nameBytes)
    this.#values = new KeyspaceValues<V, In>(source, name, options)
    const level = requirement(options.consistency, undefined) ?? 'quorum'
    this.#read = requirement(undefined, options.r) ?? level
    this.#write = requirement(undefined, options.w) ?? level
    this.#ttl = lifetime(options.ttl)
    this.#conditional = new ConditionalWrites(source, this.#nameBytes)
    const parts = {
      source,
      name: this.#nameBytes,
      encodeKey: this.#keyBytes,
      decodeKey: this.#keys.decode,
      decodeValue: (record: RecordBytes) => this.#values.decode(record),
      read: this.#read,
      write: this.#write
    }
    this.#scans = new KeyspaceScans(parts)
    this.#queries = new KeyspaceQueries(parts)
    const definitions = indexDefinitions(this.#nameBytes, options.indexes, parts.decodeValue)
    if (definitions.length > 0) source.indexes.define(this.#nameBytes, definitions)
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
    if (record === undefined) return undefined
    const entry = { value: await this.#values.decode(record), version: formatStamp(recordStamp(record)) }
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
    const values: (V | undefined)[] = []
    const failed: KeyFailure<K>[] = []
    for (let i = 0; i < keys.length; i++) {
      let value: V | undefined
      try {
        if (failures.has(i)) failed.push({ key: keys[i]!, error: failures.get(i) })
        else {
          const found = this.#valueOf(results[i])
          value = found instanceof Promise ? await found : found
        }
      } catch (error) {
        failed.push({ key: keys[i]!, error })
      }
      values.push(value)
    }
    if (failed.length > 0) throw readError(failed, values)
    return values
  }

  async put(key: K, value: In, options: PutOptions = NO_OPTIONS): Promise<void> {
    const call = options === NO_OPTIONS ? this.#plainPut : this.#putOptions(options, 'put')
    const name = this.#keyBytes(key)
    const bytes = this.#values.encode(value)
    if (bytes.length > this.#values.packAbove) await this.#storePacked(name, bytes, call)
    else await this.#source.data.put(this.#nameBytes, name, bytes, call)
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

  async putIfAbsent(key: K, value: In, options: PutOptions = NO_OPTIONS): Promise<boolean> {
    const call = this.#putOptions(options, 'putIfAbsent')
    const name = this.#keyBytes(key)
    return this.#conditional.putIfAbsent(name, await this.#values.ownBodyOf(this.#values.encode(value)), call)
  }

  async update(
    key: K,
    change: (current: V | undefined) => In | undefined | Promise<In | undefined>,
    options: PutOptions = NO_OPTIONS
  ): Promise<V | undefined> {
    if (typeof change !== 'function') throw new TypeError('update takes a function of the present value')
    const call = this.#putOptions(options, 'update')
    let latest: V | undefined
    const make = async (current: RecordBytes | undefined): Promise<Body | undefined> => {
      const made = await change(current && (await this.#values.decode(current)))
      const bytes = made === undefined ? undefined : this.#values.encode(made)
      latest = bytes && this.#values.decodeBytes(bytes)
      return bytes && this.#values.ownBodyOf(bytes)
    }
    await this.#conditional.update(this.#keyBytes(key), { make, keepsExpiry: options.ttl === undefined }, call)
    return latest
  }

  async batch(operations: readonly BatchOperation<In, K>[], options: PutOptions = NO_OPTIONS): Promise<void> {
    const call = this.#putOptions(options, 'batch')
    for (const operation of operations) assertBatchOperation(operation)
    const encoded = this.#encodeBatch(operations, call.ttl)
    const packed = this.#values.packAbove === Infinity ? encoded : this.#packBatch(encoded)
    const writes = packed instanceof Promise ? await packed : packed
    throwIfAborted(call.signal, 'batch')
    const { failures } = await this.#source.data.putMany(this.#nameBytes, writes, call)
    if (failures.size === 0) return
    const failed = [...failures].toSorted(([a], [b]) => a - b)
    throw batchError(
      failed.map(([index, error]) => ({ key: writes[index]!.name, error })),
      operations.length
    )
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

  query(index: string, options: QueryOptions = NO_OPTIONS): Scan<IndexMatch<V, K>> {
    return this.#queries.query(index, options)
  }

  watch(options: WatchOptions<K> = {}): Watch<V, K> {
    const codec = {
      keyspace: this.#nameBytes,
      encodeKey: this.#keyBytes,
      decodeKey: this.#keys.decode,
      valueOf: (record: RecordBytes) => this.#values.decode(record)
    }
    return new NodeWatch(() => this.#source.watches, codec, options)
  }

  /**
   * Of several operations on one key the last one counts; the earlier ones would only race with it. One that makes no sense
   * keeps all of them from being sent: nobody can tell which others it was to go together with.
   */
  #encodeBatch(operations: readonly BatchOperation<In, K>[], ttl: number | undefined): readonly EncodedOperation<K>[] {
    const failures: KeyFailure<K>[] = []
    const last = new Map<string, EncodedOperation<K>>()
    for (const operation of operations) {
      const { key: name } = operation
      try {
        const key = this.#keyBytes(name)
        const isPut = operation.type === 'put'
        const value = isPut ? this.#values.encode(operation.value) : undefined
        const own = isPut && operation.ttl !== undefined ? lifetime(operation.ttl) : ttl
        last.set(toLatin1(key), { name, key, value, ttl: own })
      } catch (error) {
        failures.push({ key: name, error })
      }
    }
    if (failures.length > 0) throw batchError(failures, operations.length, '; nothing was sent')
    return [...last.values()]
  }

  #packBatch(
    operations: readonly EncodedOperation<K>[]
  ): readonly EncodedOperation<K>[] | Promise<readonly EncodedOperation<K>[]> {
    const packed = operations.map(operation => this.#packOperation(operation))
    if (!packed.some(operation => operation instanceof Promise)) return packed as readonly EncodedOperation<K>[]
    // The caller's memory is the caller's again as soon as it is waited for anything.
    return Promise.all(
      packed.map(async one => (one instanceof Promise ? one : { ...one, value: one.value && copyBytes(one.value) }))
    )
  }

  #packOperation(operation: EncodedOperation<K>): EncodedOperation<K> | Promise<EncodedOperation<K>> {
    const { value } = operation
    if (value === undefined || value.length <= this.#values.packAbove) return operation
    const body = this.#values.bodyOf(value)
    return body instanceof Promise ? body.then(later => ({ ...operation, ...later })) : { ...operation, ...body }
  }

  async #storePacked(key: Uint8Array, bytes: Uint8Array, call: BackendOptions): Promise<void> {
    const packing = this.#values.bodyOf(bytes)
    // What is known at once goes out in the turn of the call.
    const { value, packed } = packing instanceof Promise ? await packing : packing
    throwIfAborted(call.signal, 'put')
    await this.#source.data.put(this.#nameBytes, key, value, packed ? { ...call, packed } : call)
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

  #valueOf(record: RecordBytes | undefined): V | undefined | Promise<V> {
    return record === undefined ? undefined : this.#values.decode(record)
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
  if (type !== 'put' && type !== 'del') throw new TypeError(`a batch operation is 'put' or 'del', not ${show(type)}`)
  if (!('ttl' in more) || more.ttl === undefined) return
  if (type === 'del') throw new KilovoltError('KV_CONFIG', 'a batch operation that deletes has no "ttl"')
  lifetime(more.ttl)
}

const NO_OPTIONS = {}
