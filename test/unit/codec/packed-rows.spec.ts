import assert from 'node:assert/strict'
import fc from 'fast-check'
import { compareBytes } from '../../../src/base/bytes.ts'
import { encodeRecord, recordHead, recordHlc } from '../../../src/model/record.ts'
import { PackedRows } from '../../../src/codec/packed-rows.ts'
import { anyBytes, anyRecord } from '../replication/arbitraries.ts'

const row = fc.record({ key: anyBytes(200), record: fc.option(anyRecord, { nil: undefined }), isHead: fc.boolean() })

describe('rows that are gathered in one array', () => {
  it('are what was given, and have the order that their keys have', () => {
    fc.assert(
      fc.property(fc.array(row, { maxLength: 30 }), rows => {
        const packed = PackedRows.gather()
        for (const { key, record, isHead } of rows) packed.append(Uint8Array.of(1, 2, 3, ...key), 3, record, isHead)
        assert.equal(packed.length, rows.length)
        for (const [i, { key, record, isHead }] of rows.entries()) {
          const kept = record && isHead ? recordHead(record) : record
          assert.deepEqual(Uint8Array.from(packed.keyAt(i)), key)
          assert.deepEqual(packed.recordAt(i) && Uint8Array.from(packed.recordAt(i)!), kept && Uint8Array.from(kept))
          assert.equal(packed.isDamaged(i), record === undefined)
          assert.equal(packed.isHead(i), isHead || record === undefined)
          assert.equal(packed.bytesOf(i), key.length + (kept?.length ?? 0))
          if (record !== undefined) assert.equal(packed.hlcAt(i), recordHlc(record))
          const other = (i * 7) % rows.length
          assert.equal(Math.sign(packed.compareKeys(i, packed, other)), Math.sign(compareBytes(key, rows[other]!.key)))
        }
      })
    )
  })

  it('can be picked in another order, and forgotten from one on', () => {
    const packed = PackedRows.gather()
    const record = encodeRecord({ stamp: { hlc: 1, actor: '00112233445566ff' as never }, value: new Uint8Array(5000) })
    for (let i = 0; i < 600; i++) packed.append(Buffer.from(`k${i}`), 1, record, i % 2 === 0)
    const names = (rows: PackedRows): string[] =>
      Array.from({ length: rows.length }, (_, i) => Buffer.from(rows.keyAt(i)).toString())
    assert.deepEqual(names(packed.select([599, 0, 7])), ['599', '0', '7'])
    const { size } = packed
    packed.append(Buffer.from('kx'), 1, record, false)
    packed.truncate(600)
    assert.deepEqual([packed.length, packed.size], [600, size])
    packed.truncate(0)
    packed.append(Buffer.from('ky'), 1, undefined, false)
    assert.deepEqual(names(packed), ['y'])
    assert.equal(packed.recordAt(0), undefined)
  })
})
