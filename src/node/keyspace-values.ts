import { copyBytes, utf8 } from '../base/bytes.ts'
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
  readonly #codec: Codec<V>
  readonly #schema: StandardSchema<In, V> | undefined
  /** Values of more bytes are packed; `Infinity`: none is. */
  readonly packAbove: number

  /** @throws KilovoltError `KV_CONFIG` for bad options */
  constructor(
    source: Pick<BackendSource, 'packing' | 'data'>,
    keyspace: string,
    options: Omit<KeyspaceOptions<V, unknown>, 'keyEncoding' | 'conflicts'> & {
      readonly schema?: StandardSchema<In, V>
    }
  ) {
    const { valueEncoding = 'json' } = options
    this.#source = source
    this.#keyspace = keyspace
    this.#codec = createCodec<V>(valueEncoding, 'valueEncoding', utf8(keyspace))
    this.#schema = options.schema
    if (this.#schema !== undefined) assertSchema(this.#schema)
    this.packAbove = packAbove(options)
  }

  /**
   * The bytes of a value; they may be the caller's own memory.
   *
   * @throws KilovoltError `KV_INVALID_VALUE`, `KV_ENCODING`, `KV_VALUE_TOO_LARGE`
   */
  encode(value: In): Uint8Array {
    // Without a schema they are of one type.
    const valid = this.#schema === undefined ? (value as unknown as V) : validated(this.#schema, value, this.#keyspace)
    const bytes = this.#codec.encode(valid)
    assertValue(bytes)
    return bytes
  }

  /** The value of what {@link KeyspaceValues.encode} gave. */
  decodeBytes(bytes: Uint8Array): V {
    return this.#codec.decode(bytes)
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
   */
  decode(record: RecordBytes): V | Promise<V> {
    if (hasSiblings(record)) {
      const bytes = this.plainBytes(latestValue(record, this.#source.data.nowMs))
      return bytes instanceof Promise ? bytes.then(this.#codec.decode) : this.#codec.decode(bytes)
    }
    const value = recordValue(record)!
    if (!isPacked(record)) return this.#codec.decode(value)
    const plain = this.#source.packing.unpack(value)
    return plain instanceof Promise ? plain.then(this.#codec.decode) : this.#codec.decode(plain)
  }
}
