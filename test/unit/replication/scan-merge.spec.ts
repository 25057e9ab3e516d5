import assert from 'node:assert/strict'
import fc from 'fast-check'
import { compareBytes, toHex, utf8 } from '../../../src/base/bytes.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import { encodeRecord, type RecordBytes, recordHead, recordValue } from '../../../src/model/record.ts'
import { joinRecords } from '../../../src/model/sibling-set.ts'
import { minted } from '../../support/siblings.ts'
import { type MergeOptions, ScanMerge, type ScanStream } from '../../../src/replication/scan-merge.ts'
import { packed, type ScanRow } from '../../support/scan-pages.ts'
import { record, tombstone } from './bench.ts'

const NOW_MS = 1000
const ALIKE = {
  isReverse: false,
  wantsValues: true,
  nowMs: NOW_MS,
  partitionOf: (key: Uint8Array) => key[0]!,
  copiesOfAll: undefined,
  waitForAll: true
}

function row(key: string, found: RecordBytes, isHead = false): ScanRow {
  return { key: utf8(key), record: isHead ? recordHead(found) : found, isHead }
}

function stream(last: string | undefined, ...rows: ScanRow[]): ScanStream {
  return streamOf(last === undefined ? undefined : utf8(last), rows)
}

function streamOf(last: Uint8Array | undefined, rows: readonly ScanRow[]): ScanStream {
  return { rows: packed(rows), last, void: new Set() }
}

/** What a merge returns: keys with their values, `?` for one in dispute. */
function merged(streams: readonly ScanStream[], options: Partial<MergeOptions> = {}): string[] {
  const merge = new ScanMerge(streams, { ...ALIKE, copies: () => 2, ...options })
  while (merge.step(2));
  const { rows, disputed } = merge
  return Array.from({ length: rows.length }, (_, at) => {
    const value = disputed.includes(at) ? '?' : Buffer.from(recordValue(rows.recordAt(at))!).toString()
    return `${Buffer.from(rows.keyAt(at)).toString()}=${value}`
  })
}

