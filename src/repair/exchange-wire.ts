import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { HashTree, TREE_BYTES, type TreeRoot } from '../model/hash-tree.ts'
import { KEY_BYTES_MAX, KEYSPACE_BYTES_MAX } from '../model/key.ts'
import { type PartitionId, PARTITIONS_MAX, TREE_LEAVES } from '../model/partition.ts'
import { assertRecordHead, RECORD_HEAD_BYTES_MAX } from '../model/record.ts'
import type { CopyCursor } from './wire.ts'

/**
 * What two replicas say to find where they differ. One asks, the other answers; both directions are mended by the one who
 * asks.
 *
 *     ROOTS   n × (partition u16 · root hi u32 · lo u32 · count · horizon)
 *             → n × partition that differs · m × one not known yet · k × (partition whose horizon is later · horizon)
 *     LEAVES  partition u16 · tree 12 KiB                          → n × leaf that differs
 *     KEYS    partition u16 · n × leaf · [after] · [up to]         → [position reached] · n × (keyspace · key · head)
 */
export interface RootsRequest {
  readonly roots: readonly {
    readonly partition: PartitionId
    readonly root: TreeRoot
    /** Hybrid time up to which the past is settled: only trees of the same horizon compare. */
    readonly horizon: number
  }[]
}

/** Which of the partitions have to be looked at more closely. */
export interface RootsReply {
  readonly differing: readonly PartitionId[]
  /** Of which one side does not know its tree yet. */
  readonly unknown: readonly PartitionId[]
  /** Of which the past is settled further than who asks knows. */
  readonly ahead: readonly (readonly [PartitionId, horizon: number])[]
}

/** The whole tree of who asks. */
export interface LeavesRequest {
  readonly partition: PartitionId
  readonly tree: HashTree
}

/** What is held under some leaves of a partition. */
export interface KeysRequest {
  readonly partition: PartitionId
  readonly leaves: readonly number[]
  /** Not this record, but those after it. */
  readonly after: CopyCursor | undefined
  /** This record is the last; `undefined`: to the end of the partition. */
  readonly upTo: CopyCursor | undefined
}

/** All of a record but its value. */
export interface RecordHead {
  readonly keyspace: Uint8Array
  readonly key: Uint8Array
  /** Flags, stamp and expiry. */
  readonly head: Uint8Array
}

/** A part of the answer. */
export interface KeysReply {
  readonly heads: readonly RecordHead[]
  /** Everything up to here has been looked at; `undefined` when that is all that was asked for. */
  readonly reached: CopyCursor | undefined
}

const HEADS_MAX = 65_536

export function encodeRoots({ roots }: RootsRequest): Uint8Array {
  const writer = new Writer(4 + roots.length * 22).varint(roots.length)
  for (const { partition, root, horizon } of roots)
    writer.u16(partition).u32(root.hi).u32(root.lo).varint(root.count).varint(horizon)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeRoots(bytes: Uint8Array): RootsRequest {
  const reader = new Reader(bytes)
  const roots: RootsRequest['roots'][number][] = []
  for (let left = reader.count(PARTITIONS_MAX, 12); left > 0; left--) {
    const partition = reader.u16()
    const root = { hi: reader.u32(), lo: reader.u32(), count: reader.varint() }
    roots.push({ partition, root, horizon: reader.varint() })
  }
  return { roots }
}

export function encodeRootsReply({ differing, unknown, ahead }: RootsReply): Uint8Array {
  const writer = new Writer(8 + (differing.length + unknown.length) * 2 + ahead.length * 10)
  for (const list of [differing, unknown]) writeNumbers(writer, list)
  writer.varint(ahead.length)
  for (const [partition, horizon] of ahead) writer.u16(partition).varint(horizon)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeRootsReply(bytes: Uint8Array): RootsReply {
  const reader = new Reader(bytes)
  const differing = readNumbers(reader, PARTITIONS_MAX)
  const unknown = readNumbers(reader, PARTITIONS_MAX)
  const ahead: (readonly [PartitionId, number])[] = []
  for (let left = reader.count(PARTITIONS_MAX, 3); left > 0; left--) ahead.push([reader.u16(), reader.varint()])
  return { differing, unknown, ahead }
}

export function encodeLeaves({ partition, tree }: LeavesRequest): Uint8Array {
  return new Writer(2 + TREE_BYTES).u16(partition).raw(tree.encode()).finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeLeaves(bytes: Uint8Array): LeavesRequest {
  const reader = new Reader(bytes)
  return { partition: reader.u16(), tree: HashTree.decode(reader.rest()) }
}

export function encodeLeavesReply(leaves: readonly number[]): Uint8Array {
  const writer = new Writer(4 + leaves.length * 2)
  writeNumbers(writer, leaves)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeLeavesReply(bytes: Uint8Array): readonly number[] {
  return readLeaves(new Reader(bytes))
}

export function encodeKeys({ partition, leaves, after, upTo }: KeysRequest): Uint8Array {
  const writer = new Writer(64 + leaves.length * 2).u16(partition)
  writeNumbers(writer, leaves)
  writeCursor(writer, after)
  writeCursor(writer, upTo)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeKeys(bytes: Uint8Array): KeysRequest {
  const reader = new Reader(bytes)
  const partition = reader.u16()
  const leaves = readLeaves(reader)
  return { partition, leaves, after: readCursor(reader), upTo: readCursor(reader) }
}

export function encodeKeysReply({ heads, reached }: KeysReply): Uint8Array {
  const writer = new Writer(1024)
  writeCursor(writer, reached)
  writer.varint(heads.length)
  for (const { keyspace, key, head } of heads) writer.bytes(keyspace).bytes(key).bytes(head)
  return writer.finish()
}

/** @throws KilovoltError `KV_PROTOCOL`, `KV_CORRUPT` */
export function decodeKeysReply(bytes: Uint8Array): KeysReply {
  const reader = new Reader(bytes)
  const reached = readCursor(reader)
  const heads: RecordHead[] = []
  for (let left = reader.count(HEADS_MAX, 3); left > 0; left--) {
    const keyspace = reader.bytes(KEYSPACE_BYTES_MAX)
    const key = reader.bytes(KEY_BYTES_MAX)
    const head = reader.bytes(RECORD_HEAD_BYTES_MAX)
    assertRecordHead(head)
    heads.push({ keyspace, key, head })
  }
  return { heads, reached }
}

function writeNumbers(writer: Writer, numbers: readonly number[]): void {
  writer.varint(numbers.length)
  for (const number of numbers) writer.u16(number)
}

function readNumbers(reader: Reader, max: number): number[] {
  const numbers: number[] = []
  for (let left = reader.count(max, 2); left > 0; left--) numbers.push(reader.u16())
  return numbers
}

function readLeaves(reader: Reader): readonly number[] {
  const leaves = readNumbers(reader, TREE_LEAVES)
  if (leaves.some(leaf => leaf >= TREE_LEAVES)) throw new KilovoltError('KV_PROTOCOL', 'a leaf that no tree has')
  return leaves
}

function writeCursor(writer: Writer, cursor: CopyCursor | undefined): void {
  writer.bool(cursor !== undefined)
  if (cursor !== undefined) writer.bytes(cursor.keyspace).bytes(cursor.key)
}

function readCursor(reader: Reader): CopyCursor | undefined {
  if (!reader.bool()) return undefined
  return {
    keyspace: new Uint8Array(reader.bytes(KEYSPACE_BYTES_MAX)),
    key: new Uint8Array(reader.bytes(KEY_BYTES_MAX))
  }
}
