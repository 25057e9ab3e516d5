import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { utf8 } from '../../../src/base/bytes.ts'
import {
  type Hash64,
  isPartitionCount,
  PARTITIONS_MAX,
  PARTITIONS_MIN,
  Ring,
  TREE_LEAVES
} from '../../../src/model/partition.ts'
import { loadHash64 } from '../../../src/runtime/hash.ts'

describe('Ring', () => {
  let hash: Hash64
  before(async () => {
    hash = await loadHash64()
  })

  const counts = fc.constantFrom(64, 128, 256, 1024, 4096)
  const key = fc.uint8Array({ maxLength: 50 })

  it('finds a partition and a leaf within the limits, and the same partition either way', () => {
    fc.assert(
      fc.property(counts, key, (partitions, bytes) => {
        const ring = new Ring(partitions, hash)
        const { partition, leaf } = ring.placeOf(bytes)
        assert.equal(ring.partitionOf(bytes), partition)
        assert.ok(Number.isInteger(partition) && partition >= 0 && partition < partitions)
        assert.ok(Number.isInteger(leaf) && leaf >= 0 && leaf < TREE_LEAVES)
      })
    )
  })

  it('cuts each arc into two when there are twice as many', () => {
    fc.assert(
      fc.property(key, bytes => {
        const coarse = new Ring(256, hash).partitionOf(bytes)
        assert.equal(new Ring(512, hash).partitionOf(bytes) >> 1, coarse)
      })
    )
  })

  it('takes the top bits for the partition and the next ten for the leaf', () => {
    const ring = new Ring(256, () => 0xab_7f_c0_00_00_00_00_00n | 0x1234n)
    assert.deepEqual(ring.placeOf(utf8('any')), { partition: 0xab, leaf: 0b0111111111 })
    const last = new Ring(4096, () => 0xffff_ffff_ffff_ffffn)
    assert.deepEqual(last.placeOf(utf8('any')), { partition: 4095, leaf: 1023 })
  })

  it('keeps keys of one tag together', () => {
    const ring = new Ring(256, hash)
    assert.deepEqual(ring.placeOf(utf8('{user:1}:cart')), ring.placeOf(utf8('x{user:1}')))
    assert.deepEqual(ring.placeOf(utf8('{user:1}:cart')), ring.placeOf(utf8('user:1')))
  })

  it('spreads keys evenly over partitions and leaves', () => {
    const ring = new Ring(64, hash)
    const perPartition = new Uint32Array(64)
    const perLeaf = new Uint32Array(TREE_LEAVES)
    for (let i = 0; i < 65_536; i++) {
      const { partition, leaf } = ring.placeOf(utf8(`key-${i}`))
      perPartition[partition]!++
      perLeaf[leaf]!++
    }
    // Mean 1,024 with a deviation of 32, and mean 64 with a deviation of 8: six deviations are a fault.
    assert.ok(perPartition.every(count => Math.abs(count - 1024) < 192))
    assert.ok(perLeaf.every(count => Math.abs(count - 64) < 48))
  })
})

describe('isPartitionCount', () => {
  it('accepts powers of two between the limits and nothing else', () => {
    const accepted: number[] = []
    for (let count = 0; count <= PARTITIONS_MAX * 2; count++) if (isPartitionCount(count)) accepted.push(count)
    assert.deepEqual(accepted, [64, 128, 256, 512, 1024, 2048, 4096])
    assert.equal(accepted[0], PARTITIONS_MIN)
    for (const odd of [Number.NaN, 128.5, -64, Infinity]) assert.equal(isPartitionCount(odd), false)
  })
})
