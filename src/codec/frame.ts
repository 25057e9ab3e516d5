import { crc32 } from 'node:zlib'
import { EMPTY_BYTES } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { Reader } from './reader.ts'

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

/** Builds frames message by message, straight into their bytes. A frame belongs to whoever takes it. */
export class FrameEncoder {
  #buffer: Uint8Array = EMPTY_BYTES
  #view = new DataView(this.#buffer.buffer)
  #length = 0
  #sizeHint = 256

  /** Bytes of the frame so far, header not counted. */
  get length(): number {
    return Math.max(0, this.#length - FRAME_HEADER_BYTES)
  }

  /** Adds a message. `lead`, when not negative, is a byte that goes before the body and counts as part of it. */
  add(type: number, id: number, epoch: number, body: Uint8Array, lead = -1): void {
    const bodyLength = lead < 0 ? body.length : body.length + 1
    this.#reserve(bodyLength + MESSAGE_OVERHEAD_MAX)
    this.#buffer[this.#length++] = type
    this.#varint(id)
    this.#varint(epoch)
    this.#varint(bodyLength)
    if (lead >= 0) this.#buffer[this.#length++] = lead
    this.#buffer.set(body, this.#length)
    this.#length += body.length
  }

  /** The whole frame; the next message begins another. */
  finish(): Uint8Array {
    this.#reserve(0)
    const frame = this.#buffer.subarray(0, this.#length)
    this.#view.setUint32(0, frame.length - FRAME_HEADER_BYTES)
    this.#view.setUint32(4, crc32(frame.subarray(FRAME_HEADER_BYTES)))
    // The next frame is likely to be about as long as this one.
    this.#sizeHint = Math.min(1 << 16, Math.max(256, frame.length + (frame.length >> 2)))
    this.#use(EMPTY_BYTES)
    this.#length = 0
    return frame
  }

  #varint(value: number): void {
    const buffer = this.#buffer
    let rest = value
    while (rest >= 0x80) {
      buffer[this.#length++] = (rest % 0x80) | 0x80
      rest = Math.floor(rest / 0x80)
    }
    buffer[this.#length++] = rest
  }

  #reserve(more: number): void {
    if (this.#length === 0) this.#length = FRAME_HEADER_BYTES
    const needed = this.#length + more
    if (needed <= this.#buffer.length) return
    const old = this.#buffer
    // Memory as it comes: whatever is handed out has been written to.
    this.#use(Buffer.allocUnsafe(Math.max(needed, this.#sizeHint, old.length * 2)))
    this.#buffer.set(old)
  }

  #use(buffer: Uint8Array): void {
    this.#buffer = buffer
    this.#view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength)
  }
}

/** One frame of the given messages. */
export function encodeFrame(messages: readonly Message[]): Uint8Array {
  const encoder = new FrameEncoder()
  for (const { type, id, epoch, body } of messages) encoder.add(type, id, epoch, body)
  return encoder.finish()
}

/**
 * Walks over the messages of one whole frame without an object for each. The bytes it hands out are views into the
 * frame. Everything throws `KV_PROTOCOL` when the frame is malformed.
 */
export class FrameDecoder {
  readonly #reader: Reader
  type = 0
  id = 0
  epoch = 0
  /** Bytes of the current message's body that were not asked for. */
  #left = 0

  /** @throws KilovoltError `KV_PROTOCOL` when the length or the checksum is wrong */
  constructor(frame: Uint8Array) {
    const reader = new Reader(frame)
    const length = reader.u32()
    const checksum = reader.u32()
    if (length !== reader.remaining) {
      throw new KilovoltError('KV_PROTOCOL', `a frame of ${length} bytes came as ${reader.remaining}`)
    }
    if (crc32(frame.subarray(FRAME_HEADER_BYTES)) !== checksum) {
      throw new KilovoltError('KV_PROTOCOL', 'a frame failed its checksum')
    }
    this.#reader = reader
  }

  /** Goes to the next message, whose `type`, `id` and `epoch` can be read then; false when there is none. */
  next(): boolean {
    const reader = this.#reader
    if (this.#left > 0) reader.skip(this.#left)
    this.#left = 0
    if (reader.remaining === 0) return false
    this.type = reader.u8()
    this.id = reader.varint()
    this.epoch = reader.varint()
    const length = reader.varint()
    if (length > reader.remaining) {
      throw new KilovoltError('KV_PROTOCOL', `a body of ${length} bytes, ${reader.remaining} left`)
    }
    this.#left = length
    return true
  }

  /** The first byte of the body, which is not part of it then; -1 when the body is empty. */
  lead(): number {
    if (this.#left === 0) return -1
    this.#left--
    return this.#reader.u8()
  }

  /** The body, or what is left of it; to be asked for once. */
  body(): Uint8Array {
    const length = this.#left
    this.#left = 0
    return this.#reader.raw(length)
  }
}

/**
 * The messages of one whole frame; their bodies are views into it.
 *
 * @throws KilovoltError `KV_PROTOCOL` when the length or the checksum is wrong or a message is malformed
 */
export function decodeFrame(frame: Uint8Array): Message[] {
  const decoder = new FrameDecoder(frame)
  const messages: Message[] = []
  while (decoder.next()) {
    const { type, id, epoch } = decoder
    messages.push({ type, id, epoch, body: decoder.body() })
  }
  return messages
}

/**
 * Cuts a stream of bytes into whole frames. A frame that comes within one chunk is a view of it; what is incomplete is
 * copied, so that chunks are not kept. Memory follows what has come, not what a header claims, and each byte is copied
 * at most three times, however small the chunks.
 */
export class FrameSplitter {
  /** The beginning of a frame: as many bytes of this as {@link FrameSplitter.buffered} says. */
  #partial: Uint8Array = EMPTY_BYTES
  #buffered = 0

  /** Bytes that wait for the rest of their frame. */
  get buffered(): number {
    return this.#buffered
  }

  /**
   * Takes the next bytes of the stream and returns the frames they complete.
   *
   * @throws KilovoltError `KV_PROTOCOL` when a frame claims to be longer than {@link FRAME_BYTES_MAX}; the rest of the
   *   stream has no meaning then
   */
  push(chunk: Uint8Array): Uint8Array[] {
    const frames: Uint8Array[] = []
    let at = this.#buffered === 0 ? 0 : this.#complete(chunk, frames)
    while (chunk.length - at >= FRAME_HEADER_BYTES) {
      const size = frameSize(chunk, at)
      if (chunk.length - at < size) break
      frames.push(chunk.subarray(at, at + size))
      at += size
    }
    if (at < chunk.length) this.#keep(chunk.subarray(at), FRAME_HEADER_BYTES)
    return frames
  }

  /** Adds to the frame that was begun; returns how much of the chunk went into it. */
  #complete(chunk: Uint8Array, frames: Uint8Array[]): number {
    let at = 0
    if (this.#buffered < FRAME_HEADER_BYTES) {
      at = Math.min(FRAME_HEADER_BYTES - this.#buffered, chunk.length)
      this.#keep(chunk.subarray(0, at), FRAME_HEADER_BYTES)
      if (this.#buffered < FRAME_HEADER_BYTES) return at
    }
    const size = frameSize(this.#partial, 0)
    const part = Math.min(size - this.#buffered, chunk.length - at)
    this.#keep(chunk.subarray(at, at + part), size)
    if (this.#buffered === size) {
      frames.push(this.#partial.subarray(0, size))
      this.#partial = EMPTY_BYTES
      this.#buffered = 0
    }
    return at + part
  }

  #keep(bytes: Uint8Array, size: number): void {
    const needed = this.#buffered + bytes.length
    if (needed > this.#partial.length) {
      const grown = new Uint8Array(Math.max(needed, Math.min(size, needed * 2)))
      grown.set(this.#partial.subarray(0, this.#buffered))
      this.#partial = grown
    }
    this.#partial.set(bytes, this.#buffered)
    this.#buffered = needed
  }
}

/** Length of the frame whose header stands at an offset, header included. */
function frameSize(bytes: Uint8Array, at: number): number {
  const length = bytes[at]! * 0x100_0000 + bytes[at + 1]! * 0x1_0000 + bytes[at + 2]! * 0x100 + bytes[at + 3]!
  if (length > FRAME_BYTES_MAX) {
    throw new KilovoltError('KV_PROTOCOL', `a frame of ${length} bytes; the limit is ${FRAME_BYTES_MAX}`)
  }
  return FRAME_HEADER_BYTES + length
}
