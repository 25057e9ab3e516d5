import { crc32 } from 'node:zlib'
import { equalBytes } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'

/**
 * A place in a scan as text: base64url of
 *
 *     format u8 (1) · direction u8 (0 forward, 1 reverse) · length of the keyspace's name u8 · name · key · CRC-32 of all that u32
 *
 * It names the last key that was returned and nothing else, so that it is good on any node, for any topology, at any time.
 */
const FORMAT = 1
const HEAD_BYTES = 3
const CHECKSUM_BYTES = 4

/** The token of the place behind a key. */
export function encodeToken(keyspace: Uint8Array, isReverse: boolean, key: Uint8Array): string {
  const bytes = Buffer.alloc(HEAD_BYTES + keyspace.length + key.length + CHECKSUM_BYTES)
  bytes[0] = FORMAT
  bytes[1] = isReverse ? 1 : 0
  bytes[2] = keyspace.length
  bytes.set(keyspace, HEAD_BYTES)
  bytes.set(key, HEAD_BYTES + keyspace.length)
  bytes.writeUInt32BE(checksum(bytes), bytes.length - CHECKSUM_BYTES)
  return bytes.toString('base64url')
}

/**
 * The key of a token.
 *
 * @throws KilovoltError `KV_TOKEN` when it is none, or one of another keyspace or direction
 */
export function decodeToken(keyspace: Uint8Array, isReverse: boolean, token: string): Uint8Array {
  const bytes = Buffer.from(typeof token === 'string' ? token : '', 'base64url')
  const keyAt = HEAD_BYTES + (bytes[2] ?? 0)
  const isWhole = bytes[0] === FORMAT && bytes.length >= keyAt + CHECKSUM_BYTES
  if (!isWhole || bytes.readUInt32BE(bytes.length - CHECKSUM_BYTES) !== checksum(bytes)) {
    throw new KilovoltError('KV_TOKEN', '"after" is not the token of a scan')
  }
  if (!equalBytes(bytes.subarray(HEAD_BYTES, keyAt), keyspace)) {
    throw new KilovoltError('KV_TOKEN', '"after" is the token of a scan of another keyspace')
  }
  if ((bytes[1] === 1) !== isReverse) {
    throw new KilovoltError(
      'KV_TOKEN',
      '"after" is the token of a scan in the other direction: "reverse" must be the same'
    )
  }
  return new Uint8Array(bytes.subarray(keyAt, bytes.length - CHECKSUM_BYTES))
}

function checksum(bytes: Uint8Array): number {
  return crc32(bytes.subarray(0, bytes.length - CHECKSUM_BYTES))
}
