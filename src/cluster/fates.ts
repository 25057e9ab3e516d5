import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import type { Membership } from '../membership/membership.ts'
import { type ClusterId, ID_BYTES, idToBytes, type PeerId, type StoreId } from '../model/node-id.ts'
import type { ViewMember } from '../model/view.ts'
import type { Topology } from '../placement/topology.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import { answer, ask } from './ask.ts'
import { readCluster } from './kinship.ts'
import type { MetaLog } from './meta-log.ts'

/** What has become of a cluster, as a node knows it. */
export const Fate = {
  UNKNOWN: 0,
  /** It is there, and the node knows of its leader. */
  LED: 1,
  /** It is there, and the node knows of no leader. */
  LEADERLESS: 2,
  /** It has dissolved, and the node compares its copies for the last time. */
  CLOSING: 3,
  /** It has dissolved, and the node's copies have been compared. */
  CLOSED: 4,
  /** It has dissolved into the node's cluster, or the node has left it as it had ended. */
  ABSORBED: 5,
  /** The node's cluster goes on for it, as nobody led it any more. */
  CONTINUED: 6
} as const

/** A number of {@link Fate}. */
export type Fate = (typeof Fate)[keyof typeof Fate]

/** What one node says of a cluster. */
export interface FateReport {
  /** `undefined` for no answer. */
  readonly fate: Fate | undefined
  /** Where it went, if that is known. */
  readonly into: ClusterId | undefined
}

const NOTHING: FateReport = { fate: undefined, into: undefined }

/** What telling and asking needs. */
export interface FatesDeps {
  readonly transport: Transport
  readonly membership: Membership
  readonly log: Pick<MetaLog, 'topology' | 'kinship'>
  readonly leader: () => StoreId | undefined
  /** Clusters that this node has left as they had ended. */
  readonly former: () => readonly ClusterId[]
  /** Whether this node is on its way from one cluster to another. */
  readonly isLeaving: () => boolean
  /** Whether it has compared its copies for the last time. */
  readonly isClosed: () => boolean
}

/**
 * What has become of clusters, by what the nodes say that are there:
 *
 *     FATE    cluster 16                                  anybody asks anybody
 *     reply   u8, see {@link Fate} · where it went, 16, if that is known
 */
export class Fates {
  readonly #deps: FatesDeps

  constructor(deps: FatesDeps) {
    this.#deps = deps
  }

  listen(): void {
    answer(this.#deps.transport, MessageType.FATE, ({ body }, respond) => {
      const { fate, into } = this.#here(readCluster(new Reader(body)))
      const reply = new Writer(1 + ID_BYTES).u8(fate)
      respond.reply(into === undefined ? reply.finish() : reply.raw(idToBytes(into)).finish())
    })
  }

  /** Other members of this node's cluster that live and are linked. */
  mates({ clusterId, members }: Topology): readonly ViewMember[] {
    const { membership, transport } = this.#deps
    return [...membership.view.values()].filter(
      mate =>
        mate.storeId !== membership.self.storeId &&
        mate.status === 'alive' &&
        mate.clusterId === clusterId &&
        members.has(mate.storeId) &&
        transport.isLinked(mate.peerId)
    )
  }

  /** Whether this node is the one of its cluster that founds it again, if somebody has to. */
  isFirst(own: Topology): boolean {
    const { storeId } = this.#deps.membership.self
    return this.mates(own).every(mate => mate.storeId > storeId)
  }

  /** What those who live and are linked say of this node's cluster, apart from this node; `undefined` for no answer. */
  async ofOwn(): Promise<readonly (Fate | undefined)[]> {
    const own = this.#deps.log.topology!
    const reports = await Promise.all(this.mates(own).map(({ peerId }) => this.ask(own.clusterId, peerId)))
    return reports.map(({ fate }) => fate)
  }

  async ask(cluster: ClusterId, peer: PeerId): Promise<FateReport> {
    const reply = await ask(this.#deps.transport, peer, MessageType.FATE, idToBytes(cluster))
    const fate = reply?.[0]
    if (reply === undefined || fate === undefined || fate > Fate.CONTINUED) return NOTHING
    return {
      fate: fate as Fate,
      into: reply.length > ID_BYTES ? readCluster(new Reader(reply.subarray(1))) : undefined
    }
  }

  #here(cluster: ClusterId): { readonly fate: Fate; readonly into?: ClusterId | undefined } {
    const { log, former, isLeaving, isClosed, leader } = this.#deps
    const { topology, kinship } = log
    const into = topology?.clusterId
    if (into === cluster) {
      if (kinship.dissolvedInto !== undefined) return { fate: isClosed() ? Fate.CLOSED : Fate.CLOSING }
      if (isLeaving()) return { fate: Fate.UNKNOWN }
      return { fate: leader() === undefined ? Fate.LEADERLESS : Fate.LED }
    }
    if (kinship.absorbed.has(cluster)) return { fate: Fate.ABSORBED, into }
    if (kinship.lineage.has(cluster)) return { fate: Fate.CONTINUED, into }
    return former().includes(cluster) ? { fate: Fate.ABSORBED, into } : { fate: Fate.UNKNOWN }
  }
}
