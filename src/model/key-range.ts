import { compareBytes, EMPTY_BYTES } from '../base/bytes.ts'
import type { PartitionId, Ring } from './partition.ts'

/** Part of the keys of a keyspace, in byte order: from one on, up to, not including, another. */
export interface ByteRange {
  readonly from: Uint8Array
  /** `undefined`: to the end. */
  readonly to: Uint8Array | undefined
}

/** Every key. */
export const ALL_KEYS: ByteRange = { from: EMPTY_BYTES, to: undefined }

/** Bounds as a caller gives them, in bytes. */
export interface KeyBounds {
  readonly gt?: Uint8Array | undefined
  readonly gte?: Uint8Array | undefined
  readonly lt?: Uint8Array | undefined
  readonly lte?: Uint8Array | undefined
  readonly prefix?: Uint8Array | undefined
}

/** The next key in byte order: the same one with a zero byte behind it. */
export function successor(key: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(key.length + 1)
  bytes.set(key)
  return bytes
}

/** The first key behind all that begin with the prefix; `undefined` when there is none. */
export function afterPrefix(prefix: Uint8Array): Uint8Array | undefined {
  for (let last = prefix.length - 1; last >= 0; last--) {
    if (prefix[last] === 0xff) continue
    const end = prefix.slice(0, last + 1)
    end[last]!++
    return end
  }
  return undefined
}

/** The keys within all of the bounds. As abstract-level has it, `gte` counts when `gt` is given too, and `lte` before `lt`. */
export function rangeOf({ gt, gte, lt, lte, prefix }: KeyBounds): ByteRange {
  const from = gte ?? (gt === undefined ? EMPTY_BYTES : successor(gt))
  const to = lte === undefined ? lt : successor(lte)
  if (prefix === undefined) return { from, to }
  const end = afterPrefix(prefix)
  return {
    from: compareBytes(from, prefix) < 0 ? prefix : from,
    to: to === undefined || (end !== undefined && compareBytes(end, to) < 0) ? end : to
  }
}

/** Whether no key lies in the range. */
export function isEmptyRange({ from, to }: ByteRange): boolean {
  return to !== undefined && compareBytes(from, to) >= 0
}

/** What is left of a range behind a key, in the direction of a scan. The key may be that of a token, and lie outside of it. */
export function restAfter({ from, to }: ByteRange, key: Uint8Array, isReverse: boolean): ByteRange {
  if (isReverse) return { from, to: to !== undefined && compareBytes(to, key) < 0 ? to : key }
  return { from: compareBytes(key, from) < 0 ? from : successor(key), to }
}

/**
 * The partition in which all keys of the range lie, if the range alone tells: it has one key, or all of its keys begin
 * with the same complete `{tag}`. Without it the range lies in all partitions.
 */
export function partitionOfRange(ring: Ring, { from, to }: ByteRange): PartitionId | undefined {
  if (to === undefined) return undefined
  if (to.length === from.length + 1 && compareBytes(to, successor(from)) === 0) return ring.partitionOf(from)
  const open = from.indexOf(OPEN)
  const close = open === -1 ? -1 : from.indexOf(CLOSE, open + 1)
  if (close <= open + 1) return undefined
  const tagged = from.subarray(0, close + 1)
  const end = afterPrefix(tagged)
  return end === undefined || compareBytes(to, end) <= 0 ? ring.partitionOf(tagged) : undefined
}

const OPEN = 0x7b
const CLOSE = 0x7d
