import { fromUtf8 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'

/** Longest key, in bytes. The empty key is legal. */
export const KEY_BYTES_MAX = 1024
/** Longest value, in bytes (8 MiB). */
export const VALUE_BYTES_MAX: number = 8 * 1024 * 1024
/** Longest name of a keyspace, in UTF-8 bytes. */
export const KEYSPACE_BYTES_MAX = 64

const OPEN = 0x7b
const CLOSE = 0x7d

/**
 * The part of a key that decides its partition: what stands between the first `{` and the next `}` when that is not
 * empty, else the whole key. So `{user:1}:cart` and `{user:1}:session` live together.
 */
export function hashTag(key: Uint8Array): Uint8Array {
  const open = key.indexOf(OPEN)
  if (open === -1) return key
  const close = key.indexOf(CLOSE, open + 1)
  return close <= open + 1 ? key : key.subarray(open + 1, close)
}

/** @throws KilovoltError `KV_KEY_TOO_LARGE` */
export function assertKey(key: Uint8Array): void {
  if (key.length > KEY_BYTES_MAX) {
    throw new KilovoltError('KV_KEY_TOO_LARGE', `a key of ${key.length} bytes; the limit is ${KEY_BYTES_MAX}`, {
      details: { bytes: key.length, limit: KEY_BYTES_MAX }
    })
  }
}

/** @throws KilovoltError `KV_VALUE_TOO_LARGE` */
export function assertValue(value: Uint8Array): void {
  if (value.length > VALUE_BYTES_MAX) {
    throw new KilovoltError('KV_VALUE_TOO_LARGE', `a value of ${value.length} bytes; the limit is ${VALUE_BYTES_MAX}`, {
      details: { bytes: value.length, limit: VALUE_BYTES_MAX }
    })
  }
}

/** A keyspace, for people to read. */
export function nameOf(keyspace: Uint8Array): string {
  return keyspace.length === 0 ? 'the default keyspace' : `keyspace "${fromUtf8(keyspace)}"`
}
