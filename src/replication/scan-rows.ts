import { compareBytes } from '../base/bytes.ts'
import type { Reader } from '../codec/reader.ts'
import { KEY_BYTES_MAX } from '../model/key.ts'
import { assertRecordHead, headBytesOf, isPlainRecord, type RecordBytes } from '../model/record.ts'
import { readRecord, RECORD_BYTES_MAX } from './wire.ts'

/** One record as a node has it; of some the head alone. */
export interface ScanRow {
  readonly key: Uint8Array
  /** `undefined` when it is damaged there. */
  readonly record: RecordBytes | undefined
  /** Whether the value was left out. */
  readonly isHead: boolean
}

/** What follows the key in place of the length of a record, of one that is damaged: the length of a head of nothing. */
export const DAMAGED = 1
/** Of each row: where its key begins and ends, where its record begins, and twice where that ends, and 1 for a head. */
const PLACES = 4

/**
 * The rows of a page in the bytes in which they came: where each lies, and no object for any. Of two rows that say the same, as
 * most do, one is never looked at but to be compared, byte by byte; the garbage of a view for each key and each record took a
 * scan more time than reading them.
 */
export class ScanRows {
  readonly #bytes: Uint8Array
  readonly #places: Uint32Array
  #length = 0

  /**
   * @param bytes - which are kept
   * @param most - how many rows there will be
   */
  constructor(bytes: Uint8Array, most: number) {
    this.#bytes = bytes
    this.#places = new Uint32Array(most * PLACES)
  }

  get length(): number {
    return this.#length
  }

  /**
   * Takes in the row at which the reader of the same bytes stands.
   *
   * @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT`
   */
  read(reader: Reader): void {
    const places = this.#places
    const at = this.#length * PLACES
    const keyBytes = reader.skipBytes(KEY_BYTES_MAX)
    places[at] = reader.offset - keyBytes
    places[at + 1] = reader.offset
    const size = reader.varint()
    const length = Math.floor(size / 2)
    const isHead = size % 2 === 1
    places[at + 2] = reader.offset
    places[at + 3] = (reader.offset + length) * 2 + (isHead ? 1 : 0)
    this.#length++
    if (size === DAMAGED) return
    if (isHead) assertRecordHead(reader.raw(length))
    else if (length <= RECORD_BYTES_MAX && isPlainRecord(this.#bytes, reader.offset, length)) reader.skip(length)
    else readRecord(reader, length)
  }

  /** A view of a key. */
  keyAt(row: number): Uint8Array {
    return this.#bytes.subarray(this.#places[row * PLACES], this.#places[row * PLACES + 1])
  }

  /** A view of a record, or of the head of one. */
  recordAt(row: number): RecordBytes | undefined {
    const from = this.#places[row * PLACES + 2]!
    const to = this.#places[row * PLACES + 3]! >>> 1
    return from === to ? undefined : this.#bytes.subarray(from, to)
  }

  /** Whether the value was left out, or all of it is damaged. */
  isHead(row: number): boolean {
    return (this.#places[row * PLACES + 3]! & 1) === 1
  }

  isDamaged(row: number): boolean {
    return this.#places[row * PLACES + 2] === this.#places[row * PLACES + 3]! >>> 1
  }

  /** Whether it is neither deleted, nor will ever expire, nor one of several. */
  isPlain(row: number): boolean {
    const from = this.#places[row * PLACES + 2]!
    return isPlainRecord(this.#bytes, from, (this.#places[row * PLACES + 3]! >>> 1) - from)
  }

  /** Order of two keys. */
  compareKeys(row: number, others: ScanRows, other: number): number {
    const [a, b] = [this.#bytes, others.#bytes]
    const aAt = this.#places[row * PLACES]!
    const bAt = others.#places[other * PLACES]!
    const aBytes = this.#places[row * PLACES + 1]! - aAt
    const bBytes = others.#places[other * PLACES + 1]! - bAt
    const shared = Math.min(aBytes, bBytes)
    for (let i = 0; i < shared; i++) {
      const difference = a[aAt + i]! - b[bAt + i]!
      if (difference !== 0) return difference
    }
    return aBytes - bBytes
  }

  /** The same, of a key and one from elsewhere. */
  compareKey(row: number, key: Uint8Array): number {
    return compareBytes(this.keyAt(row), key)
  }

  /** Whether two records have the same head, and hence are the same; neither may be damaged. */
  hasSameHead(row: number, others: ScanRows, other: number): boolean {
    const [a, b] = [this.#bytes, others.#bytes]
    const aAt = this.#places[row * PLACES + 2]!
    const bAt = others.#places[other * PLACES + 2]!
    for (let i = headBytesOf(a[aAt]!) - 1; i >= 0; i--) if (a[aAt + i] !== b[bAt + i]) return false
    return true
  }
}
