import { compareBytes, copyPart, EMPTY_BYTES } from '../base/bytes.ts'
import { isKilovoltError } from '../base/errors.ts'
import { Heap } from '../base/heap.ts'
import { type ByteRange, isEmptyRange } from '../model/key-range.ts'
import type { PartitionId } from '../model/partition.ts'
import { recordHead, recordHeadBytes } from '../model/record.ts'
import type { Slices } from '../runtime/slices.ts'
import type { RangeRow, RecordStore } from '../storage/record-store.ts'
import { KeyRank } from './key-rank.ts'
import type { ScanRow } from './scan-rows.ts'
import type { ScanRequest } from './scan-wire.ts'

/** What reading a page needs. */
export interface PageDeps {
  readonly records: Pick<RecordStore, 'get' | 'range'>
  readonly slices: Slices
}

/** A row with the partition that it was found in. */
export interface PageRow extends ScanRow {
  readonly partition: PartitionId
}

/** A page: its rows, and the last key that was looked at unless the range is at its end. */
export interface PageRows {
  readonly rows: readonly PageRow[]
  readonly last: Uint8Array | undefined
}

/** Rows between two looks at the clock. */
const LOOK_EVERY = 64
/** Partitions that are read side by side: a disk database has four threads. */
const READS_AT_ONCE = 8
/** Largest record of which a part is kept as a view. */
const VIEW_BYTES_MAX = 256
/** Most bytes of records that wait for their turn. What is beyond is read again when its turn has come. */
const WAITING_BYTES_MAX = 2 * 1024 * 1024

const NO_ROWS: readonly RangeRow[] = []

/** What has been read of a partition. */
class Source {
  readonly partition: PartitionId
  readonly isWhole: boolean
  rest: ByteRange | undefined
  rows: readonly RangeRow[] = NO_ROWS
  at = 0
  /** From which row on records were left out. */
  leftFrom = Infinity
  /** Of the row that is next. */
  key: Uint8Array = EMPTY_BYTES
  rank = 0

