import { fromHex, toHex } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { type ClusterId, ID_BYTES, idFromBytes, idToBytes, type StoreId } from '../model/node-id.ts'
import { type PartitionId, PARTITIONS_MAX } from '../model/partition.ts'
import { scopeOf, type WatchFilter } from './watch-filter.ts'
import { LOG_ID_BYTES } from './watch-wire.ts'

/** How far the arrivals at one store have been told. */
export interface FeedPosition {
  readonly store: StoreId
  /** Id of its log, in hex. */
  readonly log: string
  readonly seq: number
}

/** How far a partition has been told. */
export interface Reached {
  /** Everything that had arrived there has been told; `undefined`: that holds for no store now. */
  readonly feed: FeedPosition | undefined
  /** Everything stamped at or below this has been told, wherever it lies. */
  readonly low: number
  /** Every record that had expired by then has been told, Unix ms. */
  readonly expiredUntil: number
}

/** Where somebody who watches stands, in each partition that is watched. */
export interface Standing {
  readonly clusterId: ClusterId
  readonly partitions: ReadonlyMap<PartitionId, Reached>
}

/** Tokens of version 1 did not say what was watched. */
const VERSION = 2
const FEEDS_MAX = 4096
const GROUPS_MAX = 65_536

/**
 * A standing as text: what all partitions of one feed have in common is written once, and each partition names its group in
 * as few bits as there are groups. About 350 characters for 256 partitions fed by three stores, 120 for a single one.
 *
 *     version u8 · what is watched u32 · cluster 16 · n × (store 16 · log 8 · number) · n × (feed + 1, or 0 · low · expired until)
 *     · n × difference of partitions · group of each, in ⌈log₂ groups⌉ bits
 */
export function encodeToken({ clusterId, partitions }: Standing, filter: WatchFilter): string {
  const feeds: FeedPosition[] = []
  const groups: Reached[] = []
  const places = new Map<string, number>()
  const numbers = [...partitions.keys()].sort((a, b) => a - b)
  const indexes = numbers.map(partition => {
    const reached = partitions.get(partition)!
    const { feed } = reached
    const name = `${feed?.log}.${feed?.seq}.${reached.low}.${reached.expiredUntil}`
    let place = places.get(name)
    if (place === undefined) {
      places.set(name, (place = groups.length))
      groups.push(reached)
      if (feed !== undefined && !feeds.some(one => isSame(one, feed))) feeds.push(feed)
    }
    return place
  })
  const writer = new Writer(256).u8(VERSION).u32(scopeOf(filter)).raw(idToBytes(clusterId)).varint(feeds.length)
  for (const { store, log, seq } of feeds) writer.raw(idToBytes(store)).raw(fromHex(log)!).varint(seq)
  writer.varint(groups.length)
  for (const { feed, low, expiredUntil } of groups) {
    const at = feed === undefined ? 0 : feeds.findIndex(one => isSame(one, feed)) + 1
    writer.varint(at).varint(low).varint(expiredUntil)
  }
  writePartitions(writer, numbers)
  const width = bitsFor(groups.length)
  const bits = new Uint8Array(Math.ceil((indexes.length * width) / 8))
  for (const [i, index] of indexes.entries())
    for (let bit = 0; bit < width; bit++)
      if (((index >>> bit) & 1) === 1) bits[(i * width + bit) >>> 3]! |= 1 << ((i * width + bit) & 7)
  return Buffer.from(writer.raw(bits).finish()).toString('base64url')
}

/** @throws KilovoltError `KV_TOKEN` when it is no token, or one of a watch of other keys */
export function decodeToken(token: string, filter: WatchFilter): Standing {
  let read: { readonly scope: number; readonly standing: Standing }
  try {
    read = readToken(new Reader(Uint8Array.from(Buffer.from(token, 'base64url'))))
  } catch (cause) {
    throw new KilovoltError('KV_TOKEN', '"since" is not a token that a watch has given', { cause })
  }
  // To go on from there would pass over what the other one was never told.
  if (read.scope !== scopeOf(filter))
    throw new KilovoltError('KV_TOKEN', '"since" is the token of a watch of another keyspace, key or prefix')
  return read.standing
}

function readToken(reader: Reader): { readonly scope: number; readonly standing: Standing } {
  const version = reader.u8()
  if (version !== VERSION) throw new KilovoltError('KV_PROTOCOL', `a token of version ${version}`)
  const scope = reader.u32()
  const clusterId = idFromBytes<ClusterId>(reader.raw(ID_BYTES))
  const feeds: FeedPosition[] = []
  for (let left = reader.count(FEEDS_MAX, ID_BYTES + LOG_ID_BYTES + 1); left > 0; left--) {
    const store = idFromBytes<StoreId>(reader.raw(ID_BYTES))
    feeds.push({ store, log: toHex(reader.raw(LOG_ID_BYTES)), seq: reader.varint() })
  }
  const groups: Reached[] = []
  for (let left = reader.count(GROUPS_MAX, 3); left > 0; left--) {
    const at = reader.varint()
    if (at > feeds.length) throw new KilovoltError('KV_PROTOCOL', 'a feed that is not there')
    groups.push({ feed: feeds[at - 1], low: reader.varint(), expiredUntil: reader.varint() })
  }
  const numbers = readPartitions(reader)
  const width = bitsFor(groups.length)
  const bits = reader.raw(Math.ceil((numbers.length * width) / 8))
  const partitions = new Map<PartitionId, Reached>()
  for (const [i, partition] of numbers.entries()) {
    let index = 0
    for (let bit = 0; bit < width; bit++)
      index += ((bits[(i * width + bit) >>> 3]! >>> ((i * width + bit) & 7)) & 1) << bit
    const reached = groups[index]
    if (reached === undefined) throw new KilovoltError('KV_PROTOCOL', 'a group that is not there')
    partitions.set(partition, reached)
  }
  if (reader.remaining > 0) throw new KilovoltError('KV_PROTOCOL', 'more than a token')
  return { scope, standing: { clusterId, partitions } }
}

/** All partitions from 0 on, as in most tokens, take two numbers. */
function writePartitions(writer: Writer, numbers: readonly PartitionId[]): void {
  const isDense = numbers.every((partition, i) => partition === i)
  writer.bool(isDense).varint(numbers.length)
  let before = 0
  for (const partition of isDense ? [] : numbers) {
    writer.varint(partition - before)
    before = partition
  }
}

function readPartitions(reader: Reader): readonly PartitionId[] {
  const isDense = reader.bool()
  const count = reader.varint()
  if (count > PARTITIONS_MAX) throw new KilovoltError('KV_PROTOCOL', `${count} partitions`)
  let before = 0
  return Array.from({ length: count }, (_, i) => {
    before = isDense ? i : before + reader.varint()
    if (before >= PARTITIONS_MAX) throw new KilovoltError('KV_PROTOCOL', `there is no partition ${before}`)
    return before
  })
}

function bitsFor(count: number): number {
  return count <= 1 ? 0 : Math.ceil(Math.log2(count))
}

function isSame(a: FeedPosition, b: FeedPosition): boolean {
  return a.log === b.log && a.seq === b.seq
}
