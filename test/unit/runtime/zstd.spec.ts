import assert from 'node:assert/strict'
import * as zlib from 'node:zlib'
import fc from 'fast-check'
import type { Zstd } from '../../../src/model/packed.ts'
import { loadZstd } from '../../../src/runtime/zstd.ts'

/** Bytes that compress: a few words over and over. */
const wordy = fc
  .tuple(fc.array(fc.uint8Array({ minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 8 }), fc.nat(130_000))
  .map(([words, bytes]) => {
    const whole = Buffer.alloc(bytes)
    for (let at = 0, i = 0; at < bytes; i++) at += Buffer.from(words[(i * 7) % words.length]!).copy(whole, at) || 1
    return new Uint8Array(whole)
  })

interface Native {
  readonly zstdCompressSync?: (bytes: Uint8Array) => Buffer
  readonly zstdDecompressSync?: (bytes: Uint8Array) => Buffer
}

describe('zstd', () => {
  let zstd: Zstd
  before(async () => {
    zstd = await loadZstd()
  })

  it('gives back what it was given, of any size up to a chunk', () => {
    fc.assert(
      fc.property(fc.oneof(wordy, fc.uint8Array({ maxLength: 2000 })), bytes => {
        assert.deepEqual(zstd.decompress(zstd.compress(bytes), bytes.length), bytes)
      }),
      { numRuns: 60 }
    )
  })

  it('shares no memory with what it is given, nor one result with the next', () => {
    const first = zstd.compress(new Uint8Array(500).fill(1))
    const copy = first.slice()
    const made = zstd.decompress(first, 500)
    zstd.compress(new Uint8Array(800).fill(2))
    zstd.decompress(zstd.compress(new Uint8Array(500).fill(3)), 500)
    assert.deepEqual(first, copy)
    assert.deepEqual(made, new Uint8Array(500).fill(1))
  })

  it('reads what Node’s own zstd writes, and is read by it', function () {
    const { zstdCompressSync, zstdDecompressSync } = zlib as Native
    if (zstdCompressSync === undefined || zstdDecompressSync === undefined) return this.skip()
    for (const bytes of [10, 1000, 16_000, 17_000, 131_072].map(length => new Uint8Array(length).fill(7))) {
      assert.deepEqual(zstd.decompress(zstdCompressSync(bytes), bytes.length), bytes)
      assert.deepEqual(new Uint8Array(zstdDecompressSync(zstd.compress(bytes))), bytes)
    }
  })

  it('goes on after frames that it refuses', () => {
    const bytes = new Uint8Array(300).fill(5)
    const frame = zstd.compress(bytes)
    for (let i = 0; i < 200; i++) {
      const wrong = frame.slice(0, i % 2 === 0 ? frame.length - 1 : undefined)
      wrong[i % wrong.length]! ^= 0x55
      try {
        // Frames that claim more than is asked for never come here: see `framesOf`.
        if (i % wrong.length > 6) zstd.decompress(wrong, 300)
      } catch {
        // What matters is what comes after it.
      }
    }
    assert.deepEqual(zstd.decompress(frame, 300), bytes)
  })
})
