import { isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'

/** A clock is wrong. */
export function driftError(): KilovoltError {
  return new KilovoltError(
    'KV_CLOCK_DRIFT',
    'the write is stamped too far ahead of this replica’s clock: one of the clocks is wrong'
  )
}

/** Whatever went wrong, as an error of this library. */
export function asError(error: unknown): KilovoltError {
  return isKilovoltError(error) ? error : new KilovoltError('KV_STORAGE', messageOf(error), { cause: error })
}

/** Nothing new is taken any more. */
export function overError(): KilovoltError {
  const message = 'this cluster is about to become part of another: writes are taken again in a moment'
  return new KilovoltError('KV_NOT_JOINED', message, { retryable: true })
}
