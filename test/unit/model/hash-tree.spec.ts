import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { utf8 } from '../../../src/base/bytes.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { HashTree, type Lanes, RecordDigest, TREE_BYTES } from '../../../src/model/hash-tree.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import { TREE_LEAVES } from '../../../src/model/partition.ts'
import { encodeRecord, type RecordBytes } from '../../../src/model/record.ts'

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
  const actor = 'abcdef0123456789' as Actor
  const record = (hlc: number, value?: string, expiresAt?: number): RecordBytes =>
    encodeRecord({ stamp: { hlc, actor }, value: value === undefined ? undefined : utf8(value), expiresAt })
  const digestOf = (name: string, bytes: RecordBytes): bigint => {
    const digest = new RecordDigest()
    digest.name(utf8(name))
    return toBigInt(digest.of(bytes))
  }

  it('depends on name, stamp, expiry and deletion', () => {
    const digests = [
      digestOf('key', record(1, 'v')),
      digestOf('kez', record(1, 'v')),
      digestOf('key', record(2, 'v')),
      digestOf('key', record(1, 'v', 5)),
      digestOf('key', record(1, 'v', 6)),
      digestOf('key', record(1)),
      digestOf('key', record(1, undefined, 5))
    ]
    assert.equal(new Set(digests).size, digests.length)
  })

  it('is another for another head of the same name, and for another name of the same head', () => {
    const digests = new Set<bigint>()
    for (let i = 0; i < 5000; i++) digests.add(digestOf('key', record(i))).add(digestOf(`key ${i}`, record(1, 'v')))
    assert.equal(digests.size, 10_000)
  })

  it('turns half of its bits when one bit of the head is turned', () => {
    const plain = record(0x15_5555_5555, 'v', 0x5555)
    const before = digestOf('key', plain)
    let turned = 0
    let trials = 0
    // Byte 0 holds the flags; byte 1 only what fits into a safe integer.
    for (let at = 2; at < 22; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const other = plain.slice()
        other[at]! ^= 1 << bit
        turned += bitsIn(before ^ digestOf('key', other))
        trials++
      }
    }
    // 160 trials of 64 bits: a mean of 32 with a deviation of the mean of 0.32; six deviations are a fault.
    assert.ok(Math.abs(turned / trials - 32) < 2, `${turned / trials} bits of 64`)
  })

  it('spreads names evenly over leaves', () => {
    const digest = new RecordDigest()
    const perLeaf = new Uint32Array(TREE_LEAVES)
    for (let i = 0; i < 65_536; i++) perLeaf[digest.name(utf8(`{tag}${i}`))]!++
    // A mean of 64 with a deviation of 8.
    assert.ok(perLeaf.every(count => Math.abs(count - 64) < 48))
  })

  it('does not read the value: a stamp stands for it', () => {
    assert.equal(digestOf('k', record(1, 'a')), digestOf('k', record(1, 'b'.repeat(1000))))
  })
})

function bitsIn(value: bigint): number {
  return value.toString(2).replaceAll('0', '').length
}
