import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import { assertOptions, show, unknownOption } from '../base/options.ts'
import { type ByteRange, rangeOf } from '../model/key-range.ts'
import { PAGE_ROWS_MAX } from '../replication/scan-wire.ts'
import type { KeyRange, ScanOptions } from './keyspace.ts'

const BOUNDS = ['gt', 'gte', 'lt', 'lte', 'prefix'] as const
const LEVELS = ['consistency', 'timeoutMs', 'signal', 'r']
const COUNT_OPTIONS: ReadonlySet<string> = new Set([...BOUNDS, ...LEVELS])
const CLEAR_OPTIONS: ReadonlySet<string> = new Set([...COUNT_OPTIONS, 'w', 'reverse', 'limit'])
const SCAN_OPTIONS: ReadonlySet<string> = new Set([...COUNT_OPTIONS, 'reverse', 'limit', 'after', 'pageSize'])
const PAGE_SIZE = 4096

/** The calls that have a range. */
export type RangeCall = 'scan' | 'count' | 'clear'

/** What is common to them, after checks. */
export interface CheckedScan {
  readonly range: ByteRange
  readonly isReverse: boolean
  /** Infinity for all. */
  readonly limit: number
  readonly pageSize: number
}

/**
 * The options of a call after checks, its bounds in bytes.
 *
 * @throws KilovoltError `KV_CONFIG`
 */
export function checkedScan<K>(what: RangeCall, options: ScanOptions<K>, encode: (key: K) => Uint8Array): CheckedScan {
  const known = what === 'scan' ? SCAN_OPTIONS : what === 'clear' ? CLEAR_OPTIONS : COUNT_OPTIONS
  assertOptions(options, `a ${what}`)
  for (const option in options) {
    if (known.has(option)) continue
    throw new KilovoltError('KV_CONFIG', unknownOption(option, `a ${what}`, known))
  }
  // A bound that got lost on its way must not make that everything.
  const lost = what === 'clear' ? [...BOUNDS, 'limit' as const].find(bound => isLost(options, bound)) : undefined
  if (lost !== undefined) {
    throw new KilovoltError('KV_CONFIG', `"${lost}" is undefined: leave it out to clear without it`)
  }
  const { reverse = false, limit = Infinity, pageSize = PAGE_SIZE } = options
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
  return { range: boundsOf(options, encode), isReverse: reverse, limit, pageSize }
}

/** Whether an option is given, and its value is not. */
export function isLost<O extends object>(options: O, option: keyof O): boolean {
  return Object.hasOwn(options, option) && options[option] === undefined
}

/** The bytes of an option that is a key, or like one. @throws TypeError that names the option */
export function encodeOption<K>(option: string, key: K, encode: (key: K) => Uint8Array): Uint8Array {
  try {
    return encode(key)
  } catch (error) {
    if (isKilovoltError(error, 'KV_ENCODING')) {
      throw new KilovoltError(error.code, `"${option}": ${error.message}`, { cause: error.cause })
    }
    if (!(error instanceof TypeError)) throw error
    throw new TypeError(`"${option}": ${error.message.replace(/^the key: /u, '')}`, { cause: error })
  }
}

function boundsOf<K>(options: KeyRange<K>, encode: (key: K) => Uint8Array): ByteRange {
  const bounds: Partial<Record<(typeof BOUNDS)[number], Uint8Array>> = {}
  for (const bound of BOUNDS) {
    const key = options[bound]
    if (key !== undefined) bounds[bound] = encodeOption(bound, key, encode)
  }
  return rangeOf(bounds)
}
