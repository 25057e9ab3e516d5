import { fromHex, toHex } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { TTL_MAX_MS } from '../base/ttl.ts'
import { Reader } from '../codec/reader.ts'
import { type Causality, causalityBytes, readCausality, writeCausality } from '../model/causality.ts'
import { KEY_BYTES_MAX, KEYSPACE_BYTES_MAX } from '../model/key.ts'
import { hasSiblings, type RecordBytes } from '../model/record.ts'
import { SIBLING_BYTES_MAX } from '../model/sibling-set.ts'
import type { RecordKey } from '../storage/record-store.ts'
import { encodeFenced, type Fenced, place, readRecord, Status } from './wire.ts'

/**
 * A coordinator asks an owner to add a sibling to what that holds of a key, under a dot of the owner's:
 *
 *     MINT   partition u16 · keyspace · key · flags u8 (1: exempt from the epoch fence, 2: delete, 4: packed, 8: a time to live,
 *            16: a context, 32: brought along, 64: asked again) · id 8 · [time to live varint] · [context] · value
 *     reply  status u8 · record
 */
export interface MintRequest extends RecordKey {
  /** Not bound to the row's epoch: level `one` (rule C2). */
  readonly exempt: boolean
  /** Name of the write, 16 hexadecimal digits: an owner that is asked again knows by it what it has done. */
  readonly id: string
  /** What the author has seen, and takes the place of; `undefined` for nothing. */
  readonly context: Causality | undefined
  /** The value; `undefined` deletes. */
  readonly value: Uint8Array | undefined
  readonly packed: boolean
  /** How long the value lives, ms from its dot; `undefined` for ever. */
  readonly ttl: number | undefined
  /** Acknowledged in another cluster: it is not refused for what it has seen, nor for how much there is already. */
  readonly brought: boolean
  /** The same owner was asked for it before, and whether it has done it is not known. */
  readonly again: boolean
}

/** For so long after it was first asked an owner is asked again whose answer was lost, ms. */
export const AGAIN_WITHIN_MS = 30_000

/** What an owner says to that. */
export type MintReply =
  | {
      readonly kind: 'minted'
      /** Whether a live value was there before. */
      readonly existed: boolean
      /** All that it holds of the key now. */
      readonly record: RecordBytes
    }
  | Fenced

const EXEMPT = 1
const DELETE = 2
const PACKED = 4
const TTL = 8
const CONTEXT = 16
const BROUGHT = 32
const AGAIN = 64
const ID_BYTES = 8

export function encodeMint({
  partition,
  keyspace,
  key,
  exempt,
  id,
  context,
  value,
  packed,
  ttl,
  brought,
  again
}: MintRequest): Uint8Array {
  const flags =
    (exempt ? EXEMPT : 0) |
    (value === undefined ? DELETE : 0) |
    (packed ? PACKED : 0) |
    (ttl === undefined ? 0 : TTL) |
    (context === undefined ? 0 : CONTEXT) |
    (brought ? BROUGHT : 0) |
    (again ? AGAIN : 0)
  const writer = place(32 + (value?.length ?? 0), partition, keyspace, key)
    .u8(flags)
    .raw(fromHex(id)!)
  if (ttl !== undefined) writer.varint(ttl)
  if (context !== undefined) {
    const bytes = new Uint8Array(causalityBytes(context))
    writeCausality(bytes, 0, context)
    writer.raw(bytes)
  }
  return (value === undefined ? writer : writer.raw(value)).finish()
}

/** Bytes are views into the input. @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT` */
export function decodeMint(bytes: Uint8Array): MintRequest {
  const reader = new Reader(bytes)
  const partition = reader.u16()
  const keyspace = reader.bytes(KEYSPACE_BYTES_MAX)
  const key = reader.bytes(KEY_BYTES_MAX)
  const flags = reader.u8()
  const id = toHex(reader.raw(ID_BYTES))
  const ttl = (flags & TTL) === 0 ? undefined : reader.varint()
  // What is left of the longest one may be more than that by another clock; an expiry has room for twice as much.
  if (ttl !== undefined && ttl > 2 * TTL_MAX_MS) throw new KilovoltError('KV_PROTOCOL', `a time to live of ${ttl} ms`)
  let context: Causality | undefined
  if ((flags & CONTEXT) !== 0) {
    const { causality, end } = readCausality(bytes, reader.offset)
    context = causality
    reader.skip(end - reader.offset)
  }
  if (reader.remaining > SIBLING_BYTES_MAX) {
    throw new KilovoltError('KV_PROTOCOL', `a value of ${reader.remaining} bytes`)
  }
  const value = (flags & DELETE) === 0 ? reader.rest() : undefined
  const packed = (flags & PACKED) !== 0
  const exempt = (flags & EXEMPT) !== 0
  const brought = (flags & BROUGHT) !== 0
  const again = (flags & AGAIN) !== 0
  return { partition, keyspace, key, exempt, id, context, value, packed, ttl, brought, again }
}

export function encodeMintReply(reply: MintReply): Uint8Array {
  if (reply.kind === 'fenced') return encodeFenced(reply)
  const bytes = new Uint8Array(1 + reply.record.length)
  bytes[0] = reply.existed ? Status.MINTED_OVER : Status.MINTED
  bytes.set(reply.record, 1)
  return bytes
}

/** @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT` */
export function decodeMintReply(bytes: Uint8Array): MintReply {
  const reader = new Reader(bytes)
  const status = reader.u8()
  if (status === Status.FENCED) return { kind: 'fenced', epoch: reader.varint() }
  if (status !== Status.MINTED && status !== Status.MINTED_OVER) {
    throw new KilovoltError('KV_PROTOCOL', `a reply to a mint of status ${status}`)
  }
  const record = readRecord(reader)
  if (!hasSiblings(record)) throw new KilovoltError('KV_PROTOCOL', 'what was minted has no siblings')
  return { kind: 'minted', existed: status === Status.MINTED_OVER, record }
}
