import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { fromUtf8, toHex, utf8 } from '../../../src/base/bytes.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { Reader } from '../../../src/codec/reader.ts'
import { Writer } from '../../../src/codec/writer.ts'

/** One value written and read back: what to write, how, and how to read it. */
interface Field {
  readonly kind: string
  readonly value: unknown
  readonly write: (writer: Writer) => void
  readonly read: (reader: Reader) => unknown
}

function field<T>(
  kind: string,
  arbitrary: fc.Arbitrary<T>,
  ways: {
    write: (writer: Writer, value: T) => void
    read: (reader: Reader) => unknown
  }
): fc.Arbitrary<Field> {
  return arbitrary.map(value => ({ kind, value, write: writer => ways.write(writer, value), read: ways.read }))
}

const bytes = fc.uint8Array({ maxLength: 300 })
const text = fc.string({ unit: 'grapheme', maxLength: 40 })
const anyField = fc.oneof(
  field('u8', fc.integer({ min: 0, max: 0xff }), { write: (w, v) => w.u8(v), read: r => r.u8() }),
  field('u16', fc.integer({ min: 0, max: 0xffff }), { write: (w, v) => w.u16(v), read: r => r.u16() }),
  field('u32', fc.integer({ min: 0, max: 0xffff_ffff }), { write: (w, v) => w.u32(v), read: r => r.u32() }),
  field('bool', fc.boolean(), { write: (w, v) => w.bool(v), read: r => r.bool() }),
  field('varint', fc.maxSafeNat(), { write: (w, v) => w.varint(v), read: r => r.varint() }),
  field('bytes', bytes, { write: (w, v) => w.bytes(v), read: r => new Uint8Array(r.bytes()) }),
  field('text', text, { write: (w, v) => w.text(v), read: r => r.text(1000) })
)

/** Reads whatever the bytes hold, as a protocol would, until they end or are refused. */
function readAll(reader: Reader): void {
  for (let i = 0; reader.remaining > 0; i = (i + 1) % 9) {
    const before = reader.offset
    if (i === 0) reader.varint()
    else if (i === 1) reader.bytes()
    else if (i === 2) reader.u16()
    else if (i === 3) reader.count(1000, 2)
    else if (i === 4) reader.text(64)
    else if (i === 5) reader.bool()
    else if (i === 6) reader.u32()
    else if (i === 7) reader.raw(3)
    else reader.bytes(10)
    assert.ok(reader.offset > before, 'each read goes on')
  }
}

describe('Writer and Reader', () => {
  it('read back what was written, in any sequence', () => {
    fc.assert(
      fc.property(fc.array(anyField, { maxLength: 30 }), fc.nat(64), (fields, sizeHint) => {
        const writer = new Writer(sizeHint)
        for (const { write } of fields) write(writer)
        const length = writer.length
        const written = writer.finish()
        assert.equal(written.length, length)
        const reader = new Reader(written)
        for (const { kind, value, read } of fields) assert.deepEqual(read(reader), value, kind)
        assert.equal(reader.remaining, 0)
      })
    )
  })

  it('write a number in as few bytes as it needs, at the limits of each length', () => {
    for (let length = 1; length <= 7; length++) {
      const first = length === 1 ? 0 : 2 ** (7 * (length - 1))
      for (const value of [first, 2 ** (7 * length) - 1]) {
        const written = new Writer().varint(value).finish()
        assert.equal(written.length, length, String(value))
        assert.equal(new Reader(written).varint(), value)
      }
    }
    assert.equal(new Writer().varint(Number.MAX_SAFE_INTEGER).finish().length, 8)
  })

  it('refuse to write what is no whole number of 53 bits', () => {
    for (const value of [-1, 0.5, Number.NaN, Infinity, 2 ** 53]) {
      assert.throws(
        () => new Writer().varint(value),
        error => isKilovoltError(error, 'KV_INTERNAL'),
        String(value)
      )
    }
  })

  it('start afresh after the bytes were taken', () => {
    const writer = new Writer().u8(1)
    const first = writer.finish()
    writer.u8(2).u8(3)
    assert.equal(toHex(first), '01')
    assert.equal(toHex(writer.finish()), '0203')
  })
})

describe('Reader', () => {
  const refused = (read: () => unknown): void => assert.throws(read, error => isKilovoltError(error, 'KV_PROTOCOL'))
  const of = (...list: number[]): Reader => new Reader(Uint8Array.from(list))

  it('refuses every read beyond the end', () => {
    const reads: ((reader: Reader) => unknown)[] = [
      r => r.u8(),
      r => r.u16(),
      r => r.u32(),
      r => r.bool(),
      r => r.varint(),
      r => r.bytes(),
      r => r.text(10),
      r => r.raw(1)
    ]
    for (const read of reads) refused(() => read(of()))
    refused(() => of(1).u16())
    refused(() => of(1, 2, 3).u32())
    refused(() => of(0x80).varint())
    refused(() => of(3, 1, 2).bytes())
  })

  it('refuses numbers beyond 2^53 − 1 and numbers in more bytes than they need', () => {
    refused(() => of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x10).varint())
    refused(() => of(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01).varint())
    refused(() => of(0x80, 0x00).varint())
    assert.equal(of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f).varint(), Number.MAX_SAFE_INTEGER)
  })

  it('refuses a truth value other than 0 and 1', () => refused(() => of(2).bool()))

  it('refuses a claimed length above the limit or the input before it allocates anything', () => {
    refused(() => of(5, 0, 0, 0, 0, 0).bytes(4))
    refused(() => new Reader(new Writer().varint(Number.MAX_SAFE_INTEGER).finish()).bytes())
    refused(() => new Reader(new Writer().varint(Number.MAX_SAFE_INTEGER).finish()).count(Number.MAX_SAFE_INTEGER))
    refused(() => of(3, 0, 0, 0, 0).count(10, 2))
    refused(() => of(3, 0, 0, 0).count(2))
    assert.equal(of(2, 0, 0, 0, 0).count(10, 2), 2)
  })

  it('hands bytes out as views into its input', () => {
    const input = Uint8Array.from([9, 2, 7, 8])
    const view = new Reader(input, 1).bytes()
    assert.equal(view.buffer, input.buffer)
    assert.deepEqual([...view], [7, 8])
  })

  it('turns malformed UTF-8 into replacement characters rather than failing', () => {
    assert.equal(new Reader(new Writer().bytes(Uint8Array.of(0x61, 0xff)).finish()).text(10), 'a\ufffd')
    assert.equal(fromUtf8(utf8('ä')), 'ä')
  })

  it('reads or refuses random bytes, and always comes to an end', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), input => {
        try {
          readAll(new Reader(input))
        } catch (error) {
          assert.ok(isKilovoltError(error, 'KV_PROTOCOL'), String(error))
        }
      }),
      { numRuns: 2000 }
    )
  })
})
