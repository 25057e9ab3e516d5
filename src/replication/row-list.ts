import type { RecordBytes } from '../model/record.ts'
import type { PackedRows } from '../codec/packed-rows.ts'

/** Rows out of several pages in an order of their own; no object for any, as {@link PackedRows} has none. */
export class RowList {
  /** Of each row the page, and its place there. */
  readonly #pages: PackedRows[] = []
  readonly #rows: number[] = []

  get length(): number {
    return this.#rows.length
  }

  add(page: PackedRows, row: number): void {
    this.#pages.push(page)
    this.#rows.push(row)
  }

  /** Adds a row of another list. */
  addFrom(list: RowList, at: number): void {
    this.add(list.#pages[at]!, list.#rows[at]!)
  }

  /** A view of a key. */
  keyAt(at: number): Uint8Array {
    return this.#pages[at]!.keyAt(this.#rows[at]!)
  }

  /** A view of a record, which is not a damaged one. */
  recordAt(at: number): RecordBytes {
    return this.#pages[at]!.recordAt(this.#rows[at]!)!
  }

  /** Time of that. */
  hlcAt(at: number): number {
    return this.#pages[at]!.hlcAt(this.#rows[at]!)
  }
}
