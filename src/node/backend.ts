import type { Causality } from '../model/causality.ts'
import type { ByteRange } from '../model/key-range.ts'
import type { Requirement } from '../model/quorum.ts'
import type { RecordBytes } from '../model/record.ts'
import type { IndexDoor } from './index-door.ts'
import type { KeyTurns } from './key-turns.ts'
import type { Packing } from './packing.ts'
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
  /** Copies the values before it returns; does not reject for single keys. No two keys are the same, except with siblings. */
  putMany(
    keyspace: Uint8Array,
    writes: readonly BackendWrite[],
    options: BackendOptions
  ): Promise<BackendResults<{ readonly existed: boolean }>>
  /**
   * A write that was made of what was read: with an expiry of its own (Unix ms) when the options name no time to live, and
   * stamped right `after` a record, if it is to take the place of that alone. Copies the value before it returns.
   *
   * @returns the record as it was stamped, and whether some copy held something newer and has kept that
   */
  write(
    keyspace: Uint8Array,
    key: Uint8Array,
    plan: {
      readonly value: Uint8Array | undefined
      readonly packed?: boolean | undefined
      readonly expiresAt: number | undefined
      readonly after?: RecordBytes
    },
    options: BackendOptions
  ): Promise<{ readonly record: RecordBytes; readonly isOutrun: boolean }>
  /**
   * A write of a keyspace with siblings: it takes the place of what its author has seen. Copies the value before it returns.
   */
  mint(
    keyspace: Uint8Array,
    key: Uint8Array,
    write: {
      readonly value: Uint8Array | undefined
      readonly packed?: boolean | undefined
      readonly context: Causality | undefined
    },
    options: BackendOptions
  ): Promise<{ readonly existed: boolean }>
  /** Nothing is asked before the first page. `signal` and `timeoutMs` are those of each page. */
  scan(keyspace: Uint8Array, range: ByteRange, options: BackendOptions, form: BackendScanForm): BackendScan
  /** The time by which it is judged whether a value has expired, Unix ms. */
  readonly nowMs: number
}

/** One write of several; no value deletes. */
export interface BackendWrite {
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
  /** Time to live, ms; in the place of that of the options. Absent: for ever. */
  readonly ttl?: number | undefined
  /** Whether the value is packed. */
  readonly packed?: boolean | undefined
  /** In a keyspace with siblings: what its author has seen. */
  readonly context?: Causality | undefined
}

/** In which form a scan wants what it finds. */
export interface BackendScanForm {
  readonly isReverse: boolean
  /** Whether records are wanted with their values. */
  readonly wantsValues: boolean
  /** Whether it rests while requests come. */
  readonly rests: boolean
}

/** What a page of a scan has come to. */
export interface BackendRows {
  readonly length: number
  /** Views: who keeps what is in them copies it. */
  keyAt(row: number): Uint8Array
  recordAt(row: number): RecordBytes
}

/** A scan under way. */
export interface BackendScan {
  /** The next live records in the scan's order, about so many, but at least one; none at the end. One call at a time. */
  next(rows: number): Promise<BackendRows>
  /**
   * To be called now and then while entries are handed out: a promise when this has gone on for so long that others are to
   * have the event loop first.
   */
  breathe(): Promise<void> | undefined
  /** Nobody wants any more of it: what is being fetched is dropped. */
  close(): void
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
  /** The indexes of this node. */
  readonly indexes: IndexDoor
  /** Who reads a key and then writes it takes turns here with the others of this node. */
  readonly turns: KeyTurns
  /** Throws `KV_NODE_STOPPED` when the node has stopped. */
  readonly watches: WatchDoor
}

/** Options of an operation after defaults. */
export interface BackendOptions {
  readonly requirement: Requirement | 'any'
  readonly timeoutMs: number | undefined
  readonly signal: AbortSignal | undefined
  /** Time to live of what is stored, ms. Absent: for ever. */
  readonly ttl?: number | undefined
  /** Whether a read of a key by itself, above `one`, is to return what is deleted or has expired too. Default false. */
  readonly wantsDead?: boolean | undefined
  /** Whether the value of a put is packed. */
  readonly packed?: boolean | undefined
  /** In a keyspace with siblings: what the author of a put or a deletion has seen. */
  readonly context?: Causality | undefined
}
