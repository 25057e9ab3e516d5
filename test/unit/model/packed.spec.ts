import assert from 'node:assert/strict'
import fc from 'fast-check'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { VALUE_BYTES_MAX } from '../../../src/model/key.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import { CHUNK_BYTES, chunksOf, framesOf, joinFrames, type Zstd } from '../../../src/model/packed.ts'
import { assertRecord, encodeRecord, isPacked, recordHead, recordValue } from '../../../src/model/record.ts'
import { loadZstd } from '../../../src/runtime/zstd.ts'

const stamp = { hlc: 5, actor: '0011223344556677' as Actor }
const record = (value: Uint8Array) => encodeRecord({ stamp, value, packed: true })

function content(bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (i % 251) ^ (i >> 12))
}

describe('packed values', () => {
  let zstd: Zstd
  before(async () => {
    zstd = await loadZstd()
  })

  const pack = (value: Uint8Array): Uint8Array =>
    joinFrames(
      value.length,
      chunksOf(value).map(chunk => zstd.compress(chunk))
    )

  it('have a frame for each chunk, and say what comes out of it', () => {
    for (const bytes of [1, 255, 256, 257, 65_791, 65_792, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 400_000]) {
      const value = content(bytes)
      const frames = framesOf(pack(value))
      assert.equal(frames.length, Math.ceil(bytes / CHUNK_BYTES))
      const whole = frames.flatMap(({ frame, bytes: length }) => [...zstd.decompress(frame, length)])
      assert.deepEqual(Uint8Array.from(whole), value)
    }
  })

  it('are refused when a byte of their head is another, or they are cut off', () => {
    for (const bytes of [700, CHUNK_BYTES + 700]) {
      const packed = pack(content(bytes))
      for (let at = 0; at < 9; at++) {
        const wrong = packed.slice()
        wrong[at]! ^= 0x21
        assert.throws(() => framesOf(wrong), { code: 'KV_CORRUPT' }, `byte ${at}`)
      }
      for (const length of [3, 4, 8]) {
        assert.throws(() => framesOf(packed.subarray(0, length)), { code: 'KV_CORRUPT' }, `${length} bytes`)
      }
    }
  })

  it('are refused as bombs before anything is made of them', () => {
    // A frame of some bytes that says nothing, or something else, about the 64 MiB that come out of it.
    const blocks = Array.from({ length: 512 }, (_, i) => [i === 511 ? 0x03 : 0x02, 0x00, 0x10, 0x00]).flat()
    const silent = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, ...blocks)
    const loud = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 4, ...blocks)
    const far = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0, ...blocks)
    for (const frame of [silent, loud, far]) {
      assert.throws(() => framesOf(joinFrames(10_000, [frame])), { code: 'KV_CORRUPT', message: /do not come out/u })
    }
    // One that lies about it, with its first block filling all it claims.
    const liar = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x10, 0x26, ...blocks)
    const [frame] = framesOf(joinFrames(10_000, [liar]))
    assert.throws(() => zstd.decompress(frame!.frame, frame!.bytes))
  })

  it('are whole frames of a value, or refused, whatever the bytes', () => {
    const random = fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 80 }), fc.boolean(), fc.nat(0x1ff))
    fc.assert(
      fc.property(random, ([bytes, hasMagic, length]) => {
        const magic = hasMagic ? [0x28, 0xb5, 0x2f, 0xfd] : []
        const packed = Uint8Array.of(0, length >> 8, length & 0xff, ...magic, ...bytes)
        try {
          const frames = framesOf(packed)
          assert.equal(
            frames.reduce((sum, { bytes: part }) => sum + part, 0),
            length
          )
        } catch (error) {
          assert.ok(isKilovoltError(error, 'KV_CORRUPT'), String(error))
        }
      }),
      { numRuns: 2000 }
    )
  })
})

describe('records of packed values', () => {
  it('are told from others, and hold them as they are', () => {
    const packed = Uint8Array.of(0, 1, 0, 9, 9)
    const bytes = record(packed)
    assertRecord(bytes)
    assert.equal(isPacked(bytes), true)
    assert.deepEqual(recordValue(bytes), packed)
    assert.equal(recordHead(bytes).length, 16)
    assert.equal(isPacked(encodeRecord({ stamp, value: packed })), false)
    assert.equal(isPacked(encodeRecord({ stamp, value: undefined, packed: true })), false)
  })

  it('are refused when more would come out than a value may have, or no more than went in', () => {
    const limit = VALUE_BYTES_MAX
    const head = (length: number, rest: number): Uint8Array =>
      Uint8Array.from([length >> 16, (length >> 8) & 255, length & 255, ...Array<number>(rest).fill(0)])
    assertRecord(record(head(limit, 1)))
    for (const [value, why] of [
      [head(limit + 1, 1), /limit/u],
      [head(0xffffff, 1), /limit/u],
      [head(4, 1), /no smaller/u],
      [head(0, 5), /no smaller/u],
      [head(8, 5), /no smaller/u],
      [head(9, 0), /cut off/u],
      [new Uint8Array(2), /cut off/u],
      [new Uint8Array(), /cut off/u]
    ] as const) {
      assert.throws(() => assertRecord(record(value)), { code: 'KV_CORRUPT', message: why })
    }
    assertRecord(record(head(9, 5)))
    const tombstone = encodeRecord({ stamp, value: undefined })
    tombstone[0]! |= 0x10
    assert.throws(() => assertRecord(tombstone), { code: 'KV_CORRUPT', message: /tombstone/u })
  })
})
