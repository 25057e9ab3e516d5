import { EMPTY_BYTES } from '../base/bytes.ts'
import { isKilovoltError } from '../base/errors.ts'
import { Heap } from '../base/heap.ts'
import { type ByteRange, isEmptyRange } from '../model/key-range.ts'
import type { PartitionId } from '../model/partition.ts'
import type { RecordBytes } from '../model/record.ts'
import type { Slices } from '../runtime/slices.ts'
import { PackedRows } from '../codec/packed-rows.ts'
import type { PackedPart, PackOptions, RecordStore } from '../storage/record-store.ts'
import { KeyRank } from './key-rank.ts'
import type { ScanRequest } from './scan-wire.ts'

/** What reading a page needs. */
export interface PageDeps {
  readonly records: Pick<RecordStore, 'get' | 'pack'>
  readonly slices: Slices
  /** Where all that is read is gathered; empty. */
  readonly room: PackedRows
}

/** A page: its rows, and the last key that was looked at unless the range is at its end. */
export interface PageRows {
  readonly rows: PackedRows
  /** Where each row was found. */
  readonly partitions: readonly PartitionId[]
  readonly last: Uint8Array | undefined
}

/** Rows between two looks at the clock. */
const LOOK_EVERY = 64
/** Partitions that are read side by side: a disk database has four threads. */
const READS_AT_ONCE = 8
/** Most bytes of records that wait for their turn. What is beyond is read again when its turn has come. */
const WAITING_BYTES_MAX = 2 * 1024 * 1024

/** What has been read of a partition. */
class Source {
  readonly partition: PartitionId
  readonly isWhole: boolean
  rest: ByteRange | undefined
  /** The row that is next, */
  at = 0
  /** the end of those that were read, */
  end = 0
  /** and its rank. */
  rank = 0

  constructor(partition: PartitionId, isWhole: boolean, rest: ByteRange) {
    this.partition = partition
    this.isWhole = isWhole
    this.rest = rest
  }

  take({ from, to, rest }: PackedPart): void {
    this.at = from
    this.end = to
    this.rest = rest
  }
}

/**
 * The next rows of some partitions of one node, merged: a k-way merge over as many ranges of the database as there are
 * partitions. Nothing is kept from one page to the next, so that a page shows what is stored now and costs nobody anything
 * when its scan is given up. Of each partition a little more is read than its share of the page, as keys are spread by
 * chance; what is not used is read again for the next page.
 */
export class PageReader {
  readonly #deps: PageDeps
  readonly #request: ScanRequest
  /** How much of a partition is read at a time, of those whose records are wanted whole, and of the others. */
  readonly #ofWhole: PackOptions
  readonly #ofHeads: PackOptions
  readonly #heap: Heap<Source>
  /** All that has been read, in the order in which it was. */
  readonly #read: PackedRows

  constructor(deps: PageDeps, request: ScanRequest) {
    this.#deps = deps
    this.#request = request
    const { isReverse, rows, bytes, whole, heads } = request
    const sources = Math.max(1, whole.length + heads.length)
    const share = rows / sources
    const limit = Math.min(rows, Math.ceil(share + Math.sqrt(share)) + 1)
    const maxBytes = Math.ceil((2 * bytes) / sources)
    this.#ofWhole = { limit, maxBytes, isReverse, wholeBytesMax: WAITING_BYTES_MAX }
    this.#ofHeads = { limit, maxBytes, isReverse, wholeBytesMax: 0 }
    const direction = isReverse ? -1 : 1
    const read = (this.#read = deps.room)
    this.#heap = new Heap<Source>((a, b) =>
      a.rank === b.rank ? read.compareKeys(a.at, read, b.at) * direction < 0 : a.rank < b.rank
    )
  }

