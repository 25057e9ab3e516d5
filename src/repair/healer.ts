import { toHex } from '../base/bytes.ts'
import { messageOf } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { RecordBytes } from '../model/record.ts'
import { joinRecords, unsettled } from '../model/sibling-set.ts'
import type { PlacementRules } from '../placement/rules.ts'
import { isRowReplica, rowReplicas, type Topology } from '../placement/topology.ts'
import { decodeGetReply, encodeGet } from '../replication/wire.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Damage } from '../storage/damage.ts'
import type { RecordKey, RecordStore } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import { ask } from './ask.ts'

/** What healing needs. */
export interface HealerDeps {
  readonly self: StoreId
  readonly transport: Transport
  readonly records: RecordStore
  readonly damage: Damage
  readonly clock: Clock
  readonly logger: Logger
  readonly rules: PlacementRules
  readonly topology: () => Topology | undefined
  readonly isAlive: (store: StoreId) => boolean
}

/** What the other copies of a record hold, when enough of them say so. */
interface Verdict {
  /** The newest, or what their siblings come to; `undefined` when all copies that have answered hold nothing. */
  readonly record: RecordBytes | undefined
}

/** Pause before those that could not be healed are tried again, ms. */
const AGAIN_MS = 5000
const TIMEOUT_MS = 2000
/** Damaged records that are asked about at the same time. */
const AT_ONCE = 16

/**
 * Puts the newest of the other copies in the place of each damaged record of this node.
 *
 * Rule K2: as many intact copies must have answered as a new owner copies from (rule C3), of each set while the row changes:
 * whatever a majority has acknowledged, this damaged copy being one of it, one of these holds. Two of three, three of five,
 * but the one other of two. What fewer say could be older than what was damaged, and would count as whole from then on;
 * until enough answer the copy says `KV_CORRUPT` and counts for nothing.
 *
 * When they hold nothing, what is damaged is deleted: it had been deleted and purged elsewhere, or never acknowledged.
 */
export class Healer {
  readonly #deps: HealerDeps
  readonly #abort = new AbortController()
  #soon: Timer | undefined
  #again: Timer | undefined
  /** What is being healed now; none of them rejects. */
  readonly #running = new Set<Promise<number>>()
  /** Names of those that could not be healed, until they are tried again. */
  readonly #postponed = new Set<string>()

  constructor(deps: HealerDeps) {
    this.#deps = deps
  }

  /** A damaged record was found. */
  found(): void {
    if (this.#abort.signal.aborted) return
    this.#soon ??= this.#deps.clock.after(0, () => {
      this.#soon = undefined
      void this.#healAll()
    })
  }

  /**
   * Heals what is known to be damaged, in one partition or in all, unless it was tried just now. Resolves with the number
   * of records that were healed; never rejects.
   */
  heal(partition?: PartitionId): Promise<number> {
    if (this.#deps.damage.left === 0) return Promise.resolve(0)
    const run = this.#heal(partition).finally(() => this.#running.delete(run))
    this.#running.add(run)
    return run
  }

  cancel(): void {
    this.#abort.abort()
    this.#soon?.cancel()
    this.#again?.cancel()
  }

  /** Resolves when nothing is being healed any more; the transport must be stopped first, or be about to. */
  async stop(): Promise<void> {
    this.cancel()
    await Promise.all(this.#running)
  }

  async #healAll(): Promise<void> {
    await this.heal()
    if (this.#abort.signal.aborted || this.#deps.damage.left === 0) return
    this.#again ??= this.#deps.clock.after(AGAIN_MS, () => {
      this.#again = undefined
      this.#postponed.clear()
      void this.#healAll()
    })
  }

  async #heal(partition: PartitionId | undefined): Promise<number> {
    const { damage, logger } = this.#deps
    const places = damage.places(partition).filter(place => !this.#postponed.has(nameOf(place)))
    let healed = 0
    for (let at = 0; at < places.length && !this.#abort.signal.aborted; at += AT_ONCE) {
      const some = places.slice(at, at + AT_ONCE)
      const done = await Promise.all(some.map(place => this.#healOne(place)))
      for (const [i, place] of some.entries()) if (!done[i]!) this.#postponed.add(nameOf(place))
      healed += done.filter(Boolean).length
    }
    if (healed > 0) logger.info('damaged records were healed from other copies', { healed, left: damage.left })
    return healed
  }

  /** Whether it is whole now; never rejects. */
  async #healOne(place: RecordKey): Promise<boolean> {
    try {
      const verdict = await this.#judge(place)
      if (verdict === undefined || this.#abort.signal.aborted) return false
      await this.#replace(place, verdict.record)
      return true
    } catch (error) {
      const { partition } = place
      this.#deps.logger.debug('a damaged record could not be healed', { partition, error: messageOf(error) })
      return false
    }
  }

  /** What the other copies hold; `undefined` when too few of them have answered to know. */
  async #judge(place: RecordKey): Promise<Verdict | undefined> {
    const { self, topology, rules } = this.#deps
    const row = topology()?.rows[place.partition]
    // What this node does not own is not read here, and given back without it.
    if (row === undefined || !isRowReplica(row, self)) return undefined
    const answered: StoreId[] = []
    const held: RecordBytes[] = []
    let horizon = 0
    const others = rowReplicas(row).filter(store => store !== self)
    await Promise.all(
      others.map(async store => {
        const reply = await this.#ask(store, place)
        if (reply === undefined || reply.kind === 'fenced' || reply.kind === 'same') return
        answered.push(store)
        if (reply.kind === 'record') held.push(reply.record)
        // Who is only about to own the partition has a horizon before it has the records.
        else if (row.slots.includes(store)) horizon = Math.max(horizon, reply.horizon)
      })
    )
    const isEnough = rules
      .quorumSets(row)
      .every(set => set.filter(store => answered.includes(store)).length >= rules.sourceCount(set.length))
    if (!isEnough) return undefined
    let record: RecordBytes | undefined
    for (const other of held) {
      // As for a read: what another owner has purged does not count.
      const left = unsettled(other, horizon)
      if (left !== undefined) record = record === undefined ? left : joinRecords(record, left)
    }
    return { record }
  }

  async #ask(store: StoreId, place: RecordKey): Promise<ReturnType<typeof decodeGetReply> | undefined> {
    const { transport, topology, isAlive } = this.#deps
    const peer = topology()?.members.get(store)?.peerId
    if (peer === undefined || !isAlive(store)) return undefined
    const { partition, keyspace, key } = place
    const body = encodeGet({ partition, keyspace, key, exempt: false, known: undefined })
    try {
      const answer = await ask(transport, peer, { type: MessageType.GET, class: 'bulk', body, timeoutMs: TIMEOUT_MS })
      return decodeGetReply(answer.body)
    } catch {
      // Who cannot be asked, or is damaged too, says nothing.
      return undefined
    }
  }

  #replace(place: RecordKey, record: RecordBytes | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#deps.records.heal(place, record, error => (error === undefined ? resolve() : reject(error)))
    })
  }
}

function nameOf({ partition, keyspace, key }: RecordKey): string {
  return `${partition}/${toHex(keyspace)}/${toHex(key)}`
}
