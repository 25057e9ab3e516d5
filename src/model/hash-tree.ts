import { assert } from '../base/assert.ts'
import { KilovoltError } from '../base/errors.ts'
import { TREE_LEAVES } from './partition.ts'
import { type RecordBytes, recordHeadBytes } from './record.ts'

/** 64 bits as two unsigned halves, which V8 keeps out of the heap; a `bigint` would be allocated for each step. */
export interface Lanes {
  readonly hi: number
  readonly lo: number
}

/**
 * Digest of a record under its name, in two steps, because a record that takes the place of another has the same name.
 * In 32-bit arithmetic, bytes taken four at a time and filled up with zeros:
 *
 *     hi = 9e3779b9, lo = length of the name
 *     for each word w of the name:  hi = fold(hi ^ w, lo), lo = fold(lo ^ w, hi)
 *     leaf = lowest bits of mix(lo)
 *     the same for each word of the record's head (flags, stamp, expiry)
 *     hi = mix(hi), lo = mix(lo ^ hi)
 *
 * Every step can be undone, so that of two heads of one name, or two names of one length, the one never folds into the
 * other. It needs no defence against who chooses names to collide: that only makes a leaf longer. The value is left out: a
 * stamp is never used twice, so it stands for its value.
 *
 * This is our own because of what it does not do: a call of the WebAssembly xxHash makes garbage (a view of its memory, a
 * bigint) which cost a write more than all the rest of its tree.
 *
 * The result is overwritten by the next call.
 */
export class RecordDigest implements Lanes {
  hi = 0
  lo = 0
  #nameHi = 0
  #nameLo = 0

  /** Names the records of the calls that follow, by any bytes that name one record of one keyspace; returns its leaf. */
  name(name: Uint8Array): number {
    this.hi = 0x9e3779b9 | 0
    this.lo = name.length
    this.#fold(name, name.length)
    this.#nameHi = this.hi
    this.#nameLo = this.lo
    return (mix(this.lo) >>> 0) % TREE_LEAVES
  }

  /** The digest of a record of the name that was given last. */
  of(record: RecordBytes): Lanes {
    this.hi = this.#nameHi
    this.lo = this.#nameLo
    this.#fold(record, recordHeadBytes(record))
    const hi = mix(this.hi)
    this.hi = hi >>> 0
    this.lo = mix(this.lo ^ hi) >>> 0
    return this
  }

  #fold(bytes: Uint8Array, length: number): void {
    let { hi, lo } = this
    for (let at = 0; at < length; at += 4) {
      let word = 0
      for (let i = at; i < at + 4; i++) word = (word << 8) | (i < length ? bytes[i]! : 0)
      hi = fold(hi ^ word, lo)
      lo = fold(lo ^ word, hi)
    }
    this.hi = hi
    this.lo = lo
  }
}

/** What two replicas compare first: a digest of the whole tree and the number of its records. */
export interface TreeRoot extends Lanes {
  readonly count: number
}

/** Fields of a leaf, in their order. */
const HI = 0
const LO = 1
const COUNT = 2
const FIELDS = 3

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
  /** Upper half of the sum, lower half and count of one leaf after the other: a write touches one line of the cache. */
  readonly #leaves = new Uint32Array(TREE_LEAVES * FIELDS)
  #count = 0

  /** Records in the whole tree, tombstones included. */
  get count(): number {
    return this.#count
  }

  /** Records in one leaf. */
  countOf(leaf: number): number {
    return this.#leaves[leaf * FIELDS + COUNT]!
  }

  /** A record has come. */
  add(leaf: number, digest: Lanes): void {
    const leaves = this.#leaves
    const at = leaf * FIELDS
    const lo = leaves[at + LO]! + digest.lo
    leaves[at + LO] = lo
    leaves[at + HI] = leaves[at + HI]! + digest.hi + (lo > 0xffff_ffff ? 1 : 0)
    leaves[at + COUNT]!++
    this.#count++
  }

  /** A record that was added is gone. */
  subtract(leaf: number, digest: Lanes): void {
    const leaves = this.#leaves
    const at = leaf * FIELDS
    assert(leaves[at + COUNT]! > 0, 'only what is in a hash tree is taken out of it')
    const lo = leaves[at + LO]! - digest.lo
    leaves[at + LO] = lo
    leaves[at + HI] = leaves[at + HI]! - digest.hi - (lo < 0 ? 1 : 0)
    leaves[at + COUNT]!--
    this.#count--
  }

  /** Empties the tree. */
  clear(): void {
    this.#leaves.fill(0)
    this.#count = 0
  }

  /** Digest of all leaves in their order; a few microseconds. */
  root(): TreeRoot {
    const leaves = this.#leaves
    let hi = 0x9e3779b9
    let lo = 0x85ebca6b
    for (let at = 0; at < leaves.length; at += FIELDS) {
      hi = fold(hi ^ leaves[at + HI]!, lo)
      lo = fold(lo ^ leaves[at + LO]!, hi ^ leaves[at + COUNT]!)
    }
    return { hi: hi >>> 0, lo: lo >>> 0, count: this.#count }
  }

  /** The leaves in which two trees differ, in ascending order. */
  differingLeaves(other: HashTree): number[] {
    const differing: number[] = []
    for (let leaf = 0; leaf < TREE_LEAVES; leaf++) {
      const at = leaf * FIELDS
      let i = at
      while (i < at + FIELDS && this.#leaves[i] === other.#leaves[i]) i++
      if (i < at + FIELDS) differing.push(leaf)
    }
    return differing
  }

  /** All leaves, each as three big-endian `u32`: upper half of the sum, lower half, count. */
  encode(): Uint8Array {
    const bytes = new Uint8Array(TREE_BYTES)
    const view = new DataView(bytes.buffer)
    for (const [i, field] of this.#leaves.entries()) view.setUint32(i * 4, field)
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
    for (let i = 0; i < tree.#leaves.length; i++) tree.#leaves[i] = view.getUint32(i * 4)
    for (let leaf = 0; leaf < TREE_LEAVES; leaf++) tree.#count += tree.countOf(leaf)
    return tree
  }
}

/** MurmurHash3's last step: each bit that comes in turns half of those that go out. */
function mix(value: number): number {
  let mixed = value
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}

/** One step of a 64-bit digest in 32-bit arithmetic, after MurmurHash3's mixing of a block. */
function fold(value: number, other: number): number {
  const mixed = Math.imul(value, 0xcc9e2d51)
  const turned = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593) ^ other
  return (Math.imul((turned << 13) | (turned >>> 19), 5) + 0xe6546b64) | 0
}
