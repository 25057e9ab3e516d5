import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { utf8 } from '../../../src/base/bytes.ts'
import { type Hash64, isPartitionCount, PARTITIONS_MAX, PARTITIONS_MIN, Ring } from '../../../src/model/partition.ts'
import { loadHash64 } from '../../../src/runtime/hash.ts'

describe('Ring', () => {
  let hash: Hash64
  before(async () => {
    hash = await loadHash64()
  })

  const counts = fc.constantFrom(64, 128, 256, 1024, 4096)
  const key = fc.uint8Array({ maxLength: 50 })

  it('finds a partition within the limits', () => {
    fc.assert(
      fc.property(counts, key, (partitions, bytes) => {
        const partition = new Ring(partitions, hash).partitionOf(bytes)
        assert.ok(Number.isInteger(partition) && partition >= 0 && partition < partitions)
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

  it('takes the top bits of the hash', () => {
    assert.equal(new Ring(256, () => 0xab_7f_c0_00_00_00_00_00n).partitionOf(utf8('any')), 0xab)
    assert.equal(new Ring(4096, () => 0xffff_ffff_ffff_ffffn).partitionOf(utf8('any')), 4095)
  })

  it('keeps keys of one tag together', () => {
    const ring = new Ring(256, hash)
    assert.equal(ring.partitionOf(utf8('{user:1}:cart')), ring.partitionOf(utf8('x{user:1}')))
    assert.equal(ring.partitionOf(utf8('{user:1}:cart')), ring.partitionOf(utf8('user:1')))
  })

  it('spreads keys evenly', () => {
    const ring = new Ring(64, hash)
    const counted = new Uint32Array(64)
    for (let i = 0; i < 65_536; i++) counted[ring.partitionOf(utf8(`key-${i}`))]!++
    // A mean of 1,024 with a deviation of 32: six deviations are a fault.
    assert.ok(counted.every(count => Math.abs(count - 1024) < 192))
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
