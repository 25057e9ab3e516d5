import { throwIfAborted } from '../base/abort.ts'
import { utf8 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { KEYSPACE_BYTES_MAX } from '../model/key.ts'
import type { ConsistencyLevel, Requirement } from '../model/quorum.ts'
import type { BackendOptions } from './backend.ts'
import type { OperationOptions } from './keyspace.ts'

const LEVELS: readonly string[] = ['any', 'one', 'quorum', 'all'] satisfies ConsistencyLevel[]
const KEYSPACE_OPTIONS = new Set([
  'keyEncoding',
  'valueEncoding',
  'schema',
  'compression',
  'compressAbove',
  'consistency',
  'r',
  'w'
])
const OPERATION_OPTIONS = new Set(['consistency', 'timeoutMs', 'signal', 'r', 'w'])

/**
 * Refuses names and options that no keyspace can have.
 *
 * @throws KilovoltError `KV_CONFIG`
 */
export function assertKeyspaceOptions(name: string, options: object): void {
  if (typeof name !== 'string' || utf8(name).length > KEYSPACE_BYTES_MAX) {
    throw new KilovoltError('KV_CONFIG', `a keyspace's name is a string of at most ${KEYSPACE_BYTES_MAX} bytes`)
  }
  for (const option of Object.keys(options)) {
    if (!KEYSPACE_OPTIONS.has(option)) throw unknownOption(option, 'a keyspace', KEYSPACE_OPTIONS)
  }
}

function checkedOptions(options: OperationOptions): OperationOptions {
  for (const option in options) {
    if (!OPERATION_OPTIONS.has(option)) throw unknownOption(option, 'an operation', OPERATION_OPTIONS)
  }
  const { timeoutMs } = options
  if (timeoutMs !== undefined && !(timeoutMs >= 1 && timeoutMs <= 600_000)) {
    throw new KilovoltError('KV_CONFIG', `"timeoutMs" must be from 1 to 600000, not ${timeoutMs}`)
  }
  return options
}

/** The options of a call after checks, at this level. */
export function backendOptions(options: OperationOptions, level: Requirement | 'any', what: string): BackendOptions {
  throwIfAborted(options.signal, what)
  const { signal, timeoutMs } = checkedOptions(options)
  return { requirement: level, timeoutMs, signal }
}

function unknownOption(option: string, owner: string, known: ReadonlySet<string>): KilovoltError {
  return new KilovoltError('KV_CONFIG', `"${option}" is not an option of ${owner}; there are ${[...known].join(', ')}`)
}

/** What a level or a number of copies comes to; `undefined` when neither is given. */
export function requirement(
  level: ConsistencyLevel | undefined,
  count: number | undefined
): Requirement | 'any' | undefined {
  if (count !== undefined) {
    if (!Number.isInteger(count) || count < 1) {
      throw new KilovoltError('KV_CONFIG', `"r" and "w" are whole numbers of copies, not ${count}`)
    }
    return count
  }
  if (level !== undefined && !LEVELS.includes(level)) {
    throw new KilovoltError('KV_CONFIG', `"consistency" must be one of ${LEVELS.join(', ')}, not ${level}`)
  }
  return level
}
