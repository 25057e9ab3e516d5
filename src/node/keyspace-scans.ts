import { copyBytes } from '../base/bytes.ts'
import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import { assertSignal } from '../base/options.ts'
import { youngPair } from '../base/young-arrays.ts'
import { type ByteRange, restAfter } from '../model/key-range.ts'
import type { Requirement } from '../model/quorum.ts'
import type { RecordBytes } from '../model/record.ts'
import type { BackendOptions, BackendRows, BackendScan, BackendScanForm, BackendSource } from './backend.ts'
import { backendOptions, READ_OPTIONS, requirement, WRITE_OPTIONS } from './call-options.ts'
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
  readonly decodeValue: (record: RecordBytes, key: Uint8Array) => V | Promise<V>
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
    return this.#scan<[K, V]>(options, true, (rows, row) => {
      const key = rows.keyAt(row)
      const value = decodeValue(rows.recordAt(row), key)
      return value instanceof Promise ? value.then(later => [decodeKey(key), later]) : youngPair(decodeKey(key), value)
    })
  }

  keys(options: ScanOptions<K>): Scan<K> {
    const { decodeKey } = this.#keyspace
    return this.#scan(options, false, (rows, row) => decodeKey(rows.keyAt(row)))
  }

  values(options: ScanOptions<K>): Scan<V> {
    const { decodeValue } = this.#keyspace
    return this.#scan(options, true, (rows, row) => decodeValue(rows.recordAt(row), rows.keyAt(row)))
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
    const call = backendOptions(
      operationOf(options),
      requirement(w === undefined ? consistency : undefined, w) ?? write,
      'clear',
      WRITE_OPTIONS
    )
    let deleted = 0
    try {
      for (let left = checked.limit; left > 0;) {
        const page = scan.next(Math.min(left, CLEARED_AT_ONCE))
        const keys = await page.then(keysOf, (error: unknown) => this.#damaged(error))
        if (keys.length === 0) break
        const writes = keys.slice(0, left).map(key => ({ key, value: undefined }))
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
    decode: (rows: BackendRows, row: number) => T | Promise<T>
  ): Scan<T> {
    const { name, encodeKey } = this.#keyspace
    const checked = checkedScan('scan', options, encodeKey)
    const { range, isReverse, limit, pageSize } = checked
    const { after, signal } = options
    assertSignal(signal)
    const left = after === undefined ? range : restAfter(range, decodeToken(name, isReverse, after), isReverse)
    // A signal that is aborted already ends the scan when its first entry is asked for.
    const call = { ...this.#readOptions({ ...options, signal: undefined }, 'scan'), signal }
    return new PagedScan({
      open: () => this.#open(left, call, { isReverse, wantsValues, rests: true }),
      decode,
      tokenOf: key => encodeToken(name, isReverse, key),
      after,
      limit,
      pageSize,
      signal
    })
  }

  #begin(what: RangeCall, options: CountOptions<K>): { readonly checked: CheckedScan; readonly scan: BackendScan } {
    const checked = checkedScan(what, options, this.#keyspace.encodeKey)
    // What is cleared would rest for its own deletions.
    const form = { isReverse: checked.isReverse, wantsValues: false, rests: what !== 'clear' }
    return { checked, scan: this.#open(checked.range, this.#readOptions(options, what), form) }
  }

  /** A scan whose errors name a key that cannot be read as the app knows it. */
  #open(range: ByteRange, call: BackendOptions, form: BackendScanForm): BackendScan {
    const { source, name, decodeKey } = this.#keyspace
    const scan = source.data.scan(name, range, call, form)
    const told = (error: unknown): never => {
      if (!isKilovoltError(error) || !(error.details['key'] instanceof Uint8Array)) throw error
      throw retold(error, '', { key: decodeKey(error.details['key']) })
    }
    return {
      next: rows => scan.next(rows).catch(told),
      breathe: () => scan.breathe(),
      close: () => scan.close()
    }
  }

  /** Of a key that is damaged nobody knows whether it holds anything: to delete it is to be sure. */
  #damaged(error: unknown): readonly Uint8Array[] {
    if (!isKilovoltError(error, 'KV_CORRUPT') || !('key' in error.details)) throw error
    return [this.#keyspace.encodeKey(error.details['key'] as K)]
  }

  #readOptions(options: CountOptions<K>, what: RangeCall): BackendOptions {
    const { consistency, r } = options
    const isOfBoth = what === 'clear' && r !== undefined
    const level = requirement(isOfBoth ? undefined : consistency, r) ?? this.#keyspace.read
    return backendOptions(operationOf(options), level, what, READ_OPTIONS)
  }
}

function keysOf(rows: BackendRows): readonly Uint8Array[] {
  return Array.from({ length: rows.length }, (_, row) => copyBytes(rows.keyAt(row)))
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
  return isKilovoltError(error) ? retold(error, `; ${deleted} keys have been deleted`, { deleted }) : error
}

function retold(error: KilovoltError, more: string, details: Record<string, unknown>): KilovoltError {
  const { code, message, retryable } = error
  return new KilovoltError(code, message + more, { cause: error, retryable, details: { ...error.details, ...details } })
}
