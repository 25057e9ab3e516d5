import { crc32 } from 'node:zlib'
import { copyBytes } from '../base/bytes.ts'
import { type KilovoltError, isKilovoltError, messageOf } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import type { StoreChange } from './store.ts'

const CHECKSUM_BYTES = 4

/**
 * What a node keeps about itself and cannot ask others for, such as its votes, its cluster and how far the past is
 * settled, with a checksum before it: `u32`, the CRC-32 of the key and of the body · body. It finds any flipped
 * bit, whatever changes up to 32 bits in a row of the body, and a value that has come to lie under another key.
 */
export function seal(key: Uint8Array, body: Uint8Array): StoreChange & { readonly value: Uint8Array } {
  const checksum = crc32(body, crc32(key))
  return {
    key,
    value: new Writer(CHECKSUM_BYTES + body.length).u32(checksum).raw(body).finish()
  }
}

/** The body again, as a view into what was stored under the key; `undefined` when it is not what was sealed. */
export function opened(key: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
  const body = sealed.subarray(CHECKSUM_BYTES)
  if (sealed.length < CHECKSUM_BYTES || new Reader(sealed).u32() !== crc32(body, crc32(key))) return undefined
  return body
}

/**
 * What a copy of the body says. One that is whole and makes no sense is as bad as one that is not whole; only what a
 * later version wrote (`KV_STORAGE_FORMAT`) is told as such.
 *
 * @param damaged - makes the error, which has to tell what to do, of why the value cannot be trusted
 */
export function unseal<T>(
  key: Uint8Array,
  sealed: Uint8Array,
  parse: (reader: Reader) => T,
  damaged: (why: string) => KilovoltError
): T {
  const body = opened(key, sealed)
  if (body === undefined) throw damaged('fails its checksum')
  try {
    return parse(new Reader(copyBytes(body)))
  } catch (error) {
    if (isKilovoltError(error, 'KV_STORAGE_FORMAT')) throw error
    throw damaged(`cannot be read: ${messageOf(error)}`)
  }
}
