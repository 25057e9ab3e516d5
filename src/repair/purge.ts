import { throwIfStopped } from '../base/abort.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import { hlcFromMs } from '../model/hlc.ts'
import type { PeerId, StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { isSpent } from '../model/record.ts'
import type { PlacementRules } from '../placement/rules.ts'
import type { Topology } from '../placement/topology.ts'
import { type Clock, pause, type Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { Horizons } from '../storage/horizons.ts'
import type { RecordStore, StoredRecord } from '../storage/record-store.ts'
import type { TreeIndex } from '../storage/tree-index.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import { ask } from './ask.ts'
import type { Exchange } from './exchange.ts'
import type { PurgeServer } from './purge-server.ts'
import { decodePartitions, encodeClose, encodeSettle, type SettledRow } from './purge-wire.ts'
import type { TreeBuilder } from './tree-builder.ts'

/** What a round of purging needs. */
export interface PurgeDeps {
  readonly self: StoreId
  readonly transport: Transport
  readonly records: RecordStore
  readonly trees: TreeIndex
  readonly horizons: Horizons
  readonly builder: TreeBuilder
  /** This node's own part. */
  readonly server: PurgeServer
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly rules: PlacementRules
  readonly topology: () => Topology | undefined
  readonly isAlive: (store: StoreId) => boolean
  /** Compares copies with another owner. */
  readonly exchangeWith: (peer: PeerId, rest: () => Promise<void>) => Exchange
}

/** Settings of purging. */
export interface PurgeOptions {
  /** Time between two rounds, ms; varied by a tenth. `Infinity`: never. */
  readonly everyMs: number
  /** How far in the past a round settles, ms: far enough that whatever was stamped then has long ended. */
  readonly lagMs: number
}

/** Figures since the node started. */
export interface PurgeStats {
  /** Unix ms at which this node's last round ended well; `undefined` before. */
  readonly completedAt: number | undefined
  /** Members without whom nothing can be purged now: they must say that nothing older is on its way from them. */
  readonly blockedBy: readonly StoreId[]
}

const TIMEOUT_MS = 10_000
const REST_MS = 2
const PAGE_RECORDS = 1000
const PAGE_BYTES = 256 * 1024
/** Pause before a round that was not finished is made again, ms, if rounds are not closer than that anyway. */
const AGAIN_MS = 60_000

/**
 * Settles the past of the partitions of which this node is the first owner, so that what is spent can be purged: by a
 * horizon that has been proven, never by elapsed time. A timer would resurrect what was deleted whenever somebody with an
 * older copy comes back later than that (riak_kv #1094, scylla #8970).
 *
 * - H1 *close*: every member refuses new writes and hints below the stamp.
 * - H2 *drain*: no member keeps anything older for somebody else.
 * - H3 *sync*: the owners are compared until each holds whatever one of them held, and has it on its medium.
 * - H4 *horizon*: each owner notes that its past is settled, then purges. Who misses that learns it when copies are compared.
 *
 * All within one epoch of the row: a change of owners cancels the round for it. A member that is away holds it up, until
 * it is back or forgotten.
 */
export class Purge {
  readonly #deps: PurgeDeps
  readonly #options: PurgeOptions
  readonly #abort = new AbortController()
  readonly #stats: { completedAt: number | undefined; blockedBy: readonly StoreId[] } = {
    completedAt: undefined,
    blockedBy: []
  }
  #timer: Timer | undefined
  #running: Promise<void> = Promise.resolve()

  constructor(deps: PurgeDeps, options: PurgeOptions) {
    this.#deps = deps
    this.#options = options
  }

  /** Begins; to be called when this node is a member. */
  start(): void {
    this.#schedule(true)
  }

  stats(): PurgeStats {
    return { ...this.#stats }
  }

  cancel(): void {
    this.#abort.abort()
    this.#timer?.cancel()
  }

  /** Resolves when nothing is under way any more; the transport must be stopped first, or be about to. */
  async stop(): Promise<void> {
    this.cancel()
    await this.#running
  }

  #schedule(isDone: boolean): void {
    const { clock, random } = this.#deps
    const { everyMs } = this.#options
    if (everyMs === Infinity || this.#abort.signal.aborted) return
    const delayMs = everyMs * 0.9 + random.int(Math.ceil(everyMs * 0.2))
    this.#timer = clock.after(isDone ? delayMs : Math.min(delayMs, AGAIN_MS), () => {
      this.#running = this.#round().then(done => this.#schedule(done))
    })
  }

  /** Whether there was nothing to do, or all of it is done; never rejects. */
  async #round(): Promise<boolean> {
    const { logger, clock, topology, isAlive, self } = this.#deps
    const latest = topology()
    if (latest?.members.has(self) !== true) return false
    const members = [...latest.members.keys()].filter(store => store !== self)
    this.#stats.blockedBy = members.filter(store => !isAlive(store))
    const stamp = hlcFromMs(clock.wallMs() - this.#options.lagMs)
    try {
      const wanted = await this.#findWork(latest, stamp)
      if (wanted.length === 0 || this.#stats.blockedBy.length > 0) return wanted.length === 0
      const settled = await this.#settle(latest, wanted, stamp)
      this.#stats.completedAt = clock.wallMs()
      return settled.length === wanted.length
    } catch (error) {
      if (!this.#abort.signal.aborted) logger.debug('a round of purging was broken off', { error: messageOf(error) })
      return false
    }
  }

  /** Rows of which this node is the first owner and holds anything that is spent. */
  async #findWork({ rows }: Topology, stamp: number): Promise<readonly SettledRow[]> {
    const { self, builder, trees } = this.#deps
    const found: SettledRow[] = []
    for (const [partition, { slots, change, rowEpoch }] of rows.entries()) {
      if (slots[0] !== self || change !== undefined) continue
      await builder.ensure(partition)
      throwIfStopped(this.#abort.signal)
      if (trees.mortalsIn(partition) !== 0 && (await this.#holdsSpent(partition, stamp)))
        found.push({ partition, rowEpoch })
    }
    return found
  }

  async #holdsSpent(partition: PartitionId, stamp: number): Promise<boolean> {
    const { records } = this.#deps
    for (let last: StoredRecord | undefined; ;) {
      const page: readonly StoredRecord[] = await records.page(partition, last, PAGE_RECORDS, PAGE_BYTES)
      if (page.some(({ record }) => isSpent(record, stamp))) return true
      last = page.at(-1)
      if (last === undefined) return false
      await this.#rest()
    }
  }

  /** Takes some rows through all steps; returns those that got to the end. */
  async #settle(latest: Topology, wanted: readonly SettledRow[], stamp: number): Promise<readonly SettledRow[]> {
    const { server, rules } = this.#deps
    const members = [...latest.members.keys()]
    const partitions = wanted.map(({ partition }) => partition)
    const body = encodeClose({ stamp, partitions })
    const undrained = await this.#askAll(latest, members, {
      here: () => server.close({ stamp, partitions }),
      there: () => [MessageType.CLOSE, body]
    })
    const drained = wanted.filter(({ partition }) => !undrained.has(partition))
    const synced = rules.syncPast ? await this.#sync(latest, drained) : drained
    const sealed = await this.#step(latest, synced, stamp, MessageType.SEAL)
    return this.#step(latest, sealed, stamp, MessageType.HORIZON)
  }

  /**
   * Compares this node's copy with each other owner's; a second time where anything had to be mended, as what the last one
   * brought the first ones do not have. Returns the rows in which nothing differs any more that was written before.
   */
  async #sync(latest: Topology, rows: readonly SettledRow[]): Promise<readonly SettledRow[]> {
    const failed = new Set<PartitionId>()
    const mended = new Set<PartitionId>()
    for (const pass of [rows.map(({ partition }) => partition), mended]) {
      for (const [other, partitions] of this.#sharedWith(latest, [...pass])) {
        const remaining = partitions.filter(partition => !failed.has(partition))
        await this.#syncWith(latest, other, remaining, { failed, mended })
      }
    }
    return rows.filter(({ partition }) => !failed.has(partition))
  }

  async #syncWith(
    { members }: Topology,
    other: StoreId,
    partitions: readonly PartitionId[],
    { failed, mended }: { readonly failed: Set<PartitionId>; readonly mended: Set<PartitionId> }
  ): Promise<void> {
    const peer = members.get(other)?.peerId
    if (peer === undefined) throw new KilovoltError('KV_UNREACHABLE', `${other} is no member`)
    const exchange = this.#deps.exchangeWith(peer, () => this.#rest())
    const { differing, unknown } = await exchange.compare(partitions)
    for (const partition of unknown) failed.add(partition)
    for (const partition of differing) {
      mended.add(partition)
      const before = exchange.result.differences - exchange.result.mended
      await exchange.mend(partition)
      // A damaged record, say: the other rows need not wait until it is healed.
      if (exchange.result.differences - exchange.result.mended > before) failed.add(partition)
    }
  }

  #sharedWith({ rows }: Topology, partitions: readonly PartitionId[]): ReadonlyMap<StoreId, PartitionId[]> {
    const shared = new Map<StoreId, PartitionId[]>()
    for (const partition of partitions) {
      for (const other of rows[partition]!.slots) {
        if (other === this.#deps.self) continue
        const list = shared.get(other)
        if (list === undefined) shared.set(other, [partition])
        else list.push(partition)
      }
    }
    return shared
  }

  /** Has all owners of some rows take a step; returns those rows in which all of them did. */
  async #step(
    latest: Topology,
    rows: readonly SettledRow[],
    stamp: number,
    type: typeof MessageType.SEAL | typeof MessageType.HORIZON
  ): Promise<readonly SettledRow[]> {
    const { server } = this.#deps
    if (rows.length === 0) return []
    const isOwned = (store: StoreId, { partition }: SettledRow): boolean =>
      latest.rows[partition]!.slots.includes(store)
    const owners = [...latest.members.keys()].filter(store => rows.some(row => isOwned(store, row)))
    const requestFor = (store: StoreId) => ({ stamp, rows: rows.filter(row => isOwned(store, row)) })
    const refused = await this.#askAll(latest, owners, {
      here: () => {
        const request = requestFor(this.#deps.self)
        return type === MessageType.SEAL ? server.seal(request) : server.settle(request)
      },
      there: store => [type, encodeSettle(requestFor(store))]
    })
    return rows.filter(({ partition }) => !refused.has(partition))
  }

  /** Asks some members, this node included; what any of them names is returned. Rejects when one does not answer. */
  async #askAll(
    { clusterId, members }: Topology,
    stores: readonly StoreId[],
    request: {
      readonly here: () => Promise<readonly PartitionId[]>
      readonly there: (store: StoreId) => readonly [type: MessageType, body: Uint8Array]
    }
  ): Promise<ReadonlySet<PartitionId>> {
    const { self, transport, topology } = this.#deps
    throwIfStopped(this.#abort.signal)
    // Rows of another cluster say nothing about those of this one, even if their epochs are the same.
    if (topology()?.clusterId !== clusterId)
      throw new KilovoltError('KV_UNREACHABLE', 'this node has gone over to another cluster')
    const answers = await Promise.all(
      stores.map(async store => {
        if (store === self) return request.here()
        const [type, body] = request.there(store)
        const { peerId } = members.get(store)!
        const answer = await ask(transport, peerId, { type, class: 'bulk', body, timeoutMs: TIMEOUT_MS })
        return decodePartitions(answer.body)
      })
    )
    throwIfStopped(this.#abort.signal)
    return new Set(answers.flat())
  }

  async #rest(): Promise<void> {
    await pause(this.#deps.clock, REST_MS, this.#abort.signal)
    throwIfStopped(this.#abort.signal)
  }
}
