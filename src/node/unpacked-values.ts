import { LRUCache } from 'lru-cache'
import { copyBytes, equalBytes } from '../base/bytes.ts'

/** Most that all of it takes: some ten thousand values of a KiB. */
export const UNPACKED_BYTES_MAX: number = 16 * 1024 * 1024
/** A single value takes at most this part: it would push out too many that are as likely to be read. */
const ENTRY_PART = 16
/** What an entry takes beside both forms of the value, in the map and the lists and for its array. */
const ENTRY_BYTES = 500
/** So many values are remembered that were seen once. */
const DOORS = 1 << 15

/** A value, and what it was packed to. */
interface Kept {
  readonly packed: Uint8Array
  readonly value: Uint8Array
}

/**
 * Values that were unpacked lately and more than once, by what they were packed to: to unpack a KiB takes longer than all else
 * that the one who reads does for it (RocksDB's block cache holds uncompressed blocks for the same reason). As nothing but the
 * packed bytes names an entry, none can be out of date.
 *
 * They are looked up by a few of the packed bytes, as a hash of all takes longer than to compare all. Of several that have these in
 * common one is kept. What is seen for the first time is only remembered by them: a scan makes no entries, and pushes none
 * out (the doorkeeper of TinyLFU: Einziger et al., ACM TOS 2017).
 */
export class UnpackedValues {
  readonly #entries = new LRUCache<number, Kept>({
    maxSize: UNPACKED_BYTES_MAX,
    maxEntrySize: UNPACKED_BYTES_MAX / ENTRY_PART,
    sizeCalculation: ({ packed, value }) => packed.length + value.length + ENTRY_BYTES
  })
  readonly #doors = new Int32Array(DOORS)
  readonly #unpack: (packed: Uint8Array) => Uint8Array

  /** @param unpack - makes the value of what is not kept, in memory of its own */
  constructor(unpack: (packed: Uint8Array) => Uint8Array) {
    this.#unpack = unpack
  }

  /** How many bytes are taken. */
  get bytes(): number {
    return this.#entries.calculatedSize
  }

  /** The value that was packed to this. Not to be changed: it may be kept. */
  of(packed: Uint8Array): Uint8Array {
    const sample = sampleOf(packed)
    const kept = this.#entries.get(sample)
    if (kept !== undefined && equalBytes(kept.packed, packed)) return kept.value
    const value = this.#unpack(packed)
    if (!this.#isNew(sample)) this.#entries.set(sample, { packed: copyBytes(packed), value })
    return value
  }

  /** Whether it has not been seen lately. Of two that share a slot the later one displaces the other. */
  #isNew(sample: number): boolean {
    const slot = sample & (DOORS - 1)
    if (this.#doors[slot] === sample) return false
    this.#doors[slot] = sample
    return true
  }
}

/** Twelve bytes from the end and the middle, and the length, mixed (the constants are those of MurmurHash3). */
function sampleOf(packed: Uint8Array): number {
  const { length } = packed
  const mixed =
    Math.imul(wordAt(packed, length - 4), 0xcc9e2d51) ^
    Math.imul(wordAt(packed, length - 8), 0x1b873593) ^
    Math.imul(wordAt(packed, length >> 1), 0x85ebca6b) ^
    length
  return Math.imul(mixed ^ (mixed >>> 16), 0xc2b2ae35)
}

/** Four bytes; those that are not there are 0. */
function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
}
