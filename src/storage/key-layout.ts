import { EMPTY_BYTES, partOf } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { KEYSPACE_BYTES_MAX } from '../model/key.ts'
import { afterPrefix, type ByteRange, successor } from '../model/key-range.ts'
import { ID_BYTES, idFromBytes, idToBytes, type StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { RecordKey } from './record-store.ts'
import type { StoreRange } from './store.ts'

/**
 * Where everything lies in the store. The first byte is the kind; numbers are big-endian, so that byte order is the
 * order of the numbers:
 *
 *     0x10  partition u16 · length of the keyspace's name u8 · name · key      → a record
 *     0x12  store id 16 · key of a record                                       → a hint: a record kept for a store
 *     0x13  name                                                               → state of the cluster floor
 *     0x14  field u8                                                           → this store's identity and clock
 *     0x15                                                                     → number of the hash trees that follow
 *     0x15  partition u16                                                      → a hash tree; both after a clean stop only
 *     0x16                                                                     → written whenever all before is to be on the medium
 *     0x16  partition u16                                                      → how far its past is settled
 *     0x17  key of a record                                                    → a record that was set aside
 *     0x18  id u32                                                             → a secondary index: what it is of, and where it is whole
 *     0x19  id u32 · value · key                                               → an entry of an index: the partition of the key
 *     0x20  group u8 · index u48                                               → an entry of a Raft log
 *     0x21  group u8 · field u8                                                → other state of a Raft group
 *
 * Each partition is one range, and each keyspace one range in each partition. The length stands before the name so that
 * no name with a key can be mistaken for a longer name with a shorter key; keyspaces are hence ordered by length first.
 */
export const KeyKind = {
  DATA: 0x10,
  HINT: 0x12,
  META: 0x13,
  IDENTITY: 0x14,
  TREE: 0x15,
  SETTLED: 0x16,
  ASIDE: 0x17,
  INDEX: 0x18,
  INDEX_ENTRY: 0x19,
  RAFT_LOG: 0x20,
  RAFT_STATE: 0x21
} as const

const DATA_HEADER = 4
/** Greatest partition that has a place. */
export const PARTITION_MAX = 0xffff
const RAFT_LOG_BYTES = 8
/** Greatest index a Raft log entry can have: 2^48 − 1. */
export const RAFT_INDEX_MAX: number = 2 ** 48 - 1

/** Key of a record. The keyspace's name must be at most 64 bytes long. */
export function dataKey(partition: PartitionId, keyspace: Uint8Array, key: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(DATA_HEADER + keyspace.length + key.length)
  bytes[0] = KeyKind.DATA
  bytes[1] = partition >>> 8
  bytes[2] = partition & 0xff
  bytes[3] = keyspace.length
  // `set` costs more than a few assignments, and most names and keys are short.
  let at = DATA_HEADER
  for (let i = 0; i < keyspace.length; i++) bytes[at++] = keyspace[i]!
  if (key.length > 48) bytes.set(key, at)
  else for (let i = 0; i < key.length; i++) bytes[at++] = key[i]!
  return bytes
}

/**
 * What {@link dataKey} was given; keyspace and key are parts of the bytes, not to be written to.
 *
 * @throws KilovoltError `KV_CORRUPT` when it is no key of a record
 */
export function decodeDataKey(bytes: Uint8Array): RecordKey {
  const keyspaceBytes = bytes[3] ?? 0
  const keyAt = DATA_HEADER + keyspaceBytes
  if (bytes[0] !== KeyKind.DATA || bytes.length < keyAt || keyspaceBytes > KEYSPACE_BYTES_MAX) {
    throw new KilovoltError('KV_CORRUPT', `the store holds a key of ${bytes.length} bytes that is no key of a record`)
  }
  return {
    partition: partitionOfKey(bytes),
    keyspace: partOf(bytes, DATA_HEADER, keyAt),
    key: partOf(bytes, keyAt)
  }
}

/** The key that a key which {@link dataKey} made is for: a part of it. */
export function keyOf(bytes: Uint8Array): Uint8Array {
  return partOf(bytes, keyAtOf(bytes))
}

/** Where that begins. */
export function keyAtOf(bytes: Uint8Array): number {
  return DATA_HEADER + bytes[3]!
}

/** The name of the keyspace in a key which {@link dataKey} made: a part of it. */
export function keyspaceOf(bytes: Uint8Array): Uint8Array {
  return partOf(bytes, DATA_HEADER, DATA_HEADER + bytes[3]!)
}

/** All records. */
export function dataRange(): StoreRange {
  return prefixRange(Uint8Array.of(KeyKind.DATA))
}

/** Partition of a key that {@link dataKey} made. */
export function partitionOfKey(bytes: Uint8Array): PartitionId {
  return bytes[1]! * 0x100 + bytes[2]!
}

/** Key of a partition's hash tree. */
export function treeKey(partition: PartitionId): Uint8Array {
  return Uint8Array.of(KeyKind.TREE, partition >>> 8, partition & 0xff)
}

/** All hash trees. */
export function treeRange(): StoreRange {
  return prefixRange(Uint8Array.of(KeyKind.TREE))
}

/** Key of how far a partition's past is settled. */
export function settledKey(partition: PartitionId): Uint8Array {
  return Uint8Array.of(KeyKind.SETTLED, partition >>> 8, partition & 0xff)
}

/** How far the past of all partitions is settled, and before that the place that is written to only to be synced. */
export function settledRange(): StoreRange {
  return prefixRange(Uint8Array.of(KeyKind.SETTLED))
}

/** Prefix of what was set aside. */
export function asidePrefix(): Uint8Array {
  return Uint8Array.of(KeyKind.ASIDE)
}

/** Key of what is known of an index. */
export function indexKey(id: number): Uint8Array {
  return Uint8Array.of(KeyKind.INDEX, id >>> 24, id >>> 16, id >>> 8, id)
}

/** The id in a key that {@link indexKey} or {@link indexEntryKey} made. */
export function idOfIndex(key: Uint8Array): number {
  return ((key[1]! * 0x100 + key[2]!) * 0x100 + key[3]!) * 0x100 + key[4]!
}

/** All indexes. */
export function indexRange(): StoreRange {
  return prefixRange(Uint8Array.of(KeyKind.INDEX))
}

const ENTRY_HEADER = 5

/** Key of an entry of an index: an encoded value, and the key of the record that has it. */
export function indexEntryKey(id: number, value: Uint8Array, key: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(ENTRY_HEADER + value.length + key.length)
  bytes.set([KeyKind.INDEX_ENTRY, id >>> 24, id >>> 16, id >>> 8, id])
  bytes.set(value, ENTRY_HEADER)
  bytes.set(key, ENTRY_HEADER + value.length)
  return bytes
}

/** Value and key of an entry, as one part of its key in the store. */
export function entryOf(bytes: Uint8Array): Uint8Array {
  return partOf(bytes, ENTRY_HEADER)
}

/** The entries of an index within a range of values with keys behind them. */
export function indexEntryRange(id: number, { from, to }: ByteRange): StoreRange {
  const gte = indexEntryKey(id, from, EMPTY_BYTES)
  return {
    gte,
    lt: to === undefined ? afterPrefix(gte.subarray(0, ENTRY_HEADER)) : indexEntryKey(id, to, EMPTY_BYTES)
  }
}

/** All records of a partition. */
export function partitionRange(partition: PartitionId): StoreRange {
  return prefixRange(Uint8Array.of(KeyKind.DATA, partition >>> 8, partition & 0xff))
}

/** The records of a partition strictly after a place; all of them when there is none. */
export function partitionRangeAfter(
  partition: PartitionId,
  after: { readonly keyspace: Uint8Array; readonly key: Uint8Array } | undefined
): StoreRange {
  const range = partitionRange(partition)
  // The next key in byte order is the same one with a zero byte behind it.
  return after === undefined ? range : { gte: successor(dataKey(partition, after.keyspace, after.key)), lt: range.lt }
}

/** Records of a keyspace within a partition: those of a range of its keys. */
export function keyspaceRange(partition: PartitionId, keyspace: Uint8Array, { from, to }: ByteRange): StoreRange {
  const gte = dataKey(partition, keyspace, from)
  return {
    gte,
    lt: to === undefined ? afterPrefix(gte.subarray(0, gte.length - from.length)) : dataKey(partition, keyspace, to)
  }
}

/** Prefix of all that is kept for a store that could not be reached. */
export function hintPrefix(target: StoreId): Uint8Array {
  const bytes = new Uint8Array(1 + ID_BYTES)
  bytes[0] = KeyKind.HINT
  bytes.set(idToBytes(target), 1)
  return bytes
}

/** Whom a hint is kept for. */
export function targetOfHint(key: Uint8Array): StoreId {
  return idFromBytes(partOf(key, 1, 1 + ID_BYTES))
}

/** All hints, or those of the targets after one. */
export function hintRange(after?: StoreId): StoreRange {
  const { gte, lt } = prefixRange(Uint8Array.of(KeyKind.HINT))
  return { gte: after === undefined ? gte : (prefixRange(hintPrefix(after)).lt ?? gte), lt }
}

/** Key of a piece of the cluster floor's state. */
export function metaKey(name: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + name.length)
  bytes[0] = KeyKind.META
  bytes.set(name, 1)
  return bytes
}

