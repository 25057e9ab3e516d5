import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { UNPACKED_BYTES_MAX, UnpackedValues } from '../../../src/node/unpacked-values.ts'

/** Packed to 20 bytes that look like chance, as what zstd makes does. */
function packedAs(i: number): Uint8Array {
  return createHash('sha1').update(String(i)).digest()
}

/** With values of so many bytes, and a list of what was unpacked. */
function setUp(bytes: number): { readonly values: UnpackedValues; readonly unpacked: string[] } {
  const unpacked: string[] = []
  const values = new UnpackedValues(packed => {
    unpacked.push(Buffer.from(packed).toString('hex'))
    return new Uint8Array(bytes).fill(packed[0]!)
  })
  return { values, unpacked }
}

describe('unpacked values', () => {
  it('are kept from the second time on, whatever becomes of the bytes that they were packed to', () => {
    const { values, unpacked } = setUp(100)
    const seen: number[] = []
    for (let time = 0; time < 4; time++) {
      const packed = packedAs(7)
      assert.deepEqual(values.of(packed), new Uint8Array(100).fill(packedAs(7)[0]!))
      packed.fill(0, 0, 16)
      seen.push(unpacked.length)
    }
    assert.deepEqual(seen, [1, 2, 2, 2])
  })

  it('are not taken for each other where the last bytes are the same', () => {
    const { values } = setUp(100)
    for (let time = 0; time < 4; time++) {
      for (const first of [1, 2, 3]) {
        const packed = packedAs(7)
        packed[0] = first
        assert.equal(values.of(packed)[0], first)
      }
    }
  })

  it('are of what they were packed to, and of nothing else', () => {
    const { values, unpacked } = setUp(100)
    for (let time = 0; time < 3; time++) {
      for (let i = 0; i < 500; i++) assert.equal(values.of(packedAs(i))[0], packedAs(i)[0])
    }
    const again = new Set(unpacked)
    assert.equal(again.size, 500)
    assert.ok(
      unpacked.length < 1100,
      `${unpacked.length} times: two that share a slot are seen for the first time again`
    )
  })

  it('take no more than they may, and those that were used last stay', () => {
    const bytes = 8000
    const { values, unpacked } = setUp(bytes)
    const count = Math.ceil((UNPACKED_BYTES_MAX / bytes) * 1.2)
    for (let i = 0; i < count; i++) {
      values.of(packedAs(i))
      values.of(packedAs(i))
      values.of(packedAs(0))
    }
    assert.ok(values.bytes <= UNPACKED_BYTES_MAX && values.bytes > UNPACKED_BYTES_MAX / 2)
    const before = unpacked.length
    values.of(packedAs(0))
    assert.equal(unpacked.length, before)
  })

  it('are not kept when they are seen but once, or are too large', () => {
    const once = setUp(1000)
    for (let i = 0; i < 5000; i++) once.values.of(packedAs(i))
    assert.equal(once.values.bytes, 0)
    const large = setUp(UNPACKED_BYTES_MAX / 8)
    for (let time = 0; time < 3; time++) large.values.of(packedAs(1))
    assert.deepEqual([large.values.bytes, large.unpacked.length], [0, 3])
  })
})
