import { misuse } from '../base/arguments.ts'
import { KilovoltError } from '../base/errors.ts'
import type { PartitionId, Ring } from '../model/partition.ts'
import type { Topology } from '../placement/topology.ts'

/** How much of the ring a member holds. */
export interface RingShare {
  /** Id of the member. */
  readonly id: string
  /** Copies of partitions that it holds. */
  readonly slots: number
  /** Partitions of which it is the first owner. */
  readonly primaries: number
  /** Its part of all copies, 0 … 1. */
  readonly share: number
}

/** Who owns what, as of the latest epoch known here. Each call looks afresh. */
export interface RingView {
  /** The epoch: grows with every change of members or owners. */
  readonly epoch: number
  /** Number of partitions. */
  readonly partitions: number
  /** Copies of each partition when there are enough members. */
  readonly replicas: number
  /** Partitions that are moving right now. */
  readonly changing: number
  /** The partition of a key given as text (UTF-8) or bytes. */
  partitionOf(key: string | Uint8Array): number
  /** Ids of the owners of a key, the first owner first. */
  owners(key: string | Uint8Array): readonly string[]
  /** Ids of the owners of a partition, the first owner first. */
  ownersOf(partition: number): readonly string[]
  /** What each member holds, ordered by id. */
  shares(): readonly RingShare[]
}

/** A window on the topology. */
export class TopologyRingView implements RingView {
  readonly #topology: () => Topology | undefined
  readonly #ring: Ring

  constructor(topology: () => Topology | undefined, ring: Ring) {
    this.#topology = topology
    this.#ring = ring
  }

  get epoch(): number {
    return this.#topology()?.epoch ?? 0
  }

  get partitions(): number {
    return this.#ring.partitions
  }

  get replicas(): number {
    return this.#known().replicas
  }

  get changing(): number {
    return this.#topology()?.rows.filter(row => row.change !== undefined).length ?? 0
  }

  partitionOf(key: string | Uint8Array): PartitionId {
    const bytes: unknown = typeof key === 'string' ? new TextEncoder().encode(key) : key
    if (!(bytes instanceof Uint8Array)) throw misuse('the key', 'a string or a Uint8Array', key)
    return this.#ring.partitionOf(bytes)
  }

  owners(key: string | Uint8Array): readonly string[] {
    return this.ownersOf(this.partitionOf(key))
  }

  ownersOf(partition: number): readonly string[] {
    const row = this.#known().rows[partition]
    if (row === undefined) throw new RangeError(`there are partitions 0 to ${this.partitions - 1}, but no ${partition}`)
    return row.slots
  }

  shares(): readonly RingShare[] {
    const topology = this.#topology()
    if (topology === undefined) return []
    const slots = new Map<string, number>([...topology.members.keys()].map(id => [id, 0]))
    const primaries = new Map<string, number>()
    let total = 0
    for (const row of topology.rows) {
      for (const id of row.slots) slots.set(id, (slots.get(id) ?? 0) + 1)
      const first = row.slots[0]
      if (first !== undefined) primaries.set(first, (primaries.get(first) ?? 0) + 1)
      total += row.slots.length
    }
    return [...slots]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([id, held]) => ({
        id,
        slots: held,
        primaries: primaries.get(id) ?? 0,
        share: total === 0 ? 0 : held / total
      }))
  }

  #known(): Topology {
    const topology = this.#topology()
    if (topology === undefined) throw new KilovoltError('KV_NOT_JOINED', 'this node is not a member of a cluster yet')
    return topology
  }
}
