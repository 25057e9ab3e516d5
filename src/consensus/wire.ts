import { copyBytes } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { ID_BYTES, type StoreId, idFromBytes, idToBytes } from '../model/node-id.ts'
import { RAFT_INDEX_MAX } from '../storage/key-layout.ts'
import { type Configuration, MEMBERS_MAX } from './configuration.ts'
import type { Entry, EntryContent, MessageHeader, RaftMessage, Snapshot } from './messages.ts'
import { TERM_MAX } from './messages.ts'

/**
 * The bytes of a group's messages, and of what it keeps. Ids are raw, all other numbers varints unless said otherwise;
 * what a later version appends to a message is skipped.
 *
 *     message        group u8 · kind u8 · from 16 · to 16 · term · body
 *     vote           flags u8 (1 pre, 2 transfer) · last index · last term
 *     voteReply      flags u8 (1 pre, 2 granted)
 *     append         prev index · prev term · commit · round · count · entries, their indexes following the first
 *     appendReply    match · round
 *     appendRefusal  prev index · hint index · hint term · round
 *     snapshot       round · snapshot
 *     timeoutNow     nothing
 *     read           id
 *     readReply      id · index
 *
 *     entry          term · kind u8 (0 empty, 1 command, 2 configuration) · length · command or configuration
 *     configuration  voters · outgoing · learners, each: count · 16 bytes each
 *     snapshot       index · term · configuration · length · data
 */

/** A message with the group it belongs to. */
export interface RaftEnvelope {
  readonly group: number
  readonly from: StoreId
  readonly message: RaftMessage
}

/** Longest command, bytes. */
export const COMMAND_BYTES_MAX: number = 8 * 1024 * 1024
/** Longest snapshot of a state machine: it has to fit into one frame, bytes. */
export const SNAPSHOT_BYTES_MAX: number = 12 * 1024 * 1024

const ENTRIES_MAX = 65_536
const KINDS = [
  'vote',
  'voteReply',
  'append',
  'appendReply',
  'appendRefusal',
  'snapshot',
  'timeoutNow',
  'read',
  'readReply'
] as const satisfies readonly RaftMessage['kind'][]

/** @param group - 0 … 255 */
export function encodeRaftMessage(group: number, message: RaftMessage): Uint8Array {
  const writer = new Writer(message.kind === 'append' ? 128 + 64 * message.entries.length : 128)
    .u8(group)
    .u8(KINDS.indexOf(message.kind))
    .raw(idToBytes(message.from))
    .raw(idToBytes(message.to))
    .varint(message.term)
  return writeBody(writer, message).finish()
}

/**
 * Shares no memory with the input.
 *
 * @throws KilovoltError `KV_PROTOCOL`
 */
export function decodeRaftMessage(bytes: Uint8Array): RaftEnvelope {
  const reader = new Reader(bytes)
  const group = reader.u8()
  const kind = KINDS[reader.u8()]
  const header = { from: readStore(reader), to: readStore(reader), term: readTerm(reader) }
  if (kind === undefined) throw new KilovoltError('KV_PROTOCOL', 'a consensus message of an unknown kind')
  return { group, from: header.from, message: readBody(reader, kind, header) }
}

