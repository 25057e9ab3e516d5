import type { Requirement } from '../model/quorum.ts'
import type { RecordBytes } from '../model/record.ts'
import type { Packing } from './packing.ts'

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
    writes: readonly BackendWrite[],
    options: BackendOptions
  ): Promise<BackendResults<{ readonly existed: boolean }>>
}

/** One write of several; without a value it deletes. */
export interface BackendWrite {
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
  /** Whether the value is packed. */
  readonly packed?: boolean | undefined
}

/** What operations on several keys have come to, in their order; what failed is listed by its place. */
export interface BackendResults<T> {
  readonly results: readonly (T | undefined)[]
  readonly failures: ReadonlyMap<number, unknown>
}

/** Where a keyspace finds its backend, at each call anew. */
export interface BackendSource {
  readonly packing: Packing
  /** Throws `KV_NODE_STOPPED` when the node has stopped. */
  readonly data: KeyspaceBackend
}

/** Options of an operation after defaults. */
export interface BackendOptions {
  readonly requirement: Requirement | 'any'
  readonly timeoutMs: number | undefined
  readonly signal: AbortSignal | undefined
  /** Whether the value of a put is packed. */
  readonly packed?: boolean | undefined
}
