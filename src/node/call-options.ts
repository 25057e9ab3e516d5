import { throwIfAborted } from '../base/abort.ts'
import { utf8 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { assertKnownOptions, assertOptions, assertSignal, show, unknownOption } from '../base/options.ts'
import { TTL_MAX_MS } from '../base/ttl.ts'
import { KEYSPACE_BYTES_MAX } from '../model/key.ts'
import type { ConsistencyLevel, Requirement } from '../model/quorum.ts'
import type { BackendOptions } from './backend.ts'
import type { OperationOptions } from './keyspace.ts'
import type { WaitOptions } from './node.ts'

const LEVELS: readonly string[] = ['any', 'one', 'quorum', 'all'] satisfies ConsistencyLevel[]
const KEYSPACE_OPTIONS = new Set([
  'keyEncoding',
  'valueEncoding',
  'schema',
  'compression',
  'compressAbove',
  'consistency',
  'r',
  'w',
  'ttl',
  'conflicts',
  'indexes'
])
/** Longest `timeoutMs` of a call. */
export const TIMEOUT_MAX_MS = 600_000
/** How long `settled` and `leave` wait unless told otherwise, and the longest: a week. */
const WAIT_MS = 60_000
const WAIT_MAX_MS = 7 * 24 * 3_600_000
const WAIT_OPTIONS: ReadonlySet<string> = new Set(['timeoutMs', 'signal'] satisfies (keyof WaitOptions)[])
const EVERY_OPTION = ['consistency', 'timeoutMs', 'signal'] as const
/** Of an operation that reads, and then writes; */
const OPERATION_OPTIONS: ReadonlySet<string> = new Set([...EVERY_OPTION, 'r', 'w'])
/** of one that reads, */
export const READ_OPTIONS: ReadonlySet<string> = new Set([...EVERY_OPTION, 'r'])
/** or writes. */
export const WRITE_OPTIONS: ReadonlySet<string> = new Set([...EVERY_OPTION, 'w'])
/** Of an operation that stores values. */
export const STORE_OPTIONS: ReadonlySet<string> = new Set([...WRITE_OPTIONS, 'ttl'])
/** Of one that deletes, in a keyspace with siblings; */
export const SEEN_OPTIONS: ReadonlySet<string> = new Set([...WRITE_OPTIONS, 'context'])
/** and of one that stores values there. */
export const SEEN_STORE_OPTIONS: ReadonlySet<string> = new Set([...STORE_OPTIONS, 'context'])

/**
 * Refuses names and options that no keyspace can have.
 *
 * @throws KilovoltError `KV_CONFIG`
 */
export function assertKeyspaceOptions(name: string, options: object): void {
  if (typeof name !== 'string' || !name.isWellFormed() || utf8(name).length > KEYSPACE_BYTES_MAX) {
    throw config(`a keyspace's name is a string of at most ${KEYSPACE_BYTES_MAX} bytes of UTF-8, not ${show(name)}`)
  }
  assertKnownOptions(options, 'a keyspace', KEYSPACE_OPTIONS)
}

/** Options of an operation, of which it is not known yet whether they are any. @throws KilovoltError `KV_CONFIG` */
export function given<O extends OperationOptions>(options: O): O {
  assertOptions(options, 'an operation')
  return options
}

/**
 * Refuses what no operation can be told.
 *
 * @throws KilovoltError `KV_CONFIG`
 */
export function assertOperationOptions(
  options: OperationOptions,
  known: ReadonlySet<string> = OPERATION_OPTIONS
): void {
  assertOptions(options, 'an operation')
  for (const option in options) {
    if (known.has(option)) continue
    if (option === 'context') {
      if ((options as { readonly context?: unknown }).context === undefined) continue
      throw contextless()
    }
    if (OPERATION_OPTIONS.has(option)) {
      if (options[option as keyof OperationOptions] === undefined) continue
      throw wrongSide(option)
    }
    throw config(unknownOption(option, 'an operation', known))
  }
  const { timeoutMs, signal } = options
  if (timeoutMs !== undefined && !(typeof timeoutMs === 'number' && timeoutMs >= 1 && timeoutMs <= TIMEOUT_MAX_MS)) {
    throw config(`"timeoutMs" must be from 1 to ${TIMEOUT_MAX_MS}, not ${show(timeoutMs)}`)
  }
  assertSignal(signal)
}

/**
 * How long to wait for what is no operation on data, ms, after checks.
 *
 * @throws KilovoltError `KV_CONFIG`
 */
export function waitMs(options: WaitOptions, what: string): number {
  assertKnownOptions(options, what, WAIT_OPTIONS)
  const { timeoutMs = WAIT_MS, signal } = options
  if (!(typeof timeoutMs === 'number' && timeoutMs >= 1 && timeoutMs <= WAIT_MAX_MS)) {
    throw config(`"timeoutMs" of ${what} must be from 1 to ${WAIT_MAX_MS}, not ${show(timeoutMs)}`)
  }
  assertSignal(signal)
  return timeoutMs
}

/** The options of a call after checks, at this level. */
export function backendOptions(
  options: OperationOptions,
  level: Requirement | 'any',
  what: string,
  known: ReadonlySet<string>
): BackendOptions {
  assertOperationOptions(options, known)
  const { signal, timeoutMs } = options
  throwIfAborted(signal, what)
  return { requirement: level, timeoutMs, signal }
}

/**
 * A time to live after checks; `undefined`, which is for ever, when it is `Infinity` or absent.
 *
 * @throws KilovoltError `KV_CONFIG`
 */
export function lifetime(ttl: number | undefined): number | undefined {
  if (ttl === undefined || ttl === Infinity) return undefined
  if (!Number.isInteger(ttl) || ttl < 1 || ttl > TTL_MAX_MS) {
    throw config(`"ttl" is whole milliseconds from 1 to ${TTL_MAX_MS}, or Infinity, not ${show(ttl)}`)
  }
  return ttl
}

/** The error for a context where it would be passed over. */
export function contextless(): KilovoltError {
  const where = 'that of put(), delete() and the operations of a batch, in keyspaces with "conflicts"'
  return config(`"context" means nothing here: it is ${where} other than 'newest'`)
}

/** The error for a number of copies that would be passed over. */
function wrongSide(option: string): KilovoltError {
  const [is, other] = option === 'r' ? ['a read asks', 'a write has "w"'] : ['acknowledge a write', 'a read has "r"']
  return config(`"${option}" means nothing here: it is how many copies ${is}; ${other}`)
}

/**
 * What a level or a number of copies comes to; `undefined` when neither is given.
 *
 * @throws KilovoltError `KV_CONFIG`, also when both are: one of them would be passed over
 */
export function requirement(
  level: ConsistencyLevel | undefined,
  count: number | undefined
): Requirement | 'any' | undefined {
  if (count !== undefined) {
    if (!Number.isInteger(count) || count < 1) {
      throw config(`"r" and "w" are whole numbers of copies, not ${show(count)}`)
    }
    if (level !== undefined) {
      throw config(`"consistency" and a number of copies ("r", "w") say the same: give one of them, not both`)
    }
    return count
  }
  if (level !== undefined && !LEVELS.includes(level)) {
    throw config(`"consistency" must be one of ${LEVELS.join(', ')}, not ${show(level)}`)
  }
  return level
}

function config(message: string): KilovoltError {
  return new KilovoltError('KV_CONFIG', message)
}
