import { KilovoltError } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { Requirement } from '../model/quorum.ts'
import { rowOf, type Topology } from '../placement/topology.ts'
import { pause } from '../runtime/clock.ts'
import type { Slicer, Slices } from '../runtime/slices.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Outcome } from '../transport/transport.ts'
import type { OperationDeps } from './operation.ts'
import type { Routes } from './routes.ts'
import type { ScanStream } from './scan-merge.ts'
import { type Assignment, planScan } from './scan-plan.ts'
import type { ScanServer } from './scan-server.ts'
import { encodeScan, PAGE_REST_MAX_MS, pageDecoding, type ScanPage, type ScanRequest } from './scan-wire.ts'

/** What a scan needs of the coordinator. */
export interface ScanDeps extends Pick<
  OperationDeps,
  'self' | 'transport' | 'clock' | 'rules' | 'routes' | 'catchUp' | 'isDead' | 'topology' | 'stamps' | 'wheel'
> {
  readonly scans: Pick<ScanServer, 'page'>
  readonly slicer: Pick<Slicer, 'begin'>
}

/** What is asked for a page. */
export interface RoundRequest extends Omit<ScanRequest, 'whole' | 'heads' | 'exempt' | 'restMaxMs'> {
  readonly requirement: Requirement
  readonly partitions: readonly PartitionId[]
  readonly wantsValues: boolean
  readonly rests: boolean
}

/** What has been heard of a partition. */
interface Heard {
  readonly stores: StoreId[]
  readonly streams: ScanStream[]
  /** Epoch in which it was asked for. */
  readonly epoch: number
  hasWhole: boolean
}

/** How long a node may take for a page before its partitions are asked of others, ms. */
const ANSWER_WITHIN_MS = 2000
/** Of the time that is left of a page's deadline the part that those who are asked may rest. */
const REST_PART = 1 / 8
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
export class ScanRound {
  readonly #deps: ScanDeps
  readonly #request: RoundRequest
  readonly #remainingMs: () => number
  /** Until when nodes are left out, ms of the monotonic clock. Lives as long as the scan. */
  readonly #avoided: Map<StoreId, number>
  readonly #stop: AbortSignal
  readonly #slices: Slices
  readonly #heard = new Map<PartitionId, Heard>()
  readonly #streams: ScanStream[] = []
  #restMs = REST_MIN_MS

  constructor(
    deps: ScanDeps,
    request: RoundRequest,
    scan: {
      readonly avoided: Map<StoreId, number>
      readonly remainingMs: () => number
      readonly stop: AbortSignal
      readonly slices: Slices
    }
  ) {
    this.#deps = deps
    this.#request = request
    this.#avoided = scan.avoided
    this.#remainingMs = scan.remainingMs
    this.#stop = scan.stop
    this.#slices = scan.slices
  }

