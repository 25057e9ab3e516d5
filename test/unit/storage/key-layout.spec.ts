import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { compareBytes, utf8 } from '../../../src/base/bytes.ts'
import { ALL_KEYS } from '../../../src/model/key-range.ts'
import {
  dataKey,
  decodeDataKey,
  decodeRaftLogKey,
  identityKey,
  idOfIndex,
  indexEntryKey,
  indexEntryRange,
  indexKey,
  indexRange,
  KeyKind,
  metaKey,
  metaRange,
  partitionRange,
  partitionRangeAfter,
  RAFT_INDEX_MAX,
  raftLogKey,
  raftLogRange,
  raftStateKey,
  raftStateRange
} from '../../../src/storage/key-layout.ts'
import type { StoreRange } from '../../../src/storage/store.ts'

const partition = fc.integer({ min: 0, max: 0xffff })
const keyspace = fc.uint8Array({ maxLength: 64 })
const key = fc.uint8Array({ maxLength: 80 })
const place = fc.record({ partition, keyspace, key })
const group = fc.integer({ min: 0, max: 255 })
const index = fc.integer({ min: 0, max: RAFT_INDEX_MAX })

function holds({ gte, lt }: StoreRange, bytes: Uint8Array): boolean {
  return compareBytes(gte, bytes) <= 0 && (lt === undefined || compareBytes(bytes, lt) < 0)
}

function sign(number: number): number {
  return Math.sign(number)
}

describe('the layout of keys', () => {
  it('gives back the place that a key was made of', () => {
    fc.assert(
      fc.property(place, at => {
        const decoded = decodeDataKey(dataKey(at.partition, at.keyspace, at.key))
        assert.equal(decoded.partition, at.partition)
        assert.deepEqual([...decoded.keyspace], [...at.keyspace])
        assert.deepEqual([...decoded.key], [...at.key])
      })
    )
  })

  it('orders records by partition, length of the keyspace, keyspace and key', () => {
    // Short strings over two letters, so that equal parts and prefixes are common.
    const short = fc.uint8Array({ maxLength: 3, min: 97, max: 98 })
    const near = fc.record({ partition: fc.constantFrom(0, 1, 255, 256), keyspace: short, key: short })
    fc.assert(
      fc.property(near, near, (a, b) => {
        const expected =
          a.partition - b.partition ||
          a.keyspace.length - b.keyspace.length ||
          compareBytes(a.keyspace, b.keyspace) ||
          compareBytes(a.key, b.key)
        const keys = [dataKey(a.partition, a.keyspace, a.key), dataKey(b.partition, b.keyspace, b.key)] as const
        assert.equal(sign(compareBytes(...keys)), sign(expected))
      })
    )
  })

  it('holds exactly the records of a partition in its range', () => {
    fc.assert(
      fc.property(place, partition, (at, other) => {
        const bytes = dataKey(at.partition, at.keyspace, at.key)
        assert.equal(holds(partitionRange(at.partition), bytes), true)
        assert.equal(holds(partitionRange(other), bytes), other === at.partition)
      })
    )
  })

  it('goes on strictly after a place, missing nothing', () => {
    const near = fc.record({
      keyspace: fc.uint8Array({ maxLength: 2, max: 2 }),
      key: fc.uint8Array({ maxLength: 3, max: 2 })
    })
    fc.assert(
      fc.property(near, near, (after, at) => {
        const [a, b] = [dataKey(1, after.keyspace, after.key), dataKey(1, at.keyspace, at.key)]
        assert.equal(holds(partitionRangeAfter(1, after), b), compareBytes(b, a) > 0)
        assert.equal(holds(partitionRangeAfter(1, undefined), b), true)
        assert.equal(holds(partitionRangeAfter(1, after), dataKey(2, at.keyspace, at.key)), false)
      })
    )
  })

  it('orders the entries of a log by index, up to the greatest there is', () => {
    fc.assert(
      fc.property(group, index, index, (g, a, b) => {
        assert.deepEqual(decodeRaftLogKey(raftLogKey(g, a)), { group: g, index: a })
        assert.equal(sign(compareBytes(raftLogKey(g, a), raftLogKey(g, b))), sign(a - b))
        const [from, to] = [Math.min(a, b), Math.max(a, b)]
        assert.equal(holds(raftLogRange(g, from, to), raftLogKey(g, to)), false)
        assert.equal(holds(raftLogRange(g, from, to), raftLogKey(g, from)), from < to)
        assert.equal(holds(raftLogRange(g), raftLogKey(g, a)), true)
        assert.equal(holds(raftLogRange(g), raftLogKey((g + 1) % 256, a)), false)
      })
    )
    assert.equal(holds(raftLogRange(255), raftLogKey(255, RAFT_INDEX_MAX)), true)
  })

  it('keeps the kinds apart: no range of one holds a key of another', () => {
    const samples = {
      data: dataKey(0xffff, utf8('ks'), utf8('key')),
      meta: metaKey(utf8('snapshot')),
      identity: identityKey(255),
      index: indexKey(0xfffffffe),
      entry: indexEntryKey(0xfffffffe, utf8('value'), utf8('key')),
      log: raftLogKey(255, RAFT_INDEX_MAX),
      state: raftStateKey(255, 255)
    }
    const ranges = {
      data: partitionRange(0xffff),
      meta: metaRange(),
      identity: { gte: identityKey(0), lt: Uint8Array.of(KeyKind.IDENTITY + 1) },
      index: indexRange(),
      entry: indexEntryRange(0xfffffffe, ALL_KEYS),
      log: raftLogRange(255),
      state: raftStateRange(255)
    }
    for (const [kind, range] of Object.entries(ranges)) {
      const held = Object.entries(samples).filter(([, bytes]) => holds(range, bytes))
      assert.deepEqual(
        held.map(([name]) => name),
        [kind]
      )
    }
  })

  it('refuses what is no key of a record or of a log entry', () => {
    const corrupt = { name: 'KilovoltError', code: 'KV_CORRUPT' }
    for (const bytes of [[], [0x10], [0x10, 0, 1], [0x10, 0, 1, 5, 97], [0x13, 0, 1, 0], [0x10, 0, 1, 65, 0]]) {
      const padded = bytes[3] === 65 ? Uint8Array.from([...bytes, ...new Uint8Array(80)]) : Uint8Array.from(bytes)
      assert.throws(() => decodeDataKey(padded), corrupt)
    }
    assert.throws(() => decodeRaftLogKey(Uint8Array.of(0x20, 0, 0)), corrupt)
    assert.throws(() => decodeRaftLogKey(raftStateKey(0, 0)), corrupt)
  })

  it('writes the bytes that the reference documents', () => {
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
    assert.equal(hex(dataKey(0x0102, utf8('ab'), utf8('k'))), '1001020261626b')
    assert.equal(hex(metaKey(utf8('s'))), '1373')
    assert.equal(hex(identityKey(4)), '1404')
    assert.equal(hex(indexKey(0x01020304)), '1801020304')
    assert.equal(idOfIndex(indexKey(0xfedcba98)), 0xfedcba98)
    assert.equal(hex(indexEntryKey(0x01020304, utf8('v'), utf8('k'))), '1901020304766b')
    assert.equal(hex(raftLogKey(1, 0x0203)), '2001000000000203')
    assert.equal(hex(raftStateKey(1, 2)), '210102')
  })
})
