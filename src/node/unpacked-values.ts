import { LRUCache } from 'lru-cache'
import { pooledCopy, toLatin1 } from '../base/bytes.ts'

/** Most that all of it takes: some ten thousand values of a KiB. */
export const UNPACKED_BYTES_MAX: number = 16 * 1024 * 1024
/** A single value takes at most this part: it would push out too many that are as likely to be read. */
const ENTRY_PART = 16
/** What an entry takes beside both forms of the value, in the map and the lists and for its array. */
const ENTRY_BYTES = 500
/** So many values are remembered that were seen once. */
const DOOR_BITS = 15
const DOORS = 1 << DOOR_BITS

/**
 * Values that were unpacked lately and more than once, by what they were packed to: to unpack a KiB takes longer than all else
 * that the one who reads does for it (RocksDB's block cache holds uncompressed blocks for the same reason). As nothing but the
 * packed bytes names an entry, none can be out of date.
 *
 * What is seen for the first time is only remembered by its last bytes, which the encoding of zstd makes as good as random: a scan
 * makes no entries, and pushes none out (the doorkeeper of TinyLFU: Einziger et al., ACM TOS 2017).
 */
export class UnpackedValues {
  readonly #entries = new LRUCache<string, Uint8Array>({
    maxSize: UNPACKED_BYTES_MAX,
    maxEntrySize: UNPACKED_BYTES_MAX / ENTRY_PART,
    sizeCalculation: (value, packed) => packed.length + value.length + ENTRY_BYTES
  })
  readonly #doors = new Int32Array(DOORS)
  readonly #unpack: (packed: Uint8Array) => Uint8Array

  /** @param unpack - makes the value of what is not kept */
  constructor(unpack: (packed: Uint8Array) => Uint8Array) {
    this.#unpack = unpack
  }

  /** How many bytes are taken. */
  get bytes(): number {
    return this.#entries.calculatedSize
  }

  /** The value that was packed to this, in memory of its own. */
  of(packed: Uint8Array): Uint8Array {
    const name = toLatin1(packed)
    const kept = this.#entries.get(name)
    if (kept !== undefined) return pooledCopy(kept)
    const value = this.#unpack(packed)
    if (this.#isNew(packed)) return value
    this.#entries.set(name, value)
    return pooledCopy(value)
  }

  /** Whether it has not been seen lately. Of two that share a slot the later one displaces the other. */
  #isNew(packed: Uint8Array): boolean {
    const end = packed.length
    const tail = packed[end - 1]! | (packed[end - 2]! << 8) | (packed[end - 3]! << 16) | (packed[end - 4]! << 24)
    const slot = (tail ^ (tail >>> DOOR_BITS) ^ end) & (DOORS - 1)
    if (this.#doors[slot] === tail) return false
    this.#doors[slot] = tail
    return true
  }
}
