import { copyBytes } from '../base/bytes.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import { show } from '../base/options.ts'
import { CHUNK_BYTES, chunksOf, corrupt, type Frame, framesOf, joinFrames, type Zstd } from '../model/packed.ts'
import { packedBytesOf } from '../model/record.ts'
import type { Clock } from '../runtime/clock.ts'
import { UnpackedValues } from './unpacked-values.ts'

/** Which values a keyspace packs. */
export interface CompressionOptions {
  readonly compression?: 'zstd' | false | undefined
  readonly compressAbove?: number | undefined
}

/** What a record is to hold of a value. */
export interface Body {
  readonly value: Uint8Array
  readonly packed: boolean
}

/** What a packed value may have of the bytes of the value: one that saves less is not worth unpacking at each read. */
const WORTH = 7 / 8
/** Values of this many bytes and less are not worth it unless told otherwise. */
const COMPRESS_ABOVE = 512

/**
 * How many bytes a value must have more than to be packed; `Infinity`: none is.
 *
 * @throws KilovoltError `KV_CONFIG`
 */
export function packAbove({ compression = false, compressAbove }: CompressionOptions): number {
  const isOn = compression === 'zstd'
  if (!isOn && (compression as unknown) !== false) {
    throw new KilovoltError('KV_CONFIG', `"compression" must be 'zstd' or false, not ${show(compression)}`)
  }
  if (compressAbove !== undefined && !(Number.isInteger(compressAbove) && compressAbove >= 0)) {
    throw new KilovoltError('KV_CONFIG', `"compressAbove" must be a whole number of bytes, not ${show(compressAbove)}`)
  }
  if (!isOn && compressAbove !== undefined) {
    throw new KilovoltError('KV_CONFIG', `"compressAbove" means nothing without "compression: 'zstd'"`)
  }
  return isOn ? (compressAbove ?? COMPRESS_ABOVE) : Infinity
}

/**
 * Packs and unpacks the values of a node. At once when a value is one frame, which takes some ten microseconds for a KiB;
 * larger ones frame by frame, with a turn of the event loop between two of them.
 */
export class Packing {
  readonly #clock: Pick<Clock, 'soon'>
  readonly #load: () => Promise<Zstd>
  #zstd: Zstd | undefined
  #unpacked: UnpackedValues | undefined

  /** @param load - loads zstd; called when it is needed, not before */
  constructor(clock: Pick<Clock, 'soon'>, load: () => Promise<Zstd>) {
    this.#clock = clock
    this.#load = load
  }

  /** What to store of a value: it is as it was when packing saves less than an eighth. It is copied before this waits. */
  pack(value: Uint8Array): Body | Promise<Body> {
    const zstd = this.#zstd
    if (zstd === undefined || value.length > CHUNK_BYTES) return this.#packSlowly(copyBytes(value))
    return bodyOf(value, [zstd.compress(value)])
  }

  async #packSlowly(value: Uint8Array): Promise<Body> {
    const zstd = this.#zstd ?? (await this.#loaded())
    const frames: Uint8Array[] = []
    for (const chunk of chunksOf(value)) {
      if (frames.length > 0) await this.#turn()
      const frame = zstd.compress(chunk)
      // A picture or the like: the rest is no better.
      if (frames.length === 0 && frame.length >= chunk.length) return { value, packed: false }
      frames.push(frame)
    }
    return bodyOf(value, frames)
  }

  /**
   * The value again, not to be changed: it may be kept. The packed one must be of a record that passed `assertRecord`.
   *
   * @throws KilovoltError `KV_CORRUPT` when it was not made by {@link Packing.pack}
   */
  unpack(packed: Uint8Array): Uint8Array | Promise<Uint8Array> {
    const zstd = this.#zstd
    if (zstd === undefined || packedBytesOf(packed) > CHUNK_BYTES) return this.#unpackSlowly(packed)
    this.#unpacked ??= new UnpackedValues(frame => contentOf(zstd, framesOf(frame)[0]!))
    return this.#unpacked.of(packed)
  }

  async #unpackSlowly(packed: Uint8Array): Promise<Uint8Array> {
    const frames = framesOf(packed)
    const zstd = this.#zstd ?? (await this.#loaded())
    const value = new Uint8Array(packedBytesOf(packed))
    let at = 0
    for (const frame of frames) {
      if (at > 0) await this.#turn()
      value.set(contentOf(zstd, frame), at)
      at += frame.bytes
    }
    return value
  }

  async #loaded(): Promise<Zstd> {
    try {
      this.#zstd = await this.#load()
      return this.#zstd
    } catch (cause) {
      throw new KilovoltError('KV_ENCODING', `zstd could not be loaded: ${messageOf(cause)}`, { cause })
    }
  }

  #turn(): Promise<void> {
    return new Promise(resolve => this.#clock.soon(resolve))
  }
}

function bodyOf(value: Uint8Array, frames: readonly Uint8Array[]): Body {
  const packed = joinFrames(value.length, frames)
  const isWorth = packed.length <= value.length * WORTH
  return isWorth ? { value: packed, packed: true } : { value, packed: false }
}

function contentOf(zstd: Zstd, { frame, bytes }: Frame): Uint8Array {
  let content: Uint8Array
  try {
    content = zstd.decompress(frame, bytes)
  } catch (cause) {
    throw corrupt(messageOf(cause), cause)
  }
  if (content.length !== bytes) throw corrupt(`${content.length} bytes come out of a frame of ${bytes}`)
  return content
}
