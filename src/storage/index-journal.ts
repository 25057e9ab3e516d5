import { toLatin1 } from '../base/bytes.ts'
import type { RecordBytes } from '../model/record.ts'

/** A record whose entries are not those of what is stored, but of what it has taken the place of. */
export interface Behind {
  readonly key: Uint8Array
  /** What its entries are of; `undefined`: it has none. */
  readonly before: RecordBytes | undefined
  /** How large what is stored is. */
  bytes: number
}

/** Most records that are remembered, and most bytes of what they have taken the place of. */
const RECORDS_MAX = 20_000
const BYTES_MAX = 16 * 1024 * 1024

/** The records that an index is behind with, in memory: what was written to partitions that were ready before its code was known. */
export class IndexJournal {
  readonly #behind = new Map<string, Behind>()
  #bytes = 0

  get isEmpty(): boolean {
    return this.size === 0
  }

  /** How many there are. */
  get size(): number {
    return this.#behind.size
  }

  /** Whether there is room: when there is none, nobody knows any more what an index is behind with. */
  add(key: Uint8Array, before: RecordBytes | undefined, bytes: number): boolean {
    const name = toLatin1(key)
    const known = this.#behind.get(name)
    if (known !== undefined) {
      // What the first of several changes has found is what the entries are of.
      known.bytes = bytes
      return true
    }
    this.#bytes += key.length + (before?.length ?? 0)
    if (this.#behind.size >= RECORDS_MAX || this.#bytes > BYTES_MAX) return false
    this.#behind.set(name, { key, before, bytes })
    return true
  }

  /**
   * Some of them, and no more after the one with which what is stored of them reaches so many bytes; they stay until they are
   * {@link IndexJournal.remove}d.
   */
  some(most: number, maxBytes: number): readonly Behind[] {
    const some: Behind[] = []
    let bytes = 0
    for (const one of this.#behind.values()) {
      if (some.length >= most || bytes >= maxBytes) break
      some.push(one)
      bytes += one.bytes
    }
    return some
  }

  remove(some: readonly Behind[]): void {
    for (const { key, before } of some) {
      if (this.#behind.delete(toLatin1(key))) this.#bytes -= key.length + (before?.length ?? 0)
    }
  }

  clear(): void {
    this.#behind.clear()
    this.#bytes = 0
  }
}
