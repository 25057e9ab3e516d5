import { compareBytes } from '../base/bytes.ts'
import type { Writer } from './writer.ts'
import { headBytesOf, isPlainRecord, type RecordBytes, recordHlcAt } from '../model/record.ts'

/** What follows the key in place of the length of a record, of one that is damaged: the length of a head of nothing. */
export const DAMAGED = 1
/** Of each row: where its key begins and ends, where its record begins, and twice where that ends, and 1 for a head. */
const PLACES = 4
/** Room of rows that are gathered, at first. */
const ROWS_AT_FIRST = 256
const BYTES_AT_FIRST = 16 * 1024
/** Where it is known how many there will be about: so many times as much. */
const SPARE = 1.125
/** Most bytes of two lengths. */
const LENGTHS_BYTES_MAX = 16
/** Up to here bytes are copied one by one: a view of them that is made for it takes longer. */
const COPIED_SINGLY_MAX = 128

/**
 * Rows of a range in one array of bytes, and where each lies in it: no object for any. A page of a scan is thousands of them,
 * which live while it waits and rests, and to move that many objects aside again and again is what collecting garbage then takes
 * its milliseconds for. The bytes of a row are those in which it travels:
 *
 *     key, with its length before it · 2 × length of what follows, + 1 for a head · record or head;
 *     nothing, as a head, for a record that is damaged
 */
export class PackedRows {
  #bytes: Uint8Array
  #places: Uint32Array
  #length = 0
  /** Where the next row is written. */
  #end = 0

  /**
   * @param bytes - which are kept
   * @param most - how many rows there will be
   */
  constructor(bytes: Uint8Array, most: number) {
    this.#bytes = plain(bytes)
    this.#places = new Uint32Array(most * PLACES)
  }

  /** None yet, to be gathered by {@link PackedRows.append}; room for these and some more. */
  static gather(rows: number = 0, bytes: number = 0): PackedRows {
    const room = Buffer.allocUnsafeSlow(Math.ceil(Math.max(BYTES_AT_FIRST, bytes * SPARE)))
    return new PackedRows(room, Math.ceil(Math.max(ROWS_AT_FIRST, rows * SPARE)))
  }

  get length(): number {
    return this.#length
  }

  /** The array in which keys lie from {@link PackedRows.keyFrom} up to {@link PackedRows.keyTo}. */
  get bytes(): Uint8Array {
    return this.#bytes
  }

  /** Bytes that were gathered. */
  get size(): number {
    return this.#end
  }

