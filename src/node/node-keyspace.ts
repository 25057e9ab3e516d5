import { throwIfAborted } from '../base/abort.ts'
import { assertArray, misuse } from '../base/arguments.ts'
import { copyBytes, toLatin1, utf8 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { assertKey } from '../model/key.ts'
import type { Requirement } from '../model/quorum.ts'
import { type RecordBytes, recordExpiresAt, recordStamp } from '../model/record.ts'
import { formatStamp } from '../model/stamp.ts'
import type { BackendOptions, BackendSource, BackendWrite } from './backend.ts'
import { assertBatch } from './batch-operations.ts'
import {
  assertKeyspaceOptions,
  backendOptions,
  given,
  lifetime,
  requirement,
  READ_OPTIONS,
  SEEN_OPTIONS,
  SEEN_STORE_OPTIONS,
  STORE_OPTIONS,
  WRITE_OPTIONS
} from './call-options.ts'
import { assertConflicts, decodeContext } from './conflicts.ts'
import { ConditionalWrites } from './conditional-writes.ts'
import { type Codec, createCodec } from './encodings.ts'
import { batchError, type KeyFailure, readError } from './key-failures.ts'
import type {
  BatchOperation,
  ClearOptions,
  CountOptions,
  DeleteOptions,
  Entry,
  IndexMatch,
  Keyspace,
  PutOptions,
  QueryOptions,
  ReadOptions,
  Scan,
  ScanOptions,
  SinglePutOptions,
  WriteOptions
} from './keyspace.ts'
import type { KeyspaceOptions } from './keyspace-options.ts'
import { indexDefinitions } from './index-definitions.ts'
import { KeyspaceQueries } from './keyspace-queries.ts'
import { KeyspaceScans } from './keyspace-scans.ts'
import { KeyspaceValues } from './keyspace-values.ts'
import type { Body } from './packing.ts'
import type { StandardSchema } from './schema.ts'
import { NodeWatch } from './node-watch.ts'
import { SiblingValues } from './sibling-values.ts'
import type { Watch, WatchOptions } from './watch.ts'

/** One operation of a batch in bytes. */
interface EncodedOperation<K> extends BackendWrite {
  /** The key as the caller has it. */
  readonly name: K
}

/** A keyspace over a node's coordinator. */
export class NodeKeyspace<V, K, In = V> implements Keyspace<V, K, In> {
  readonly name: string
  readonly conflicts: 'newest' | 'siblings'
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
  /** `undefined`: the newest wins. */
  readonly #siblings: SiblingValues<V, K> | undefined
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
    const { conflicts = 'newest', keyEncoding = 'utf8' } = options
    assertConflicts(conflicts)
    if (conflicts !== 'newest' && options.indexes !== undefined) throw noIndexes()
    this.name = name
    this.conflicts = conflicts === 'newest' ? 'newest' : 'siblings'
    this.#nameBytes = utf8(name)
    this.#keys = createCodec<K>(keyEncoding, 'keyEncoding', this.#nameBytes)
    this.#values = new KeyspaceValues<V, In>(source, name, this.#keys.decode, options)
    const level = requirement(options.consistency, undefined) ?? 'quorum'
    this.#read = requirement(undefined, options.r) ?? level
    this.#write = requirement(undefined, options.w) ?? level
    this.#ttl = lifetime(options.ttl)
    const { decode: decodeKey } = this.#keys
    if (conflicts !== 'newest') {
      this.#siblings = new SiblingValues(
        { source, name, nameBytes: this.#nameBytes, values: this.#values, decodeKey, write: this.#write },
        typeof conflicts === 'function' ? conflicts : undefined
      )
    }
    this.#source = this.#siblings?.source ?? source
    this.#conditional = new ConditionalWrites(source, this.#nameBytes)
    const parts = {
      source: this.#source,
      name: this.#nameBytes,
      encodeKey: this.#keyBytes,
      decodeKey,
      decodeValue: this.#shown,
      read: this.#read,
      write: this.#write
    }
    this.#scans = new KeyspaceScans(parts)
    this.#queries = new KeyspaceQueries(parts)
    const definitions = indexDefinitions(this.#nameBytes, options.indexes, record => this.#values.decode(record))
    if (definitions.length > 0) source.indexes.define(this.#nameBytes, definitions)
    this.#plainRead = { requirement: this.#read, timeoutMs: undefined, signal: undefined }
    this.#plainWrite = { requirement: this.#write, timeoutMs: undefined, signal: undefined }
    this.#plainPut = this.#ttl === undefined ? this.#plainWrite : { ...this.#plainWrite, ttl: this.#ttl }
  }

  async get(key: K, options: ReadOptions = NO_OPTIONS): Promise<V | undefined> {
    const name = this.#keyBytes(key)
    const found = this.#fetch(name, options)
    // What is known at once is spared a turn.
    return this.#valueOf(found instanceof Promise ? await found : found, name)
  }

  async getEntry(key: K, options: ReadOptions = NO_OPTIONS): Promise<Entry<V> | undefined> {
    const name = this.#keyBytes(key)
    const record = await this.#fetch(name, options)
    if (record === undefined) return undefined
    const version = formatStamp(recordStamp(record))
    const found = await (this.#siblings?.entry(record, name) ?? this.#values.decode(record, name))
    const entry = this.#siblings === undefined ? { value: found as V, version } : { ...(found as Entry<V>), version }
    const expiresAt = recordExpiresAt(record)
    if (expiresAt === undefined) return entry
    return { ...entry, expiresAt, ttl: Math.max(0, expiresAt - this.#source.data.nowMs) }
  }

  async has(key: K, options: ReadOptions = NO_OPTIONS): Promise<boolean> {
    return (await this.#fetch(this.#keyBytes(key), options)) !== undefined
  }

  async getMany(keys: readonly K[], options: ReadOptions = NO_OPTIONS): Promise<(V | undefined)[]> {
    const call = this.#readOptions(options, 'getMany')
    assertArray('keys', keys)
    const names = keys.map(this.#keyBytes)
    const { results, failures } = await this.#source.data.getMany(this.#nameBytes, names, call)
    const values: (V | undefined)[] = []
    const failed: KeyFailure<K>[] = []
    for (let i = 0; i < keys.length; i++) {
      let value: V | undefined
      try {
        if (failures.has(i)) failed.push({ key: keys[i]!, error: failures.get(i) })
        else {
          const found = this.#valueOf(results[i], names[i]!)
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

  async put(key: K, value: In, options: SinglePutOptions = NO_OPTIONS): Promise<void> {
    const name = this.#keyBytes(key)
    const call = options === NO_OPTIONS ? this.#plainPut : this.#seen(name, options, this.#putOptions(options, 'put'))
    const bytes = this.#values.encode(value, name)
    if (bytes.length > this.#values.packAbove) await this.#storePacked(name, bytes, call)
    else await this.#source.data.put(this.#nameBytes, name, bytes, call)
  }

  async delete(key: K, options: DeleteOptions = NO_OPTIONS): Promise<boolean> {
    const name = this.#keyBytes(key)
    const call =
      options === NO_OPTIONS ? this.#plainWrite : this.#seen(name, options, this.#writeOptions(options, 'delete'))
    return (await this.#source.data.put(this.#nameBytes, name, undefined, call)).existed
  }

  async touch(key: K, ttl?: number, options: WriteOptions = NO_OPTIONS): Promise<boolean> {
    this.#assertSingle('touch')
    const wanted = ttl === undefined ? this.#ttl : lifetime(ttl)
    if (ttl === undefined && wanted === undefined) {
      throw new KilovoltError('KV_CONFIG', 'touch needs a "ttl": this keyspace has none of its own')
    }
    const name = this.#keyBytes(key)
    const call = this.#writeOptions(options, 'touch')
    return (await this.#conditional.expire(name, wanted, call)) !== 'absent'
  }

  async persist(key: K, options: WriteOptions = NO_OPTIONS): Promise<boolean> {
    this.#assertSingle('persist')
    const call = this.#writeOptions(options, 'persist')
    return (await this.#conditional.expire(this.#keyBytes(key), undefined, call)) === 'changed'
  }

  async putIfAbsent(key: K, value: In, options: PutOptions = NO_OPTIONS): Promise<boolean> {
    this.#assertSingle('putIfAbsent')
    const call = this.#putOptions(options, 'putIfAbsent')
    const name = this.#keyBytes(key)
    return this.#conditional.putIfAbsent(name, await this.#values.ownBodyOf(this.#values.encode(value, name)), call)
  }

  async update(
    key: K,
    change: (current: V | undefined) => In | undefined | Promise<In | undefined>,
    options: PutOptions = NO_OPTIONS
  ): Promise<V | undefined> {
    this.#assertSingle('update')
    if (typeof change !== 'function') throw misuse('update', 'a function of the present value', change)
    const call = this.#putOptions(options, 'update')
    const name = this.#keyBytes(key)
    let latest: V | undefined
    const make = async (current: RecordBytes | undefined): Promise<Body | undefined> => {
      const made = await change(current && (await this.#values.decode(current, name)))
      const bytes = made === undefined ? undefined : this.#values.encode(made, name)
      latest = bytes && this.#values.decodeBytes(bytes, name)
      return bytes && this.#values.ownBodyOf(bytes)
    }
    await this.#conditional.update(name, { make, keepsExpiry: options.ttl === undefined }, call)
    return latest
  }

  async batch(operations: readonly BatchOperation<In, K>[], options: PutOptions = NO_OPTIONS): Promise<void> {
    const call = this.#putOptions(options, 'batch')
    assertBatch(operations, this.#siblings !== undefined)
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
      valueOf: this.#shown
    }
    return new NodeWatch(() => this.#source.watches, codec, options)
  }

  /**
   * Of several operations on one key the last one counts; the earlier ones would only race with it. With siblings each is a write
   * by itself. One that makes no sense keeps all of them from being sent: nobody can tell which others it was to go together with.
   */
  #encodeBatch(operations: readonly BatchOperation<In, K>[], ttl: number | undefined): readonly EncodedOperation<K>[] {
    const failures: KeyFailure<K>[] = []
    const last = new Map<string, EncodedOperation<K>>()
    for (const operation of operations) {
      const { key: name, context } = operation
      try {
        const key = this.#keyBytes(name)
        const isPut = operation.type === 'put'
        const value = isPut ? this.#values.encode(operation.value, key) : undefined
        const own = isPut && operation.ttl !== undefined ? lifetime(operation.ttl) : ttl
        const seen = context === undefined ? undefined : decodeContext(this.#nameBytes, key, context)
        last.set(this.#siblings === undefined ? toLatin1(key) : String(last.size), {
          name,
          key,
          value,
          ttl: own,
          context: seen
        })
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

  #fetch(key: Uint8Array, options: ReadOptions): RecordBytes | undefined | Promise<RecordBytes | undefined> {
    const call = options === NO_OPTIONS ? this.#plainRead : this.#readOptions(options, 'get')
    return this.#source.data.get(this.#nameBytes, key, call)
  }

  readonly #keyBytes = (key: K): Uint8Array => {
    const bytes = this.#keys.encode(key)
    assertKey(bytes)
    return bytes
  }

  #valueOf(record: RecordBytes | undefined, key: Uint8Array): V | undefined | Promise<V> {
    if (record === undefined) return undefined
    return this.#siblings === undefined ? this.#values.decode(record, key) : this.#siblings.read(record, key)
  }

  /** The value of a record, where nothing is written back. */
  readonly #shown = (record: RecordBytes, key: Uint8Array): V | Promise<V> =>
    this.#siblings === undefined ? this.#values.decode(record, key) : this.#siblings.valueOf(record, key)

  /** The options of a call with what its author has seen. */
  #seen(key: Uint8Array, { context }: { readonly context?: string | undefined }, call: BackendOptions): BackendOptions {
    return context === undefined ? call : { ...call, context: decodeContext(this.#nameBytes, key, context) }
  }

  #assertSingle(what: string): void {
    if (this.#siblings === undefined) return
    throw new KilovoltError(
      'KV_CONFIG',
      `there is no ${what}() in a keyspace with siblings: it follows one value. Read with getEntry(), and put with its context`
    )
  }

  #readOptions(options: ReadOptions, what: string): BackendOptions {
    const { consistency, r } = given(options)
    return backendOptions(options, requirement(consistency, r) ?? this.#read, what, READ_OPTIONS)
  }

  #writeOptions(options: WriteOptions, what: string): BackendOptions {
    const known = this.#siblings === undefined || what !== 'delete' ? WRITE_OPTIONS : SEEN_OPTIONS
    const { consistency, w } = given(options)
    return backendOptions(options, requirement(consistency, w) ?? this.#write, what, known)
  }

  #putOptions(options: PutOptions, what: string): BackendOptions {
    const { consistency, w } = given(options)
    const level = requirement(consistency, w) ?? this.#write
    const known = this.#siblings === undefined || what !== 'put' ? STORE_OPTIONS : SEEN_STORE_OPTIONS
    const call = backendOptions(options, level, what, known)
    const ttl = options.ttl === undefined ? this.#ttl : lifetime(options.ttl)
    return ttl === undefined ? call : { ...call, ttl }
  }
}

/** A replica indexes what it holds by itself, and of several siblings it cannot know which value the app will see. */
function noIndexes(): KilovoltError {
  return new KilovoltError('KV_CONFIG', '"indexes" cannot be had with "conflicts" other than \'newest\'')
}

const NO_OPTIONS = {}
