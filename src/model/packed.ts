import { concatBytes } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { packedBytesOf, PACKED_HEAD_BYTES } from './record.ts'

/**
 * A packed value, as a record holds it when it is flagged as such:
 *
 *     offset  bytes  field
 *     0       3      length of the value, big-endian
 *     3       …      frames of zstd (RFC 8878), one for each 128 KiB of the value; the last one has what is left
 *
 * Before each frame but the last one stands its length, 3 bytes; the last one reaches to the end. Cut up like this, no
 * value of whatever size keeps the event loop for longer than one frame takes, half a millisecond, and none needs more
 * memory at a time. A frame tells how much comes out of it, and is refused before anything is made of it when that is
 * not what belongs there: nothing larger than a value ever comes out of anything.
 */
export const CHUNK_BYTES: number = 128 * 1024

/** Compresses and decompresses what is no larger than a chunk. */
export interface Zstd {
  /** One frame, which tells the length of its content. */
  compress(bytes: Uint8Array): Uint8Array
  /**
   * The content of a frame, of this length.
   *
   * @throws Error when that does not come out
   */
  decompress(frame: Uint8Array, bytes: number): Uint8Array
}

const LENGTH_BYTES = 3
const MAGIC = [0x28, 0xb5, 0x2f, 0xfd]

/** Parts of a value, each of which becomes a frame. */
export function chunksOf(value: Uint8Array): readonly Uint8Array[] {
  const chunks: Uint8Array[] = []
  for (let at = 0; at < value.length; at += CHUNK_BYTES) chunks.push(value.subarray(at, at + CHUNK_BYTES))
  return chunks
}

/** The packed value of such frames. */
export function joinFrames(valueBytes: number, frames: readonly Uint8Array[]): Uint8Array {
  const parts: Uint8Array[] = [u24(valueBytes)]
  for (const [i, frame] of frames.entries()) {
    if (i < frames.length - 1) parts.push(u24(frame.length))
    parts.push(frame)
  }
  return concatBytes(parts)
}

/** A frame, as a view into the packed value, and how much comes out of it. */
export interface Frame {
  readonly frame: Uint8Array
  readonly bytes: number
}

/**
 * The frames of a packed value of a record that passed `assertRecord`.
 *
 * @throws KilovoltError `KV_CORRUPT` when they are not what makes up a value of the length that it tells
 */
export function framesOf(packed: Uint8Array): readonly Frame[] {
  const frames: Frame[] = []
  let at = PACKED_HEAD_BYTES
  for (let left = packedBytesOf(packed); left > 0; left -= CHUNK_BYTES) {
    const isLast = left <= CHUNK_BYTES
    const start = isLast ? at : at + LENGTH_BYTES
    const end = isLast ? packed.length : start + (readU24(packed, at) ?? Infinity)
    if (end > packed.length) throw corrupt('it is cut off')
    const frame = packed.subarray(start, end)
    const bytes = isLast ? left : CHUNK_BYTES
    if (contentBytes(frame) !== bytes) throw corrupt(`${bytes} bytes do not come out of one of its frames`)
    frames.push({ frame, bytes })
    at = end
  }
  return frames
}

/** Refused for what of it is wrong. */
export function corrupt(why: string, cause?: unknown): KilovoltError {
  return new KilovoltError('KV_CORRUPT', `a compressed value cannot be read: ${why}`, { cause })
}

/** How much comes out of a frame, as its head tells (RFC 8878, section 3.1.1.1); `undefined` when it does not. */
function contentBytes(frame: Uint8Array): number | undefined {
  if (MAGIC.some((byte, i) => frame[i] !== byte)) return undefined
  const descriptor = frame[MAGIC.length]
  if (descriptor === undefined) return undefined
  const isSingleSegment = (descriptor & 0x20) !== 0
  const sizeCode = descriptor >> 6
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][sizeCode]!
  const at = MAGIC.length + 1 + (isSingleSegment ? 0 : 1) + dictionaryBytes
  if (sizeBytes === 0 || at + sizeBytes > frame.length) return undefined
  let size = 0
  for (let i = sizeBytes - 1; i >= 0; i--) size = size * 256 + frame[at + i]!
  return sizeBytes === 2 ? size + 256 : size
}

function u24(value: number): Uint8Array {
  return Uint8Array.of(value >> 16, (value >> 8) & 0xff, value & 0xff)
}

function readU24(bytes: Uint8Array, at: number): number | undefined {
  if (at + LENGTH_BYTES > bytes.length) return undefined
  return (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!
}
