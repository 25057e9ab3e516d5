import { copyBytes, utf8 } from '../base/bytes.ts'
import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import { assertValue } from '../model/key.ts'
import { hasSiblings, isPacked, type RecordBytes, recordValue } from '../model/record.ts'
import type { Sibling } from '../model/sibling-form.ts'
import { latestValue } from '../model/sibling-set.ts'
import type { BackendSource } from './backend.ts'
import { type Codec, createCodec } from './encodings.ts'
import type { KeyspaceOptions } from './keyspace-options.ts'
import { type Body, packAbove } from './packing.ts'
import { assertSchema, type StandardSchema, validated } from './schema.ts'

/** The values of a keyspace on their way into records and out of them: validated, encoded, packed. */
export class KeyspaceValues<V, In> {
  readonly #source: Pick<BackendSource, 'packing' | 'data'>
  readonly #keyspace: string
  readonly #decodeKey: (key: Uint8Array) => unknown
  readonly #codec: Codec<V>
  readonly #schema: StandardSchema<In, V> | undefined
  /** Values of more bytes are packed; `Infinity`: none is. */
  readonly packAbove: number

  /** @throws KilovoltError `KV_CONFIG` for bad options */
  constructor(
    source: Pick<BackendSource, 'packing' | 'data'>,
    keyspace: string,
    decodeKey: (key: Uint8Array) => unknown,
    options: Omit<KeyspaceOptions<V, unknown>, 'keyEncoding' | 'conflicts'> & {
      readonly schema?: StandardSchema<In, V>
    }
  ) {
    const { valueEncoding = 'json' } = options
    this.#source = source
    this.#keyspace = keyspace
    this.#decodeKey = decodeKey
    this.#codec = createCodec<V>(valueEncoding, 'valueEncoding', utf8(keyspace))
    this.#schema = options.schema
    if (this.#schema !== undefined) assertSchema(this.#schema)
    this.packAbove = packAbove(options)
  }

  /**
   * The bytes of the value of a key; they may be the caller's own memory.
   *
   * @throws KilovoltError `KV_INVALID_VALUE`, `KV_ENCODING`, `KV_VALUE_TOO_LARGE`, all with the key in their details
   */
  encode(value: In, key: Uint8Array): Uint8Array {
    try {
      // Without a schema they are of one type.
      const valid =
        this.#schema === undefined ? (value as unknown as V) : validated(this.#schema, value, this.#keyspace)
      return this.encodeOwn(valid)
    } catch (error) {
      throw this.#told(error, key)
    }
  }

  /** The value of what {@link KeyspaceValues.encode} gave. */
  decodeBytes(bytes: Uint8Array, key: Uint8Array): V {
    try {
      return this.#codec.decode(bytes)
    } catch (error) {
      throw this.#told(error, key)
    }
  }

  /** What a record is to hold of such bytes; they are copied before this waits. */
  bodyOf(bytes: Uint8Array): Body | Promise<Body> {
    return bytes.length > this.packAbove ? this.#source.packing.pack(bytes) : { value: bytes, packed: false }
  }

  /** As {@link KeyspaceValues.bodyOf}, in memory that is not the caller's. */
  async ownBodyOf(bytes: Uint8Array): Promise<Body> {
    const body = this.bodyOf(bytes)
    if (body instanceof Promise) return body
    return body.value === bytes ? { ...body, value: copyBytes(bytes) } : body
  }

  /** As {@link KeyspaceValues.encode}, of what was read, or made of that: it is not validated again. */
  encodeOwn(value: V): Uint8Array {
    const bytes = this.#codec.encode(value)
    assertValue(bytes)
    return bytes
  }

  /** The bytes of a value as they were before they were packed; a view, or a promise where that has to be waited for. */
  plainBytes({ packed, value }: Pick<Sibling, 'packed' | 'value'>): Uint8Array | Promise<Uint8Array> {
    return packed ? this.#source.packing.unpack(value) : value
  }

  /**
   * The value of a record that is live, the newest where it has siblings; a promise only where unpacking has to be waited for.
   *
   * @param key - for errors, where it is known
   */
  decode(record: RecordBytes, key?: Uint8Array): V | Promise<V> {
    try {
      const value = this.#decode(record)
      return value instanceof Promise ? value.catch((error: unknown) => Promise.reject(this.#told(error, key))) : value
    } catch (error) {
      throw this.#told(error, key)
    }
  }

  #decode(record: RecordBytes): V | Promise<V> {
    if (hasSiblings(record)) {
      const bytes = this.plainBytes(latestValue(record, this.#source.data.nowMs))
      return bytes instanceof Promise ? bytes.then(this.#codec.decode) : this.#codec.decode(bytes)
    }
    const value = recordValue(record)!
    if (!isPacked(record)) return this.#codec.decode(value)
    const plain = this.#source.packing.unpack(value)
    return plain instanceof Promise ? plain.then(this.#codec.decode) : this.#codec.decode(plain)
  }

  /** An error that says whose value it is: in its details, not in its message, as a key may be somebody's secret. */
  #told(error: unknown, key: Uint8Array | undefined): unknown {
    if (key === undefined || !isKilovoltError(error) || 'key' in error.details) return error
    const { code, message, cause, retryable, details } = error
    return new KilovoltError(code, message, { cause, retryable, details: { ...details, key: this.#nameOf(key) } })
  }

  /** The key as the app knows it; its bytes where they cannot be decoded. */
  #nameOf(key: Uint8Array): unknown {
    try {
      return this.#decodeKey(key)
    } catch {
      return key
    }
  }
}
