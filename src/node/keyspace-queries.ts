import { utf8 } from '../base/bytes.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import { assertOptions, assertSignal, show } from '../base/options.ts'
import { decodeIndexValue, type IndexBounds, indexRange } from '../model/index-value.ts'
import { type ByteRange, restAfter } from '../model/key-range.ts'
import type { Requirement } from '../model/quorum.ts'
import type { RecordBytes } from '../model/record.ts'
import { PAGE_ROWS_MAX } from '../replication/scan-wire.ts'
import type { BackendRows, BackendSource } from './backend.ts'
import { backendOptions, READ_OPTIONS, requirement } from './call-options.ts'
import type { IndexMatch, QueryOptions, Scan } from './keyspace.ts'
import { PagedScan } from './scan.ts'
import { isLost } from './scan-options.ts'
import { decodeToken, encodeToken } from './scan-token.ts'

/** What the queries of a keyspace need to know of it. */
export interface QueriedKeyspace<V, K> {
  readonly source: BackendSource
  readonly name: Uint8Array
  readonly decodeKey: (bytes: Uint8Array) => K
  readonly decodeValue: (record: RecordBytes, key: Uint8Array) => V | Promise<V>
  /** What is asked for unless a call says else. */
  readonly read: Requirement | 'any'
}

const BOUNDS = ['gt', 'gte', 'lt', 'lte', 'prefix'] as const
const OPTIONS: ReadonlySet<string> = new Set([
  'equals',
  ...BOUNDS,
  'reverse',
  'limit',
  'after',
  'pageSize',
  'consistency',
  'timeoutMs',
  'signal',
  'r'
])
const PAGE_SIZE = 1024

/** Everything that a keyspace does with its indexes once they are defined. */
export class KeyspaceQueries<V, K> {
  readonly #keyspace: QueriedKeyspace<V, K>

  constructor(keyspace: QueriedKeyspace<V, K>) {
    this.#keyspace = keyspace
  }

  query(index: string, options: QueryOptions): Scan<IndexMatch<V, K>> {
    const { source, name, decodeKey, decodeValue, read } = this.#keyspace
    const { indexes } = source
    const definition = indexes.find(name, index)
    if (definition === undefined) {
      throw new KilovoltError('KV_CONFIG', `this keyspace was opened with no index ${show(index)} on this node`)
    }
    const { range, isReverse, limit, pageSize } = checkedQuery(options)
    const { after, signal, consistency, r, timeoutMs } = options
    const place = placeOf(name, index)
    const left = after === undefined ? range : restAfter(range, decodeToken(place, isReverse, after), isReverse)
    const level = requirement(consistency, r) ?? read
    const checked = { ...(consistency && { consistency }), ...(timeoutMs !== undefined && { timeoutMs }) }
    const call = { ...backendOptions(checked, level, 'query', READ_OPTIONS), signal }
    return new PagedScan<IndexMatch<V, K>>({
      open: () => {
        const query = indexes.query(definition, left, call, isReverse)
        return {
          next: async rows => rowsOf(await query.next(rows)),
          breathe: () => query.breathe(),
          close: () => query.close()
        }
      },
      decode: (rows, row) => {
        const entry = rows.keyAt(row)
        const { value: indexed, length } = decodeIndexValue(entry)
        const keyBytes = entry.subarray(length)
        const key = decodeKey(keyBytes)
        const value = decodeValue(rows.recordAt(row), keyBytes)
        if (!(value instanceof Promise)) return { key, value, index: indexed }
        return value.then(later => ({ key, value: later, index: indexed }))
      },
      tokenOf: entry => encodeToken(place, isReverse, entry),
      after,
      limit,
      pageSize,
      signal
    })
  }
}

/** What was found, each by its place in the index: its value with its key, which is what a token names. */
function rowsOf(found: readonly { readonly entry: Uint8Array; readonly record: RecordBytes }[]): BackendRows {
  return { length: found.length, keyAt: row => found[row]!.entry, recordAt: row => found[row]!.record }
}

/** What a token names as its keyspace: no name of one begins with this byte, which is not in UTF-8. */
function placeOf(keyspace: Uint8Array, index: string): Uint8Array {
  return Uint8Array.of(0xff, ...keyspace, 0xff, ...utf8(index))
}

interface CheckedQuery {
  readonly range: ByteRange
  readonly isReverse: boolean
  readonly limit: number
  readonly pageSize: number
}

function checkedQuery(options: QueryOptions): CheckedQuery {
  assertOptions(options, 'a query')
  assertSignal(options.signal)
  for (const option in options) {
    if (OPTIONS.has(option)) continue
    throw new KilovoltError(
      'KV_CONFIG',
      `"${option}" is not an option of a query; there are ${[...OPTIONS].join(', ')}`
    )
  }
  const { equals, reverse = false, limit = Infinity, pageSize = PAGE_SIZE } = options
  if (isLost(options, 'equals')) {
    throw new KilovoltError('KV_CONFIG', '"equals" is undefined: leave it out to find every value')
  }
  if (equals !== undefined && BOUNDS.some(bound => options[bound] !== undefined)) {
    throw new KilovoltError('KV_CONFIG', `"equals" leaves no room for ${BOUNDS.join(', ')}`)
  }
  if (typeof reverse !== 'boolean') throw new KilovoltError('KV_CONFIG', '"reverse" must be true or false')
  if (limit !== Infinity && !(Number.isSafeInteger(limit) && limit >= 0)) {
    throw new KilovoltError('KV_CONFIG', `"limit" must be a whole number from 0 up, not ${show(limit)}`)
  }
  if (!(Number.isInteger(pageSize) && pageSize >= 1 && pageSize <= PAGE_ROWS_MAX)) {
    throw new KilovoltError(
      'KV_CONFIG',
      `"pageSize" must be a whole number from 1 to ${PAGE_ROWS_MAX}, not ${show(pageSize)}`
    )
  }
  const { prefix } = options
  if (prefix !== undefined && typeof prefix !== 'string' && !(prefix instanceof Uint8Array)) {
    throw new KilovoltError('KV_CONFIG', '"prefix" must be a string or bytes')
  }
  return { range: rangeOf(options), isReverse: reverse, limit, pageSize }
}

function rangeOf(bounds: IndexBounds): ByteRange {
  try {
    return indexRange(bounds)
  } catch (cause) {
    throw new KilovoltError('KV_CONFIG', `a query cannot be bounded so: ${messageOf(cause)}`, { cause })
  }
}
