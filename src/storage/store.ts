import type { KilovoltError } from '../base/errors.ts'

/** One change of a batch. `value` undefined deletes the key. */
export interface StoreChange {
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}

/** A key with its value. */
export type StoreEntry = readonly [key: Uint8Array, value: Uint8Array]

/** Part of the key space, in byte order. */
export interface StoreRange {
  readonly gte: Uint8Array
  /** `undefined`: to the end. */
  readonly lt: Uint8Array | undefined
}

/**
 * The ordered map of bytes under everything a node keeps. Bytes handed in belong to the store afterwards and bytes
 * handed out to the caller; neither side writes to them again.
 */
export interface Store {
  /** Whether what is written outlives the process. */
  readonly permanent: boolean
  /** Whether {@link Store.get} returns the value itself. */
  readonly readsAtOnce: boolean
  /** The value of a key; otherwise like {@link Store.getMany}. */
  get(key: Uint8Array): Uint8Array | undefined | Promise<Uint8Array | undefined>
  /**
   * Values of the keys, in order; `undefined` where there is none. Returns the values themselves, not a promise, when
   * the database can read synchronously: the hot path is spared a turn. Failures are rejections, never thrown.
   *
   * @param asOne - all of them as they were at one moment, though a batch may be written meanwhile: of that all is seen or
   *   nothing. Default false
   */
  getMany(
    keys: readonly Uint8Array[],
    asOne?: boolean
  ): readonly (Uint8Array | undefined)[] | Promise<readonly (Uint8Array | undefined)[]>
  /**
   * Applies all changes or none; their keys belong to the store from then on. Resolves when a crash of the process
   * cannot lose them; with `sync`, when a crash of the machine cannot either.
   */
  batch(changes: readonly StoreChange[], options: { readonly sync: boolean }): Promise<void>
  /**
   * The next entries of the range in key order, or from its end against it, at most `limit`; fewer only when that is all. With
   * `maxBytes` a store that has to load what it returns may also stop, after at least one entry, when that many bytes have
   * been read.
   */
  page(range: StoreRange, limit: number, maxBytes?: number, isReverse?: boolean): Promise<readonly StoreEntry[]>
  /**
   * As {@link Store.page}, for stores that are spared something by it: within the call, and each entry by itself. The array of
   * the key is lent: the next entry has its key in the same one.
   *
   * @throws what reading fails with
   */
  visit?(
    range: StoreRange,
    limit: number,
    maxBytes: number,
    isReverse: boolean,
    take: (key: Uint8Array, value: Uint8Array) => void
  ): void
  /** Deletes a range. Not atomic: after a crash a part may be left. */
  clear(range: StoreRange): Promise<void>
  /** Idempotent. */
  close(): Promise<void>
  /** Calls back, when the medium is taken away under the store, with what to tell of it; for stores to which that can happen. */
  onLost?(listener: (error: KilovoltError) => void): void
}
