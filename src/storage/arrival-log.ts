import { copyBytes, copyPart, EMPTY_BYTES, equalBytes } from '../base/bytes.ts'
import type { PartitionId } from '../model/partition.ts'
import { isLive, isTombstone, type RecordBytes, recordHlc, STAMP_END, STAMP_START } from '../model/record.ts'
import { decodeDataKey, partitionOfKey } from './key-layout.ts'
import type { RecordKey } from './record-store.ts'
import type { RecordChange } from './tree-index.ts'

/** Told of what an apply loop has written, while it is on. */
export interface ChangeTap {
  readonly isOn: boolean
  /** These are in the store now; called before they are acknowledged. Must not throw. */
  written(changes: readonly RecordChange[]): void
}

/** Something that has come to be in a store. */
export interface Arrival extends RecordKey {
  /** Its number in the log. */
  readonly seq: number
  readonly record: RecordBytes
  /** The record has expired: that is what has arrived, not the value. */
  readonly expired: boolean
  /** Stamp of the live value that it took the place of, if there was one. */
  readonly previous: Uint8Array | undefined
}

/** What an arrival log asks. */
export interface ArrivalLogDeps {
  readonly wallMs: () => number
  /** How far the past of a partition is settled. */
  readonly horizonOf: (partition: PartitionId) => number
}

/** Bounds of an arrival log. */
export interface ArrivalLogOptions {
  /** Most arrivals that are kept, a power of two. Default 65,536. */
  readonly entriesMax?: number
  /** Most bytes of keys and records that are kept. Default 32 MiB. */
  readonly bytesMax?: number
}

/** Bytes that an arrival takes besides its key and record, about. */
const ENTRY_BYTES = 200
const MIB = 1024 * 1024

/**
 * What arrives at a store, numbered in the order of its arrival: the newest part of it, in memory, and only while somebody
 * watches. A number means something together with the log's id alone, which is drawn anew each time the log begins. Whoever
 * has fallen behind what is kept has to read the store instead.
 *
 * One sequence for all partitions: who follows many of them follows one number.
 */
export class ArrivalLog implements ChangeTap {
  readonly #deps: ArrivalLogDeps
  readonly #max: number
  readonly #bytesMax: number
  /** An arrival has its place by its number. */
  #ring: (Arrival | undefined)[] = []
  #id: Uint8Array = EMPTY_BYTES
  #first = 1
  #last = 0
  #bytes = 0
  #isOn = false
  #listener: (arrival: Arrival) => void = () => {}
  #isKept: (partition: PartitionId) => boolean = () => false

  constructor(deps: ArrivalLogDeps, { entriesMax = 65_536, bytesMax = 32 * MIB }: ArrivalLogOptions = {}) {
    this.#deps = deps
    this.#max = entriesMax
    this.#bytesMax = bytesMax
  }

  get isOn(): boolean {
    return this.#isOn
  }

  /** Identity of the log while it is on. */
  get id(): Uint8Array {
    return this.#id
  }

  /** Number of the latest arrival; 0 when there is none yet. */
  get last(): number {
    return this.#last
  }

  /** Bytes that are kept, about. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * Begins a log.
   *
   * @param isKept - whether what arrives in a partition is to be numbered: copies that are being made here are not news
   * @param listener - told of each arrival
   */
  open(id: Uint8Array, isKept: (partition: PartitionId) => boolean, listener: (arrival: Arrival) => void): void {
    this.close()
    this.#id = id
    this.#isKept = isKept
    this.#listener = listener
    this.#isOn = true
  }

  /** Forgets everything. */
  close(): void {
    this.#isOn = false
    this.#ring = []
    this.#id = EMPTY_BYTES
    this.#first = 1
    this.#last = this.#bytes = 0
  }

  written(changes: readonly RecordChange[]): void {
    for (const { key, value, before } of changes) {
      const partition = partitionOfKey(key)
      // What is purged or cleared away was told of before.
      if (value === undefined || !this.#isKept(partition)) continue
      // Whatever lies in the settled past was here once already: it has only been mended.
      if (before === undefined && recordHlc(value) <= this.#deps.horizonOf(partition)) continue
      const wallMs = this.#deps.wallMs()
      const previous = isLive(before, wallMs) ? copyPart(before, STAMP_START, STAMP_END) : undefined
      // Copies: the bytes are part of the frames that they came in.
      const place = decodeDataKey(copyBytes(key))
      const record = copyBytes(value)
      this.#add({
        seq: this.#last + 1,
        partition,
        keyspace: place.keyspace,
        key: place.key,
        record,
        expired: !isTombstone(record) && !isLive(record, wallMs),
        previous
      })
    }
  }

  /** A record that lies here has expired. Its bytes belong to the log from now on. */
  expire({ partition, keyspace, key }: RecordKey, record: RecordBytes): void {
    if (!this.#isOn || !this.#isKept(partition)) return
    this.#add({ seq: this.#last + 1, partition, keyspace, key, record, expired: true, previous: undefined })
  }

  /** Takes a number for nothing: whoever stands before it may have missed something that is in no log here. */
  skip(): void {
    this.#place(this.#last + 1, undefined)
  }

  /** Whether everything after a number of this log is still known. */
  reaches(id: Uint8Array, seq: number): boolean {
    return this.#isOn && equalBytes(id, this.#id) && seq >= this.#first - 1 && seq <= this.#last
  }

  /** The arrival of a number, if there is one and it is kept. */
  at(seq: number): Arrival | undefined {
    return seq < this.#first || seq > this.#last ? undefined : this.#ring[seq % this.#max]
  }

  #add(arrival: Arrival): void {
    this.#place(arrival.seq, arrival)
    this.#bytes += sizeOf(arrival)
    while (this.#bytes > this.#bytesMax && this.#first < this.#last) this.#drop()
    this.#listener(arrival)
  }

  #place(seq: number, arrival: Arrival | undefined): void {
    if (this.#last - this.#first + 1 === this.#max) this.#drop()
    this.#ring[seq % this.#max] = arrival
    this.#last = seq
  }

  #drop(): void {
    const place = this.#first++ % this.#max
    const dropped = this.#ring[place]
    this.#bytes -= dropped === undefined ? 0 : sizeOf(dropped)
    this.#ring[place] = undefined
  }
}

function sizeOf({ key, record }: Arrival): number {
  return key.length + record.length + ENTRY_BYTES
}
