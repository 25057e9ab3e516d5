import { KilovoltError, messageOf } from '../base/errors.ts'
import type { PeerId, StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { isRowReplica, type Topology } from '../placement/topology.ts'
import type { Logger } from '../runtime/logger.ts'
import type { SetAside } from '../storage/set-aside.ts'
import type { Exchange } from './exchange.ts'
import type { TreeBuilder } from './tree-builder.ts'

/** What giving back needs. */
export interface GiveBackDeps {
  readonly self: StoreId
  readonly builder: TreeBuilder
  readonly setAside: SetAside
  readonly logger: Logger
  readonly topology: () => Topology | undefined
  readonly isAlive: (store: StoreId) => boolean
  readonly exchangeWith: (peer: PeerId, rest: () => Promise<void>) => Exchange
  readonly catchUp: (epoch: number, timeoutMs: number) => Promise<unknown>
  /** Lets others work; rejects when the node stops. */
  readonly rest: () => Promise<void>
  /** Told when records were set aside. */
  readonly onSetAside: (count: number) => void
}

const CATCH_UP_MS = 5000

/**
 * Gives the present owners of a partition what they may lack of what this node still holds of it: writes at `one`, say, that
 * it took while it was cut off, and whose other copies were rebuilt without it meanwhile.
 */
export class GiveBack {
  readonly #deps: GiveBackDeps

  constructor(deps: GiveBackDeps) {
    this.#deps = deps
  }

  /**
   * Resolves when one owner has everything, or it is set aside: comparing copies brings it to the others. When this node was
   * forgotten in between nobody can tell what was deleted meanwhile: what it brings is new to the owners, and what lies in
   * the settled past is set aside here (rule G3).
   *
   * @throws KilovoltError `KV_UNREACHABLE` when no owner takes it now
   */
  async run(partition: PartitionId): Promise<void> {
    const { builder, topology, logger } = this.#deps
    if (this.#ownersOf(partition).length === 0) return
    await builder.ensure(partition)
    let last: unknown = new KilovoltError('KV_UNREACHABLE', `no owner of partition ${partition} lives`)
    for (const owner of this.#ownersOf(partition)) {
      const peer = topology()?.members.get(owner)?.peerId
      if (peer === undefined || !this.#deps.isAlive(owner)) continue
      try {
        await this.#giveTo(peer, partition)
        return
      } catch (error) {
        last = error
        logger.debug('an owner did not take what is given back', { partition, owner, error: messageOf(error) })
      }
    }
    throw last
  }

  async #giveTo(peer: PeerId, partition: PartitionId): Promise<void> {
    const { self, topology, catchUp, exchangeWith, rest, logger, setAside, onSetAside } = this.#deps
    const exchange = exchangeWith(peer, rest)
    // Whether this node was forgotten may be news to it.
    const { epoch, differing, unknown } = await exchange.compare([partition])
    if (epoch > (topology()?.epoch ?? 0)) await catchUp(epoch, CATCH_UP_MS)
    // As a rule the copies were made from this node, and nothing was written here since.
    if (differing.length + unknown.length === 0) return
    if (this.#ownersOf(partition).length === 0) return
    let late = 0
    try {
      await exchange.give(partition, topology()?.members.has(self) !== true, async stored => {
        await setAside.add(stored, stored.record)
        late++
      })
    } finally {
      if (late > 0) onSetAside(late)
    }
    const given = exchange.result.mended - late
    if (given > 0) logger.info('records were given back to their owners', { partition, records: given })
  }

  /** The owners of a partition; none when this node is one of them. */
  #ownersOf(partition: PartitionId): readonly StoreId[] {
    const row = this.#deps.topology()?.rows[partition]
    return row === undefined || isRowReplica(row, this.#deps.self) ? [] : row.slots
  }
}