/** All of the cluster floor's state. */
export function metaRange(): StoreRange {
  return prefixRange(Uint8Array.of(KeyKind.META))
}

/** Key of a field of the store's identity. */
export function identityKey(field: number): Uint8Array {
  return Uint8Array.of(KeyKind.IDENTITY, field)
}

/** Key of a Raft log entry: group 0 … 255, index 0 … {@link RAFT_INDEX_MAX}. */
export function raftLogKey(group: number, index: number): Uint8Array {
  const bytes = new Uint8Array(RAFT_LOG_BYTES)
  bytes[0] = KeyKind.RAFT_LOG
  bytes[1] = group
  let rest = index
  for (let i = RAFT_LOG_BYTES - 1; i >= 2; i--) {
    bytes[i] = rest % 256
    rest = Math.floor(rest / 256)
  }
  return bytes
}

/**
 * Group and index of a Raft log entry's key.
 *
 * @throws KilovoltError `KV_CORRUPT` when it is no such key
 */
export function decodeRaftLogKey(bytes: Uint8Array): { readonly group: number; readonly index: number } {
  if (bytes[0] !== KeyKind.RAFT_LOG || bytes.length !== RAFT_LOG_BYTES) {
    throw new KilovoltError(
      'KV_CORRUPT',
      `the store holds a key of ${bytes.length} bytes that is no key of a log entry`
    )
  }
  let index = 0
  for (let i = 2; i < RAFT_LOG_BYTES; i++) index = index * 256 + bytes[i]!
  return { group: bytes[1]!, index }
}

/** Log entries of a group from one index up to, not including, another; without bounds the whole log. */
export function raftLogRange(group: number, from = 0, to: number = RAFT_INDEX_MAX + 1): StoreRange {
  const lt = to > RAFT_INDEX_MAX ? prefixRange(Uint8Array.of(KeyKind.RAFT_LOG, group)).lt : raftLogKey(group, to)
  return { gte: raftLogKey(group, from), lt }
}

/** Key of a field of a Raft group's state: group and field 0 … 255. */
export function raftStateKey(group: number, field: number): Uint8Array {
  return Uint8Array.of(KeyKind.RAFT_STATE, group, field)
}

/** All fields of a Raft group's state. */
export function raftStateRange(group: number): StoreRange {
  return prefixRange(Uint8Array.of(KeyKind.RAFT_STATE, group))
}

/** Everything that begins with the prefix. */
function prefixRange(prefix: Uint8Array): StoreRange {
  return { gte: prefix, lt: afterPrefix(prefix) }
}