/** Where an entry stands is not part of its bytes. */
export function writeEntry(writer: Writer, entry: Entry): Writer {
  writer.varint(entry.term)
  switch (entry.kind) {
    case 'empty':
      return writer.u8(0).varint(0)
    case 'command':
      return writer.u8(1).bytes(entry.command)
    case 'configuration':
      return writer.u8(2).bytes(writeConfiguration(new Writer(128), entry.configuration).finish())
  }
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function readEntry(reader: Reader, index: number): Entry {
  const term = readTerm(reader)
  const kind = reader.u8()
  const body = reader.bytes(COMMAND_BYTES_MAX)
  return { index, term, ...readContent(kind, body) }
}

export function writeConfiguration(writer: Writer, { voters, outgoing, learners }: Configuration): Writer {
  for (const list of [voters, outgoing, learners]) {
    writer.varint(list.length)
    for (const store of list) writer.raw(idToBytes(store))
  }
  return writer
}

/** @throws KilovoltError `KV_PROTOCOL` */
export function readConfiguration(reader: Reader): Configuration {
  const configuration = { voters: readStores(reader), outgoing: readStores(reader), learners: readStores(reader) }
  const { voters, outgoing, learners } = configuration
  if (voters.length === 0 && outgoing.length > 0) throw malformed('a configuration without voters')
  if (learners.some(store => voters.includes(store))) throw malformed('a learner that votes')
  return configuration
}

export function readIndex(reader: Reader): number {
  const index = reader.varint()
  if (index > RAFT_INDEX_MAX) throw malformed(`an index of ${index}`)
  return index
}

export function readTerm(reader: Reader): number {
  const term = reader.varint()
  if (term > TERM_MAX) throw malformed(`a term of ${term}`)
  return term
}

function writeBody(writer: Writer, message: RaftMessage): Writer {
  switch (message.kind) {
    case 'vote': {
      const flags = (message.pre ? 1 : 0) | (message.transfer ? 2 : 0)
      return writer.u8(flags).varint(message.lastIndex).varint(message.lastTerm)
    }
    case 'voteReply':
      return writer.u8((message.pre ? 1 : 0) | (message.granted ? 2 : 0))
    case 'append': {
      const { prevIndex, prevTerm, commit, round, entries } = message
      writer.varint(prevIndex).varint(prevTerm).varint(commit).varint(round).varint(entries.length)
      for (const entry of entries) writeEntry(writer, entry)
      return writer
    }
    case 'appendReply':
      return writer.varint(message.match).varint(message.round)
    case 'appendRefusal': {
      const { prevIndex, hintIndex, hintTerm, round } = message
      return writer.varint(prevIndex).varint(hintIndex).varint(hintTerm).varint(round)
    }
    case 'snapshot': {
      const { index, term, configuration, data } = message.snapshot
      writer.varint(message.round).varint(index).varint(term)
      return writeConfiguration(writer, configuration).bytes(data)
    }
    case 'timeoutNow':
      return writer
    case 'read':
      return writer.varint(message.id)
    case 'readReply':
      return writer.varint(message.id).varint(message.index)
  }
}

function readBody(reader: Reader, kind: RaftMessage['kind'], header: MessageHeader): RaftMessage {
  switch (kind) {
    case 'vote': {
      const flags = reader.u8()
      const last = { lastIndex: readIndex(reader), lastTerm: readTerm(reader) }
      return { kind, ...header, pre: (flags & 1) !== 0, transfer: (flags & 2) !== 0, ...last }
    }
    case 'voteReply': {
      const flags = reader.u8()
      return { kind, ...header, pre: (flags & 1) !== 0, granted: (flags & 2) !== 0 }
    }
    case 'append': {
      const prev = { prevIndex: readIndex(reader), prevTerm: readTerm(reader) }
      const { commit, round } = { commit: readIndex(reader), round: reader.varint() }
      return { kind, ...header, ...prev, commit, round, entries: readEntries(reader, prev, header.term) }
    }
    case 'appendReply':
      return { kind, ...header, match: readIndex(reader), round: reader.varint() }
    case 'appendRefusal': {
      const hint = { prevIndex: readIndex(reader), hintIndex: readIndex(reader), hintTerm: readTerm(reader) }
      return { kind, ...header, ...hint, round: reader.varint() }
    }
    case 'snapshot': {
      const round = reader.varint()
      return { kind, ...header, round, snapshot: readSnapshot(reader, header.term) }
    }
    case 'timeoutNow':
      return { kind, ...header }
    case 'read':
      return { kind, ...header, id: reader.varint() }
    case 'readReply':
      return { kind, ...header, id: reader.varint(), index: readIndex(reader) }
  }
}

/** Terms never fall along a log, and none is above its leader's. */
function readEntries(reader: Reader, prev: { prevIndex: number; prevTerm: number }, term: number): Entry[] {
  const entries: Entry[] = []
  const count = reader.count(ENTRIES_MAX, 3)
  if (prev.prevIndex + count > RAFT_INDEX_MAX) throw malformed('a log beyond its end')
  let before = prev.prevTerm
  while (entries.length < count) {
    const entry = readEntry(reader, prev.prevIndex + 1 + entries.length)
    if (entry.term < before || entry.term > term) throw malformed(`an entry of term ${entry.term} after ${before}`)
    before = entry.term
    entries.push(entry)
  }
  return entries
}

function readContent(kind: number, body: Uint8Array): EntryContent {
  if (kind === 0) return { kind: 'empty' }
  if (kind === 1) return { kind: 'command', command: copyBytes(body) }
  if (kind === 2) return { kind: 'configuration', configuration: readConfiguration(new Reader(body)) }
  throw malformed(`an entry of kind ${kind}`)
}

function readSnapshot(reader: Reader, leaderTerm: number): Snapshot {
  const index = readIndex(reader)
  const term = readTerm(reader)
  if (index === 0 || term > leaderTerm) throw malformed('a snapshot of nothing')
  const configuration = readConfiguration(reader)
  return { index, term, configuration, data: copyBytes(reader.bytes(SNAPSHOT_BYTES_MAX)) }
}

function readStores(reader: Reader): StoreId[] {
  const stores: StoreId[] = []
  for (let left = reader.count(MEMBERS_MAX, ID_BYTES); left > 0; left--) stores.push(readStore(reader))
  if (new Set(stores).size !== stores.length) throw malformed('a store that is named twice')
  return stores
}

function readStore(reader: Reader): StoreId {
  return idFromBytes<StoreId>(reader.raw(ID_BYTES))
}

function malformed(what: string): KilovoltError {
  return new KilovoltError('KV_PROTOCOL', `malformed bytes: ${what}`)
}
