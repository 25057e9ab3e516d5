import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { utf8 } from '../../../src/base/bytes.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { HashTree, type Lanes, RecordDigest, TREE_BYTES } from '../../../src/model/hash-tree.ts'
import { KEY_BYTES_MAX, KEYSPACE_BYTES_MAX } from '../../../src/model/key.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import { type Hash64, TREE_LEAVES } from '../../../src/model/partition.ts'
import { encodeRecord, type RecordBytes } from '../../../src/model/record.ts'
import { loadHash64 } from '../../../src/runtime/hash.ts'

/** Digests at the edges of the lanes as well as within, so that carries and borrows happen. */
const lane = fc.oneof(
  fc.constantFrom(0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff),
  fc.integer({ min: 0, max: 0xffff_ffff })
)
const entry = fc.record({
  leaf: fc.constantFrom(0, 1, 511, TREE_LEAVES - 1),
  digest: fc.record({ hi: lane, lo: lane })
})
const entries = fc.array(entry, { maxLength: 40 })

function treeOf(list: readonly { leaf: number; digest: Lanes }[]): HashTree {
  const tree = new HashTree()
  for (const { leaf, digest } of list) tree.add(leaf, digest)
  return tree
}

const toBigInt = ({ hi, lo }: Lanes): bigint => (BigInt(hi) << 32n) | BigInt(lo)

/** One leaf of an encoded tree. */
function leafOf(tree: HashTree, leaf: number): { sum: bigint; count: number } {
  const view = new DataView(tree.encode().buffer, leaf * 12, 12)
  return { sum: view.getBigUint64(0), count: view.getUint32(8) }
}

describe('HashTree', () => {
  it('keeps in each leaf the sum modulo 2^64 and the number of its digests', () => {
    fc.assert(
      fc.property(entries, list => {
        const tree = treeOf(list)
        for (const leaf of new Set(list.map(one => one.leaf))) {
          const own = list.filter(one => one.leaf === leaf)
          const sum = own.reduce((total, { digest }) => BigInt.asUintN(64, total + toBigInt(digest)), 0n)
          assert.deepEqual(leafOf(tree, leaf), { sum, count: own.length })
          assert.equal(tree.countOf(leaf), own.length)
        }
        assert.equal(tree.count, list.length)
      })
    )
  })

  it('is the same whatever the order in which records came and went', () => {
    fc.assert(
      fc.property(entries, entries, (stays, goes) => {
        const direct = treeOf(stays)
        const roundabout = treeOf([...goes, ...[...stays].reverse()])
        for (const { leaf, digest } of goes) roundabout.subtract(leaf, digest)
        assert.deepEqual(roundabout.encode(), direct.encode())
        assert.deepEqual(roundabout.root(), direct.root())
        assert.deepEqual(roundabout.differingLeaves(direct), [])
      })
    )
  })

  it('is empty again once all that came is gone, and after it was cleared', () => {
    fc.assert(
      fc.property(entries, list => {
        const tree = treeOf(list)
        for (const { leaf, digest } of list) tree.subtract(leaf, digest)
        assert.deepEqual(tree.root(), new HashTree().root())
        const cleared = treeOf(list)
        cleared.clear()
        assert.deepEqual(cleared.encode(), new Uint8Array(TREE_BYTES))
        assert.equal(cleared.count, 0)
      })
    )
  })

  it('differs from another in exactly the leaves that differ, and then in its root', () => {
    fc.assert(
      fc.property(entries, entries, (mine, theirs) => {
        const a = treeOf(mine)
        const b = treeOf(theirs)
        const differing = [0, 1, 511, TREE_LEAVES - 1].filter(
          leaf => JSON.stringify(leafBytes(a, leaf)) !== JSON.stringify(leafBytes(b, leaf))
        )
        assert.deepEqual(a.differingLeaves(b), differing)
        assert.deepEqual(b.differingLeaves(a), differing)
        const { hi, lo } = a.root()
        const other = b.root()
        assert.equal(hi === other.hi && lo === other.lo, differing.length === 0)
      })
    )
  })

  it('has another root when a record is in another leaf, or when sums agree but counts do not', () => {
    const digest = { hi: 1, lo: 2 }
    assert.notDeepEqual(treeOf([{ leaf: 1, digest }]).root(), treeOf([{ leaf: 2, digest }]).root())
    const nothing = { hi: 0, lo: 0 }
    const two = treeOf([
      { leaf: 1, digest: nothing },
      { leaf: 2, digest: nothing }
    ])
    const twice = treeOf([
      { leaf: 1, digest: nothing },
      { leaf: 1, digest: nothing }
    ])
    assert.equal(two.count, twice.count)
    assert.notDeepEqual(two.root(), twice.root())
  })

  it('gives roots whose halves are unsigned', () => {
    for (let i = 0; i < 100; i++) {
      const { hi, lo } = treeOf([{ leaf: i, digest: { hi: i * 77, lo: i } }]).root()
      assert.ok(hi >= 0 && lo >= 0 && hi <= 0xffff_ffff && lo <= 0xffff_ffff)
    }
  })

  it('comes back from its bytes', () => {
    fc.assert(
      fc.property(entries, list => {
        const tree = treeOf(list)
        const back = HashTree.decode(tree.encode())
        assert.deepEqual(back.root(), tree.root())
        assert.deepEqual(back.differingLeaves(tree), [])
      })
    )
  })

  it('refuses bytes of any other length', () => {
    for (const length of [0, TREE_BYTES - 1, TREE_BYTES + 1]) {
      assert.throws(
        () => HashTree.decode(new Uint8Array(length)),
        error => isKilovoltError(error, 'KV_PROTOCOL')
      )
    }
  })

  it('takes nothing out of an empty leaf', () => {
    const tree = treeOf([{ leaf: 3, digest: { hi: 1, lo: 1 } }])
    assert.throws(
      () => tree.subtract(4, { hi: 1, lo: 1 }),
      error => isKilovoltError(error, 'KV_INTERNAL')
    )
  })
})

