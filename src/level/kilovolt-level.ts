import {
  type AbstractChainedBatch,
  type AbstractIterator,
  type AbstractKeyIterator,
  AbstractLevel,
  type AbstractValueIterator
} from 'abstract-level'
import { hasMethods, misuse } from '../base/arguments.ts'
import type { BatchOperation, CustomEncoding, Keyspace, Node } from '../index.ts'
import { toLevelError } from './level-error.ts'
import { LevelIterator, type PrivateIteratorOptions } from './level-iterator.ts'
import { type Bounds, boundsOf } from './level-range.ts'
import {
  type KilovoltLevelOptions,
  type LevelBatchOperation,
  type LevelBatchOptions,
  type LevelClearOptions,
  type LevelDelOptions,
  type LevelGetManyOptions,
  type LevelGetOptions,
  type LevelHasManyOptions,
  type LevelHasOptions,
  type LevelIteratorOptions,
  type LevelKeyIteratorOptions,
  type LevelPutOptions,
  type LevelValueIteratorOptions,
  assertBatchOperation,
  assertDatabaseOptions,
  batchOptionsOf,
  putOptionsOf,
  readOptionsOf,
  writeOptionsOf
} from './level-options.ts'

/**
 * Stands before each stored key. What is between its braces is empty, hence no tag, and no later pair of braces is looked
 * at (see `hashTag`). The order of keys stays what it is.
 */
const UNTAGGED = Buffer.from('{}')

const UNTAGGED_KEYS: CustomEncoding<Buffer> = {
  name: 'a key of level',
  encode: key => Buffer.concat([UNTAGGED, key]),
  decode: bytes => Buffer.from(bytes.buffer, bytes.byteOffset + UNTAGGED.length, bytes.length - UNTAGGED.length)
}

/** One operation as Level hands it down. */
interface PrivateOperation {
  readonly type: 'put' | 'del'
  readonly key: Buffer
  readonly value: Buffer
  readonly ttl?: number
}

/** What Level hands down to `_clear`. */
interface PrivateClearOptions extends Bounds {
  readonly reverse: boolean
  /** -1 for all. */
  readonly limit: number
}

/* oxlint-disable typescript/no-unsafe-declaration-merging -- what is declared here are methods that the class inherits */

/** The methods of every abstract-level database, with the options that travel through to the keyspace. */
export interface KilovoltLevel<KDefault = string, VDefault = string> {
  /** The value of a key, or `undefined`. */
  get(key: KDefault): Promise<VDefault | undefined>
  /** The value of a key, or `undefined`. */
  get<K = KDefault, V = VDefault>(key: K, options: LevelGetOptions<K, V>): Promise<V | undefined>
  /** Values of many keys, in the same order. */
  getMany(keys: KDefault[]): Promise<(VDefault | undefined)[]>
  /** Values of many keys, in the same order. */
  getMany<K = KDefault, V = VDefault>(keys: K[], options: LevelGetManyOptions<K, V>): Promise<(V | undefined)[]>
  /** Whether there is a key. */
  has(key: KDefault): Promise<boolean>
  /** Whether there is a key. */
  has<K = KDefault>(key: K, options: LevelHasOptions<K>): Promise<boolean>
  /** Whether there is each of many keys, in the same order. */
  hasMany(keys: KDefault[]): Promise<boolean[]>
  /** Whether there is each of many keys, in the same order. */
  hasMany<K = KDefault>(keys: K[], options: LevelHasManyOptions<K>): Promise<boolean[]>
  /** Stores a value. */
  put(key: KDefault, value: VDefault): Promise<void>
  /** Stores a value. */
  put<K = KDefault, V = VDefault>(key: K, value: V, options: LevelPutOptions<K, V>): Promise<void>
  /** Removes a key, if it is there. */
  del(key: KDefault): Promise<void>
  /** Removes a key, if it is there. */
  del<K = KDefault>(key: K, options: LevelDelOptions<K>): Promise<void>
  /** Several operations, not atomically: when some fail the others are done. */
  batch(operations: LevelBatchOperation<this, KDefault, VDefault>[]): Promise<void>
  /** Several operations, not atomically: when some fail the others are done. */
  batch<K = KDefault, V = VDefault>(
    operations: LevelBatchOperation<this, K, V>[],
    options: LevelBatchOptions<K, V>
  ): Promise<void>
  /** Operations to be collected first; `write()` does them. */
  batch(): AbstractChainedBatch<this, KDefault, VDefault>
  /** Removes all keys. */
  clear(): Promise<void>
  /** Removes the keys of a range. */
  clear<K = KDefault>(options: LevelClearOptions<K>): Promise<void>
  /** Entries in the order of the keys. */
  iterator(): AbstractIterator<this, KDefault, VDefault>
  /** Entries of a range, in the order of the keys. */
  iterator<K = KDefault, V = VDefault>(options: LevelIteratorOptions<K, V>): AbstractIterator<this, K, V>
  /** Keys in order. */
  keys(): AbstractKeyIterator<this, KDefault>
  /** Keys of a range, in order. */
  keys<K = KDefault>(options: LevelKeyIteratorOptions<K>): AbstractKeyIterator<this, K>
  /** Values in the order of the keys. */
  values(): AbstractValueIterator<this, KDefault, VDefault>
  /** Values of a range, in the order of the keys. */
  values<K = KDefault, V = VDefault>(options: LevelValueIteratorOptions<K, V>): AbstractValueIterator<this, K, V>
}

