import { isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'
import { hlcFromMs } from '../model/hlc.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { PlacementRules } from '../placement/rules.ts'
import type { Topology } from '../placement/topology.ts'
import type { Clock } from '../runtime/clock.ts'
import type { HintStore } from '../storage/hint-store.ts'
import type { Horizons } from '../storage/horizons.ts'
import type { RecordStore, StampSource } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import {
  type CloseRequest,
  decodeClose,
  decodeSettle,
  encodePartitions,
  type SettledRow,
  type SettleRequest
} from './purge-wire.ts'
import type { Purger } from './purger.ts'

/** What taking part in a round needs. */
export interface PurgeServerDeps {
  readonly self: StoreId
  readonly transport: Transport
  readonly records: RecordStore
  readonly horizons: Horizons
  readonly hints: HintStore
  readonly stamps: StampSource
  readonly purger: Purger
  readonly clock: Clock
  readonly rules: PlacementRules
  readonly topology: () => Topology | undefined
  /** Partitions of which this node holds something that it does not own; `undefined` while it does not know. */
  readonly strays: () => ReadonlySet<PartitionId> | undefined
}

/**
 * Every member's part in a round of purging (rules H1, H2, H4):
 *
 * | message | what is done, and answered |
 * |---|---|
 * | `CLOSE` | nothing new is taken below the stamp any more; of which partitions something older is still kept for others |
 * | `SEAL` | all that was stored before is on the medium; which rows have changed |
 * | `HORIZON` | the past is settled up to the stamp: what is spent is deleted; which rows have changed |
 */
export class PurgeServer {
  readonly #deps: PurgeServerDeps
  readonly #lagMs: number

  /** @param lagMs - how far in the past rounds settle; one that comes closer to this node's clock than half of it is refused */
  constructor(deps: PurgeServerDeps, lagMs: number) {
    this.#deps = deps
    this.#lagMs = lagMs
  }

  listen(): void {
    this.#handle(MessageType.CLOSE, body => this.close(decodeClose(body)))
    this.#handle(MessageType.SEAL, body => this.seal(decodeSettle(body)))
    this.#handle(MessageType.HORIZON, body => this.settle(decodeSettle(body)))
  }

  /** @throws KilovoltError `KV_CLOCK_DRIFT` when the stamp is no past to this node's clock, `KV_STORAGE` */
  async close({ stamp, partitions }: CloseRequest): Promise<readonly PartitionId[]> {
    const { clock, horizons, records, hints, stamps, rules, strays } = this.#deps
    if (stamp > hlcFromMs(clock.wallMs() - this.#lagMs / 2)) {
      throw new KilovoltError('KV_CLOCK_DRIFT', 'the past that is to be settled is too close to this node’s clock')
    }
    if (rules.closePast) {
      stamps.observe(stamp)
      await horizons.raiseFloors(partitions, stamp)
      // What was let in before is stored before anybody compares.
      await records.flushed()
    }
    if (!rules.drainPast) return []
    const kept = await hints.partitionsUpTo(stamp)
    const stray = strays()
    return partitions.filter(partition => kept.has(partition) || stray === undefined || stray.has(partition))
  }

  /** @throws KilovoltError `KV_STORAGE` */
  async seal({ rows }: SettleRequest): Promise<readonly PartitionId[]> {
    const refused = this.#changed(rows)
    await this.#deps.horizons.sync()
    return refused
  }

  /** @throws KilovoltError `KV_STORAGE` */
  async settle({ stamp, rows }: SettleRequest): Promise<readonly PartitionId[]> {
    const refused = this.#changed(rows)
    const settled = rows.map(({ partition }) => partition).filter(partition => !refused.includes(partition))
    await this.#deps.purger.advance(settled, stamp)
    return refused
  }

  /** What was found out about a row holds for its owners of that epoch alone. */
  #changed(rows: readonly SettledRow[]): readonly PartitionId[] {
    const { self, topology } = this.#deps
    const here = topology()
    return rows
      .filter(({ partition, rowEpoch }) => {
        const row = here?.rows[partition]
        return row?.rowEpoch !== rowEpoch || row.change !== undefined || !row.slots.includes(self)
      })
      .map(({ partition }) => partition)
  }

  #handle(type: MessageType, answer: (body: Uint8Array) => Promise<readonly PartitionId[]>): void {
    this.#deps.transport.handle(type, ({ body }, respond) => {
      // Within the promise: bytes that make no sense are refused like anything else.
      new Promise<readonly PartitionId[]>(resolve => resolve(answer(body))).then(
        partitions => respond.reply(encodePartitions(partitions)),
        (error: unknown) =>
          respond.refuse(isKilovoltError(error) ? error : new KilovoltError('KV_STORAGE', messageOf(error)))
      )
    })
  }
}
