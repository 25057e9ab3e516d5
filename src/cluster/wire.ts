import { utf8 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { type ClusterId, ID_BYTES, idFromBytes, idToBytes, type PeerId, type StoreId } from '../model/node-id.ts'
import type { MemberStatus, RowCopy } from '../placement/topology.ts'
import { readCluster, readClusters, writeClusters } from './kinship.ts'
import type { Command, NewMember, RowBegin, RowRef } from './commands.ts'

const Kind = {
  FOUND: 1,
  ADD: 2,
  STATUS: 3,
  REMOVE: 4,
  BEGIN: 5,
  END: 6,
  ABORT: 7,
  UPDATE: 8,
  REFOUND: 9,
  ABSORB: 10,
  ABSORB_CANCEL: 11,
  DISSOLVE: 12
} as const
/** Order is part of the format. */
const STATUSES: readonly MemberStatus[] = ['up', 'down', 'leaving', 'evicted', 'arriving']

const TEXT_BYTES_MAX = 256
const ADDRESSES_MAX = 32
const ROWS_MAX = 4096
export const MEMBERS_MAX = 4096
const SLOTS_MAX = 64

/** Bytes of a command of the log. */
export function encodeCommand(command: Command): Uint8Array {
  const writer = new Writer(256)
  switch (command.kind) {
    case 'found':
      writer
        .u8(Kind.FOUND)
        .raw(idToBytes(command.clusterId))
        .text(command.name)
        .varint(command.partitions)
        .varint(command.replicas)
        .varint(command.foundedMs)
      return writeMember(writer, command.member).finish()
    case 'refound':
      writer.u8(Kind.REFOUND).raw(idToBytes(command.clusterId)).varint(command.foundedMs)
      return writer.bytes(command.state).finish()
    case 'addMember':
      return writeClusters(writeMember(writer.u8(Kind.ADD), command.member), command.former).finish()
    case 'updateMember':
      return writeMember(writer.u8(Kind.UPDATE), command.member).finish()
    case 'setStatus':
      return writer.u8(Kind.STATUS).raw(idToBytes(command.storeId)).u8(STATUSES.indexOf(command.status)).finish()
    case 'removeMember':
      return writer.u8(Kind.REMOVE).raw(idToBytes(command.storeId)).finish()
    case 'changeBegin':
      writer.u8(Kind.BEGIN).varint(command.rows.length)
      for (const { partition, rowEpoch, next, copies } of command.rows) {
        writeStores(writer.varint(partition).varint(rowEpoch), next)
        writeCopies(writer, copies)
      }
      return writer.finish()
    case 'changeEnd':
    case 'changeAbort':
      writer.u8(command.kind === 'changeEnd' ? Kind.END : Kind.ABORT).varint(command.rows.length)
      for (const { partition, rowEpoch } of command.rows) writer.varint(partition).varint(rowEpoch)
      return writer.finish()
    case 'absorb':
      writeClusters(writer.u8(Kind.ABSORB).raw(idToBytes(command.cluster)), command.absorbed)
      return writeMembers(writer, command.members).finish()
    case 'absorbCancel':
      return writer.u8(Kind.ABSORB_CANCEL).raw(idToBytes(command.cluster)).finish()
    case 'dissolve':
      return writer.u8(Kind.DISSOLVE).raw(idToBytes(command.into)).varint(command.epoch).finish()
  }
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeCommand(bytes: Uint8Array): Command {
  const reader = new Reader(bytes)
  const kind = reader.u8()
  switch (kind) {
    case Kind.FOUND: {
      const clusterId: ClusterId = idFromBytes(reader.raw(ID_BYTES))
      const name = reader.text(TEXT_BYTES_MAX)
      const partitions = reader.varint()
      const replicas = reader.varint()
      const foundedMs = reader.varint()
      return { kind: 'found', clusterId, name, partitions, replicas, foundedMs, member: readMember(reader) }
    }
    case Kind.REFOUND: {
      const clusterId = readCluster(reader)
      return { kind: 'refound', clusterId, foundedMs: reader.varint(), state: new Uint8Array(reader.bytes()) }
    }
    case Kind.ADD:
      return { kind: 'addMember', member: readMember(reader), former: readClusters(reader) }
    case Kind.UPDATE:
      return { kind: 'updateMember', member: readMember(reader) }
    case Kind.STATUS:
      return { kind: 'setStatus', storeId: readStore(reader), status: readStatus(reader) }
    case Kind.REMOVE:
      return { kind: 'removeMember', storeId: readStore(reader) }
    case Kind.BEGIN: {
      const rows: RowBegin[] = []
      for (let left = reader.count(ROWS_MAX, 4); left > 0; left--) {
        rows.push({
          partition: reader.varint(),
          rowEpoch: reader.varint(),
          next: readStores(reader),
          copies: readCopies(reader)
        })
      }
      return { kind: 'changeBegin', rows }
    }
    case Kind.END:
    case Kind.ABORT: {
      const rows: RowRef[] = []
      for (let left = reader.count(ROWS_MAX, 2); left > 0; left--)
        rows.push({ partition: reader.varint(), rowEpoch: reader.varint() })
      return { kind: kind === Kind.END ? 'changeEnd' : 'changeAbort', rows }
    }
    case Kind.ABSORB:
      return {
        kind: 'absorb',
        cluster: readCluster(reader),
        absorbed: readClusters(reader),
        members: readMembers(reader)
      }
    case Kind.ABSORB_CANCEL:
      return { kind: 'absorbCancel', cluster: readCluster(reader) }
    case Kind.DISSOLVE:
      return { kind: 'dissolve', into: readCluster(reader), epoch: reader.varint() }
    default:
      throw new KilovoltError('KV_PROTOCOL', `a command of kind ${kind} is unknown`)
  }
}

export function writeMember(writer: Writer, member: NewMember): Writer {
  writer
    .raw(idToBytes(member.storeId))
    .text(member.peerId)
    .varint(Math.round(member.weight * 1000))
  // What is written must be readable by everybody, and a machine with many interfaces may have more addresses than that.
  const addresses = member.addresses.filter(address => utf8(address).length <= TEXT_BYTES_MAX).slice(0, ADDRESSES_MAX)
  writer.text(member.zone).text(member.region).bool(member.volatile).varint(addresses.length)
  for (const address of addresses) writer.text(address)
  return writer
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function readMember(reader: Reader): NewMember {
  const storeId = readStore(reader)
  const peerId = reader.text(TEXT_BYTES_MAX) as PeerId
  const weight = reader.varint() / 1000
  const zone = reader.text(TEXT_BYTES_MAX)
  const region = reader.text(TEXT_BYTES_MAX)
  const volatile = reader.bool()
  const addresses: string[] = []
  for (let left = reader.count(ADDRESSES_MAX); left > 0; left--) addresses.push(reader.text(TEXT_BYTES_MAX))
  return { storeId, peerId, addresses, weight, zone, region, volatile }
}

export function writeMembers(writer: Writer, members: readonly NewMember[]): Writer {
  writer.varint(members.length)
  for (const member of members) writeMember(writer, member)
  return writer
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function readMembers(reader: Reader): NewMember[] {
  const members: NewMember[] = []
  for (let left = reader.count(MEMBERS_MAX, ID_BYTES); left > 0; left--) members.push(readMember(reader))
  return members
}

export function writeStatus(writer: Writer, status: MemberStatus): Writer {
  return writer.u8(STATUSES.indexOf(status))
}

export function readStatus(reader: Reader): MemberStatus {
  const status = STATUSES[reader.u8()]
  if (status === undefined) throw new KilovoltError('KV_PROTOCOL', 'a member’s status is unknown')
  return status
}

export function readStore(reader: Reader): StoreId {
  return idFromBytes(reader.raw(ID_BYTES))
}

export function writeStores(writer: Writer, stores: readonly StoreId[]): Writer {
  writer.varint(stores.length)
  for (const store of stores) writer.raw(idToBytes(store))
  return writer
}

export function readStores(reader: Reader): StoreId[] {
  const stores: StoreId[] = []
  for (let left = reader.count(SLOTS_MAX, ID_BYTES); left > 0; left--) stores.push(readStore(reader))
  return stores
}

export function writeCopies(writer: Writer, copies: readonly RowCopy[]): Writer {
  writer.varint(copies.length)
  for (const { to, from } of copies) writeStores(writer.raw(idToBytes(to)), from)
  return writer
}

export function readCopies(reader: Reader): RowCopy[] {
  const copies: RowCopy[] = []
  for (let left = reader.count(SLOTS_MAX, ID_BYTES); left > 0; left--)
    copies.push({ to: readStore(reader), from: readStores(reader) })
  return copies
}
