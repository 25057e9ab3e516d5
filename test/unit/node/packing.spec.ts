import assert from 'node:assert/strict'
import { randomFillSync } from 'node:crypto'
import fc from 'fast-check'
import { VALUE_BYTES_MAX } from '../../../src/model/key.ts'
import { CHUNK_BYTES } from '../../../src/model/packed.ts'
import { packAbove, Packing } from '../../../src/node/packing.ts'
import { systemClock } from '../../../src/runtime/system-clock.ts'
import { loadZstd } from '../../../src/runtime/zstd.ts'

function text(bytes: number): Uint8Array {
  return Buffer.alloc(bytes, '{"name":"Ada","roles":["admin","user"],"active":true},')
}

describe('packing', () => {
  let packing: Packing
  beforeEach(async () => {
    packing = new Packing(systemClock, loadZstd)
    await packing.pack(text(100))
  })

  it('gives back every value, and none that it has made larger', async () => {
    const value = fc.oneof(
      fc.uint8Array({ maxLength: 3000 }),
      fc.nat(5000).map(text),
      fc.nat(500_000).map(text),
      fc.nat(500_000).map(bytes => randomFillSync(new Uint8Array(bytes)))
    )
    await fc.assert(
      fc.asyncProperty(value, async given => {
        const { value: body, packed } = await packing.pack(given)
        if (packed) {
          assert.ok(body.length <= (given.length * 7) / 8)
          assert.deepEqual(new Uint8Array(await packing.unpack(body)), new Uint8Array(given))
        } else assert.deepEqual(new Uint8Array(body), new Uint8Array(given))
      }),
      { numRuns: 60 }
    )
  })

  it('does so at once for all that is one frame', () => {
    const body = packing.pack(text(CHUNK_BYTES))
    assert.ok(!(body instanceof Promise) && body.packed)
    assert.ok(!(packing.unpack(body.value) instanceof Promise))
  })

  it('lets others work between the frames of what is more', async () => {
    let turns = 0
    const counting = new Packing(
      {
        soon: fn => {
          turns++
          systemClock.soon(fn)
        }
      },
      loadZstd
    )
    const largest = text(VALUE_BYTES_MAX)
    const { value, packed } = await counting.pack(largest)
    assert.equal(packed, true)
    assert.equal(turns, VALUE_BYTES_MAX / CHUNK_BYTES - 1)
    assert.deepEqual(await counting.unpack(value), new Uint8Array(largest))
    assert.equal(turns, 2 * (VALUE_BYTES_MAX / CHUNK_BYTES - 1))
  })

  it('gives up on what does not compress after a frame of it', async () => {
    const noise = randomFillSync(new Uint8Array(10 * CHUNK_BYTES))
    let frames = 0
    const counting = new Packing(systemClock, async () => {
      const zstd = await loadZstd()
      return {
        ...zstd,
        compress: bytes => {
          frames++
          return zstd.compress(bytes)
        }
      }
    })
    assert.deepEqual(await counting.pack(noise), { value: noise, packed: false })
    assert.equal(frames, 1)
  })

  it('has a copy of a value that it has to wait for', async () => {
    const value = text(3 * CHUNK_BYTES)
    const expected = new Uint8Array(value)
    const body = packing.pack(value)
    value.fill(0)
    assert.deepEqual(await packing.unpack((await body).value), expected)
  })

  it('loads zstd when it is first needed, and tries again when that fails', async () => {
    let loads = 0
    const late = new Packing(systemClock, async () => {
      if (loads++ === 0) throw new Error('no such file')
      return loadZstd()
    })
    assert.equal(loads, 0)
    await assert.rejects(async () => late.pack(text(600)), { code: 'KV_ENCODING', message: /no such file/u })
    const { value } = await late.pack(text(600))
    assert.deepEqual(Buffer.from(await late.unpack(value)), text(600))
    assert.equal(loads, 2)
    const reader = new Packing(systemClock, loadZstd)
    assert.deepEqual(Buffer.from(await reader.unpack(value)), text(600))
  })

  it('refuses what was changed since, as far as that can be told', async () => {
    const { value } = await packing.pack(text(2000))
    let refused = 0
    for (let at = 0; at < value.length; at++) {
      const wrong = value.slice()
      wrong[at]! ^= 0x40
      try {
        assert.equal((await packing.unpack(wrong)).length, 2000)
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'KV_CORRUPT', String(error))
        refused++
      }
    }
    assert.ok(refused > 10)
    await assert.rejects(async () => packing.unpack(value.subarray(0, value.length - 1)), { code: 'KV_CORRUPT' })
  })
})

describe('options of compression', () => {
  it('say which values are packed', () => {
    assert.equal(packAbove({}), Infinity)
    assert.equal(packAbove({ compression: false }), Infinity)
    assert.equal(packAbove({ compression: 'zstd' }), 512)
    assert.equal(packAbove({ compression: 'zstd', compressAbove: 0 }), 0)
  })

  it('are refused when they make no sense', () => {
    for (const wrong of [
      { compression: 'gzip' },
      { compression: true },
      { compression: 'zstd', compressAbove: -1 },
      { compression: 'zstd', compressAbove: 1.5 },
      { compressAbove: 100 },
      { compression: false, compressAbove: 100 }
    ]) {
      assert.throws(() => packAbove(wrong as object), { code: 'KV_CONFIG' }, JSON.stringify(wrong))
    }
  })
})
