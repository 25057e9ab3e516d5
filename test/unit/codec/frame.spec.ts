import assert from 'node:assert/strict'
import { crc32 } from 'node:zlib'
import * as fc from 'fast-check'
import { concatBytes } from '../../../src/base/bytes.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import {
  decodeFrame,
  encodeFrame,
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
  FrameEncoder,
  FrameSplitter,
  type Message,
  MESSAGE_OVERHEAD_MAX
} from '../../../src/codec/frame.ts'

const message: fc.Arbitrary<Message> = fc.record({
  type: fc.integer({ min: 0, max: 0xff }),
  id: fc.oneof(fc.nat(200), fc.maxSafeNat()),
  epoch: fc.oneof(fc.nat(200), fc.maxSafeNat()),
  body: fc.uint8Array({ maxLength: 200 })
})
const messages = fc.array(message, { maxLength: 12 })

function plain(list: readonly Message[]): unknown {
  return list.map(({ type, id, epoch, body }) => ({ type, id, epoch, body: [...body] }))
}

function isRefusal(error: unknown): boolean {
  return isKilovoltError(error, 'KV_PROTOCOL')
}

/** A frame whose length and checksum are right, whatever its payload is. */
function sealed(payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_BYTES + payload.length)
  const view = new DataView(frame.buffer)
  view.setUint32(0, payload.length)
  view.setUint32(4, crc32(payload))
  frame.set(payload, FRAME_HEADER_BYTES)
  return frame
}

/** The bytes cut where `cuts` says (parts of the length, in 1/1000). */
function cutAt(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const places = cuts.map(cut => Math.floor((cut * bytes.length) / 1000)).sort((a, b) => a - b)
  return [0, ...places].map((start, i) => bytes.subarray(start, places[i] ?? bytes.length))
}

describe('frames', () => {
  it('give back the messages they were made of', () => {
    fc.assert(fc.property(messages, list => assert.deepEqual(plain(decodeFrame(encodeFrame(list))), plain(list))))
  })

  it('are made by one encoder one after the other, and a later one leaves an earlier one as it was', () => {
    fc.assert(
      fc.property(fc.array(messages, { maxLength: 5 }), lists => {
        const encoder = new FrameEncoder()
        const frames = lists.map(list => {
          for (const { type, id, epoch, body } of list) encoder.add(type, id, epoch, body)
          const length = encoder.length
          const frame = encoder.finish()
          assert.equal(frame.length, FRAME_HEADER_BYTES + length)
          return frame
        })
        assert.deepEqual(
          frames.map(frame => plain(decodeFrame(frame))),
          lists.map(plain)
        )
      })
    )
  })

  it('count a leading byte as part of the body', () => {
    const encoder = new FrameEncoder()
    encoder.add(7, 1, 2, Uint8Array.of(5, 6), 0)
    assert.deepEqual(plain(decodeFrame(encoder.finish())), [{ type: 7, id: 1, epoch: 2, body: [0, 5, 6] }])
  })

  it('cost a message no more than the stated overhead', () => {
    const huge = Number.MAX_SAFE_INTEGER
    const body = new Uint8Array(300_000)
    const frame = encodeFrame([{ type: 255, id: huge, epoch: huge, body }])
    assert.ok(frame.length <= FRAME_HEADER_BYTES + MESSAGE_OVERHEAD_MAX + body.length)
  })

  it('are refused when cut short anywhere', () => {
    fc.assert(
      fc.property(messages, list => {
        const frame = encodeFrame(list)
        for (let length = 0; length < frame.length; length++) {
          assert.throws(() => decodeFrame(frame.subarray(0, length)), isRefusal, `cut to ${length}`)
        }
      }),
      { numRuns: 20 }
    )
  })

  it('are refused when any bit is flipped', () => {
    fc.assert(
      fc.property(messages, list => {
        const frame = encodeFrame(list)
        for (let bit = 0; bit < frame.length * 8; bit++) {
          frame[bit >> 3]! ^= 1 << (bit & 7)
          assert.throws(() => decodeFrame(frame), isRefusal, `bit ${bit}`)
          frame[bit >> 3]! ^= 1 << (bit & 7)
        }
      }),
      { numRuns: 8 }
    )
  })

  it('are refused when anything follows them', () => {
    const frame = encodeFrame([{ type: 1, id: 2, epoch: 3, body: Uint8Array.of(4) }])
    assert.throws(() => decodeFrame(concatBytes([frame, Uint8Array.of(0)])), isRefusal)
  })

  it('are read or refused when their checksum is right but their payload is chance', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), payload => {
        try {
          const list = decodeFrame(sealed(payload))
          const bodies = list.reduce((sum, { body }) => sum + body.length, 0)
          assert.ok(bodies + 4 * list.length <= payload.length, 'no more comes out than went in')
        } catch (error) {
          assert.ok(isRefusal(error), String(error))
        }
      }),
      { numRuns: 2000 }
    )
  })

  it('hand bodies out as views, so that a claimed length costs nothing', () => {
    const frame = encodeFrame([{ type: 1, id: 0, epoch: 0, body: Uint8Array.of(1, 2, 3) }])
    assert.equal(decodeFrame(frame)[0]!.body.buffer, frame.buffer)
    // A message that claims 2^49 bytes.
    const claim = Uint8Array.of(1, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01)
    assert.throws(() => decodeFrame(sealed(claim)), isRefusal)
  })
})

