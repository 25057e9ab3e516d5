/**
 * Every error that kilovolt rejects with carries one of these codes. Codes are public contract: they never change
 * their meaning; messages may. Each code has a heading of its own in `docs/reference/errors.md`.
 */
export type ErrorCode =
  | 'KV_ABORTED'
  | 'KV_BATCH_FAILED'
  | 'KV_BATCH_TOO_LARGE'
  | 'KV_BOOTSTRAP_UNREACHABLE'
  | 'KV_CLOCK_DRIFT'
  | 'KV_CONFIG'
  | 'KV_CONTENDED'
  | 'KV_CORRUPT'
  | 'KV_ENCODING'
  | 'KV_HANDSHAKE'
  | 'KV_INDEX_NOT_READY'
  | 'KV_INTERNAL'
  | 'KV_INVALID_VALUE'
  | 'KV_JOIN_TIMEOUT'
  | 'KV_KEY_TOO_LARGE'
  | 'KV_NODE_STOPPED'
  | 'KV_NOT_JOINED'
  | 'KV_NOT_LEADER'
  | 'KV_OVERLOADED'
  | 'KV_PORT_IN_USE'
  | 'KV_PROTOCOL'
  | 'KV_QUORUM_NOT_REACHED'
  | 'KV_READ_ONLY'
  | 'KV_RESOLVER'
  | 'KV_STORAGE'
  | 'KV_STORAGE_FORMAT'
  | 'KV_STORAGE_IN_USE'
  | 'KV_TIMEOUT'
  | 'KV_TOKEN'
  | 'KV_TOO_MANY_SIBLINGS'
  | 'KV_UNREACHABLE'
  | 'KV_VALUE_TOO_LARGE'

/** What else an error may carry. */
export interface KilovoltErrorOptions {
  /** The error that led to this one. */
  readonly cause?: unknown
  /** Whether the same call may succeed when it is simply made again. Default false. */
  readonly retryable?: boolean | undefined
  /** Machine-readable facts: the key, the replicas and their answers, the limits involved. */
  readonly details?: Readonly<Record<string, unknown>> | undefined
}

/**
 * The one class of error of the library. Tell errors apart by {@link KilovoltError.code}, never by message.
 *
 * @example
 * ```ts
 * try {
 *   await node.put('a', 1)
 * } catch (error) {
 *   if (isKilovoltError(error, 'KV_TIMEOUT')) console.log('the outcome is unknown')
 * }
 * ```
 */
export class KilovoltError extends Error {
  /** Stable code, e.g. `KV_TIMEOUT`. */
  readonly code: ErrorCode
  /** Whether the same call may succeed when it is simply made again. */
  readonly retryable: boolean
  /** Machine-readable facts about the failure. */
  readonly details: Readonly<Record<string, unknown>>

  /**
   * @param code - stable code
   * @param message - what happened, to what, and what to do
   * @param options - cause, retryability and facts
   */
  constructor(code: ErrorCode, message: string, options: KilovoltErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'KilovoltError'
    this.code = code
    this.retryable = options.retryable ?? false
    this.details = options.details ?? {}
  }

  /** What `JSON.stringify` shows: of an `Error` it would otherwise leave out the message. */
  toJSON(): Readonly<Record<string, unknown>> {
    const { name, code, message, retryable, details } = this
    return { name, code, message, retryable, details }
  }
}

/**
 * True for an error of this library, and of the given code when one is given. Works across two copies of the package,
 * where `instanceof` does not.
 *
 * @param error - anything that was thrown
 * @param code - the code to look for
 */
export function isKilovoltError(error: unknown, code?: ErrorCode): error is KilovoltError {
  return (
    error instanceof Error &&
    error.name === 'KilovoltError' &&
    'code' in error &&
    (code === undefined || error.code === code)
  )
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
