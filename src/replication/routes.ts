import type { PeerId, StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { PlacementRules } from '../placement/rules.ts'
import { type Row, rowOf, rowReplicas, type Topology } from '../placement/topology.ts'

/** Whom an operation on a partition asks, and what its level is counted against. */
export interface Route {
  readonly row: Row
  /**
   * Oneself first, if among them: what the local copy holds is known before the others are asked. The others by their names;
   * where one copy is enough, in the order of the row, so that not all ask the same one.
   */
  readonly replicas: readonly StoreId[]
  /** How many of the replicas are this node: 1 when it is the first of them, else 0. */
  readonly locals: 0 | 1
  /** Where each of the replicas can be reached; `undefined` for oneself and for who is no member any more. */
  readonly peers: readonly (PeerId | undefined)[]
  /** The sets of which a quorum needs a majority each. */
  readonly sets: readonly (readonly StoreId[])[]
  /**
   * Whether it is as simple as a bundle takes it for: the row is at rest, all replicas count, in one set, and each of them has a
   * bit of a number to itself.
   */
  readonly isSteady: boolean
}

/** Bits of a number that can be set and tested without a thought of its sign. */
export const BITS_MAX = 31

/** Routes of one topology, each worked out when it is first needed: operations far outnumber epochs. */
export class Routes {
  readonly topology: Topology
  readonly #self: StoreId
  readonly #rules: PlacementRules
  readonly #owners: (Route | undefined)[] = []
  readonly #all: (Route | undefined)[] = []

  constructor(topology: Topology, self: StoreId, rules: PlacementRules) {
    this.topology = topology
    this.#self = self
    this.#rules = rules
  }

  /** @param ownersOnly - leave out who is only about to own the partition: level `one` does not count them */
  of(partition: PartitionId, ownersOnly: boolean): Route {
    return ownersOnly
      ? (this.#owners[partition] ??= this.#route(partition, true))
      : (this.#all[partition] ??= this.#route(partition, false))
  }

  #route(partition: PartitionId, ownersOnly: boolean): Route {
    const row = rowOf(this.topology, partition)
    const asked = ownersOnly ? row.slots : rowReplicas(row)
    const others = asked.filter(store => store !== this.#self)
    // The same order for all rows: reads of one turn that may choose go to the same store, in one message.
    if (!ownersOnly) others.sort()
    const locals = others.length < asked.length ? 1 : 0
    const replicas = locals === 1 ? [this.#self, ...others] : others
    const peers = replicas.map(store => (store === this.#self ? undefined : this.topology.members.get(store)?.peerId))
    const sets = this.#rules.quorumSets(row)
    const isOneSet = sets.length === 1 && sets[0]!.length === replicas.length
    const isSteady =
      row.change === undefined && isOneSet && replicas.length <= BITS_MAX && new Set(replicas).size === replicas.length
    return { row, replicas, locals, peers, sets, isSteady }
  }
}
