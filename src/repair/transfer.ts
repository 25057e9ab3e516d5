import { pipe } from 'it-pipe'
import { createDeferred } from '../base/deferred.ts'
import { isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'
import type { PeerId, StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { PlacementRules } from '../placement/rules.ts'
import type { Topology } from '../placement/topology.ts'
import { type Clock, pause } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Pace } from '../runtime/pace.ts'
import type { Horizons } from '../storage/horizons.ts'
import type { RecordStore, StoredRecord } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import type { IncomingMessage, Responder, Transport } from '../transport/transport.ts'
import type { Healer } from './healer.ts'
import type { Purger } from './purger.ts'
import {
  type CopyCursor,
  type CopyPage,
  decodeCopyPage,
  decodeCopyRequest,
  encodeCopyPage,
  encodeCopyRequest
} from './wire.ts'

/** What a transfer needs. */
export interface TransferDeps {
  readonly transport: Transport
  readonly records: RecordStore
  readonly horizons: Horizons
  readonly purger: Purger
  readonly healer: Pick<Healer, 'heal'>
  readonly clock: Clock
  readonly pace: Pace
  readonly logger: Logger
  readonly rules: PlacementRules
  readonly topology: () => Topology | undefined
  readonly catchUp: (epoch: number, timeoutMs: number) => Promise<unknown>
}

/** One partition to fetch. */
export interface TransferTask {
  readonly partition: PartitionId
  readonly from: readonly StoreId[]
  /** Epoch of the change that asks for it. */
  readonly epoch: number
}

/** Figures since the node started. */
export interface TransferStats {
  readonly recordsCopied: number
  readonly bytesCopied: number
  readonly partitionsCopied: number
}

/** A page is read, and written out, in one turn of the event loop: some milliseconds. */
const PAGE_BYTES = 128 * 1024
const PAGE_RECORDS = 1000
/** While requests come: two or three milliseconds at the receiver. */
const PAGE_RECORDS_BUSY = 256
const PAGE_TIMEOUT_MS = 10_000
/** Attempts at one page before the copy as a whole fails (and is tried again by its owner). */
const ATTEMPTS_MAX = 5
const RETRY_MS = 200

/**
 * Moves partitions for ownership changes. The new owner pulls pages in key order from each source, one after another, and
 * puts them through the record store's door; newest wins, so a page may come twice and writes may arrive meanwhile. A
 * page that fails is asked for again from the same position.
 *
 * Rule C3: a source first applies the epoch of the change, from which on it refuses writes of earlier epochs, then
 * writes out everything it had admitted before, and only then reads.
 */
export class Transfer {
  readonly #deps: TransferDeps
  readonly #stats = { recordsCopied: 0, bytesCopied: 0, partitionsCopied: 0 }

  constructor(deps: TransferDeps) {
    this.#deps = deps
  }

  /** Answers COPY. */
  listen(): void {
    this.#deps.transport.handle(MessageType.COPY, (message, respond) => {
      this.#serve(message, respond).catch((error: unknown) => respond.refuse(asError(error)))
    })
  }

  stats(): TransferStats {
    return { ...this.#stats }
  }

  /** Fetches a partition from each of its sources; resolves when everything is durable here. */
  async copy({ partition, from, epoch }: TransferTask, signal: AbortSignal): Promise<void> {
    for (const source of from) {
      await pipe(
        () => this.#pages(source, partition, epoch, signal),
        async pages => {
          for await (const page of pages) await this.#deps.pace.turn(() => this.#store(partition, page, signal), signal)
        }
      )
    }
    this.#stats.partitionsCopied++
  }

  /** Deletes what has moved away, while requests come one partition at a time, unless that is called off before its turn. */
  drop(partition: PartitionId, signal: AbortSignal): Promise<void> {
    return this.#deps.pace.turn(async () => {
      if (signal.aborted) throw abandoned()
      await this.#deps.records.dropPartition(partition)
    }, signal)
  }

  async *#pages(source: StoreId, partition: PartitionId, epoch: number, signal: AbortSignal): AsyncGenerator<CopyPage> {
    const ask = (after: CopyCursor | undefined): Promise<CopyPage> =>
      this.#page(source, partition, epoch, after, signal)
    let next: Promise<CopyPage> | undefined = ask(undefined)
    while (next !== undefined) {
      const page: CopyPage = await next
      const last = page.records.at(-1)
      // The next page travels while this one is stored.
      next = page.isLast || last === undefined ? undefined : ask({ keyspace: last.keyspace, key: last.key })
      // Whoever stops reading is not told why that one fails.
      next?.catch(() => {})
      yield page
    }
  }

  async #page(
    source: StoreId,
    partition: PartitionId,
    epoch: number,
    after: CopyCursor | undefined,
    signal: AbortSignal
  ): Promise<CopyPage> {
    const body = encodeCopyRequest({ partition, epoch, after })
    for (let attempt = 1; ; attempt++) {
      if (signal.aborted) throw abandoned()
      try {
        return decodeCopyPage(await this.#ask(source, body), partition)
      } catch (error) {
        if (attempt === ATTEMPTS_MAX) throw error
        this.#deps.logger.debug('a page is asked for again', { partition, source, error: messageOf(error) })
        await pause(this.#deps.clock, RETRY_MS * attempt, signal)
      }
    }
  }

  #ask(source: StoreId, body: Uint8Array): Promise<Uint8Array> {
    const peer: PeerId | undefined = this.#deps.topology()?.members.get(source)?.peerId
    const { promise, resolve, reject } = createDeferred<Uint8Array>()
    if (peer === undefined) reject(new KilovoltError('KV_UNREACHABLE', `${source} is no member`))
    else {
      this.#deps.transport.request(
        peer,
        { type: MessageType.COPY, class: 'bulk', body, timeoutMs: PAGE_TIMEOUT_MS },
        outcome => {
          if (outcome.kind === 'reply') resolve(outcome.body)
          else if (outcome.kind === 'refused') reject(outcome.error)
          else
            reject(
              new KilovoltError('KV_UNREACHABLE', `${source} did not answer (${outcome.kind})`, { retryable: true })
            )
        }
      )
    }
    return promise
  }

  async #store(partition: PartitionId, { floor, horizon, records }: CopyPage, signal: AbortSignal): Promise<void> {
    const { horizons, purger } = this.#deps
    // First: what the source has purged must not be brought in again by another one.
    if (horizon > horizons.horizonOf(partition)) await purger.advance([partition], horizon)
    await horizons.raiseFloors([partition], floor)
    // What is not wanted any more is being deleted here, and nothing may come behind that.
    if (signal.aborted) throw abandoned()
    if (records.length > 0) await this.#storeAll(records)
  }

  #storeAll(page: readonly StoredRecord[]): Promise<void> {
    const { promise, resolve, reject } = createDeferred<void>()
    let left = page.length
    for (const stored of page) {
      this.#stats.recordsCopied++
      this.#stats.bytesCopied += stored.keyspace.length + stored.key.length + stored.record.length
      this.#deps.records.copy(stored, stored.record, error => {
        // Where a damaged record lies that may have been newer the healer sees to it.
        if (error !== undefined && !isKilovoltError(error, 'KV_CORRUPT')) reject(error)
        else if (--left === 0) resolve()
      })
    }
    return promise
  }

  async #serve({ body }: IncomingMessage, respond: Responder): Promise<void> {
    const { records, horizons, pace, rules, catchUp } = this.#deps
    const { partition, epoch, after } = decodeCopyRequest(body)
    if (rules.fenceSources) {
      await catchUp(epoch, PAGE_TIMEOUT_MS)
      // The first page fences; later ones need not wait, as every write of this epoch reaches the new owner itself.
      if (after === undefined) await records.flushed()
    }
    await pace.turn(async () => {
      // The horizon after the page was read: what is missing from the page because it was purged lies below that.
      const floor = horizons.floorOf(partition)
      const limit = pace.isBusy ? PAGE_RECORDS_BUSY : PAGE_RECORDS
      const page = await this.#read(partition, after, limit)
      const isLast = page.length < limit && bytesAtMost(page) < PAGE_BYTES
      respond.reply(encodeCopyPage({ floor, horizon: horizons.horizonOf(partition), isLast, records: page }))
    })
  }

  /**
   * A page without damaged records. Those that can be are healed first: rule C3 counts on this source for all that it has
   * acknowledged. What cannot be healed now is left out, or one such record would keep its partition where it is for good.
   */
  async #read(partition: PartitionId, after: CopyCursor | undefined, limit: number): Promise<readonly StoredRecord[]> {
    const { records, healer } = this.#deps
    const page = await records.page(partition, after, limit, PAGE_BYTES)
    const healed = await healer.heal(partition)
    return healed === 0 ? page : records.page(partition, after, limit, PAGE_BYTES)
  }
}

/** No less than what the store has counted: a page that may have been ended for its bytes is not taken for the last. */
function bytesAtMost(page: readonly StoredRecord[]): number {
  let bytes = 0
  for (const { keyspace, key, record } of page) bytes += keyspace.length + key.length + record.length + 16
  return bytes
}

function abandoned(): KilovoltError {
  return new KilovoltError('KV_ABORTED', 'this is not wanted any more')
}

function asError(error: unknown): KilovoltError {
  return isKilovoltError(error) ? error : new KilovoltError('KV_STORAGE', messageOf(error), { cause: error })
}
