import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import { type ByteRange, isEmptyRange, partitionOfRange, restAfter } from '../model/key-range.ts'
import { hlcToMs } from '../model/hlc.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId, Ring } from '../model/partition.ts'
import type { Requirement } from '../model/quorum.ts'
import type { RecordBytes } from '../model/record.ts'
import type { Slicer, Slices } from '../runtime/slices.ts'
import { PackedRows } from '../codec/packed-rows.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Gathered } from './gather.ts'
import type { OperationDeps } from './operation.ts'
import { lateError, type PageWait, PageWaits } from './page-wait.ts'
import { RowList } from './row-list.ts'
import { ScanMerge } from './scan-merge.ts'
import type { Assignment } from './scan-plan.ts'
import { type RoundShare, ScanRound } from './scan-round.ts'
import { mendNewcomers, type ScanMendingDeps } from './scan-mending.ts'
import type { ScanServer } from './scan-server.ts'
import { encodeScan, PAGE_REST_MAX_MS, pageDecoding, type ScanPage, type ScanRequest } from './scan-wire.ts'

/** In which form a scan wants what it finds. */
export interface ScanForm {
  readonly isReverse: boolean
  /** Whether records are wanted with their values. */
  readonly wantsValues: boolean
  /** Whether it rests while requests come. */
  readonly rests: boolean
}

/** What a scan is asked for. */
export interface ScanOptions extends ScanForm {
  readonly keyspace: Uint8Array
  readonly range: ByteRange
  readonly requirement: Requirement
  /** Deadline of each page, ms. */
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
}

/** Keys with their records, which are live; without their values unless those were wanted. Views of what the page came in. */
export type ScanEntries = Pick<RowList, 'length' | 'keyAt' | 'recordAt'>

/** What a scan needs of the coordinator. */
export interface ScanDeps extends Pick<
  OperationDeps,
  'self' | 'transport' | 'clock' | 'rules' | 'routes' | 'catchUp' | 'isDead' | 'stamps' | 'wheel'
> {
  readonly scans: Pick<ScanServer, 'page'>
  readonly slicer: Pick<Slicer, 'begin'>
}

/** What the scans of a node share. */
export interface ScannerDeps extends ScanDeps, ScanMendingDeps {
  readonly ring: Ring
  /** Whether a quorum must hold what is read at this level before it is handed out. */
  readonly isBlocking: (requirement: Requirement) => boolean
  /** Reads keys by themselves. */
  readonly getMany: (
    keyspace: Uint8Array,
    keys: readonly Uint8Array[],
    options: { readonly requirement: Requirement; readonly timeoutMs: number; readonly signal: AbortSignal | undefined }
  ) => Promise<Gathered<RecordBytes | undefined>>
  /** Called for each page that is asked for. */
  readonly onPage: () => void
  /** Called for each page that is waited for, so that a stop can end it; returns what to call when it is over. */
  readonly track: (page: { cancel(error: KilovoltError): void }) => () => void
}

/** What several nodes have sent for a page, merged. */
interface Found {
  readonly merge: ScanMerge
  readonly round: ScanRound<PackedRows>
  /** What comes after it. */
  readonly left: ByteRange | undefined
  readonly slices: Slices
}

/** A page that is looked for before it is asked for. */
interface Ahead {
  readonly range: ByteRange
  readonly found: Promise<Found>
}

/** What has come of a page: its entries up to the first key that could not be read. */
interface Settled {
  readonly entries: RowList
  readonly failure: unknown
}

const NOTHING: ScanEntries = new RowList()
/** Who does not take what it is given within this time, ms, is not waited for: the keys are read by themselves. */
const MEND_WITHIN_MS = 2000
/** Of the time that is left of a page's deadline the part that those who are asked may rest. */
const REST_PART = 1 / 8
/** Bytes of records that a page is meant to have, for all nodes together. */
const PAGE_BYTES = 1024 * 1024
/** Rows that are merged in one go, and entries that are made of them. */
const ROWS_AT_ONCE = 256

/**
 * A scan over the whole cluster, page by page. All that it knows between two pages is which keys are left: every page is
 * asked of whoever owns the partitions then, so nodes may come, go, die and hand over between any two.
 */
export class Scanner {
  readonly #deps: ScannerDeps
  readonly #options: ScanOptions
  readonly #partitions: readonly PartitionId[]
  readonly #avoided = new Map<StoreId, number>()
  #left: ByteRange | undefined
  #ahead: Ahead | undefined
  readonly #waits: PageWaits
  #isClosed = false
  /** Of handing out what was found: the app's own work, so it does not rest. */
  readonly #handing: Slices

