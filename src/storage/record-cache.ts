import { LRUCache } from 'lru-cache'
import { toLatin1 } from '../base/bytes.ts'
import type { PartitionId } from '../model/partition.ts'
import type { RecordBytes } from '../model/record.ts'
import { partitionOfKey } from './key-layout.ts'
import type { RecordCacheStats } from './record-store.ts'
import type { Store } from './store.ts'

/** A change of a record that is about to be written. */
export interface CachedChange {
  readonly key: Uint8Array
  /** `undefined` deletes it. */
  readonly value: RecordBytes | undefined
  /** Whether it only comes from another copy, in bulk: nobody has asked for it. */
  readonly isCopy: boolean
}

/** A read of one record that has not come back yet. Readers of the same record share one. */
export interface PendingRead {
  readonly name: string
  /** Readers that have not come back. */
  readers: number
  /** Whether what is read may be older than what is stored by then. */
  isSpoilt: boolean
}

/**
 * A record as it is kept: a short one as text of one character for each byte. To keep an array alive costs more than to
 * look the record up in the database again: beside the 340 bytes that it takes with its buffer, each that survives has to
 * be moved and swept by the collector. A long one is kept as it is, as it would have to be copied at each look-up.
 */
type Kept = string | RecordBytes
const TEXT_BYTES_MAX = 1024
/**
 * What an entry takes beside its key and its record, in the map and the lists and for what is kept itself: 150 to 175
 * bytes for text and 290 to 345 for arrays were measured on Node 20.
 */
export const TEXT_ENTRY_BYTES = 170
export const ENTRY_BYTES = 340

/** A single record takes at most this part of the cache: it would push out too many that are as likely to be read. */
const ENTRY_PART = 16
/** Default over a database on disk: some 110,000 records of 100 bytes. */
const BYTES_ON_DISK = 32 * 1024 * 1024
/** Most that the memory of a record may be larger than the record: there is a checksum before it. */
const SLACK_BYTES = 8
/** Names are text of one character for each byte of a key; what tells generations apart is none of these. */
const GENERATION_MARK = 0x100
const GENERATIONS = 0xd800 - GENERATION_MARK

/**
 * The records of a database on disk that were used last, kept in memory as far as they fit. Only what has been checked
 * when it was read, or is durable, is kept here.
 *
 * What a read is given is never older than what the database would have shown instead. For that
 *
 * - a record is dropped *before* its batch goes to the database, nothing is kept of it while the batch is under way, when
 *   the database may show either version, and the new one is kept once it is durable. A batch that fails leaves nothing;
 * - what a read brings is kept only if no batch with this record has begun since that read did ({@link PendingRead});
 * - names contain the generation of a partition, which counts how often it was dropped as a whole, so that this costs no
 *   search; while it is being dropped it has no names.
 *
 * A record that rots on the medium while a copy of it is here goes on being read as it was written: see
 * {@link RecordCache.peek}.
 */
export class RecordCache {
  readonly #bytesMax: number
  readonly #entries: LRUCache<string, Kept>
  /** Names of what is being written now. */
  readonly #writing = new Set<string>()
  readonly #reads = new Map<string, PendingRead>()
  /** Of partitions that were dropped at least once. */
  readonly #generations = new Map<PartitionId, number>()
  #hits = 0
  #misses = 0

