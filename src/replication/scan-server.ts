import { isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'
import { BoundedQueue } from '../base/queue.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { PlacementRules } from '../placement/rules.ts'
import { isRowReplica, rowOf, type Topology } from '../placement/topology.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Slicer, Slices } from '../runtime/slices.ts'
import type { PackedRows } from '../codec/packed-rows.ts'
import type { RecordStore } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import type { ReplicaDone } from './replica.ts'
import { RowRooms } from './row-rooms.ts'
import { PageReader } from './scan-page.ts'
import { decodeScan, pageEncoding, type ScanPage, type ScanRequest } from './scan-wire.ts'

/** What serving scans needs. */
export interface ScanServerDeps {
  readonly self: StoreId
  readonly records: Pick<RecordStore, 'get' | 'pack'>
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly slicer: Slicer
  readonly rules: PlacementRules
  readonly topology: () => Topology | undefined
  /** Pulls the topology up to an epoch. */
  readonly catchUp: (epoch: number, timeoutMs: number) => Promise<unknown>
}

/** A page that waits for its turn. */
interface Waiting {
  readonly sinceMs: number
  readonly go: () => void
  readonly refuse: (error: KilovoltError) => void
}

/** Pages that are read side by side: the second keeps the disk busy while the first one is merged. */
const PAGES_AT_ONCE = 2
/** Most pages that wait, and for how long: whoever asked has asked somebody else by then, ms. */
const WAITING_MAX = 64
const WAIT_MAX_MS = 2000

/**
 * The owner's side of scans: reads pages of this node's copies. What is refused at the door of the replica is refused here,
 * partition by partition (rule C2), before the page is read and after it: what has moved away meanwhile may have been
 * dropped already, and would look as if it had never been.
 */
export class ScanServer {
  readonly #deps: ScanServerDeps
  readonly #requestTimeoutMs: number
  readonly #waiting = new BoundedQueue<Waiting>(WAITING_MAX)
  readonly #rooms = new RowRooms()
  #reading = 0
  #pages = 0

  constructor(deps: ScanServerDeps, { requestTimeoutMs }: { readonly requestTimeoutMs: number }) {
    this.#deps = deps
    this.#requestTimeoutMs = requestTimeoutMs
  }

  /** How many pages have been asked of this node since it started. */
  get pages(): number {
    return this.#pages
  }

  /** Answers SCAN. */
  listen(transport: Transport): void {
    transport.handle(MessageType.SCAN, (message, respond) => {
      let request: ScanRequest
      try {
        request = decodeScan(message.body)
      } catch (error) {
        return respond.refuse(asError(error))
      }
      const read = async (): Promise<Uint8Array> => {
        const slices = this.#slices(request)
        const room = this.#rooms.lend(mostRows(request))
        const body = await slices.run(pageEncoding(await this.#read(request, message.epoch, slices, room)))
        this.#rooms.giveBack(room)
        return body
      }
      this.#enter(request, message.epoch, read, (error, body) => {
        if (error !== undefined || body === undefined) respond.refuse(asError(error))
        else respond.reply(body)
      })
    })
  }

  /** The next rows of some partitions. */
  page(request: ScanRequest, epoch: number, done: ReplicaDone<ScanPage>): void {
    const read = (): Promise<ScanPage> =>
      this.#read(request, epoch, this.#slices(request), this.#rooms.give(mostRows(request)))
    this.#enter(request, epoch, read, done)
  }

  #slices({ restMaxMs }: ScanRequest): Slices {
    return this.#deps.slicer.begin({ restMaxMs, waiting: () => this.#waiting.size })
  }

  /** Reads when its turn has come. */
  #enter<T>({ exempt }: ScanRequest, epoch: number, read: () => Promise<T>, done: ReplicaDone<T>): void {
    const { topology, catchUp, clock } = this.#deps
    this.#pages++
    const enter = (): void => {
      const go = (): void => this.#start(read, done)
      if (this.#reading < PAGES_AT_ONCE) return go()
      const waiting = { sinceMs: clock.monotonicMs(), go, refuse: (error: KilovoltError) => done(error, undefined) }
      if (!this.#waiting.push(waiting)) done(overloaded(), undefined)
    }
    if (exempt || epoch <= (topology()?.epoch ?? Infinity)) return enter()
    catchUp(epoch, this.#requestTimeoutMs).then(enter, (error: unknown) => done(asError(error), undefined))
  }

  #start<T>(read: () => Promise<T>, done: ReplicaDone<T>): void {
    this.#reading++
    read()
      .then(
        result => done(undefined, result),
        (error: unknown) => done(asError(error), undefined)
      )
      .finally(() => {
        this.#reading--
        this.#next()
      })
  }

  #next(): void {
    const nowMs = this.#deps.clock.monotonicMs()
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      if (nowMs - next.sinceMs <= WAIT_MAX_MS) return next.go()
      next.refuse(overloaded())
    }
  }

  async #read(request: ScanRequest, epoch: number, slices: Slices, room: PackedRows): Promise<ScanPage> {
    const before = this.#topology()
    const owns = (partition: PartitionId): boolean => this.#owns(before, partition, epoch, request.exempt)
    const whole = request.whole.filter(owns)
    const heads = request.heads.filter(owns)
    const refused = [...request.whole, ...request.heads].filter(partition => !owns(partition))
    const { records } = this.#deps
    const { rows, partitions, last } = await new PageReader(
      { records, slices, room },
      { ...request, whole, heads }
    ).read()
    this.#rooms.note(room)
    const now = this.#topology()
    if (now === before) return { epoch: now.epoch, refused, rows, last }
    const moved = new Set(
      [...whole, ...heads].filter(partition => rowOf(now, partition).rowEpoch !== rowOf(before, partition).rowEpoch)
    )
    return {
      epoch: now.epoch,
      refused: [...refused, ...moved],
      rows: rows.select([...partitions.keys()].filter(row => !moved.has(partitions[row]!))),
      last
    }
  }

  #topology(): Topology {
    const topology = this.#deps.topology()
    if (topology === undefined) throw new KilovoltError('KV_NOT_JOINED', 'the replica is no member yet')
    return topology
  }

  /** Whether this node answers for the partition; at `one` who is only about to own it does not. */
  #owns(topology: Topology, partition: PartitionId, epoch: number, exempt: boolean): boolean {
    const { self, rules } = this.#deps
    if (partition >= topology.rows.length) throw new KilovoltError('KV_PROTOCOL', `there is no partition ${partition}`)
    const row = rowOf(topology, partition)
    if (exempt) return row.slots.includes(self)
    return isRowReplica(row, self) && !(rules.fenceRequests && epoch < row.rowEpoch)
  }
}

/** How many rows are read for a page, most often: of each partition its share, and a little more. */
function mostRows({ rows, whole, heads }: ScanRequest): number {
  return 2 * (rows + whole.length + heads.length)
}

function overloaded(): KilovoltError {
  return new KilovoltError('KV_OVERLOADED', 'this node reads as many pages for scans as it can', { retryable: true })
}

function asError(error: unknown): KilovoltError {
  return isKilovoltError(error) ? error : new KilovoltError('KV_STORAGE', messageOf(error), { cause: error })
}
