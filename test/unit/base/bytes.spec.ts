import assert from 'node:assert/strict'
import { copyPart, fromUtf8, ownBytes, partOf, pooledBytes, pooledCopy, utf8 } from '../../../src/base/bytes.ts'

describe('bytes', () => {
  it('that are handed out cannot be transferred with what lies beside them', () => {
    const [one, other] = [pooledCopy(new Uint8Array(100).fill(1)), pooledCopy(new Uint8Array(100).fill(2))]
    assert.equal(one.buffer, other.buffer)
    try {
      structuredClone(one, { transfer: [one.buffer as ArrayBuffer] })
    } catch (error) {
      // Node 20 copies what cannot be transferred, later ones refuse it.
      assert.equal((error as Error).name, 'DataCloneError')
    }
    assert.deepEqual([one[0], other[0], other.length, pooledBytes(100).length], [1, 2, 100, 100])
  })

  it('that are handed out overlap nothing, whatever their length', () => {
    const all = [65, 100, 4096, 4097, 1, 0, 3000, 3000, 3000].map((length, i) => pooledBytes(length).fill(i + 1))
    for (const [i, bytes] of all.entries()) assert.ok(bytes.every(byte => byte === i + 1))
  })

  it('have parts, which leave a short array as it is', () => {
    for (const length of [10, 64, 65, 1000]) {
      for (const bytes of [new Uint8Array(length), Buffer.alloc(length)]) {
        bytes[3] = 7
        assert.deepEqual([...partOf(bytes, 3, 5)], [7, 0])
        assert.equal(partOf(bytes, 3).length, length - 3)
        const copy = copyPart(bytes, 3, 5)
        bytes[3] = 8
        assert.deepEqual([...copy], [7, 0])
      }
    }
  })

  it('of somebody who keeps them keep nothing else', () => {
    const frame = new Uint8Array(1000).fill(5)
    assert.equal(ownBytes(frame), frame)
    for (const length of [10, 64, 65, 500])
      assert.equal(ownBytes(frame.subarray(1, 1 + length)).buffer.byteLength, length)
  })

  it('are text of any length', () => {
    for (const length of [0, 1, 31, 63, 64, 65, 200]) {
      const text = 'ä'.repeat(Math.floor(length / 2)) + 'a'.repeat(length % 2)
      assert.equal(utf8(text).length, length)
      assert.equal(fromUtf8(utf8(text)), text)
    }
    assert.equal(fromUtf8(Uint8Array.of(0x61, 0xc3)), 'a\ufffd')
  })
})
