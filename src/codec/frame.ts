import { crc32 } from 'node:zlib'
import { KilovoltError } from '../base/errors.ts'
import { Reader } from './reader.ts'
import { Writer } from './writer.ts'

/**
 * What one tick of the event loop has to say to one peer travels as one frame:
 *
 *     u32 length of what follows the checksum · u32 CRC-32 of it · messages …
 *
 * and a message is
 *
 *     u8 type · varint id · varint epoch · varint length of the body · body
 *
 * Numbers are big-endian. Messages of an unknown type are skipped by their length, so that neighbouring versions can
 * talk. The links are authenticated; the checksum is against our own faults and those of the machines.
 */
export interface Message {
  readonly type: number
  /** Number of the request on its link, which its reply repeats; 0 for a message that wants no reply. */
  readonly id: number
  /** The sender's epoch. */
  readonly epoch: number
  readonly body: Uint8Array
}

/** Longest frame, header not counted (16 MiB). */
export const FRAME_BYTES_MAX: number = 16 * 1024 * 1024
/** Length of the header of a frame. */
export const FRAME_HEADER_BYTES: number = 8
/** The most a message costs beyond its body. */
export const MESSAGE_OVERHEAD_MAX: number = 1 + 8 + 8 + 8

/** One frame of the given messages. */
export function encodeFrame(messages: readonly Message[]): Uint8Array {
  let size = FRAME_HEADER_BYTES
  for (const { body } of messages) size += body.length + MESSAGE_OVERHEAD_MAX
  const writer = new Writer(size).u32(0).u32(0)
  for (const { type, id, epoch, body } of messages) writer.u8(type).varint(id).varint(epoch).bytes(body)
  const frame = writer.finish()
  const header = new DataView(frame.buffer, frame.byteOffset)
  header.setUint32(0, frame.length - FRAME_HEADER_BYTES)
  header.setUint32(4, crc32(frame.subarray(FRAME_HEADER_BYTES)))
  return frame
}

/**
 * The messages of one whole frame; their bodies are views into it.
 *
 * @throws KilovoltError `KV_PROTOCOL` when the length or the checksum is wrong or a message is malformed
 */
export function decodeFrame(frame: Uint8Array): Message[] {
  const reader = new Reader(frame)
  const length = reader.u32()
  const checksum = reader.u32()
  if (length !== reader.remaining) {
    throw new KilovoltError('KV_PROTOCOL', `a frame of ${length} bytes came as ${reader.remaining}`)
  }
  if (crc32(frame.subarray(FRAME_HEADER_BYTES)) !== checksum) {
    throw new KilovoltError('KV_PROTOCOL', 'a frame failed its checksum')
  }
  const messages: Message[] = []
  while (reader.remaining > 0) {
    messages.push({ type: reader.u8(), id: reader.varint(), epoch: reader.varint(), body: reader.bytes() })
  }
  return messages
}

/** Cuts a stream of bytes into whole frames, holding back what is incomplete. */
export class FrameSplitter {
  #chunks: Uint8Array[] = []
  #buffered = 0

  /** Bytes that wait for the rest of their frame. */
  get buffered(): number {
    return this.#buffered
  }

  /**
   * Takes the next bytes of the stream and returns the frames they complete.
   *
   * @throws KilovoltError `KV_PROTOCOL` when a frame claims to be longer than {@link FRAME_BYTES_MAX}
   */
  push(chunk: Uint8Array): Uint8Array[] {
    if (chunk.length > 0) this.#chunks.push(chunk)
    this.#buffered += chunk.length
    const frames: Uint8Array[] = []
    for (;;) {
      const wanted = this.#wanted()
      if (wanted === undefined || this.#buffered < wanted) return frames
      frames.push(this.#take(wanted))
    }
  }

  #wanted(): number | undefined {
    if (this.#buffered < FRAME_HEADER_BYTES) return undefined
    if (this.#chunks[0]!.length < FRAME_HEADER_BYTES) this.#chunks = [this.#take(this.#buffered)]
    this.#buffered = this.#chunks.reduce((sum, { length }) => sum + length, 0)
    const head = this.#chunks[0]!
    const length = new DataView(head.buffer, head.byteOffset).getUint32(0)
    if (length > FRAME_BYTES_MAX) {
      throw new KilovoltError('KV_PROTOCOL', `a frame of ${length} bytes; the limit is ${FRAME_BYTES_MAX}`)
    }
    return FRAME_HEADER_BYTES + length
  }

  #take(length: number): Uint8Array {
    this.#buffered -= length
    const head = this.#chunks[0]!
    if (head.length >= length) {
      if (head.length === length) this.#chunks.shift()
      else this.#chunks[0] = head.subarray(length)
      return head.subarray(0, length)
    }
    const whole = new Uint8Array(length)
    let at = 0
    while (at < length) {
      const chunk = this.#chunks[0]!
      const part = chunk.subarray(0, length - at)
      whole.set(part, at)
      at += part.length
      if (part.length === chunk.length) this.#chunks.shift()
      else this.#chunks[0] = chunk.subarray(part.length)
    }
    return whole
  }
}
