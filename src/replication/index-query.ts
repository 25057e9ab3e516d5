import { compareBytes, copyBytes, equalBytes, toLatin1 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { decodeIndexValue } from '../model/index-value.ts'
import { type ByteRange, isEmptyRange, restAfter } from '../model/key-range.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId, Ring } from '../model/partition.ts'
import type { RecordBytes } from '../model/record.ts'
import type { Slicer, Slices } from '../runtime/slices.ts'
import type { IndexDefinition } from '../storage/stored-index.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Outcome } from '../transport/transport.ts'
import type { CallOptions } from './call.ts'
import type { Gathered } from './gather.ts'
import type { IndexServer } from './index-server.ts'
import { decodeIndexPage, encodeIndexRequest, type IndexPage } from './index-wire.ts'
import type { OperationDeps } from './operation.ts'
import { lateError, type PageWait, PageWaits } from './page-wait.ts'
import type { Assignment } from './scan-plan.ts'
import { type RoundShare, ScanRound } from './scan-round.ts'

/** What the queries of a node share. */
export interface IndexQueryDeps extends Pick<
  OperationDeps,
  'self' | 'transport' | 'clock' | 'routes' | 'catchUp' | 'isDead' | 'wheel'
> {
  readonly ring: Ring
  /** This node's part in queries. */
  readonly indexPages: Pick<IndexServer, 'page'>
  /** Reads keys by themselves. */
  readonly getMany: (
    keyspace: Uint8Array,
    keys: readonly Uint8Array[],
    options: CallOptions
  ) => Promise<Gathered<RecordBytes | undefined>>
  readonly slicer: Pick<Slicer, 'begin'>
  /** Called for each page that is waited for, so that a stop can end it; returns what to call when it is over. */
  readonly track: (page: { cancel(error: KilovoltError): void }) => () => void
  /** Whether what is read is compared with its entry. The simulator shows what happens otherwise. */
  readonly checksEntries: boolean
}

/** What a query is asked for. */
export interface IndexQueryOptions extends Pick<CallOptions, 'requirement' | 'signal'> {
  readonly definition: IndexDefinition
  readonly range: ByteRange
  readonly isReverse: boolean
  /** Deadline of each page, ms. */
  readonly timeoutMs: number
}

/** A record that a query has found. */
export interface QueryEntry {
  /** The entry: an encoded value with the key of the record behind it. */
  readonly entry: Uint8Array
  readonly key: Uint8Array
  /** Live, and with this value. */
  readonly record: RecordBytes
}

/** Bytes of entries that a page is meant to have, for all nodes together. */
const PAGE_BYTES = 1024 * 1024
/** A page whose records have so many bytes takes no more: they are kept until they are handed out. */
const FOUND_BYTES = 4 * 1024 * 1024
/** Records that are read at a time before it is known how large they are, and in how much larger steps that grows. */
const READ_AT_ONCE = 64
const READ_GROWTH = 4

/**
 * A query of an index over the whole cluster, page by page, as a scan is: each page is asked of as few replicas as hold all
 * partitions between them and have their entries. What they name is read at the level of the call, and given out only if it
 * still has the value: an entry says where to look, and never what is there.
 */
export class IndexQuery {
  readonly #deps: IndexQueryDeps
  readonly #options: IndexQueryOptions
  readonly #partitions: readonly PartitionId[]
  readonly #avoided = new Map<StoreId, number>()
  /** Of handing out what was found: the app's own work, so it does not rest. */
  readonly #handing: Slices
  #left: ByteRange | undefined
  readonly #waits: PageWaits
  #round: ScanRound<readonly Uint8Array[]> | undefined
  #readAtOnce = READ_AT_ONCE

  constructor(deps: IndexQueryDeps, options: IndexQueryOptions) {
    this.#deps = deps
    this.#options = options
    const { signal, timeoutMs } = options
    this.#waits = new PageWaits(deps, { what: 'query', signal, timeoutMs, late: () => this.#late() })
    this.#handing = deps.slicer.begin({ restMaxMs: 0 })
    this.#left = isEmptyRange(options.range) ? undefined : options.range
    this.#partitions = Array.from({ length: deps.ring.partitions }, (_, i) => i)
  }

  /**
   * The next entries in the query's order, about so many of them, but at least one; none at the end. One call at a time.
   *
   * @throws KilovoltError `KV_INDEX_NOT_READY`, `KV_QUORUM_NOT_REACHED`, `KV_TIMEOUT`, `KV_ABORTED`, `KV_NODE_STOPPED`,
   *   `KV_NOT_JOINED`; the query can be gone on with
   */
  async next(rows: number): Promise<readonly QueryEntry[]> {
    for (let left = this.#left; left !== undefined; left = this.#left) {
      const range = left
      const entries = await this.#waits.wait(wait => this.#fetch(range, rows, wait))
      if (entries.length > 0) return entries
    }
    return []
  }

  /** To be called while entries are handed out: what to wait for first, so that others have the event loop in between. */
  breathe(): Promise<void> | undefined {
    return this.#handing.breathe()
  }

  /** Nobody wants any more of it. The page that is being fetched is dropped, and its call rejects. */
  close(): void {
    this.#left = undefined
    this.#waits.close()
  }

  #late(): KilovoltError {
    const { definition, timeoutMs } = this.#options
    const partition = this.#round?.lacking
    if (partition === undefined) return lateError('query', timeoutMs)
    return new KilovoltError(
      'KV_INDEX_NOT_READY',
      `no owner of partition ${partition} that can be reached has built the index "${definition.name}" as it is defined here; ` +
        'open the keyspace on all nodes with the same index, and try again when it is built',
      { retryable: true, details: { index: definition.name, partition } }
    )
  }

  async #fetch(range: ByteRange, rows: number, wait: PageWait): Promise<readonly QueryEntry[]> {
    const { clock } = this.#deps
    const { isReverse, timeoutMs } = this.#options
    const deadlineMs = clock.monotonicMs() + timeoutMs
    const remainingMs = (): number => deadlineMs - clock.monotonicMs()
    const round = (this.#round = new ScanRound<readonly Uint8Array[]>(
      this.#deps,
      {
        what: 'query',
        requirement: 'one',
        wantsValues: false,
        partitions: this.#partitions,
        isFew: true,
        rows,
        bytes: PAGE_BYTES,
        ask: (...asked) => this.#ask(range, ...asked)
      },
      { avoided: this.#avoided, remainingMs, stop: wait.signal }
    ))
    await round.run()
    if (wait.signal.aborted) return []
    const { entries, passed } = this.#merged(round)
    const { found, readTo = passed } = await this.#found(entries, remainingMs, wait.signal)
    if (!wait.signal.aborted) {
      const left = readTo === undefined ? undefined : restAfter(range, readTo, isReverse)
      this.#left = left === undefined || isEmptyRange(left) ? undefined : left
    }
    return found
  }

  #ask(
    range: ByteRange,
    { store, peer, whole, heads }: Assignment,
    { rows }: RoundShare,
    _epoch: number,
    timeoutMs: number
  ): Promise<IndexPage | undefined> {
    const { self, indexPages, transport } = this.#deps
    const { definition, isReverse } = this.#options
    const { keyspace, name, fingerprint } = definition
    const request = { keyspace, name, fingerprint, range, isReverse, rows, partitions: [...whole, ...heads] }
    if (store === self) return indexPages.page(request).catch(() => undefined)
    if (peer === undefined) return Promise.resolve(undefined)
    return new Promise(resolve => {
      const body = encodeIndexRequest(request)
      transport.request(peer, { type: MessageType.INDEX, class: 'data', body, timeoutMs }, outcome => {
        resolve(pageOf(outcome))
      })
    })
  }

  /** The entries up to the place that every node has passed, in order, and that place; `undefined`: the end. */
  #merged({ streams }: ScanRound<readonly Uint8Array[]>): { entries: Uint8Array[]; passed: Uint8Array | undefined } {
    const sign = this.#options.isReverse ? -1 : 1
    let passed: Uint8Array | undefined
    for (const { last } of streams) {
      if (last !== undefined && (passed === undefined || compareBytes(last, passed) * sign < 0)) passed = last
    }
    const entries: Uint8Array[] = []
    for (const { rows, void: gone } of streams) {
      for (const entry of rows) {
        if (passed !== undefined && compareBytes(entry, passed) * sign > 0) break
        if (gone.size === 0 || !gone.has(this.#deps.ring.partitionOf(keyOfEntry(entry)))) entries.push(entry)
      }
    }
    entries.sort((a, b) => compareBytes(a, b) * sign)
    // Two nodes may have named the same one, if what it is in has moved from one to the other.
    return { entries: entries.filter((entry, i) => i === 0 || !equalBytes(entry, entries[i - 1]!)), passed }
  }

  /** Of what the entries name what still has their value, up to some place if that is large. */
  async #found(
    entries: readonly Uint8Array[],
    remainingMs: () => number,
    signal: AbortSignal
  ): Promise<{ readonly found: readonly QueryEntry[]; readonly readTo: Uint8Array | undefined }> {
    const found: QueryEntry[] = []
    let at = 0
    for (let bytes = 0; at < entries.length && bytes < FOUND_BYTES && !signal.aborted;) {
      const some = entries.slice(at, at + this.#readAtOnce)
      at += some.length
      const read = await this.#read(some, Math.max(1, remainingMs()))
      for (const one of read.found) found.push(one)
      bytes += read.bytes
      const fitting = Math.max(1, Math.floor((FOUND_BYTES * some.length) / Math.max(1, read.bytes)))
      this.#readAtOnce = Math.min(fitting, READ_GROWTH * this.#readAtOnce)
    }
    return { found, readTo: at < entries.length ? entries[at - 1] : undefined }
  }

  /** The same of a few, and how many bytes were read. */
  async #read(
    entries: readonly Uint8Array[],
    timeoutMs: number
  ): Promise<{ readonly found: readonly QueryEntry[]; readonly bytes: number }> {
    const { definition, requirement } = this.#options
    const places = new Map<string, number>()
    const keys: Uint8Array[] = []
    for (const entry of entries) {
      const key = keyOfEntry(entry)
      const name = toLatin1(key)
      if (!places.has(name)) places.set(name, keys.push(key) - 1)
    }
    const options = { requirement, timeoutMs, signal: undefined }
    const { results, failures } = await this.#deps.getMany(definition.keyspace, keys, options)
    for (const error of failures.values()) throw error
    const values = await Promise.all(results.map(async record => this.#valuesOf(record)))
    const found: QueryEntry[] = []
    for (const entry of entries) {
      const key = keyOfEntry(entry)
      const at = places.get(toLatin1(key))!
      const record = results[at]
      const value = entry.subarray(0, entry.length - key.length)
      if (record === undefined) continue
      if (!this.#deps.checksEntries || values[at]!.some(other => equalBytes(other, value))) {
        found.push({ entry: copyBytes(entry), key, record })
      }
    }
    return { found, bytes: results.reduce((sum, record) => sum + (record?.length ?? 0), 0) }
  }

  /** What the app's code can make nothing of has no values. */
  async #valuesOf(record: RecordBytes | undefined): Promise<readonly Uint8Array[]> {
    if (record === undefined) return []
    try {
      return await this.#options.definition.valuesOf(record)
    } catch {
      return []
    }
  }
}

/** @throws KilovoltError `KV_PROTOCOL` when somebody has sent what is none */
function keyOfEntry(entry: Uint8Array): Uint8Array {
  try {
    return entry.subarray(decodeIndexValue(entry).length)
  } catch (cause) {
    throw new KilovoltError('KV_PROTOCOL', 'an entry of an index that is none', { cause })
  }
}

function pageOf(outcome: Outcome): IndexPage | undefined {
  if (outcome.kind !== 'reply') return undefined
  try {
    const page = decodeIndexPage(outcome.body)
    for (const entry of page.rows) keyOfEntry(entry)
    return page
  } catch {
    return undefined
  }
}