describe('FrameSplitter', () => {
  it('finds the same frames however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(messages, { maxLength: 6 }), fc.array(fc.nat(1000), { maxLength: 40 }), (lists, cuts) => {
        const frames = lists.map(encodeFrame)
        const splitter = new FrameSplitter()
        const found = cutAt(concatBytes(frames), cuts).flatMap(chunk => splitter.push(chunk))
        assert.equal(splitter.buffered, 0)
        assert.deepEqual(
          found.map(frame => [...frame]),
          frames.map(frame => [...frame])
        )
      }),
      { numRuns: 500 }
    )
  })

  it('finds the same frames in a stream that comes byte by byte', () => {
    const frames = [[], [{ type: 1, id: 2, epoch: 3, body: new Uint8Array(100).fill(7) }], []].map(encodeFrame)
    const splitter = new FrameSplitter()
    const found = [...concatBytes(frames)].flatMap(byte => splitter.push(Uint8Array.of(byte)))
    assert.deepEqual(
      found.map(frame => [...frame]),
      frames.map(frame => [...frame])
    )
  })

  it('tells how many bytes wait for the rest of their frame', () => {
    const frame = encodeFrame([{ type: 1, id: 2, epoch: 3, body: new Uint8Array(50) }])
    const splitter = new FrameSplitter()
    assert.deepEqual(splitter.push(frame.subarray(0, 5)), [])
    assert.equal(splitter.buffered, 5)
    assert.deepEqual(splitter.push(frame.subarray(5, 20)), [])
    assert.equal(splitter.buffered, 20)
    assert.equal(splitter.push(concatBytes([frame.subarray(20), frame.subarray(0, 3)])).length, 1)
    assert.equal(splitter.buffered, 3)
  })

  it('does not hold on to a chunk of which only the end is incomplete', () => {
    const splitter = new FrameSplitter()
    const frame = encodeFrame([{ type: 1, id: 2, epoch: 3, body: Uint8Array.of(9) }])
    const chunk = concatBytes([frame, frame.subarray(0, 10)])
    splitter.push(chunk)
    chunk.fill(0xff)
    const [second] = splitter.push(frame.subarray(10))
    assert.deepEqual([...second!], [...frame])
  })

  it('refuses a frame above the limit as soon as its header is there, whole or in parts', () => {
    const header = new Uint8Array(FRAME_HEADER_BYTES)
    new DataView(header.buffer).setUint32(0, FRAME_BYTES_MAX + 1)
    assert.throws(() => new FrameSplitter().push(header), isRefusal)
    const splitter = new FrameSplitter()
    assert.deepEqual(splitter.push(header.subarray(0, 3)), [])
    assert.throws(() => splitter.push(header.subarray(3)), isRefusal)
  })

  it('does not take memory for a length that is only claimed', () => {
    const header = new Uint8Array(FRAME_HEADER_BYTES)
    new DataView(header.buffer).setUint32(0, FRAME_BYTES_MAX)
    const before = process.memoryUsage().arrayBuffers
    const splitters = Array.from({ length: 200 }, () => new FrameSplitter())
    for (const splitter of splitters) for (const byte of header) splitter.push(Uint8Array.of(byte))
    for (const splitter of splitters) splitter.push(new Uint8Array(100))
    const grown = process.memoryUsage().arrayBuffers - before
    assert.ok(grown < 4 * 1024 * 1024, `${grown} bytes`)
    assert.ok(splitters.every(({ buffered }) => buffered === FRAME_HEADER_BYTES + 100))
  })

  it('takes a frame of 8 MiB in small chunks without copying it over and over', () => {
    const frame = encodeFrame([{ type: 1, id: 2, epoch: 3, body: new Uint8Array(8 * 1024 * 1024) }])
    const splitter = new FrameSplitter()
    let found = 0
    for (let at = 0; at < frame.length; at += 500) found += splitter.push(frame.subarray(at, at + 500)).length
    // Quadratic copying would move 70 GB here and run into mocha's deadline.
    assert.equal(found, 1)
  })

  it('cuts or refuses random bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 10 }), chunks => {
        const splitter = new FrameSplitter()
        try {
          for (const chunk of chunks) {
            for (const frame of splitter.push(chunk)) {
              try {
                decodeFrame(frame)
              } catch (error) {
                assert.ok(isRefusal(error), String(error))
              }
            }
          }
        } catch (error) {
          assert.ok(isRefusal(error), String(error))
        }
      }),
      { numRuns: 1000 }
    )
  })
})
