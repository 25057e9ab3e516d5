import assert from 'node:assert/strict'
import fc from 'fast-check'
import { HashTree } from '../../../src/model/hash-tree.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import { TREE_LEAVES } from '../../../src/model/partition.ts'
import { encodeRecord, recordHead } from '../../../src/model/record.ts'
import {
  decodeKeys,
  decodeKeysReply,
  decodeLeaves,
  decodeLeavesReply,
  decodeRoots,
  decodeRootsReply,
  encodeKeys,
  encodeKeysReply,
  encodeLeaves,
  encodeLeavesReply,
  encodeRoots,
  encodeRootsReply,
  type KeysReply,
  type KeysRequest,
  type RootsReply,
  type RootsRequest
} from '../../../src/repair/exchange-wire.ts'
import { itTravels } from '../../support/wire-checks.ts'

const u32 = fc.nat(0xffffffff)
const partition = fc.nat(4095)
const leaves = fc.uniqueArray(fc.nat(TREE_LEAVES - 1), { maxLength: 20 })
const bytes = fc.uint8Array({ maxLength: 40 })
const cursor = fc.option(fc.record({ keyspace: bytes, key: bytes }), { nil: undefined })
const heads = fc
  .record({ hlc: fc.nat(), gone: fc.boolean(), expiresAt: fc.option(fc.nat(), { nil: undefined }) })
  .map(({ hlc, gone, expiresAt }) =>
    recordHead(
      encodeRecord({
        stamp: { hlc, actor: '0123456789abcdef' as Actor },
        value: gone ? undefined : Uint8Array.of(1, 2),
        expiresAt
      })
    )
  )

const roots: fc.Arbitrary<RootsRequest> = fc.record({
  roots: fc.array(fc.record({ partition, root: fc.record({ hi: u32, lo: u32, count: fc.nat() }), horizon: fc.nat() }), {
    maxLength: 20
  })
})
const rootsReplies: fc.Arbitrary<RootsReply> = fc.record({
  differing: fc.array(partition, { maxLength: 20 }),
  unknown: fc.array(partition, { maxLength: 20 }),
  ahead: fc.array(fc.tuple(partition, fc.nat()), { maxLength: 20 })
})
const keys: fc.Arbitrary<KeysRequest> = fc.record({ partition, leaves, after: cursor, upTo: cursor })
const keysReplies: fc.Arbitrary<KeysReply> = fc.record({
  reached: cursor,
  heads: fc.array(fc.record({ keyspace: bytes, key: bytes, head: heads }), { maxLength: 10 })
})

describe('between two replicas that compare', () => {
  itTravels('a list of roots', roots, encodeRoots, decodeRoots)
  itTravels('what roots differ', rootsReplies, encodeRootsReply, decodeRootsReply)
  itTravels('what leaves differ', leaves as fc.Arbitrary<readonly number[]>, encodeLeavesReply, decodeLeavesReply)
  itTravels('a question for what is under leaves', keys, encodeKeys, decodeKeys)
  itTravels('what is under leaves', keysReplies, encodeKeysReply, decodeKeysReply)

  it('a tree comes back as it was, and one that is cut is refused', () => {
    const tree = new HashTree()
    for (let i = 0; i < 100; i++) tree.add(i * 7, { hi: i * 1000, lo: i * 77 })
    const encoded = encodeLeaves({ partition: 9, tree })
    const decoded = decodeLeaves(encoded)
    assert.deepEqual([decoded.partition, decoded.tree.root()], [9, tree.root()])
    for (const length of [0, 1, 2, 100, encoded.length - 1]) {
      assert.throws(() => decodeLeaves(encoded.slice(0, length)), { code: 'KV_PROTOCOL' })
    }
  })

  it('a leaf that no tree has is refused', () => {
    assert.throws(() => decodeLeavesReply(encodeLeavesReply([TREE_LEAVES])), { code: 'KV_PROTOCOL' })
  })
})
