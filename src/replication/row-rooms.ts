import { PackedRows } from '../codec/packed-rows.ts'

/** Rooms that are kept for the next page: as many as pages are read side by side. */
const SPARE_MAX = 2
const SPARE_BYTES_MAX = 1024 * 1024

/**
 * Where pages are gathered. A page is half a megabyte, of which there are dozens in a second: made anew for each, and twice as large
 * again and again until it is enough, they keep the garbage collector at work on all cores that there are.
 */
export class RowRooms {
  readonly #spare: PackedRows[] = []
  /** What the last page has taken. */
  #rows = 0
  #bytes = 0

  /**
   * A room that is given back by {@link RowRooms.giveBack}.
   *
   * @param most - rows that may be gathered there
   */
  lend(most: number): PackedRows {
    return this.#spare.pop() ?? this.give(most)
  }

  /** A room for good. */
  give(most: number): PackedRows {
    const rows = Math.min(this.#rows, most)
    return PackedRows.gather(rows, rows === 0 ? 0 : (this.#bytes * rows) / this.#rows)
  }

  /** To be called with what a page has taken. */
  note({ length, size }: PackedRows): void {
    this.#rows = length
    this.#bytes = size
  }

  /** Takes back a room of which nobody uses anything any more. */
  giveBack(room: PackedRows): void {
    if (this.#spare.length === SPARE_MAX || room.size > SPARE_BYTES_MAX) return
    room.truncate(0)
    this.#spare.push(room)
  }
}
