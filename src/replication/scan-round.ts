import { KilovoltError } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { Requirement } from '../model/quorum.ts'
import { rowOf, type Topology } from '../placement/topology.ts'
import { pause } from '../runtime/clock.ts'
import type { OperationDeps } from './operation.ts'
import type { Routes } from './routes.ts'
import type { ScanStream } from './scan-merge.ts'
import { type Assignment, type PlanOptions, planScan } from './scan-plan.ts'

/** What a round needs of the coordinator. */
export type RoundDeps = Pick<OperationDeps, 'self' | 'clock' | 'routes' | 'catchUp' | 'isDead'>

/** What a node is asked for at most. */
export interface RoundShare {
  readonly rows: number
  readonly bytes: number
}

/** What a node says. */
export interface RoundPage<Rows> {
  /** Its epoch. */
  readonly epoch: number
  /** Partitions of which it is no owner, or not in this epoch. */
  readonly refused: readonly PartitionId[]
  /** Partitions that it owns, and can say nothing of for now. Default none. */
  readonly lacking?: readonly PartitionId[]
  readonly rows: Rows
  /** The last place that was looked at; `undefined`: the range is at its end. */
  readonly last: Uint8Array | undefined
}

/** What is asked for a page. */
export interface RoundRequest<Rows> extends RoundShare {
  /** What it is a page of, for errors. */
  readonly what: 'scan' | 'query'
  readonly requirement: Requirement
  readonly partitions: readonly PartitionId[]
  readonly wantsValues: boolean
  /** Whether few nodes are to be asked. Default false. */
  readonly isFew?: boolean
  /** Asks one node; `undefined` when it has not answered. */
  readonly ask: (
    assignment: Assignment,
    share: RoundShare,
    epoch: number,
    timeoutMs: number
  ) => Promise<RoundPage<Rows> | undefined>
}

/** What has been heard of a partition: of all of which the same has been, one object. */
class Heard<Rows> {
  readonly stores: readonly StoreId[]
  readonly streams: readonly ScanStream<Rows>[]
  /** Epoch in which it was asked for first. */
  readonly epoch: number
  readonly hasWhole: boolean
  readonly #next: Heard<Rows>[] = []

  constructor(stores: readonly StoreId[], streams: readonly ScanStream<Rows>[], epoch: number, hasWhole: boolean) {
    this.stores = stores
    this.streams = streams
    this.epoch = epoch
    this.hasWhole = hasWhole
  }

  /** What it is when somebody else has answered, too. */
  with(store: StoreId, stream: ScanStream<Rows>, epoch: number, isWhole: boolean): Heard<Rows> {
    const hasWhole = this.hasWhole || isWhole
    for (const next of this.#next) if (next.streams.at(-1) === stream && next.hasWhole === hasWhole) return next
    const first = this.stores.length === 0 ? epoch : this.epoch
    const next = new Heard([...this.stores, store], [...this.streams, stream], first, hasWhole)
    this.#next.push(next)
    return next
  }
}

/** How long a node may take for a page before its partitions are asked of others, ms. */
const ANSWER_WITHIN_MS = 2000
/** How long one that has failed is not asked where others will do, ms. */
const AVOID_MS = 1000
/** Rest before too few replicas are tried again, ms: the first, and the longest. */
const REST_MIN_MS = 20
const REST_MAX_MS = 500
const NOBODY: readonly StoreId[] = []

/**
 * One page: asks as many replicas of each partition as the level needs, one request for each node, all from the same key on.
 * Who fails, is silent, or does not own a partition is replaced, for the partitions that this leaves open. What was heard of
 * a partition whose owners have changed since does not count any more.
 */
export class ScanRound<Rows> {
  readonly #deps: RoundDeps
  readonly #request: RoundRequest<Rows>
  readonly #remainingMs: () => number
  /** Until when nodes are left out, ms of the monotonic clock. Lives as long as the scan. */
  readonly #avoided: Map<StoreId, number>
  readonly #stop: AbortSignal
  readonly #nothing = new Heard<Rows>([], [], 0, false)
  readonly #heard = new Map<PartitionId, Heard<Rows>>()
  readonly #streams: ScanStream<Rows>[] = []
  /** Who can say nothing of a partition for now. */
  readonly #lacking = new Map<PartitionId, Set<StoreId>>()
  #restMs = REST_MIN_MS