  /** @param bytesMax - most bytes it may take, above 0 */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
    this.#entries = new LRUCache({
      maxSize: bytesMax,
      maxEntrySize: Math.max(1, Math.floor(bytesMax / ENTRY_PART)),
      sizeCalculation: (record, name) =>
        record.length + name.length + (typeof record === 'string' ? TEXT_ENTRY_BYTES : ENTRY_BYTES)
    })
  }

  /** What a record is called here, by its key in the store; `undefined` when nothing may be kept of it now. */
  nameOf(key: Uint8Array): string | undefined {
    const text = toLatin1(key)
    if (this.#generations.size === 0) return text
    const generation = this.#generations.get(partitionOfKey(key))
    if (generation === undefined) return text
    return generation < 0 ? undefined : text + String.fromCharCode(GENERATION_MARK + generation)
  }

  /** A record, and that it was used; `undefined` when the database has to be asked. */
  get(name: string | undefined): RecordBytes | undefined {
    const kept = name === undefined ? undefined : this.#entries.get(name)
    if (kept === undefined) {
      this.#misses++
      return undefined
    }
    this.#hits++
    return recordOf(kept)
  }

  /**
   * A record as it was when it was read or written last, for the one who finds it damaged on the medium. Counts for
   * nothing.
   */
  peek(key: Uint8Array): RecordBytes | undefined {
    const name = this.nameOf(key)
    const kept = name === undefined ? undefined : this.#entries.peek(name)
    return kept === undefined ? undefined : recordOf(kept)
  }

  /** Keeps a record that was read just now, without waiting; it must be whole. */
  keep(name: string | undefined, record: RecordBytes): void {
    if (name !== undefined && !this.#writing.has(name)) this.#put(name, record)
  }

  /** A read begins that has to wait. Must be followed by {@link RecordCache.readEnds}. */
  readBegins(name: string | undefined): PendingRead | undefined {
    if (name === undefined) return undefined
    const shared = this.#reads.get(name)
    if (shared !== undefined) {
      shared.readers++
      return shared
    }
    const read = { name, readers: 1, isSpoilt: this.#writing.has(name) }
    this.#reads.set(name, read)
    return read
  }

  /** It has ended, with a record that is whole, or with nothing that could be kept. */
  readEnds(read: PendingRead | undefined, record: RecordBytes | undefined): void {
    if (read === undefined) return
    read.readers--
    if (read.readers === 0 && this.#reads.get(read.name) === read) this.#reads.delete(read.name)
    if (record !== undefined && !read.isSpoilt) this.#put(read.name, record)
  }

  /** A batch is about to be given to the database; there is one at a time. */
  writing(changes: readonly CachedChange[]): void {
    for (const { key } of changes) {
      const name = this.nameOf(key)
      if (name === undefined) continue
      this.#entries.delete(name)
      this.#writing.add(name)
      const read = this.#reads.get(name)
      if (read === undefined) continue
      read.isSpoilt = true
      // Who begins to read afterwards sees what is written, and has a read of its own.
      this.#reads.delete(name)
    }
  }

  /**
   * The batch is durable.
   *
   * @param recordAt - the record of a change as it was stored; those that share their memory with more are copied
   */
  written(changes: readonly CachedChange[], recordAt: (index: number) => RecordBytes | undefined): void {
    this.#writing.clear()
    for (const [i, { key, isCopy }] of changes.entries()) {
      const record = isCopy ? undefined : recordAt(i)
      const name = record === undefined ? undefined : this.nameOf(key)
      if (name !== undefined && record !== undefined) this.#put(name, record)
    }
  }

  /** The batch has failed: what the database shows of it is not known. */
  failed(): void {
    this.#writing.clear()
  }

  /** All records of a partition are about to be deleted; none of it is being written. */
  dropping(partition: PartitionId): void {
    const last = this.#generations.get(partition)
    // Below zero while it lasts: the generation that follows, inverted.
    if (last === undefined || last >= 0) this.#generations.set(partition, ~((last ?? -1) + 1))
  }

  /** They are deleted, or some of them are: what was kept of them will be found no more, and leaves as others come. */
  dropped(partition: PartitionId): void {
    const generation = ~(this.#generations.get(partition) ?? ~0)
    if (generation < GENERATIONS) {
      this.#generations.set(partition, generation)
      return
    }
    // All names have been used. It begins anew, with nothing that has one.
    this.#entries.clear()
    for (const read of this.#reads.values()) read.isSpoilt = true
    this.#reads.clear()
    this.#generations.set(partition, 0)
  }

  stats(): RecordCacheStats {
    return {
      hits: this.#hits,
      misses: this.#misses,
      entries: this.#entries.size,
      bytes: this.#entries.calculatedSize,
      bytesMax: this.#bytesMax
    }
  }

  #put(name: string, record: RecordBytes): void {
    this.#entries.set(name, kept(record))
  }
}

function kept(record: RecordBytes): Kept {
  if (record.length <= TEXT_BYTES_MAX) return toLatin1(record)
  // A view into something larger, such as a frame from the network, would keep all of that alive.
  const isOwn = record.buffer.byteLength - record.length <= SLACK_BYTES
  return isOwn ? record : new Uint8Array(record)
}

/** Node's pool makes the array: it costs a sixth of one of its own. */
function recordOf(kept: Kept): RecordBytes {
  return typeof kept === 'string' ? Buffer.from(kept, 'latin1') : kept
}

/**
 * The cache for a store, of so many bytes; `undefined` for none. By default there is one over a database on disk; what
 * lies in memory already is not kept there twice.
 */
export function createCache({ permanent }: Pick<Store, 'permanent'>, bytesMax?: number): RecordCache | undefined {
  const bytes = bytesMax ?? (permanent ? BYTES_ON_DISK : 0)
  return bytes > 0 ? new RecordCache(bytes) : undefined
}
