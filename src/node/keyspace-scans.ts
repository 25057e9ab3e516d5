import { copyBytes } from '../base/bytes.ts'
import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import { restAfter } from '../model/key-range.ts'
import type { Requirement } from '../model/quorum.ts'
import type { RecordBytes } from '../model/record.ts'
import type { BackendOptions, BackendScan, BackendSource } from './backend.ts'
import { backendOptions, requirement } from './call-options.ts'
import type { ClearOptions, CountOptions, OperationOptions, Scan, ScanOptions } from './keyspace.ts'
import { PagedScan } from './scan.ts'
import { type CheckedScan, checkedScan, type RangeCall } from './scan-options.ts'
import { decodeToken, encodeToken } from './scan-token.ts'

/** What the scans of a keyspace need to know of it. */
export interface ScannedKeyspace<V, K> {
  readonly source: BackendSource
  readonly name: Uint8Array
  readonly encodeKey: (key: K) => Uint8Array
  readonly decodeKey: (bytes: Uint8Array) => K
  /** The value of a live record; a promise only where it has to be waited for. */
  readonly decodeValue: (record: RecordBytes) => V | Promise<V>
  /** What is asked for unless a call says else. */
  readonly read: Requirement | 'any'
  readonly write: Requirement | 'any'
}

/** Keys that are deleted at a time. */
const CLEARED_AT_ONCE = 1024

/** Everything that a keyspace does with ranges. */
export class KeyspaceScans<V, K> {
  readonly #keyspace: ScannedKeyspace<V, K>

  constructor(keyspace: ScannedKeyspace<V, K>) {
    this.#keyspace = keyspace
  }

  entries(options: ScanOptions<K>): Scan<[key: K, value: V]> {
    const { decodeKey, decodeValue } = this.#keyspace
    return this.#scan<[K, V]>(options, true, ({ key, record }) => {
      const value = decodeValue(record)
      return value instanceof Promise ? value.then(later => [decodeKey(key), later]) : [decodeKey(key), value]
    })
  }

  keys(options: ScanOptions<K>): Scan<K> {
    const { decodeKey } = this.#keyspace
    return this.#scan(options, false, ({ key }) => decodeKey(key))
  }

  values(options: ScanOptions<K>): Scan<V> {
    const { decodeValue } = this.#keyspace
    return this.#scan(options, true, ({ record }) => decodeValue(record))
  }

  async count(options: CountOptions<K>): Promise<number> {
    const { checked, scan } = this.#begin('count', options)
    let count = 0
    for (;;) {
      const { length } = await scan.next(checked.pageSize)
      if (length === 0) return count
      count += length
    }
  }

  async clear(options: ClearOptions<K>): Promise<number> {
    const { source, name, write } = this.#keyspace
    const { checked, scan } = this.#begin('clear', options)
    const { consistency, w } = options
    const call = backendOptions(operationOf(options), requirement(consistency, w) ?? write, 'clear')
    let deleted = 0
    try {
      for (let left = checked.limit; left > 0;) {
        const page = await scan.next(Math.min(left, CLEARED_AT_ONCE))
        if (page.length === 0) break
        const writes = page.slice(0, left).map(({ key }) => ({ key: copyBytes(key), value: undefined }))
        left -= writes.length
        const { results, failures } = await source.data.putMany(name, writes, call)
        for (const result of results) if (result?.existed === true) deleted++
        for (const error of failures.values()) throw error
      }
    } catch (error) {
      throw toldWith(error, deleted)
    }
    return deleted
  }

  #scan<T>(
    options: ScanOptions<K>,
    wantsValues: boolean,
    decode: (entry: { readonly key: Uint8Array; readonly record: RecordBytes }) => T | Promise<T>
  ): Scan<T> {
    const { source, name, encodeKey } = this.#keyspace
    const checked = checkedScan('scan', options, encodeKey)
    const { range, isReverse, limit, pageSize } = checked
    const { after, signal } = options
    const left = after === undefined ? range : restAfter(range, decodeToken(name, isReverse, after), isReverse)
    // A signal that is aborted already ends the scan when its first entry is asked for.
    const call = { ...this.#readOptions({ ...options, signal: undefined }, 'scan'), signal }
    return new PagedScan({
      open: () => source.data.scan(name, left, call, { isReverse, wantsValues }),
      decode,
      tokenOf: key => encodeToken(name, isReverse, key),
      after,
      limit,
      pageSize,
      signal
    })
  }

  #begin(what: RangeCall, options: CountOptions<K>): { readonly checked: CheckedScan; readonly scan: BackendScan } {
    const { source, name, encodeKey } = this.#keyspace
    const checked = checkedScan(what, options, encodeKey)
    const form = { isReverse: checked.isReverse, wantsValues: false }
    return { checked, scan: source.data.scan(name, checked.range, this.#readOptions(options, what), form) }
  }

  #readOptions(options: CountOptions<K>, what: RangeCall): BackendOptions {
    const { consistency, r } = options
    return backendOptions(operationOf(options), requirement(consistency, r) ?? this.#keyspace.read, what)
  }
}

/** Of the options those that every operation has. */
function operationOf({ consistency, timeoutMs, signal }: OperationOptions): OperationOptions {
  return {
    ...(consistency === undefined ? {} : { consistency }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    signal
  }
}

/** What ended a clearing, and how far it had come. */
function toldWith(error: unknown, deleted: number): unknown {
  if (!isKilovoltError(error)) return error
  const { code, message, retryable, details } = error
  return new KilovoltError(code, `${message}; ${deleted} keys have been deleted`, {
    cause: error,
    retryable,
    details: { ...details, deleted }
  })
}
