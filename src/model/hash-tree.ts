import { assert } from '../base/assert.ts'
import { KilovoltError } from '../base/errors.ts'
import { KEY_BYTES_MAX, KEYSPACE_BYTES_MAX } from './key.ts'
import { type Hash64, TREE_LEAVES } from './partition.ts'
import { RECORD_HEAD_BYTES_MAX, type RecordBytes, recordHead } from './record.ts'

/** 64 bits as two unsigned halves, which V8 keeps out of the heap; a `bigint` would be allocated for each step. */
export interface Lanes {
  readonly hi: number
  readonly lo: number
}

/**
 * Digest of a record under its key: xxHash of
 *
 *     head of the record (flags, stamp, expiry) · u8 length of the keyspace's name · name · key
 *
 * The value is left out: a stamp is never used twice, so it stands for its value. The result is overwritten by the next
 * call.
 */
export class RecordDigest implements Lanes {
  readonly #hash: Hash64
  readonly #input = new Uint8Array(RECORD_HEAD_BYTES_MAX + 1 + KEYSPACE_BYTES_MAX + KEY_BYTES_MAX)
  readonly #result = new DataView(new ArrayBuffer(8))

  constructor(hash: Hash64) {
    this.#hash = hash
  }

  get hi(): number {
    return this.#result.getUint32(0)
  }

  get lo(): number {
    return this.#result.getUint32(4)
  }

  /** Computes the digest; `keyspace` is the keyspace's name in UTF-8. */
  of(keyspace: Uint8Array, key: Uint8Array, record: RecordBytes): Lanes {
    const input = this.#input
    const head = recordHead(record)
    input.set(head)
    let length = head.length
    input[length++] = keyspace.length
    input.set(keyspace, length)
    length += keyspace.length
    input.set(key, length)
    length += key.length
    this.#result.setBigUint64(0, this.#hash(input.subarray(0, length)))
    return this
  }
}

/** What two replicas compare first: a digest of the whole tree and the number of its records. */
export interface TreeRoot extends Lanes {
  readonly count: number
}

/** Length of an encoded tree with {@link TREE_LEAVES} leaves, in bytes: 12 for each leaf. */
export const TREE_BYTES: number = TREE_LEAVES * 12

/**
 * What a replica holds of a partition, in 1,024 leaves: each is the sum modulo 2^64 of the digests of its records, and
 * their number. Sums make the order of writes irrelevant and a write O(1): subtract the old record, add the new one.
 * (Riak's and Cassandra's trees hash the keys of a segment in order, and so must read the segment again after a write.)
 * Two replicas hold the same exactly when their roots agree, but for one chance in 2^64.
 *
 * Two levels are enough: a tree is 12 KiB, less than a dozen round trips cost.
 */
export class HashTree {
  readonly #hi = new Uint32Array(TREE_LEAVES)
  readonly #lo = new Uint32Array(TREE_LEAVES)
  readonly #counts = new Uint32Array(TREE_LEAVES)
  #count = 0

  /** Records in the whole tree, tombstones included. */
  get count(): number {
    return this.#count
  }

  /** Records in one leaf. */
  countOf(leaf: number): number {
    return this.#counts[leaf]!
  }

  /** A record has come. */
  add(leaf: number, digest: Lanes): void {
    const lo = this.#lo[leaf]! + digest.lo
    this.#lo[leaf] = lo
    this.#hi[leaf] = this.#hi[leaf]! + digest.hi + (lo > 0xffff_ffff ? 1 : 0)
    this.#counts[leaf]!++
    this.#count++
  }

  /** A record that was added is gone. */
  subtract(leaf: number, digest: Lanes): void {
    assert(this.#counts[leaf]! > 0, 'only what is in a hash tree is taken out of it')
    const lo = this.#lo[leaf]! - digest.lo
    this.#lo[leaf] = lo
    this.#hi[leaf] = this.#hi[leaf]! - digest.hi - (lo < 0 ? 1 : 0)
    this.#counts[leaf]!--
    this.#count--
  }

  /** Empties the tree. */
  clear(): void {
    this.#hi.fill(0)
    this.#lo.fill(0)
    this.#counts.fill(0)
    this.#count = 0
  }

  /** Digest of all leaves in their order; a few microseconds. */
  root(): TreeRoot {
    let hi = 0x9e3779b9
    let lo = 0x85ebca6b
    for (let leaf = 0; leaf < TREE_LEAVES; leaf++) {
      hi = fold(hi ^ this.#hi[leaf]!, lo)
      lo = fold(lo ^ this.#lo[leaf]!, hi ^ this.#counts[leaf]!)
    }
    return { hi: hi >>> 0, lo: lo >>> 0, count: this.#count }
  }

  /** The leaves in which two trees differ, in ascending order. */
  differingLeaves(other: HashTree): number[] {
    const leaves: number[] = []
    for (let leaf = 0; leaf < TREE_LEAVES; leaf++) {
      const same =
        this.#lo[leaf] === other.#lo[leaf] &&
        this.#hi[leaf] === other.#hi[leaf] &&
        this.#counts[leaf] === other.#counts[leaf]
      if (!same) leaves.push(leaf)
    }
    return leaves
  }

  /** All leaves, each as three `u32`: upper half of the sum, lower half, count. */
  encode(): Uint8Array {
    const bytes = new Uint8Array(TREE_BYTES)
    const view = new DataView(bytes.buffer)
    for (let leaf = 0, at = 0; leaf < TREE_LEAVES; leaf++, at += 12) {
      view.setUint32(at, this.#hi[leaf]!)
      view.setUint32(at + 4, this.#lo[leaf]!)
      view.setUint32(at + 8, this.#counts[leaf]!)
    }
    return bytes
  }

  /**
   * The tree of {@link HashTree.encode}.
   *
   * @throws KilovoltError `KV_PROTOCOL` when the bytes are not {@link TREE_BYTES} long
   */
  static decode(bytes: Uint8Array): HashTree {
    if (bytes.length !== TREE_BYTES) {
      throw new KilovoltError('KV_PROTOCOL', `a hash tree of ${bytes.length} bytes; it has ${TREE_BYTES}`)
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const tree = new HashTree()
    for (let leaf = 0, at = 0; leaf < TREE_LEAVES; leaf++, at += 12) {
      tree.#hi[leaf] = view.getUint32(at)
      tree.#lo[leaf] = view.getUint32(at + 4)
      tree.#counts[leaf] = view.getUint32(at + 8)
      tree.#count += tree.#counts[leaf]!
    }
    return tree
  }
}

/** One step of a 64-bit digest in 32-bit arithmetic, after MurmurHash3's mixing of a block. */
function fold(value: number, other: number): number {
  const mixed = Math.imul(value, 0xcc9e2d51)
  const turned = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593) ^ other
  return (Math.imul((turned << 13) | (turned >>> 19), 5) + 0xe6546b64) | 0
}
