import { isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { isRowReplica, rowOf, type Topology } from '../placement/topology.ts'
import type { Horizons } from '../storage/horizons.ts'
import type { RecordStore } from '../storage/record-store.ts'
import type { TreeIndex } from '../storage/tree-index.ts'
import { MessageType } from '../transport/message-type.ts'
import type { MessageHandler, Transport } from '../transport/transport.ts'
import { headsOf } from './exchange.ts'
import {
  decodeKeys,
  decodeLeaves,
  decodeRoots,
  encodeKeysReply,
  encodeLeavesReply,
  encodeRootsReply
} from './exchange-wire.ts'
import type { TreeBuilder } from './tree-builder.ts'

/** What answering needs. */
export interface ExchangeServerDeps {
  readonly self: StoreId
  readonly transport: Transport
  readonly records: RecordStore
  readonly trees: TreeIndex
  readonly horizons: Horizons
  readonly builder: TreeBuilder
  readonly topology: () => Topology | undefined
  /** Another owner's past is settled further than here. */
  readonly adopt: (partition: PartitionId, horizon: number) => void
}

/**
 * The side of an exchange that is asked:
 *
 * | message | answer |
 * |---|---|
 * | `ROOTS` | which of the partitions differ; of which the tree is not known yet, and is being made from now on |
 * | `LEAVES` | which leaves of a partition differ |
 * | `KEYS` | what is held under some leaves, a page at a time |
 */
export class ExchangeServer {
  readonly #deps: ExchangeServerDeps

  constructor(deps: ExchangeServerDeps) {
    this.#deps = deps
  }

  listen(): void {
    this.#handle(MessageType.ROOTS, body => this.#onRoots(body))
    this.#handle(MessageType.LEAVES, body => this.#onLeaves(body))
    this.#handle(MessageType.KEYS, body => this.#onKeys(body))
  }

  #onRoots(body: Uint8Array): Uint8Array {
    const { trees, builder, horizons, adopt } = this.#deps
    const differing: PartitionId[] = []
    const unknown: PartitionId[] = []
    const ahead: (readonly [PartitionId, number])[] = []
    for (const { partition, root, horizon } of decodeRoots(body).roots) {
      const isHeld = this.#isHeld(partition)
      const ours = horizons.horizonOf(partition)
      const own = isHeld && horizons.isPurged(partition) && ours >= horizon ? trees.rootOf(partition) : undefined
      if (isHeld && horizon > ours) adopt(partition, horizon)
      if (own === undefined) unknown.push(partition)
      else if (ours > horizon) ahead.push([partition, ours])
      else if (own.hi !== root.hi || own.lo !== root.lo || own.count !== root.count) differing.push(partition)
    }
    for (const partition of unknown) if (this.#isHeld(partition)) void builder.ensure(partition)
    return encodeRootsReply({ differing, unknown, ahead })
  }

  #onLeaves(body: Uint8Array): Uint8Array {
    const { partition, tree } = decodeLeaves(body)
    this.#assertHeld(partition)
    const own = this.#deps.trees.treeOf(partition)
    if (own === undefined) {
      // No answer at all would be taken for "nothing differs".
      void this.#deps.builder.ensure(partition)
      throw new KilovoltError('KV_STORAGE', `the hash tree of ${partition} is not known yet`, { retryable: true })
    }
    return encodeLeavesReply(own.differingLeaves(tree))
  }

  async #onKeys(body: Uint8Array): Promise<Uint8Array> {
    const request = decodeKeys(body)
    this.#assertHeld(request.partition)
    return encodeKeysReply(await headsOf(this.#deps, request))
  }

  #handle(type: MessageType, answer: (body: Uint8Array) => Uint8Array | Promise<Uint8Array>): void {
    const handler: MessageHandler = ({ body }, respond) => {
      new Promise<Uint8Array>(resolve => resolve(answer(body))).then(
        reply => respond.reply(reply),
        (error: unknown) => respond.refuse(asError(error))
      )
    }
    this.#deps.transport.handle(type, handler)
  }

  #isHeld(partition: PartitionId): boolean {
    const { topology, self } = this.#deps
    const here = topology()
    return here !== undefined && partition < here.rows.length && isRowReplica(rowOf(here, partition), self)
  }

  #assertHeld(partition: PartitionId): void {
    if (!this.#isHeld(partition)) throw new KilovoltError('KV_PROTOCOL', `partition ${partition} is not held here`)
  }
}

function asError(error: unknown): KilovoltError {
  return isKilovoltError(error) ? error : new KilovoltError('KV_STORAGE', messageOf(error), { cause: error })
}
