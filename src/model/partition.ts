import { hashTag } from './key.ts'

/** Number of a partition: 0 up to the cluster's partition count. */
export type PartitionId = number

/** Default number of partitions. */
export const PARTITIONS_DEFAULT = 256
/** Fewest partitions a cluster may be founded with. */
export const PARTITIONS_MIN = 64
/** Most partitions a cluster may be founded with. */
export const PARTITIONS_MAX = 4096
/** Leaves of a partition's hash tree. */
export const TREE_LEAVES = 1024

/** 64-bit xxHash of some bytes. Loaded once (it is WebAssembly) and handed to what needs it. */
export type Hash64 = (bytes: Uint8Array) => bigint

/** Whether `count` can be a cluster's number of partitions: a power of two between the limits. */
export function isPartitionCount(count: number): boolean {
  return Number.isInteger(count) && count >= PARTITIONS_MIN && count <= PARTITIONS_MAX && (count & (count - 1)) === 0
}

/** The circle of hashes cut into equal arcs: the top bits of a key's hash, or its tag's, are its partition. */
export class Ring {
  readonly partitions: number
  readonly #hash: Hash64
  readonly #shift: bigint

  constructor(partitions: number, hash: Hash64) {
    this.partitions = partitions
    this.#hash = hash
    this.#shift = BigInt(64 - Math.log2(partitions))
  }

  /** Partition of a key. */
  partitionOf(key: Uint8Array): PartitionId {
    return Number(this.#hash(hashTag(key)) >> this.#shift)
  }
}