  /** Notes the next row, which lies in the bytes that were given. */
  place(keyFrom: number, keyTo: number, recordFrom: number, recordTo: number, isHead: boolean): void {
    const at = this.#length * PLACES
    if (at === this.#places.length) {
      const places = new Uint32Array(at * 2)
      places.set(this.#places)
      this.#places = places
    }
    this.#places[at] = keyFrom
    this.#places[at + 1] = keyTo
    this.#places[at + 2] = recordFrom
    this.#places[at + 3] = recordTo * 2 + (isHead ? 1 : 0)
    this.#length++
  }

  /**
   * Copies a row behind the others.
   *
   * @param key - of which the key is all from `keyAt` on
   * @param record - `undefined` when it is damaged
   * @param isHead - of the record all but the value
   */
  append(key: Uint8Array, keyAt: number, record: RecordBytes | undefined, isHead: boolean): void {
    const keyBytes = key.length - keyAt
    const recordBytes = record === undefined ? 0 : isHead ? headBytesOf(record[0]!) : record.length
    this.#reserve(keyBytes + recordBytes + LENGTHS_BYTES_MAX)
    this.#varint(keyBytes)
    const keyFrom = this.#end
    this.#copy(key, keyAt, key.length)
    const keyTo = this.#end
    this.#varint(record === undefined ? DAMAGED : recordBytes * 2 + (isHead ? 1 : 0))
    const recordFrom = this.#end
    if (record !== undefined) this.#copy(record, 0, recordBytes)
    this.place(keyFrom, keyTo, recordFrom, this.#end, isHead || record === undefined)
  }

  /** Forgets the rows from one on that were gathered. What was selected of them is no more, either. */
  truncate(length: number): void {
    this.#length = length
    this.#end = length === 0 ? 0 : this.#places[length * PLACES - 1]! >>> 1
  }

  /** Some of the rows, in another order, in the same bytes. */
  select(rows: readonly number[]): PackedRows {
    const selected = new PackedRows(this.#bytes, rows.length)
    const places = this.#places
    for (const row of rows) {
      const at = row * PLACES
      const end = places[at + 3]!
      selected.place(places[at]!, places[at + 1]!, places[at + 2]!, end >>> 1, (end & 1) === 1)
    }
    return selected
  }

  /** Writes a row as it lies here. */
  write(row: number, writer: Writer): void {
    const keyFrom = this.keyFrom(row)
    const from = keyFrom - varintBytes(this.keyTo(row) - keyFrom)
    const to = this.#places[row * PLACES + 3]! >>> 1
    if (to - from <= COPIED_SINGLY_MAX) writer.range(this.#bytes, from, to)
    else writer.raw(this.#bytes.subarray(from, to))
  }

  keyFrom(row: number): number {
    return this.#places[row * PLACES]!
  }

  keyTo(row: number): number {
    return this.#places[row * PLACES + 1]!
  }

  /** A view of a key. */
  keyAt(row: number): Uint8Array {
    return this.#bytes.subarray(this.keyFrom(row), this.keyTo(row))
  }

  /** A view of a record, or of the head of one. */
  recordAt(row: number): RecordBytes | undefined {
    const from = this.#places[row * PLACES + 2]!
    const to = this.#places[row * PLACES + 3]! >>> 1
    return from === to ? undefined : this.#bytes.subarray(from, to)
  }

  /** Time of a record that is not damaged. */
  hlcAt(row: number): number {
    return recordHlcAt(this.#bytes, this.#places[row * PLACES + 2]!)
  }

  /** Bytes of a key and its record. */
  bytesOf(row: number): number {
    const at = row * PLACES
    return this.#places[at + 1]! - this.#places[at]! + (this.#places[at + 3]! >>> 1) - this.#places[at + 2]!
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
  compareKeys(row: number, others: PackedRows, other: number): number {
    const [a, b] = [this.#bytes, others.#bytes]
    const aAt = this.keyFrom(row)
    const bAt = others.keyFrom(other)
    const aBytes = this.keyTo(row) - aAt
    const bBytes = others.keyTo(other) - bAt
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
  hasSameHead(row: number, others: PackedRows, other: number): boolean {
    const [a, b] = [this.#bytes, others.#bytes]
    const aAt = this.#places[row * PLACES + 2]!
    const bAt = others.#places[other * PLACES + 2]!
    for (let i = headBytesOf(a[aAt]!) - 1; i >= 0; i--) if (a[aAt + i] !== b[bAt + i]) return false
    return true
  }

  #copy(from: Uint8Array, start: number, end: number): void {
    const bytes = this.#bytes
    let at = this.#end
    this.#end += end - start
    if (end - start <= COPIED_SINGLY_MAX) for (let i = start; i < end; i++) bytes[at++] = from[i]!
    else bytes.set(start === 0 && end === from.length ? from : from.subarray(start, end), at)
  }

  #varint(value: number): void {
    let rest = value
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) this.#bytes[this.#end++] = (rest % 0x80) | 0x80
    this.#bytes[this.#end++] = rest
  }

  #reserve(more: number): void {
    if (this.#end + more <= this.#bytes.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(this.#end + more, this.#bytes.length * 2))
    grown.set(this.#bytes.subarray(0, this.#end))
    this.#bytes = plain(grown)
  }
}

/** No `Buffer`, whose views are as many more of its kind. */
function plain({ buffer, byteOffset, length }: Uint8Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, length)
}

function varintBytes(value: number): number {
  let bytes = 1
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++
  return bytes
}