  constructor(deps: ScannerDeps, options: ScanOptions) {
    this.#deps = deps
    this.#options = options
    const { signal, timeoutMs } = options
    this.#waits = new PageWaits(deps, { what: 'scan', signal, timeoutMs, late: () => lateError('scan', timeoutMs) })
    this.#handing = deps.slicer.begin({ restMaxMs: 0 })
    this.#left = isEmptyRange(options.range) ? undefined : options.range
    const only = partitionOfRange(deps.ring, options.range)
    this.#partitions = only === undefined ? Array.from({ length: deps.ring.partitions }, (_, i) => i) : [only]
  }

  /**
   * The next entries in the scan's order, about so many of them, but at least one; none at the end. One call at a time.
   *
   * @throws KilovoltError `KV_QUORUM_NOT_REACHED`, `KV_TIMEOUT`, `KV_ABORTED`, `KV_NODE_STOPPED`, `KV_NOT_JOINED`; the scan can
   *   be gone on with. Where one key cannot be read, as with `KV_CORRUPT`, `details.key` has its bytes
   */
  async next(rows: number): Promise<ScanEntries> {
    for (let left = this.#left; left !== undefined && !this.#isClosed; left = this.#left) {
      const range = left
      const entries = await this.#waits.wait(wait => this.#fetch(range, rows, wait))
      if (entries.length > 0) return entries
    }
    return NOTHING
  }

  /** To be called while entries are handed out: what to wait for first, so that others have the event loop in between. */
  breathe(): Promise<void> | undefined {
    return this.#handing.breathe()
  }

  /** Nobody wants any more of it. The page that is being fetched is dropped, and its call rejects. */
  close(): void {
    this.#isClosed = true
    this.#waits.close()
  }