function leafBytes(tree: HashTree, leaf: number): number[] {
  return [...tree.encode().subarray(leaf * 12, leaf * 12 + 12)]
}

describe('RecordDigest', () => {
  let hash: Hash64
  before(async () => {
    hash = await loadHash64()
  })

  const actor = 'abcdef0123456789' as Actor
  const record = (hlc: number, value?: string, expiresAt?: number): RecordBytes =>
    encodeRecord({ stamp: { hlc, actor }, value: value === undefined ? undefined : utf8(value), expiresAt })
  const digestOf = (keyspace: string, key: string, bytes: RecordBytes): bigint =>
    toBigInt(new RecordDigest(hash).of(utf8(keyspace), utf8(key), bytes))

  it('depends on keyspace, key, stamp, expiry and deletion', () => {
    const digests = [
      digestOf('', 'key', record(1, 'v')),
      digestOf('k', 'ey', record(1, 'v')),
      digestOf('', 'kez', record(1, 'v')),
      digestOf('', 'key', record(2, 'v')),
      digestOf('', 'key', record(1, 'v', 5)),
      digestOf('', 'key', record(1, 'v', 6)),
      digestOf('', 'key', record(1)),
      digestOf('', 'key', record(1, undefined, 5))
    ]
    assert.equal(new Set(digests).size, digests.length)
  })

  it('does not read the value: a stamp stands for it', () => {
    assert.equal(digestOf('s', 'k', record(1, 'a')), digestOf('s', 'k', record(1, 'b'.repeat(1000))))
  })

  it('takes the longest key of the longest keyspace', () => {
    const digest = new RecordDigest(hash)
    const longest = digest.of(new Uint8Array(KEYSPACE_BYTES_MAX), new Uint8Array(KEY_BYTES_MAX), record(1, 'v', 9))
    assert.notEqual(toBigInt(longest), 0n)
  })

  it('is xxHash of head, length of the name, name and key', () => {
    const bytes = record(7, 'value', 9)
    const input = Buffer.concat([bytes.subarray(0, 22), Uint8Array.of(2), utf8('ks'), utf8('key')])
    assert.equal(digestOf('ks', 'key', bytes), hash(input))
  })
})