describe('a merge of what several nodes have sent', () => {
  it('returns what all who were asked hold alike, once and in order', () => {
    const one = stream(undefined, row('a', record(1)), row('c', record(3)))
    const other = stream(undefined, row('a', record(1)), row('c', record(3)))
    assert.deepEqual(merged([one, other]), ['a=v1', 'c=v3'])
    const up = [stream(undefined, row('c', record(3)), row('a', record(1)))]
    assert.deepEqual(merged(up, { isReverse: true, copies: () => 1 }), ['c=v3', 'a=v1'])
  })

  it('leaves siblings to a read where the copies have not the same of them, though the latest is', () => {
    const b = minted(undefined, 7, 'b', { actor: 2 })
    const both = joinRecords(b, minted(undefined, 5, 'a'))
    const keys = (...streams: ScanStream[]): string[] => merged(streams).map(text => text.slice(0, 3))
    assert.deepEqual(keys(stream(undefined, row('a', b)), stream(undefined, row('a', both))), ['a=?'])
    assert.deepEqual(keys(stream(undefined, row('a', both, true)), stream(undefined, row('a', b))), ['a=?'])
    assert.notDeepEqual(keys(stream(undefined, row('a', both)), stream(undefined, row('a', both, true))), ['a=?'])
  })

  it('takes the value from whoever has sent it', () => {
    const heads = stream(undefined, row('a', record(1), true))
    assert.deepEqual(merged([heads, stream(undefined, row('a', record(1)))]), ['a=v1'])
    assert.deepEqual(merged([stream(undefined, row('a', record(1))), heads]), ['a=v1'])
    assert.deepEqual(merged([heads, heads]), ['a=?'], 'a value that nobody has sent is read by itself')
    assert.deepEqual(merged([heads, heads], { wantsValues: false }), ['a='])
  })

  it('waits with a key until every stream that goes on has passed it', () => {
    const far = stream('d', row('a', record(1)), row('b', record(2)), row('d', record(4)))
    const near = stream('b', row('a', record(1)), row('b', record(2)))
    const done = stream(undefined)
    assert.deepEqual(merged([far, near, done]), ['a=v1', 'b=v2'])
    assert.deepEqual(merged([far, near], { waitForAll: false }), ['a=v1', 'b=v2', 'd=?'])
    const down = [stream('b', row('d', record(4)), row('b', record(2))), stream('c', row('d', record(4)))]
    assert.deepEqual(merged(down, { isReverse: true }), ['d=v4'])
  })

  it('reads by itself what not all hold alike, if any of them holds a value', () => {
    const older = stream(undefined, row('a', record(1)))
    assert.deepEqual(merged([older, stream(undefined, row('a', record(2)))]), ['a=?'])
    assert.deepEqual(merged([older, stream(undefined)]), ['a=?'])
    assert.deepEqual(merged([older, stream(undefined, row('a', tombstone(2)))]), ['a=?'])
    assert.deepEqual(merged([stream(undefined), stream(undefined, row('a', tombstone(2)))]), [])
  })

  it('says who has what some hold nothing of, and all others alike', () => {
    const full = stream(undefined, row('a', record(1)), row('b', record(2)), row('c', record(3)), row('d', record(4)))
    const heads = stream(undefined, row('a', record(1), true), row('c', record(9)), row('d', record(4)))
    const gone = stream(undefined, row('a', record(1)), row('b', record(2)), row('d', tombstone(4)))
    gone.void.add('b'.charCodeAt(0))
    const merge = new ScanMerge([stream(undefined), full, heads, gone], { ...ALIKE, copies: () => 4 })
    while (merge.step(1));
    assert.deepEqual(merge.disputed, [0, 1, 2, 3])
    assert.deepEqual(merge.incomplete, [0, 1], 'not where copies differ')
    assert.deepEqual(merge.holders, [0b1110, 0b0010])
    const onlyHeads = new ScanMerge([heads, stream(undefined)], { ...ALIKE, copies: () => 2 })
    while (onlyHeads.step(1));
    assert.deepEqual(onlyHeads.incomplete, [1, 2], 'nor where nobody has sent the value')
  })

  it('reads by itself what is damaged somewhere, whatever the others say', () => {
    const damaged = stream(undefined, { key: utf8('a'), record: undefined, isHead: true })
    assert.deepEqual(merged([damaged]), ['a=?'])
    for (const other of [stream(undefined, row('a', record(1))), stream(undefined), damaged]) {
      assert.deepEqual(merged([damaged, other]), ['a=?'])
      assert.deepEqual(merged([other, damaged]), ['a=?'])
    }
  })

  it('does not return what is deleted or has expired', () => {
    const stamp = { hlc: 1, actor: '00000000000000aa' as Actor }
    const expiring = (expiresAt: number): RecordBytes => encodeRecord({ stamp, value: utf8('v'), expiresAt })
    const rows = [row('a', tombstone(1)), row('b', expiring(NOW_MS)), row('c', expiring(NOW_MS + 1))]
    assert.deepEqual(merged([stream(undefined, ...rows), stream(undefined, ...rows)]), ['c=v'])
  })

  it('leaves out rows of partitions whose owners have changed since', () => {
    const old = stream(undefined, row('a', record(9)), row('b', record(2)))
    old.void.add('a'.charCodeAt(0))
    const now = stream(undefined, row('a', record(1)), row('b', record(2)))
    assert.deepEqual(merged([old, now, now]), ['a=v1', 'b=v2'])
  })

  it('never misses a key that all hold, wherever the streams end', () => {
    const keys = fc.uniqueArray(fc.nat(60), { maxLength: 40 })
    fc.assert(
      fc.property(
        keys,
        fc.array(fc.nat(40), { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        (names, ends, isReverse) => {
          const order = names.map(name => Uint8Array.of(name)).sort((a, b) => compareBytes(a, b) * (isReverse ? -1 : 1))
          const rows = order.map(key => ({ key, record: record(1), isHead: false }))
          const streams = ends.map(end =>
            end >= rows.length || end === 0
              ? streamOf(undefined, rows)
              : streamOf(rows[end - 1]!.key, rows.slice(0, end))
          )
          const merge = new ScanMerge(streams, {
            isReverse,
            wantsValues: true,
            nowMs: NOW_MS,
            partitionOf: () => 0,
            copies: () => streams.length,
            copiesOfAll: streams.length,
            waitForAll: true
          })
          assert.equal(merge.step(Infinity), false)
          const returned = Array.from({ length: merge.rows.length }, (_, at) => merge.rows.keyAt(at))
          const { passed } = merge
          const expected = order.filter(
            key => passed === undefined || compareBytes(key, passed) * (isReverse ? -1 : 1) <= 0
          )
          assert.deepEqual(returned.map(toHex), expected.map(toHex))
        }
      )
    )
  })
})
