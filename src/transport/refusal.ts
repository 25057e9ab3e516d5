import { type ErrorCode, KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'

/** First byte of the body of a `REPLY`. */
export const ReplyStatus = {
  /** What follows is the answer. */
  OK: 0,
  /** What follows is a refusal: text code · text message · bool retryable. */
  REFUSED: 1
} as const

const CODE_BYTES_MAX = 64
const MESSAGE_BYTES_MAX = 64 * 1024

/** An error as it travels; its cause and details stay behind. */
export function encodeRefusal({ code, message, retryable }: KilovoltError): Uint8Array {
  const text = message.length > 1000 ? `${message.slice(0, 1000)}…` : message
  return new Writer(128).text(code).text(text).bool(retryable).finish()
}

/** @throws KilovoltError `KV_PROTOCOL` when the bytes are malformed */
export function decodeRefusal(bytes: Uint8Array): KilovoltError {
  const reader = new Reader(bytes)
  const code = reader.text(CODE_BYTES_MAX)
  const message = reader.text(MESSAGE_BYTES_MAX)
  if (!/^KV_[A-Z_]+$/u.test(code)) throw new KilovoltError('KV_PROTOCOL', 'a refusal without a code')
  // A later version may know codes that this one does not: they are passed on as they are.
  return new KilovoltError(code as ErrorCode, message, { retryable: reader.bool() })
}
