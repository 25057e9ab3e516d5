import { isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'

/** What a database threw as `KV_STORAGE`, with the original as its cause; an error that is ours already stays as it is. */
export function storageError(error: unknown, what: string): KilovoltError {
  if (isKilovoltError(error)) return error
  return new KilovoltError('KV_STORAGE', `${what} failed: ${messageOf(error)}`, { cause: error })
}
