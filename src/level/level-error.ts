import { isKilovoltError } from '../base/errors.ts'

/**
 * An error as users of abstract-level databases know it. Its `cause` is the `KilovoltError`, which says
 * what happened, to which copies, and what to do.
 */
export class LevelError extends Error {
  /** `LEVEL_REMOTE_ERROR`, or `LEVEL_ABORTED` when the caller's signal ended the operation. */
  readonly code: 'LEVEL_ABORTED' | 'LEVEL_REMOTE_ERROR'

  /**
   * @param code - stable code
   * @param message - what happened
   * @param cause - the error that led to this one
   */
  constructor(code: LevelError['code'], message: string, cause: unknown) {
    super(message, { cause })
    // The name that the web platform gives to it, as abstract-level's own error does.
    this.name = code === 'LEVEL_ABORTED' ? 'AbortError' : 'LevelError'
    this.code = code
  }
}

/** What the library rejects with, in Level's terms; anything else (a `TypeError`, say) as it is. */
export function toLevelError(error: unknown): unknown {
  if (!isKilovoltError(error)) return error
  return new LevelError(error.code === 'KV_ABORTED' ? 'LEVEL_ABORTED' : 'LEVEL_REMOTE_ERROR', error.message, error)
}
