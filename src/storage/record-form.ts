import { crc32 } from 'node:zlib'
import { KilovoltError } from '../base/errors.ts'
import { assertRecord, type RecordBytes } from '../model/record.ts'
import type { Store } from './store.ts'

/** How records lie in a store. */
export interface RecordForm {
  /** What is stored under a key for this record. */
  seal(key: Uint8Array, record: RecordBytes): Uint8Array
  /**
   * The record again, as a view into what was stored under the key.
   *
   * @throws KilovoltError `KV_CORRUPT` when it is not what was sealed
   */
  open(key: Uint8Array, value: Uint8Array): RecordBytes
  /** The record in what {@link RecordForm.seal} has just returned, as a view into it. */
  recordIn(value: Uint8Array): RecordBytes
}

const CHECKSUM_BYTES = 4

/**
 * On a medium: `u32`, the CRC-32 of the record's key and of the record · the record. It finds whatever changes up to 32
 * bits in a row, and a value that has come to lie under another key. LevelDB has a checksum of its own for each block,
 * which it does not look at when it reads one; other databases may have none.
 */
export const SEALED: RecordForm = {
  seal(key, record) {
    const bytes = new Uint8Array(CHECKSUM_BYTES + record.length)
    const checksum = crc32(record, crc32(key))
    for (let i = 0; i < CHECKSUM_BYTES; i++) bytes[i] = checksum >>> (24 - 8 * i)
    bytes.set(record, CHECKSUM_BYTES)
    return bytes
  },

  open(key, value) {
    const record = value.subarray(CHECKSUM_BYTES)
    if (value.length < CHECKSUM_BYTES || checksumIn(value) !== crc32(record, crc32(key))) {
      throw new KilovoltError('KV_CORRUPT', 'a stored record fails its checksum')
    }
    assertRecord(record)
    return record
  },

  recordIn: value => value.subarray(CHECKSUM_BYTES)
}

/** In memory nothing lies between writing a record and reading it that could change it: it is stored as it is. */
export const PLAIN: RecordForm = {
  seal: (_key, record) => record,

  open(_key, value) {
    assertRecord(value)
    return value
  },

  recordIn: value => value
}

/** The form that fits a store. */
export function formFor({ permanent }: Pick<Store, 'permanent'>): RecordForm {
  return permanent ? SEALED : PLAIN
}

function checksumIn(value: Uint8Array): number {
  return ((value[0]! << 24) | (value[1]! << 16) | (value[2]! << 8) | value[3]!) >>> 0
}