  async read(): Promise<PageRows> {
    const { range, whole, heads } = this.#request
    if (isEmptyRange(range)) return NO_ROWS
    const sources = [
      ...whole.map(partition => new Source(partition, true, range)),
      ...heads.map(partition => new Source(partition, false, range))
    ]
    for (let i = 0; i < sources.length; i += READS_AT_ONCE) {
      const reads: Promise<void>[] = []
      for (let k = i; k < Math.min(i + READS_AT_ONCE, sources.length); k++) {
        const loading = this.#load(sources[k]!)
        if (loading !== undefined) reads.push(loading)
      }
      if (reads.length > 0) await Promise.all(reads)
      await this.#deps.slices.breathe()
    }
    const found = sources.filter(({ at, end }) => at < end)
    if (found.length === 0) return NO_ROWS
    const read = this.#read
    const ends: Uint8Array[] = []
    for (const { at, end } of found) ends.push(read.keyAt(at), read.keyAt(end - 1))
    const rank = new KeyRank(ends, this.#request.isReverse)
    for (const source of found) this.#enter(source, rank)
    return this.#merge(rank)
  }

  async #merge(rank: KeyRank): Promise<PageRows> {
    const { rows: most, bytes: mostBytes } = this.#request
    const read = this.#read
    const rows: number[] = []
    const partitions: PartitionId[] = []
    let bytes = 0
    /** Rows of which the value is still to be read. */
    let light = 0
    while (rows.length < most && bytes < mostBytes) {
      const source = this.#heap.peek()
      if (source === undefined) break
      const row = source.at++
      rows.push(row)
      partitions.push(source.partition)
      bytes += read.bytesOf(row)
      if (source.isWhole && isLight(read, row)) light++
      if (source.at < source.end) {
        source.rank = this.#rankOf(source, rank)
        this.#heap.settle()
      } else {
        this.#heap.pop()
        const loading = this.#load(source)
        if (loading !== undefined) await loading
        if (source.at < source.end) this.#enter(source, rank)
      }
      if (rows.length % LOOK_EVERY === 0) await this.#deps.slices.breathe()
    }
    const last = this.#heap.size === 0 ? undefined : read.keyAt(rows.at(-1)!)
    if (light > 0) return this.#complete(rows, partitions, last)
    return { rows: read.select(rows), partitions, last }
  }

  /** Puts a source where its next row belongs. */
  #enter(source: Source, rank: KeyRank): void {
    source.rank = this.#rankOf(source, rank)
    this.#heap.push(source)
  }

  #rankOf({ at }: Source, rank: KeyRank): number {
    const read = this.#read
    return rank.of(read.bytes, read.keyFrom(at), read.keyTo(at))
  }

  /** Reads on in a partition; no rows when it is at its end. A promise only where that has to be waited for. */
  #load(source: Source): Promise<void> | undefined {
    const { keyspace } = this.#request
    source.at = source.end = 0
    while (source.rest !== undefined && source.at === source.end) {
      const place = { partition: source.partition, keyspace, range: source.rest }
      const part = this.#deps.records.pack(this.#read, place, source.isWhole ? this.#ofWhole : this.#ofHeads)
      if (part instanceof Promise) return part.then(found => this.#loaded(source, found))
      source.take(part)
    }
    return undefined
  }

  #loaded(source: Source, part: PackedPart): Promise<void> | undefined {
    source.take(part)
    return source.at < source.end ? undefined : this.#load(source)
  }

  /** Fetches what was left out, until the page is full of it. What is no longer there is no row any more. */
  async #complete(
    rows: readonly number[],
    partitions: readonly PartitionId[],
    last: Uint8Array | undefined
  ): Promise<PageRows> {
    const { bytes: mostBytes, whole } = this.#request
    const asWhole = new Set(whole)
    const complete = PackedRows.gather(rows.length, mostBytes)
    const completePartitions: PartitionId[] = []
    const read = this.#read
    for (const [i, row] of rows.entries()) {
      if (complete.size >= mostBytes)
        return { rows: complete, partitions: completePartitions, last: read.keyAt(rows[i - 1]!) }
      const partition = partitions[i]!
      const key = read.keyAt(row)
      const isLeft = asWhole.has(partition) && isLight(read, row)
      const record = isLeft ? await this.#whole(partition, key) : (read.recordAt(row) ?? 'damaged')
      if (record === undefined) continue
      complete.append(key, 0, record === 'damaged' ? undefined : record, !isLeft && read.isHead(row))
      completePartitions.push(partition)
      await this.#deps.slices.breathe()
    }
    return { rows: complete, partitions: completePartitions, last }
  }

  async #whole(partition: PartitionId, key: Uint8Array): Promise<RecordBytes | 'damaged' | undefined> {
    try {
      return await this.#deps.records.get({ partition, keyspace: this.#request.keyspace, key })
    } catch (error) {
      // Somebody has to find out what was here: it is for whoever asks to read the key by itself.
      if (isKilovoltError(error, 'KV_CORRUPT')) return 'damaged'
      throw error
    }
  }
}

const NO_ROWS: PageRows = { rows: new PackedRows(EMPTY_BYTES, 0), partitions: [], last: undefined }

/** Whether the value was left out of a row: something that is damaged has none. */
function isLight(rows: PackedRows, row: number): boolean {
  return rows.isHead(row) && !rows.isDamaged(row)
}
