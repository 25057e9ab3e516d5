import { crc32 } from 'node:zlib'
import { equalBytes, toHex } from '../base/bytes.ts'

/** The keys of a keyspace that somebody watches: those that begin with a prefix, or the one that is it. */
export interface WatchFilter {
  readonly keyspace: Uint8Array
  readonly prefix: Uint8Array
  /** The prefix is a whole key. */
  readonly isKey: boolean
}

/** Most filters that one node sends to another; of more, whole keyspaces are asked for, or everything. */
export const FILTERS_MAX = 64

/** A hash of what a filter means: CRC-32 of whether it is a key u8 · length of the keyspace's name u8 · name · prefix. */
export function scopeOf({ keyspace, prefix, isKey }: WatchFilter): number {
  return crc32(Buffer.concat([Uint8Array.of(isKey ? 1 : 0, keyspace.length), keyspace, prefix]))
}

/** Whether a key is meant. */
export function matches(
  { keyspace, prefix, isKey }: WatchFilter,
  place: { readonly keyspace: Uint8Array; readonly key: Uint8Array }
): boolean {
  const { key } = place
  if (isKey ? key.length !== prefix.length : key.length < prefix.length) return false
  for (let i = 0; i < prefix.length; i++) if (key[i] !== prefix[i]) return false
  return equalBytes(keyspace, place.keyspace)
}

/** Whether one of several filters means a key; no filters at all mean every key. */
export function matchesAny(
  filters: readonly WatchFilter[],
  place: { readonly keyspace: Uint8Array; readonly key: Uint8Array }
): boolean {
  if (filters.length === 0) return true
  for (const filter of filters) if (matches(filter, place)) return true
  return false
}

/** Few filters that together mean at least what these mean. */
export function unite(filters: Iterable<WatchFilter>): readonly WatchFilter[] {
  const exact = new Map<string, WatchFilter>()
  const keyspaces = new Map<string, WatchFilter>()
  for (const filter of filters) {
    const keyspace = toHex(filter.keyspace)
    keyspaces.set(keyspace, { keyspace: filter.keyspace, prefix: new Uint8Array(0), isKey: false })
    if (exact.size <= FILTERS_MAX) exact.set(`${keyspace}/${filter.isKey}/${toHex(filter.prefix)}`, filter)
  }
  if (exact.size <= FILTERS_MAX) return [...exact.values()]
  return keyspaces.size <= FILTERS_MAX ? [...keyspaces.values()] : []
}
