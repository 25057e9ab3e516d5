import { crc32 } from 'node:zlib'
import { KilovoltError, messageOf } from '../base/errors.ts'
import { show } from '../base/options.ts'
import { type Causality, causalityBytes, readCausality, writeCausality } from '../model/causality.ts'

/**
 * Makes one value of those that were written to a key without having seen each other. It runs wherever they are read, so it
 * must come to the same value everywhere: a pure function, which takes its siblings in any order. It answers at once, not by a
 * promise.
 *
 * @typeParam V - type of the values
 * @typeParam K - type of the keys
 *
 * @example
 * ```ts
 * const carts = node.keyspace<string[]>('carts', {
 *   conflicts: siblings => [...new Set(siblings.flat())].sort()
 * })
 * ```
 */
export type Resolver<V, K = string> = (siblings: readonly V[], key: K) => V

/** What becomes of values that were written to a key without having seen each other. */
export type Conflicts<V, K = string> = 'newest' | 'siblings' | Resolver<V, K>

/**
 * Refuses what is none.
 *
 * @throws KilovoltError `KV_CONFIG`
 */
export function assertConflicts(conflicts: unknown): void {
  if (conflicts === 'newest' || conflicts === 'siblings' || typeof conflicts === 'function') return
  throw new KilovoltError(
    'KV_CONFIG',
    `"conflicts" must be 'newest', 'siblings' or a function of the siblings, not ${show(conflicts)}`
  )
}

/**
 * The value that a resolver makes.
 *
 * @throws KilovoltError `KV_RESOLVER` when it throws, or makes nothing that can be stored
 */
export function resolved<V, K>(resolver: Resolver<V, K>, siblings: readonly V[], key: K, keyspace: string): V {
  let value: V
  try {
    value = resolver(siblings, key)
  } catch (cause) {
    throw resolverError(keyspace, key, `threw: ${messageOf(cause)}`, cause)
  }
  if (value === undefined) throw resolverError(keyspace, key, 'returned undefined; to remove a key, use delete')
  if (value instanceof Promise) {
    // What it comes to is of no use to anybody, nor is its failure.
    value.catch(() => {})
    throw resolverError(keyspace, key, 'returned a promise; it must answer at once')
  }
  return value
}

function resolverError(keyspace: string, key: unknown, what: string, cause?: unknown): KilovoltError {
  return new KilovoltError('KV_RESOLVER', `the resolver of keyspace "${keyspace}" ${what}`, { cause, details: { key } })
}

const FORMAT = 1
const HEAD_BYTES = 5

/**
 * What a read has seen of a key, as text: base64url of
 *
 *     format u8 (1) · CRC-32 of the keyspace's name, its length and the key u32 · what was seen (see `causality.ts`)
 */
export function encodeContext(keyspace: Uint8Array, key: Uint8Array, seen: Causality): string {
  const bytes = Buffer.alloc(HEAD_BYTES + causalityBytes(seen))
  bytes[0] = FORMAT
  bytes.writeUInt32BE(checksum(keyspace, key), 1)
  writeCausality(bytes, HEAD_BYTES, seen)
  return bytes.toString('base64url')
}

/**
 * What was seen.
 *
 * @throws KilovoltError `KV_TOKEN` when it is no context, or that of another key
 */
export function decodeContext(keyspace: Uint8Array, key: Uint8Array, context: string): Causality {
  const bytes = Buffer.from(typeof context === 'string' ? context : '', 'base64url')
  if (bytes[0] !== FORMAT || bytes.length < HEAD_BYTES) throw contextError('is not the context of a read')
  if (bytes.readUInt32BE(1) !== checksum(keyspace, key)) throw contextError('is the context of another key')
  try {
    const { causality, end } = readCausality(bytes, HEAD_BYTES)
    if (end === bytes.length) return causality
  } catch {
    // As any other text that is none.
  }
  throw contextError('is not the context of a read')
}

function contextError(what: string): KilovoltError {
  return new KilovoltError('KV_TOKEN', `"context" ${what}: give what getEntry() has returned for this key`)
}

function checksum(keyspace: Uint8Array, key: Uint8Array): number {
  return crc32(key, crc32(Uint8Array.of(keyspace.length), crc32(keyspace)))
}
