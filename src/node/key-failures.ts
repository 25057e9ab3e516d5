import { type ErrorCode, isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'

/** What has come of one key of a call for several. */
export interface KeyFailure<K> {
  readonly key: K
  readonly error: unknown
}

/** How a batch fails of which some operations do. */
export function batchError(failures: readonly KeyFailure<unknown>[], total: number, outcome = ''): KilovoltError {
  const first = failures[0]!.error
  return new KilovoltError(
    'KV_BATCH_FAILED',
    `${failures.length} of ${total} operations failed (${codesOf(failures)})${outcome}; the first: ${messageOf(first)}`,
    { cause: first, retryable: isRetryable(failures), details: { failures } }
  )
}

/**
 * How a read of several keys fails of which some do: as the first of them, with what is wrong with each, and with what the
 * others are.
 *
 * @param values - in the order of the keys; `undefined` for those that failed
 */
export function readError(failures: readonly KeyFailure<unknown>[], values: readonly unknown[]): unknown {
  const { error } = failures[0]!
  if (!isKilovoltError(error)) return error
  const others =
    failures.length === 1 ? '' : `; ${failures.length} of ${values.length} keys failed (${codesOf(failures)})`
  return new KilovoltError(error.code, `${error.message}${others}`, {
    cause: error,
    retryable: isRetryable(failures),
    details: { ...error.details, failures, values }
  })
}

function codesOf(failures: readonly KeyFailure<unknown>[]): string {
  const codes: ReadonlySet<ErrorCode | 'other'> = new Set(
    failures.map(({ error }) => (isKilovoltError(error) ? error.code : 'other'))
  )
  return [...codes].join(', ')
}

function isRetryable(failures: readonly KeyFailure<unknown>[]): boolean {
  return failures.every(({ error }) => isKilovoltError(error) && error.retryable)
}