  async #fetch(range: ByteRange, rows: number, wait: PageWait): Promise<ScanEntries> {
    const { isReverse } = this.#options
    const remainingMs = this.#timeLeft()
    const ahead = this.#ahead?.range === range ? this.#ahead.found : undefined
    this.#ahead = undefined
    // What it has failed for may have been while the page before it was mended, in a time that was over before this one's began.
    const found = (await ahead?.catch(() => undefined)) ?? (await this.#look(range, rows, wait.signal, remainingMs))
    if (wait.signal.aborted) return NOTHING
    const { merge, left, slices } = found
    // There is nothing to do here until those who lack something have it.
    if (merge.incomplete.length > 0 && left !== undefined) this.#lookAhead(left, rows)
    const { entries, failure } = await this.#settle(
      merge.rows,
      await this.#mend(found, remainingMs),
      remainingMs,
      slices
    )
    if (failure !== undefined && entries.length === 0) throw failure
    if (!wait.signal.aborted)
      this.#left =
        failure === undefined ? left : nonEmpty(restAfter(range, entries.keyAt(entries.length - 1), isReverse))
    return entries
  }

  /** Looks for what comes next while the page before it is still mended. */
  #lookAhead(range: ByteRange, rows: number): void {
    const remainingMs = this.#timeLeft()
    const found = this.#waits.wait(wait => this.#look(range, rows, wait.signal, remainingMs))
    // Where it fails it is looked for again when its turn has come.
    found.catch(() => {})
    this.#ahead = { range, found }
  }

  /** What is left, ms, of the time of a page that begins now. */
  #timeLeft(): () => number {
    const { clock } = this.#deps
    const deadlineMs = clock.monotonicMs() + this.#options.timeoutMs
    return () => deadlineMs - clock.monotonicMs()
  }

  /** Asks for a page, and merges it. */
  async #look(range: ByteRange, rows: number, stop: AbortSignal, remainingMs: () => number): Promise<Found> {
    const { clock, rules, ring, stamps } = this.#deps
    const { isReverse, requirement, wantsValues, rests, timeoutMs } = this.#options
    this.#deps.onPage()
    const partitions = this.#partitions
    const slices = this.#deps.slicer.begin({ restMaxMs: rests ? restMaxMs(timeoutMs) : 0 })
    const round = new ScanRound<PackedRows>(
      this.#deps,
      {
        what: 'scan',
        requirement,
        wantsValues,
        partitions,
        rows,
        bytes: PAGE_BYTES,
        ask: (assignment, share, epoch, answerMs) =>
          this.#ask(
            { range, ...share, restMaxMs: rests ? restMaxMs(remainingMs()) : 0 },
            assignment,
            epoch,
            answerMs,
            slices
          )
      },
      { avoided: this.#avoided, remainingMs, stop }
    )
    await round.run()
    slices.resume()
    const merge = new ScanMerge(round.streams, {
      isReverse,
      wantsValues,
      nowMs: Math.max(clock.wallMs(), hlcToMs(stamps.last)),
      partitionOf: key => ring.partitionOf(key),
      copies: round.copies,
      copiesOfAll: round.copiesOfAll,
      waitForAll: rules.waitForAllStreams
    })
    while (!stop.aborted && merge.step(ROWS_AT_ONCE)) await slices.breathe()
    const { passed } = merge
    const left = passed === undefined ? undefined : nonEmpty(restAfter(range, passed, isReverse))
    return { merge, round, left, slices }
  }

  #ask(
    part: RoundShare & Pick<ScanRequest, 'range' | 'restMaxMs'>,
    { store, peer, whole, heads }: Assignment,
    epoch: number,
    timeoutMs: number,
    slices: Slices
  ): Promise<ScanPage | undefined> {
    const { keyspace, isReverse, requirement } = this.#options
    const { self, scans, transport } = this.#deps
    const request: ScanRequest = { keyspace, isReverse, exempt: requirement === 'one', ...part, whole, heads }
    return new Promise(resolve => {
      if (store === self) return scans.page(request, epoch, (_error, page) => resolve(page))
      if (peer === undefined) return resolve(undefined)
      const body = encodeScan(request)
      transport.request(peer, { type: MessageType.SCAN, class: 'bulk', body, timeoutMs }, outcome => {
        resolve(outcome.kind === 'reply' ? pageIn(outcome.body, slices) : undefined)
      })
    })
  }

  /** Gives those that have not copied them yet some of the keys in dispute; resolves to which still are. */
  async #mend({ merge, round }: Found, remainingMs: () => number): Promise<readonly number[]> {
    const { rules, routes, isBlocking } = this.#deps
    const { keyspace, requirement } = this.#options
    const epoch = routes()?.topology.epoch
    const isMended = merge.incomplete.length > 0 && rules.mendBeforeAnswer && isBlocking(requirement)
    if (!isMended || epoch === undefined) return merge.disputed
    const timeoutMs = Math.max(1, Math.min(remainingMs(), MEND_WITHIN_MS))
    return mendNewcomers(this.#deps, { keyspace, merge, round, epoch, timeoutMs })
  }

  /** Reads by themselves the keys on which the replicas do not agree, and ends where that fails. */
  async #settle(
    rows: RowList,
    disputed: readonly number[],
    remainingMs: () => number,
    slices: Slices
  ): Promise<Settled> {
    const settled =
      disputed.length === 0
        ? { entries: rows, failure: undefined }
        : await this.#read(rows, disputed, remainingMs, slices)
    const { entries } = settled
    let latest = 0
    for (let at = 0; at < entries.length; at++) {
      latest = Math.max(latest, entries.hlcAt(at))
      if (at % ROWS_AT_ONCE === ROWS_AT_ONCE - 1) await slices.breathe()
    }
    // What has been read is in the past of what is stamped here from now on.
    if (latest > 0) this.#deps.stamps.observe(latest)
    return settled
  }

  async #read(rows: RowList, disputed: readonly number[], remainingMs: () => number, slices: Slices): Promise<Settled> {
    const { keyspace, requirement } = this.#options
    const keys = disputed.map(at => rows.keyAt(at))
    const options = { requirement, timeoutMs: Math.max(1, remainingMs()), signal: undefined }
    const found = await this.#deps.getMany(keyspace, keys, options)
    slices.resume()
    const entries = new RowList()
    const read = PackedRows.gather(disputed.length)
    for (let at = 0, next = 0; at < rows.length; at++) {
      if (at !== disputed[next]) entries.addFrom(rows, at)
      else if (found.failures.has(next)) return { entries, failure: failedAt(keys[next]!, found.failures.get(next)) }
      else {
        const record = found.results[next]
        if (record !== undefined) {
          read.append(keys[next]!, 0, record, false)
          entries.add(read, read.length - 1)
        }
        next++
      }
      if (at % ROWS_AT_ONCE === ROWS_AT_ONCE - 1) await slices.breathe()
    }
    return { entries, failure: undefined }
  }
}

/** `undefined` when it is none. */
async function pageIn(body: Uint8Array, slices: Slices): Promise<ScanPage | undefined> {
  slices.resume()
  try {
    return await slices.run(pageDecoding(body))
  } catch {
    return undefined
  }
}

/** How long a node may rest over a page of which so much time is left, ms. */
function restMaxMs(remainingMs: number): number {
  return Math.max(0, Math.min(PAGE_REST_MAX_MS, Math.floor(remainingMs * REST_PART)))
}

function failedAt(key: Uint8Array, error: unknown): unknown {
  if (!isKilovoltError(error)) return error
  const { code, message, retryable, details } = error
  return new KilovoltError(code, `${message}; it ended a scan`, {
    cause: error,
    retryable,
    details: { ...details, key }
  })
}

function nonEmpty(range: ByteRange): ByteRange | undefined {
  return isEmptyRange(range) ? undefined : range
}
