import { equalBytes } from '../base/bytes.ts'
import { isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'
import { BoundedQueue } from '../base/queue.ts'
import type { ByteRange } from '../model/key-range.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { rowOf, type Topology } from '../placement/topology.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Indexes } from '../storage/indexes.ts'
import { PartitionState, type StoredIndex } from '../storage/stored-index.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import { decodeIndexRequest, encodeIndexPage, type IndexPage, type IndexRequest } from './index-wire.ts'

/** What serving queries needs. */
export interface IndexServerDeps {
  readonly self: StoreId
  readonly indexes: Pick<Indexes, 'find' | 'page'>
  readonly clock: Pick<Clock, 'monotonicMs' | 'soon'>
  readonly topology: () => Topology | undefined
}

/** Pages that are read side by side, and most that wait. */
const PAGES_AT_ONCE = 4
const WAITING_MAX = 256
/** A page that has so many bytes of entries takes no more: a message has its bound. */
const PAGE_BYTES_MAX = 4 * 1024 * 1024
/** Entries that are read at a time, and most that are looked at for a page: many may be of partitions that others answer for. */
const READ_AT_ONCE_MIN = 64
const READ_AT_ONCE_MAX = 1024
const LOOKED_AT_MAX = 16_384

/**
 * The owner's side of queries: reads pages of this node's indexes. Of a partition that it does not own, or whose entries are
 * not all there, it says so, before it reads and after it: what has changed meanwhile would look as if it had never been.
 */
export class IndexServer {
  readonly #deps: IndexServerDeps
  readonly #waiting = new BoundedQueue<() => void>(WAITING_MAX)
  #reading = 0

  constructor(deps: IndexServerDeps) {
    this.#deps = deps
  }

  /** Answers INDEX. */
  listen(transport: Transport): void {
    transport.handle(MessageType.INDEX, (message, respond) => {
      let request: IndexRequest
      try {
        request = decodeIndexRequest(message.body)
      } catch (error) {
        return respond.refuse(asError(error))
      }
      this.page(request).then(
        page => respond.reply(encodeIndexPage(page)),
        (error: unknown) => respond.refuse(asError(error))
      )
    })
  }

  /** The next entries that are of some partitions. The request's bytes are read until the promise is settled. */
  async page(request: IndexRequest): Promise<IndexPage> {
    if (this.#reading >= PAGES_AT_ONCE) await this.#turn()
    this.#reading++
    try {
      return await this.#read(request)
    } finally {
      this.#reading--
      this.#waiting.shift()?.()
    }
  }

  #turn(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.push(resolve)) return
      reject(
        new KilovoltError('KV_OVERLOADED', 'this node reads as many pages for queries as it can', { retryable: true })
      )
    })
  }

  async #read(request: IndexRequest): Promise<IndexPage> {
    const before = this.#topology()
    const index = this.#indexOf(request)
    const isOwned = (partition: PartitionId): boolean => rowOf(before, partition).slots.includes(this.#deps.self)
    const refused: PartitionId[] = []
    const owned: PartitionId[] = []
    for (const partition of new Set(request.partitions)) {
      ;(partition < before.rows.length && isOwned(partition) ? owned : refused).push(partition)
    }
    const id = index?.id
    const isReady = (partition: PartitionId): boolean =>
      index !== undefined && index.id === id && index.stateOf(partition) === PartitionState.READY
    const wanted = new Set(owned.filter(isReady))
    const lacking = owned.filter(partition => !wanted.has(partition))
    if (index === undefined || wanted.size === 0) {
      return { epoch: before.epoch, refused, lacking, rows: [], last: undefined }
    }
    const { rows, last } = await this.#entries(index, wanted, request)
    const now = this.#topology()
    const gone = new Set([...wanted].filter(partition => !isReady(partition)))
    const moved = new Set(
      [...wanted].filter(partition => rowOf(now, partition).rowEpoch !== rowOf(before, partition).rowEpoch)
    )
    return {
      epoch: now.epoch,
      refused: [...refused, ...moved],
      lacking: [...lacking, ...[...gone].filter(partition => !moved.has(partition))],
      rows: rows.filter(({ partition }) => !gone.has(partition) && !moved.has(partition)).map(({ entry }) => entry),
      last
    }
  }

  async #entries(
    index: StoredIndex,
    wanted: ReadonlySet<PartitionId>,
    { range, isReverse, rows: most }: IndexRequest
  ): Promise<{ readonly rows: readonly Row[]; readonly last: Uint8Array | undefined }> {
    const { indexes, clock } = this.#deps
    const rows: Row[] = []
    let left: ByteRange | undefined = range
    let last: Uint8Array | undefined
    let bytes = 0
    let limit = Math.min(READ_AT_ONCE_MAX, Math.max(READ_AT_ONCE_MIN, most))
    for (let looked = 0; left !== undefined && looked < LOOKED_AT_MAX;) {
      const part = await indexes.page(index, left, limit, isReverse)
      for (const row of part.entries) {
        if (wanted.has(row.partition)) {
          rows.push(row)
          bytes += row.entry.length
        }
        last = row.entry
        if (rows.length >= most || bytes >= PAGE_BYTES_MAX) return { rows, last }
      }
      looked += part.entries.length
      left = part.rest
      // Most are of partitions that others answer for.
      limit = Math.min(READ_AT_ONCE_MAX, 2 * limit)
      await new Promise<void>(resolve => clock.soon(resolve))
    }
    return { rows, last: left === undefined ? undefined : last }
  }

  /** The index, if this node has it as whoever asks has defined it. */
  #indexOf({ keyspace, name, fingerprint }: IndexRequest): StoredIndex | undefined {
    const index = this.#deps.indexes.find(keyspace, name)
    return index !== undefined && equalBytes(index.fingerprint, fingerprint) ? index : undefined
  }

  #topology(): Topology {
    const topology = this.#deps.topology()
    if (topology === undefined) throw new KilovoltError('KV_NOT_JOINED', 'the replica is no member yet')
    return topology
  }
}

/** An entry with the partition of its key. */
type Row = Awaited<ReturnType<Indexes['page']>>['entries'][number]

function asError(error: unknown): KilovoltError {
  return isKilovoltError(error) ? error : new KilovoltError('KV_STORAGE', messageOf(error), { cause: error })
}