  /** What has been sent of the page. */
  get streams(): readonly ScanStream[] {
    return this.#streams
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
   * Resolves when every partition has been heard of; also when the scan has been stopped.
   *
   * @throws KilovoltError `KV_QUORUM_NOT_REACHED`, `KV_NOT_JOINED`
   */
  async run(): Promise<void> {
    while (!this.#stop.aborted) {
      const routes = this.#deps.routes()
      if (routes === undefined) throw new KilovoltError('KV_NOT_JOINED', 'this node is not a member of a cluster yet')
      this.#forgetMoved(routes.topology)
      const plan = this.#plan(routes, store => !this.#isAvoided(store))
      if (plan.unreachable !== undefined) {
        await this.#rest(routes)
        continue
      }
      if (plan.assignments.length === 0) return
      const newest = await this.#ask(plan.assignments, routes.topology.epoch)
      if (newest > routes.topology.epoch && !this.#stop.aborted) await this.#catchUp(newest)
    }
  }

  #plan(routes: Routes, isUsable: (store: StoreId) => boolean): ReturnType<typeof planScan> {
    const { requirement, partitions, wantsValues } = this.#request
    const { self, isDead } = this.#deps
    return planScan({
      routes,
      requirement,
      partitions,
      wantsValues,
      heard: partition => this.#heard.get(partition)?.stores ?? NOBODY,
      hasWhole: partition => this.#heard.get(partition)?.hasWhole === true,
      isUsable: store =>
        isUsable(store) && (store === self || (!isDead(store) && routes.topology.members.get(store) !== undefined))
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

  #askOne({ store, peer, whole, heads }: Assignment, epoch: number): Promise<ScanPage | undefined> {
    const { keyspace, range, isReverse, requirement, rests, partitions, rows, bytes } = this.#request
    const { self, scans, transport } = this.#deps
    const count = whole.length + heads.length
    // Keys are spread by chance: who has so many of the partitions has passed about as many keys as the others by then.
    const share = rows * (count / partitions.length)
    const request: ScanRequest = {
      keyspace,
      range,
      isReverse,
      exempt: requirement === 'one',
      rows: Math.ceil(share + Math.sqrt(share)) + 1,
      bytes: Math.ceil(bytes * (count / partitions.length)),
      whole,
      heads,
      restMaxMs: rests ? restMaxMs(this.#remainingMs()) : 0
    }
    return new Promise(resolve => {
      if (store === self) return scans.page(request, epoch, (_error, page) => resolve(page))
      if (peer === undefined) return resolve(undefined)
      const timeoutMs = Math.max(1, Math.min(this.#remainingMs(), ANSWER_WITHIN_MS))
      const body = encodeScan(request)
      transport.request(peer, { type: MessageType.SCAN, class: 'bulk', body, timeoutMs }, outcome => {
        resolve(pageOf(outcome, this.#slices))
      })
    })
  }

  /** Returns the epoch of a node that has refused something because of a newer one. */
  #take({ store, whole, heads }: Assignment, page: ScanPage, epoch: number): number {
    const stream: ScanStream = { rows: page.rows, last: page.last, void: new Set() }
    this.#streams.push(stream)
    const refused = new Set(page.refused)
    for (const partition of whole) if (!refused.has(partition)) this.#hear(partition, store, stream, epoch, true)
    for (const partition of heads) if (!refused.has(partition)) this.#hear(partition, store, stream, epoch, false)
    if (refused.size === 0) return 0
    // It is behind, or not what the log says it is: others will do.
    if (page.epoch <= epoch) this.#avoid(store)
    return page.epoch
  }

  #hear(partition: PartitionId, store: StoreId, stream: ScanStream, epoch: number, isWhole: boolean): void {
    let heard = this.#heard.get(partition)
    if (heard === undefined) this.#heard.set(partition, (heard = { stores: [], streams: [], epoch, hasWhole: false }))
    heard.stores.push(store)
    heard.streams.push(stream)
    heard.hasWhole ||= isWhole
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
    if (unreachable !== undefined) throw outOfReach(unreachable, this.#request.requirement)
    await this.#pause()
    this.#avoided.clear()
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

async function pageOf(outcome: Outcome, slices: Slices): Promise<ScanPage | undefined> {
  if (outcome.kind !== 'reply') return undefined
  slices.resume()
  try {
    return await slices.run(pageDecoding(outcome.body))
  } catch {
    return undefined
  }
}

/** How long a node may rest over a page of which so much time is left, ms. */
export function restMaxMs(remainingMs: number): number {
  return Math.max(0, Math.min(PAGE_REST_MAX_MS, Math.floor(remainingMs * REST_PART)))
}

function outOfReach(partition: PartitionId, requirement: Requirement): KilovoltError {
  return new KilovoltError(
    'KV_QUORUM_NOT_REACHED',
    `a scan at ${String(requirement)} needs more replicas of partition ${partition} than can be reached; ` +
      'go on with its token when they are back, or at a lower level',
    { retryable: true, details: { partition, requirement } }
  )
}