  constructor(
    deps: RoundDeps,
    request: RoundRequest<Rows>,
    scan: { readonly avoided: Map<StoreId, number>; readonly remainingMs: () => number; readonly stop: AbortSignal }
  ) {
    this.#deps = deps
    this.#request = request
    this.#avoided = scan.avoided
    this.#remainingMs = scan.remainingMs
    this.#stop = scan.stop
  }

  /** What has been sent of the page. */
  get streams(): readonly ScanStream<Rows>[] {
    return this.#streams
  }

  /** A partition of which somebody could say nothing, and nobody something; if there is one. */
  get lacking(): PartitionId | undefined {
    for (const partition of this.#lacking.keys()) if (!this.#heard.has(partition)) return partition
    return undefined
  }

  /** How many replicas have answered for a partition. */
  readonly copies = (partition: PartitionId): number => this.#heard.get(partition)?.stores.length ?? 0

  /** The same, if it is the same for all. */
  get copiesOfAll(): number | undefined {
    let all: number | undefined
    for (const { stores } of this.#heard.values()) {
      if (all !== undefined && all !== stores.length) return undefined
      all = stores.length
    }
    return all
  }

  /**
   * Who has answered for a partition and holds nothing of a key that these streams have (a bit for each), if all of them are only
   * about to own it: they have not copied it yet. `undefined` where that may have another reason, or where the row has changed since.
   */
  newcomersWithout(partition: PartitionId, holders: number): readonly StoreId[] | undefined {
    const heard = this.#heard.get(partition)
    const topology = this.#deps.routes()?.topology
    if (heard === undefined || topology === undefined) return undefined
    const { slots, rowEpoch } = rowOf(topology, partition)
    if (rowEpoch > heard.epoch) return undefined
    const lacking: StoreId[] = []
    for (const [i, store] of heard.stores.entries()) {
      if (((holders >> this.#streams.indexOf(heard.streams[i]!)) & 1) === 1) continue
      if (slots.includes(store)) return undefined
      lacking.push(store)
    }
    return lacking
  }

  /**
   * Resolves when every partition has been heard of; also when the scan has been stopped.
   *
   * @throws KilovoltError `KV_QUORUM_NOT_REACHED`, `KV_NOT_JOINED`
   */
  async run(): Promise<void> {
    while (!this.#stop.aborted) {
      const routes = this.#deps.routes()
      if (routes === undefined) throw new KilovoltError('KV_NOT_JOINED', 'this node is not a member of a cluster yet')
      this.#forgetMoved(routes.topology)
      const plan = this.#plan(
        routes,
        (store, of) => !this.#isAvoided(store) && this.#lacking.get(of)?.has(store) !== true
      )
      if (plan.unreachable !== undefined) {
        await this.#rest(routes)
        continue
      }
      if (plan.assignments.length === 0) return
      const newest = await this.#ask(plan.assignments, routes.topology.epoch)
      if (newest > routes.topology.epoch && !this.#stop.aborted) await this.#catchUp(newest)
    }
  }

  #plan(routes: Routes, isUsable: PlanOptions['isUsable']): ReturnType<typeof planScan> {
    const { requirement, partitions, wantsValues, isFew = false } = this.#request
    const { self, isDead } = this.#deps
    return planScan({
      self,
      routes,
      requirement,
      partitions,
      wantsValues,
      isFew,
      heard: partition => this.#heard.get(partition)?.stores ?? NOBODY,
      hasWhole: partition => this.#heard.get(partition)?.hasWhole === true,
      isUsable: (store, partition) =>
        isUsable(store, partition) &&
        (store === self || (!isDead(store) && routes.topology.members.get(store) !== undefined))
    })
  }

  /** Asks all at once; returns the newest epoch that was heard of. */
  async #ask(assignments: readonly Assignment[], epoch: number): Promise<number> {
    const answers = await Promise.all(assignments.map(assignment => this.#askOne(assignment, epoch)))
    let newest = 0
    for (const [i, answer] of answers.entries()) {
      if (answer === undefined) this.#avoid(assignments[i]!.store)
      else newest = Math.max(newest, this.#take(assignments[i]!, answer, epoch))
    }
    return newest
  }

  #askOne(assignment: Assignment, epoch: number): Promise<RoundPage<Rows> | undefined> {
    const { partitions, rows, bytes, ask } = this.#request
    const { whole, heads } = assignment
    // Keys are spread by chance: who has so many of the partitions has passed about as many keys as the others by then.
    const part = (whole.length + heads.length) / partitions.length
    const share = rows * part
    const most = { rows: Math.ceil(share + Math.sqrt(share)) + 1, bytes: Math.ceil(bytes * part) }
    return ask(assignment, most, epoch, Math.max(1, Math.min(this.#remainingMs(), ANSWER_WITHIN_MS)))
  }

  /** Returns the epoch of a node that has refused something because of a newer one. */
  #take({ store, whole, heads }: Assignment, page: RoundPage<Rows>, epoch: number): number {
    const stream: ScanStream<Rows> = { rows: page.rows, last: page.last, void: new Set() }
    this.#streams.push(stream)
    const { lacking = [] } = page
    const refused = new Set([...page.refused, ...lacking])
    for (const partition of lacking) this.#lack(partition, store)
    for (const partition of whole) if (!refused.has(partition)) this.#hear(partition, store, stream, epoch, true)
    for (const partition of heads) if (!refused.has(partition)) this.#hear(partition, store, stream, epoch, false)
    if (page.refused.length === 0) return 0
    // It is behind, or not what the log says it is: others will do.
    if (page.epoch <= epoch) this.#avoid(store)
    return page.epoch
  }

  #hear(partition: PartitionId, store: StoreId, stream: ScanStream<Rows>, epoch: number, isWhole: boolean): void {
    const heard = this.#heard.get(partition) ?? this.#nothing
    this.#heard.set(partition, heard.with(store, stream, epoch, isWhole))
  }

  #lack(partition: PartitionId, store: StoreId): void {
    const stores = this.#lacking.get(partition)
    if (stores === undefined) this.#lacking.set(partition, new Set([store]))
    else stores.add(store)
  }

  /** What an earlier epoch's owners have said counts no more where a later one has changed them. */
  #forgetMoved(topology: Topology): void {
    for (const [partition, { epoch, streams }] of this.#heard) {
      if (rowOf(topology, partition).rowEpoch <= epoch) continue
      for (const stream of streams) stream.void.add(partition)
      this.#heard.delete(partition)
    }
  }

  /** Too few can be asked: waits a little if that may change, as those who failed may be back or be replaced. */
  async #rest(routes: Routes): Promise<void> {
    const { unreachable } = this.#plan(routes, () => true)
    if (unreachable !== undefined) throw outOfReach(unreachable, this.#request)
    await this.#pause()
    this.#avoided.clear()
    for (const stores of this.#lacking.values()) stores.clear()
  }

  /** Whoever has told of the epoch may be gone before it has told all: somebody else will. */
  async #catchUp(epoch: number): Promise<void> {
    try {
      await this.#deps.catchUp(epoch, Math.max(1, this.#remainingMs()))
    } catch {
      await this.#pause()
    }
  }

  async #pause(): Promise<void> {
    await pause(this.#deps.clock, Math.min(this.#restMs, Math.max(1, this.#remainingMs())), this.#stop)
    this.#restMs = Math.min(REST_MAX_MS, this.#restMs * 2)
  }

  #avoid(store: StoreId): void {
    this.#avoided.set(store, this.#deps.clock.monotonicMs() + AVOID_MS)
  }

  #isAvoided(store: StoreId): boolean {
    const untilMs = this.#avoided.get(store)
    return untilMs !== undefined && untilMs > this.#deps.clock.monotonicMs()
  }
}

function outOfReach(
  partition: PartitionId,
  { what, requirement }: Pick<RoundRequest<unknown>, 'what' | 'requirement'>
): KilovoltError {
  return new KilovoltError(
    'KV_QUORUM_NOT_REACHED',
    `a ${what} at ${String(requirement)} needs more replicas of partition ${partition} than can be reached; ` +
      'go on with its token when they are back, or at a lower level',
    { retryable: true, details: { partition, requirement } }
  )
}
