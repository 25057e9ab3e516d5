import { utf8 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { ID_BYTES, type ClusterId, type PeerId, type StoreId, idFromBytes, idToBytes } from '../model/node-id.ts'
import type { Liveness } from '../model/view.ts'
import { ACCUSERS_MAX, INCARNATION_MAX, MEMBERS_MAX, type Rumour } from './gossip.ts'

/**
 * The bytes of membership. Ids are raw, texts and lists have their length before them, numbers are varints; what a
 * later version appends to a message or a rumour is skipped.
 *
 *     rumour       length · storeId 16 · peerId · incarnation · status u8 · clusterId 16 (zeros: none) · epoch ·
 *                  addresses · ageMs · accusers 16 each
 *     opinion      incarnation · status u8
 *     gossip       0x4d · kind u8 = 1 · sender 16 · lagMs · digest u32 · rumours         published
 *     PING         target 16 · opinion of the target · rumour of the sender
 *     its reply    rumour of the replier · lagMs · digest u32 · known u8 · [opinion of the sender]
 *     PING_REQUEST target 16 · opinion of the target · timeoutMs
 *     its reply    1 · reply of the target's PING, or 0
 *     VIEW         kind u8 (0 exchange, 1 tell) · sender 16 · digest u32 · rumours
 *     its reply    likewise; without rumours when the digests are equal
 */

/** What a node believes of another. */
export interface Opinion {
  readonly incarnation: number
  readonly status: Liveness
}

/** A published message: heartbeat and news alike. */
export interface GossipMessage {
  readonly sender: StoreId
  /** How late the sender's event loop runs, ms. */
  readonly lagMs: number
  readonly digest: number
  readonly rumours: readonly Rumour[]
}

/** A direct probe. */
export interface Ping {
  readonly target: StoreId
  readonly opinion: Opinion
  /** Who probes: the helper itself when it does so for another. */
  readonly sender: Rumour
}

/** The answer to a probe. */
export interface Ack {
  readonly self: Rumour
  readonly lagMs: number
  readonly digest: number
  /** What the replier believes of the prober; `undefined` when it has not heard of it. */
  readonly opinion: Opinion | undefined
}

/** Please probe the target. */
export interface PingRequest {
  readonly target: StoreId
  readonly opinion: Opinion
  readonly timeoutMs: number
}

/** A view, or a part of it. */
export interface ViewMessage {
  /** `exchange` wants the other's view back, `tell` wants nothing. */
  readonly kind: 'exchange' | 'tell'
  readonly sender: StoreId
  readonly digest: number
  readonly rumours: readonly Rumour[]
}

const MAGIC = 0x4d
const GOSSIP = 1
const STATUSES: readonly Liveness[] = ['alive', 'suspect', 'dead', 'left']
const PEER_BYTES_MAX = 128
const ADDRESS_BYTES_MAX = 256
const ADDRESSES_MAX = 32
const RUMOUR_BYTES_MAX = 16_384
/** The least a rumour takes, its length included. */
const RUMOUR_BYTES_MIN = 2 * ID_BYTES + 7
const TIMEOUT_MAX_MS = 60_000

/** The addresses that fit into a rumour: at most 32, of at most 256 bytes each. Others would not be able to read more. */
export function announceable(addresses: readonly string[]): readonly string[] {
  return addresses.filter(address => utf8(address).length <= ADDRESS_BYTES_MAX).slice(0, ADDRESSES_MAX)
}

export function encodeGossip({ sender, lagMs, digest, rumours }: GossipMessage): Uint8Array {
  const writer = new Writer(128).u8(MAGIC).u8(GOSSIP).raw(idToBytes(sender)).varint(Math.round(lagMs)).u32(digest)
  return writeRumours(writer, rumours).finish()
}

/**
 * `undefined` for what others publish or later versions add.
 *
 * @throws KilovoltError `KV_PROTOCOL`
 */
export function decodeGossip(bytes: Uint8Array): GossipMessage | undefined {
  const reader = new Reader(bytes)
  if (reader.u8() !== MAGIC || reader.u8() !== GOSSIP) return undefined
  return { sender: readStore(reader), lagMs: reader.varint(), digest: reader.u32(), rumours: readRumours(reader) }
}

export function encodePing({ target, opinion, sender }: Ping): Uint8Array {
  const writer = writeOpinion(new Writer(256).raw(idToBytes(target)), opinion)
  return writeRumour(writer, sender).finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodePing(bytes: Uint8Array): Ping {
  const reader = new Reader(bytes)
  return { target: readStore(reader), opinion: readOpinion(reader), sender: readRumour(reader) }
}

export function encodeAck({ self, lagMs, digest, opinion }: Ack): Uint8Array {
  const writer = writeRumour(new Writer(256), self).varint(Math.round(lagMs)).u32(digest)
  writer.bool(opinion !== undefined)
  if (opinion !== undefined) writeOpinion(writer, opinion)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeAck(bytes: Uint8Array): Ack {
  const reader = new Reader(bytes)
  const self = readRumour(reader)
  const lagMs = reader.varint()
  const digest = reader.u32()
  return { self, lagMs, digest, opinion: reader.bool() ? readOpinion(reader) : undefined }
}

export function encodePingRequest({ target, opinion, timeoutMs }: PingRequest): Uint8Array {
  return writeOpinion(new Writer(32).raw(idToBytes(target)), opinion)
    .varint(Math.round(timeoutMs))
    .finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodePingRequest(bytes: Uint8Array): PingRequest {
  const reader = new Reader(bytes)
  const target = readStore(reader)
  const opinion = readOpinion(reader)
  return { target, opinion, timeoutMs: Math.min(TIMEOUT_MAX_MS, reader.varint()) }
}

/** @param ack - the target's own answer; `undefined` when there was none */
export function encodeVerdict(ack: Uint8Array | undefined): Uint8Array {
  const writer = new Writer(1 + (ack?.length ?? 0)).bool(ack !== undefined)
  if (ack !== undefined) writer.raw(ack)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeVerdict(bytes: Uint8Array): Ack | undefined {
  const reader = new Reader(bytes)
  return reader.bool() ? decodeAck(reader.rest()) : undefined
}

export function encodeView({ kind, sender, digest, rumours }: ViewMessage): Uint8Array {
  const writer = new Writer(64 + rumours.length * 160).u8(kind === 'exchange' ? 0 : 1)
  return writeRumours(writer.raw(idToBytes(sender)).u32(digest), rumours).finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeView(bytes: Uint8Array): ViewMessage {
  const reader = new Reader(bytes)
  const kind = reader.bool() ? 'tell' : 'exchange'
  return { kind, sender: readStore(reader), digest: reader.u32(), rumours: readRumours(reader) }
}

function writeRumours(writer: Writer, rumours: readonly Rumour[]): Writer {
  writer.varint(rumours.length)
  for (const rumour of rumours) writeRumour(writer, rumour)
  return writer
}

function readRumours(reader: Reader): Rumour[] {
  const rumours: Rumour[] = []
  for (let left = reader.count(MEMBERS_MAX, RUMOUR_BYTES_MIN); left > 0; left--) rumours.push(readRumour(reader))
  return rumours
}

function writeRumour(writer: Writer, { member, ageMs, accusers }: Rumour): Writer {
  const { storeId, peerId, incarnation, status, clusterId, epoch, addresses } = member
  const body = new Writer(160)
    .raw(idToBytes(storeId))
    .text(peerId)
    .varint(incarnation)
    .u8(STATUSES.indexOf(status))
    .raw(clusterId === undefined ? new Uint8Array(ID_BYTES) : idToBytes(clusterId))
    .varint(epoch)
  body.varint(addresses.length)
  for (const address of addresses) body.text(address)
  body.varint(Math.round(ageMs)).varint(Math.min(ACCUSERS_MAX, accusers.length))
  for (const accuser of accusers.slice(0, ACCUSERS_MAX)) body.raw(idToBytes(accuser))
  return writer.bytes(body.finish())
}

function readRumour(outer: Reader): Rumour {
  const reader = new Reader(outer.bytes(RUMOUR_BYTES_MAX))
  const storeId = readStore(reader)
  const peerId = reader.text(PEER_BYTES_MAX) as PeerId
  const { incarnation, status } = readOpinion(reader)
  const cluster = reader.raw(ID_BYTES)
  const clusterId = cluster.every(byte => byte === 0) ? undefined : idFromBytes<ClusterId>(cluster)
  const epoch = reader.varint()
  const addresses: string[] = []
  for (let left = reader.count(ADDRESSES_MAX); left > 0; left--) addresses.push(reader.text(ADDRESS_BYTES_MAX))
  const ageMs = reader.varint()
  const accusers: StoreId[] = []
  for (let left = reader.count(ACCUSERS_MAX, ID_BYTES); left > 0; left--) accusers.push(readStore(reader))
  return { member: { storeId, peerId, addresses, incarnation, status, clusterId, epoch }, ageMs, accusers }
}

function writeOpinion(writer: Writer, { incarnation, status }: Opinion): Writer {
  return writer.varint(incarnation).u8(STATUSES.indexOf(status))
}

function readOpinion(reader: Reader): Opinion {
  const incarnation = reader.varint()
  const status = STATUSES[reader.u8()]
  if (incarnation > INCARNATION_MAX) throw new KilovoltError('KV_PROTOCOL', `an incarnation of ${incarnation}`)
  if (status === undefined) throw new KilovoltError('KV_PROTOCOL', 'a status of membership that does not exist')
  return { incarnation, status }
}

function readStore(reader: Reader): StoreId {
  return idFromBytes<StoreId>(reader.raw(ID_BYTES))
}
