import * as zlib from 'node:zlib'
import { EMPTY_BYTES } from '../base/bytes.ts'
import type { Zstd } from '../model/packed.ts'

/** Higher ones save some percent more of text, nothing of JSON of a KiB, and take half again as long. */
const LEVEL = 1
/**
 * From here on Node's own zstd is as fast or faster, up to twice. Below it making a stream for each call, as it does, takes
 * longer than what the stream is made for: for a KiB all together thrice as long to compress, four times to decompress.
 */
const NATIVE_BYTES_MIN = 16 * 1024

/** Node's own, since 22.15 and 23.8. */
interface NativeZstd {
  zstdCompressSync(bytes: Uint8Array, options: { params: Readonly<Record<number, number>> }): Uint8Array
  zstdDecompressSync(bytes: Uint8Array, options: { maxOutputLength: number }): Uint8Array
  readonly constants: { readonly ZSTD_c_compressionLevel: number }
}

/** Module and memory are one for a process: that is how the package is made. */
let loading: Promise<Zstd> | undefined

/** Loads what is not loaded until somebody needs it: some 20 ms and 16 MiB of address space, once for a process. */
export function loadZstd(): Promise<Zstd> {
  loading ??= load().catch((error: unknown) => {
    loading = undefined
    throw error
  })
  return loading
}

async function load(): Promise<Zstd> {
  const wasm = await import('@bokuweb/zstd-wasm')
  await wasm.init()
  // Kept: making one takes as long as compressing a KiB. Both are used from one thread and start anew with each frame.
  const [packing, unpacking] = [wasm.createCCtx(), wasm.createDCtx()]
  const small: Zstd = {
    compress: bytes => wasm.compressUsingDict(packing, bytes, EMPTY_BYTES, LEVEL),
    decompress: frame => wasm.decompressUsingDict(unpacking, frame, EMPTY_BYTES)
  }
  const native = nativeZstd()
  if (native === undefined) return small
  const options = { params: { [native.constants.ZSTD_c_compressionLevel]: LEVEL } }
  return {
    compress: bytes =>
      bytes.length < NATIVE_BYTES_MIN ? small.compress(bytes) : viewOf(native.zstdCompressSync(bytes, options)),
    decompress: (frame, bytes) =>
      bytes < NATIVE_BYTES_MIN
        ? small.decompress(frame, bytes)
        : viewOf(native.zstdDecompressSync(frame, { maxOutputLength: bytes }))
  }
}

/** A `Buffer` is none of the views that the rest is about. */
function viewOf({ buffer, byteOffset, length }: Uint8Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, length)
}

function nativeZstd(): NativeZstd | undefined {
  return 'zstdCompressSync' in zlib ? (zlib as unknown as NativeZstd) : undefined
}