  constructor(partition: PartitionId, isWhole: boolean, rest: ByteRange) {
    this.partition = partition
    this.isWhole = isWhole
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
  readonly #share: { readonly limit: number; readonly maxBytes: number; readonly isReverse: boolean }
  readonly #heap: Heap<Source>
  /** Where a record was left out while it waited. */
  readonly #left = new Set<PageRow>()
  #waiting = 0

  constructor(deps: PageDeps, request: ScanRequest) {
    this.#deps = deps
    this.#request = request
    const { isReverse, rows, bytes, whole, heads } = request
    const sources = Math.max(1, whole.length + heads.length)
    const share = rows / sources
    this.#share = {
      limit: Math.min(rows, Math.ceil(share + Math.sqrt(share)) + 1),
      maxBytes: Math.ceil((2 * bytes) / sources),
      isReverse
    }
    const direction = isReverse ? -1 : 1
    this.#heap = new Heap<Source>((a, b) =>
      a.rank === b.rank ? compareBytes(a.key, b.key) * direction < 0 : a.rank < b.rank
    )
  }

  async read(): Promise<PageRows> {
    const { range, whole, heads } = this.#request
    if (isEmptyRange(range)) return { rows: [], last: undefined }
    const sources = [
      ...whole.map(partition => new Source(partition, true, range)),
      ...heads.map(partition => new Source(partition, false, range))
    ]
    for (let i = 0; i < sources.length; i += READS_AT_ONCE) {
      await Promise.all(sources.slice(i, i + READS_AT_ONCE).map(source => this.#load(source)))
      await this.#deps.slices.breathe()
    }
    const found = sources.filter(({ rows }) => rows.length > 0)
    if (found.length === 0) return { rows: [], last: undefined }
    const ends = found.flatMap(({ rows }) => [rows[0]!.key, rows.at(-1)!.key])
    const rank = new KeyRank(ends, this.#request.isReverse)
    for (const source of found) this.#enter(source, rank)
    const rows = await this.#merge(rank)
    const last = this.#heap.size === 0 ? undefined : rows.at(-1)!.key
    return this.#left.size === 0 ? { rows, last } : this.#complete(rows, last)
  }

  async #merge(rank: KeyRank): Promise<PageRow[]> {
    const { rows: most, bytes: mostBytes } = this.#request
    const rows: PageRow[] = []
    let bytes = 0
    while (rows.length < most && bytes < mostBytes) {
      const source = this.#heap.peek()
      if (source === undefined) break
      const row = this.#row(source)
      rows.push(row)
      bytes += row.key.length + (row.record?.length ?? 0)
      if (++source.at < source.rows.length) {
        source.key = source.rows[source.at]!.key
        source.rank = rank.of(source.key)
        this.#heap.settle()
      } else {
        this.#heap.pop()
        await this.#load(source)
        if (source.rows.length > 0) this.#enter(source, rank)
      }
      if (rows.length % LOOK_EVERY === 0) await this.#deps.slices.breathe()
    }
    return rows
  }

  /** Puts a source where its next row belongs. */
  #enter(source: Source, rank: KeyRank): void {
    source.key = source.rows[0]!.key
    source.rank = rank.of(source.key)
    this.#heap.push(source)
  }

  /** Reads on in a partition; no rows when it is at its end. */
  async #load(source: Source): Promise<void> {
    source.rows = NO_ROWS
    source.at = 0
    source.leftFrom = Infinity
    while (source.rest !== undefined && source.rows.length === 0) {
      const { records } = this.#deps
      const part = await records.range(source.partition, this.#request.keyspace, source.rest, this.#share)
      source.rest = part.rest
      source.rows = source.isWhole ? this.#waitingRows(source, part.rows) : part.rows.map(lightRow)
    }
  }

  /** Leaves out records that are too much to wait. */
  #waitingRows(source: Source, rows: readonly RangeRow[]): readonly RangeRow[] {
    let fit = 0
    for (; fit < rows.length && this.#waiting <= WAITING_BYTES_MAX; fit++)
      this.#waiting += rows[fit]!.record?.length ?? 0
    if (fit === rows.length) return rows
    source.leftFrom = fit
    return rows.map((row, i) => (i < fit ? row : headRow(row)))
  }

  /** The row that is next. */
  #row({ partition, isWhole, rows, at, leftFrom }: Source): PageRow {
    const { key, record } = rows[at]!
    if (record === undefined) return damagedRow(partition, key)
    if (isWhole && at < leftFrom) return { partition, key, record, isHead: false }
    const row = { partition, key, record: isWhole ? record : recordHead(record), isHead: true }
    if (isWhole) this.#left.add(row)
    return row
  }

  /** Fetches what was left out, until the page is full of it. What is no longer there is no row any more. */
  async #complete(rows: readonly PageRow[], last: Uint8Array | undefined): Promise<PageRows> {
    const { keyspace, bytes: mostBytes } = this.#request
    const complete: PageRow[] = []
    let bytes = 0
    for (const [i, row] of rows.entries()) {
      if (bytes >= mostBytes) return { rows: complete, last: rows[i - 1]!.key }
      const found = this.#left.has(row) ? await this.#whole(row, keyspace) : row
      if (found === undefined) continue
      complete.push(found)
      bytes += found.key.length + (found.record?.length ?? 0)
      await this.#deps.slices.breathe()
    }
    return { rows: complete, last }
  }

  async #whole({ partition, key }: PageRow, keyspace: Uint8Array): Promise<PageRow | undefined> {
    try {
      const record = await this.#deps.records.get({ partition, keyspace, key })
      return record && { partition, key, record, isHead: false }
    } catch (error) {
      if (isKilovoltError(error, 'KV_CORRUPT')) return damagedRow(partition, key)
      throw error
    }
  }
}

/** A row of which the head is wanted: something large is not kept for it. */
function lightRow(row: RangeRow): RangeRow {
  return row.record === undefined || row.record.length <= VIEW_BYTES_MAX ? row : headRow(row)
}

function headRow({ key, record }: RangeRow): RangeRow {
  return { key, record: record && copyPart(record, 0, recordHeadBytes(record)) }
}

/** Somebody has to find out what was here: it is for whoever asks to read the key by itself. */
function damagedRow(partition: PartitionId, key: Uint8Array): PageRow {
  return { partition, key, record: undefined, isHead: true }
}