/**
 * An abstract-level database over a keyspace of a node: for everything that is written against Level. Making one costs
 * nothing, and closing it leaves node and data alone.
 *
 * It has no snapshots, and a batch is not atomic: see the guide for what it promises.
 *
 * @typeParam KDefault - type of keys, as `keyEncoding` says
 * @typeParam VDefault - type of values, as `valueEncoding` says
 *
 * @example
 * ```ts
 * const db = new KilovoltLevel<string, { user: string }>(node, { keyspace: 'sessions', valueEncoding: 'json' })
 * await db.put('a', { user: 'ada' }, { ttl: 60_000 })
 * for await (const [key, value] of db.iterator({ gte: 'a', lt: 'b' })) console.log(key, value.user)
 * ```
 */
export class KilovoltLevel<KDefault = string, VDefault = string> extends AbstractLevel<Buffer, KDefault, VDefault> {
  readonly #keyspace: Keyspace<Buffer, Buffer>
  readonly #prefix: Buffer | undefined

  /**
   * @param node - the node to go through; it must run for as long as the database is used
   * @param options - which keyspace, and how
   * @throws KilovoltError `KV_CONFIG`
   */
  constructor(node: Pick<Node, 'keyspace' | 'status'>, options: KilovoltLevelOptions<KDefault, VDefault>) {
    if (!hasMethods(node, 'keyspace', 'status')) throw misuse('the first argument', 'a node', node)
    assertDatabaseOptions(options)
    const { keyspace, consistency, hashTags = false, ...rest } = options
    super(
      {
        encodings: { buffer: true },
        has: true,
        seek: true,
        permanence: node.status().storage.permanent,
        implicitSnapshots: false,
        explicitSnapshots: false,
        signals: { iterators: true }
      },
      rest
    )
    this.#prefix = hashTags ? undefined : UNTAGGED
    this.#keyspace = node.keyspace<Buffer, Buffer>(keyspace, {
      keyEncoding: hashTags ? 'buffer' : UNTAGGED_KEYS,
      valueEncoding: 'buffer',
      ...(consistency === undefined ? {} : { consistency })
    })
  }

  /** Name of the keyspace. */
  get keyspace(): string {
    return this.#keyspace.name
  }

  /** @internal */
  _get(key: Buffer, options: object): Promise<Buffer | undefined> {
    return told(() => this.#keyspace.get(key, readOptionsOf(options)))
  }

  /** @internal */
  _getMany(keys: readonly Buffer[], options: object): Promise<(Buffer | undefined)[]> {
    return told(() => this.#keyspace.getMany(keys, readOptionsOf(options)))
  }

  /** @internal */
  _has(key: Buffer, options: object): Promise<boolean> {
    return told(() => this.#keyspace.has(key, readOptionsOf(options)))
  }

  /** @internal */
  async _hasMany(keys: readonly Buffer[], options: object): Promise<boolean[]> {
    return (await this._getMany(keys, options)).map(value => value !== undefined)
  }

  /** @internal */
  _put(key: Buffer, value: Buffer, options: object): Promise<void> {
    return told(() => this.#keyspace.put(key, value, putOptionsOf(options)))
  }

  /** @internal */
  async _del(key: Buffer, options: object): Promise<void> {
    await told(() => this.#keyspace.delete(key, writeOptionsOf(options)))
  }

  /** @internal */
  _batch(operations: readonly PrivateOperation[], options: object): Promise<void> {
    return told(() => this.#keyspace.batch(operations.map(toOperation), batchOptionsOf(options)))
  }

  /** @internal */
  async _clear(options: PrivateClearOptions): Promise<void> {
    const { reverse, limit } = options
    await told(() =>
      this.#keyspace.clear({
        ...readOptionsOf(options),
        ...boundsOf(options),
        reverse,
        ...(limit < 0 ? {} : { limit }),
        ...(this.#prefix === undefined ? {} : { prefix: EMPTY })
      })
    )
  }

  /** @internal */
  _iterator(options: PrivateIteratorOptions): LevelIterator<this, KDefault, VDefault> {
    return new LevelIterator<this, KDefault, VDefault>(this, this.#keyspace, options, this.#prefix && EMPTY)
  }
}

/** What it encodes to is the prefix of all keys. */
const EMPTY = Buffer.alloc(0)

function toOperation(operation: PrivateOperation): BatchOperation<Buffer, Buffer> {
  assertBatchOperation(operation)
  const { type, key, value, ttl } = operation
  return type === 'del' ? { type, key } : { type, key, value, ...(ttl === undefined ? {} : { ttl }) }
}

async function told<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw toLevelError(error)
  }
}
