import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { ID_BYTES, idFromBytes, idToBytes, type StoreId } from '../model/node-id.ts'
import type { Configuration } from './configuration.ts'
import type { Entry, RaftMessage, Snapshot } from './messages.ts'

const Kind = { VOTE: 1, VOTE_REPLY: 2, APPEND: 3, APPEND_REPLY: 4, SNAPSHOT: 5, TIMEOUT_NOW: 6 } as const
const Content = { EMPTY: 0, COMMAND: 1, CONFIGURATION: 2 } as const
const MEMBERS_MAX = 1024
const ENTRIES_MAX = 65_536

/** Bytes of a message of a group, with its sender. */
export function encodeRaftMessage(group: number, from: StoreId, message: RaftMessage): Uint8Array {
  const writer = new Writer(128).u8(group).raw(idToBytes(from))
  switch (message.kind) {
    case 'vote':
      return writer
        .u8(Kind.VOTE)
        .varint(message.term)
        .bool(message.pre)
        .bool(message.force)
        .varint(message.lastIndex)
        .varint(message.lastTerm)
        .finish()
    case 'voteReply':
      return writer.u8(Kind.VOTE_REPLY).varint(message.term).bool(message.pre).bool(message.granted).finish()
    case 'append':
      writer.u8(Kind.APPEND).varint(message.term).varint(message.prevIndex).varint(message.prevTerm)
      writer.varint(message.commit).varint(message.round).varint(message.entries.length)
      for (const entry of message.entries) writer.bytes(encodeEntry(entry))
      return writer.finish()
    case 'appendReply':
      return writer
        .u8(Kind.APPEND_REPLY)
        .varint(message.term)
        .bool(message.ok)
        .varint(message.index)
        .varint(message.round)
        .finish()
    case 'snapshot':
      return writer
        .u8(Kind.SNAPSHOT)
        .varint(message.term)
        .varint(message.round)
        .raw(encodeSnapshot(message.snapshot))
        .finish()
    case 'timeoutNow':
      return writer.u8(Kind.TIMEOUT_NOW).varint(message.term).finish()
  }
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeRaftMessage(bytes: Uint8Array): { group: number; from: StoreId; message: RaftMessage } {
  const reader = new Reader(bytes)
  const group = reader.u8()
  const from: StoreId = idFromBytes(reader.raw(ID_BYTES))
  return { group, from, message: readMessage(reader) }
}

function readMessage(reader: Reader): RaftMessage {
  const kind = reader.u8()
  const term = reader.varint()
  switch (kind) {
    case Kind.VOTE:
      return {
        kind: 'vote',
        term,
        pre: reader.bool(),
        force: reader.bool(),
        lastIndex: reader.varint(),
        lastTerm: reader.varint()
      }
    case Kind.VOTE_REPLY:
      return { kind: 'voteReply', term, pre: reader.bool(), granted: reader.bool() }
    case Kind.APPEND: {
      const [prevIndex, prevTerm, commit, round] = [reader.varint(), reader.varint(), reader.varint(), reader.varint()]
      const entries: Entry[] = []
      for (let left = reader.count(ENTRIES_MAX, 3); left > 0; left--) entries.push(decodeEntry(reader.bytes()))
      if (entries.some(({ index }, i) => index !== prevIndex + 1 + i)) throw malformed('entries with gaps')
      return { kind: 'append', term, prevIndex, prevTerm, entries, commit, round }
    }
    case Kind.APPEND_REPLY:
      return { kind: 'appendReply', term, ok: reader.bool(), index: reader.varint(), round: reader.varint() }
    case Kind.SNAPSHOT: {
      const round = reader.varint()
      return { kind: 'snapshot', term, round, snapshot: decodeSnapshot(reader.rest()) }
    }
    case Kind.TIMEOUT_NOW:
      return { kind: 'timeoutNow', term }
    default:
      throw malformed(`a message of kind ${kind}`)
  }
}

/** Bytes of an entry, the same on the wire and in the log store. They own their memory. */
export function encodeEntry({ index, term, content }: Entry): Uint8Array {
  const writer = new Writer(64).varint(index).varint(term)
  switch (content.kind) {
    case 'empty':
      return writer.u8(Content.EMPTY).finish()
    case 'command':
      return writer.u8(Content.COMMAND).raw(content.command).finish()
    case 'configuration':
      return writeConfiguration(writer.u8(Content.CONFIGURATION), content.configuration).finish()
  }
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeEntry(bytes: Uint8Array): Entry {
  const reader = new Reader(bytes)
  const index = reader.varint()
  const term = reader.varint()
  const kind = reader.u8()
  switch (kind) {
    case Content.EMPTY:
      return { index, term, content: { kind: 'empty' } }
    case Content.COMMAND:
      return { index, term, content: { kind: 'command', command: new Uint8Array(reader.rest()) } }
    case Content.CONFIGURATION:
      return { index, term, content: { kind: 'configuration', configuration: readConfiguration(reader) } }
    default:
      throw malformed(`an entry of kind ${kind}`)
  }
}

/** Bytes of a snapshot, the same on the wire and in the log store. */
export function encodeSnapshot({ index, term, configuration, data }: Snapshot): Uint8Array {
  return writeConfiguration(new Writer(data.length + 256).varint(index).varint(term), configuration)
    .raw(data)
    .finish()
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function decodeSnapshot(bytes: Uint8Array): Snapshot {
  const reader = new Reader(bytes)
  const index = reader.varint()
  const term = reader.varint()
  const configuration = readConfiguration(reader)
  return { index, term, configuration, data: new Uint8Array(reader.rest()) }
}

function writeConfiguration(writer: Writer, { voters, next, learners }: Configuration): Writer {
  for (const list of [voters, next ?? [], learners]) {
    writer.varint(list.length)
    for (const store of list) writer.raw(idToBytes(store))
  }
  return writer
}

function readConfiguration(reader: Reader): Configuration {
  const list = (): StoreId[] => {
    const stores: StoreId[] = []
    for (let left = reader.count(MEMBERS_MAX, ID_BYTES); left > 0; left--)
      stores.push(idFromBytes(reader.raw(ID_BYTES)))
    return stores
  }
  const voters = list()
  const next = list()
  return { voters, next: next.length === 0 ? undefined : next, learners: list() }
}

function malformed(what: string): KilovoltError {
  return new KilovoltError('KV_PROTOCOL', `malformed consensus message: ${what}`)
}
