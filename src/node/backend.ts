import type { Requirement } from '../model/quorum.ts'
import type { RecordBytes } from '../model/record.ts'
import type { WatchDoor } from './node-watch.ts'

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
    writes: readonly { readonly key: Uint8Array; readonly value: Uint8Array | undefined }[],
    options: BackendOptions
  ): Promise<BackendResults<{ readonly existed: boolean }>>
}

/** What operations on several keys have come to, in their order; what failed is listed by its place. */
export interface BackendResults<T> {
  readonly results: readonly (T | undefined)[]
  readonly failures: ReadonlyMap<number, unknown>
}

/** Where a keyspace finds its backend, at each call anew. */
export interface BackendSource {
  /** Throws `KV_NODE_STOPPED` when the node has stopped. */
  readonly data: KeyspaceBackend
  /** Throws `KV_NODE_STOPPED` when the node has stopped. */
  readonly watches: WatchDoor
}

/** Options of an operation after defaults. */
export interface BackendOptions {
  readonly requirement: Requirement | 'any'
  readonly timeoutMs: number | undefined
  readonly signal: AbortSignal | undefined
}
