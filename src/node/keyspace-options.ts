import type { ConsistencyLevel } from '../model/quorum.ts'
import type { Conflicts } from './conflicts.ts'
import type { Encoding, ValueEncoding } from './encodings.ts'
import type { KeyspaceIndexes } from './index-definitions.ts'
import type { SchemaOutput, StandardSchema } from './schema.ts'

/** How a keyspace stores its keys and values, and what it promises by default. */
export interface KeyspaceOptions<V, K, I extends string = string> {
  /** How keys become bytes. Default `'utf8'`. */
  readonly keyEncoding?: Encoding<K> | undefined
  /** How values become bytes. Default `'json'`. */
  readonly valueEncoding?: ValueEncoding<V> | undefined
  /**
   * Whether values are compressed, by zstd, before they are sent and stored. Recorded with each value: whatever the
   * options of a reader, it reads all of them. Values that would not get smaller by an eighth stay as they are. Default
   * `false`.
   */
  readonly compression?: 'zstd' | false | undefined
  /** Bytes that a value must have more than, once encoded, to be compressed. Default 512. */
  readonly compressAbove?: number | undefined
  /** Level of operations that do not name one. Default `'quorum'`. */
  readonly consistency?: ConsistencyLevel | undefined
  /** Copies that must answer a read, instead of the level. */
  readonly r?: number | undefined
  /** Copies that must acknowledge a write, instead of the level. */
  readonly w?: number | undefined
  /** How long values live that are stored without a `ttl` of their own, ms; `Infinity` for ever. Default: for ever. */
  readonly ttl?: number | undefined
  /**
   * What becomes of values that were written to one key without having seen each other. `'newest'`: the one with the latest stamp
   * wins. `'siblings'`: all are kept until a put or a deletion has seen them; reads give the newest, `getEntry` all
   * of them. A function: reads give what it makes of them, and `get` writes that back. The same on all nodes; see the guide on
   * conflicts for what it costs and for what cannot be had with it. Default `'newest'`.
   */
  readonly conflicts?: Conflicts<V, K> | undefined
  /**
   * Secondary indexes: what records are found by besides their keys, each a function of the value, by its name. Every node
   * indexes the copies that it holds, so all nodes have to open the keyspace with the same ones; what is there already is
   * indexed in the background, and again when a definition changes. See `query`. At most 32. Default: none.
   */
  readonly indexes?: KeyspaceIndexes<V, I> | undefined
}

/** Options of a keyspace whose values are validated. */
export interface SchemaKeyspaceOptions<S extends StandardSchema, K, I extends string = string> extends KeyspaceOptions<
  SchemaOutput<S>,
  K,
  I
> {
  /**
   * A validator of Standard Schema: zod, valibot, arktype and others. It sees each value before it is written, and what it
   * makes of it is what is stored; what is read is not validated again. It must answer at once, not by a promise.
   */
  readonly schema: S
}
