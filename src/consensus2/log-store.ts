import { crc32 } from 'node:zlib'
import { KilovoltError } from '../base/errors.ts'
import { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { ID_BYTES, idFromBytes, idToBytes, type StoreId } from '../model/node-id.ts'
import { decodeRaftLogKey, raftLogKey, raftLogRange, raftStateKey } from '../storage/key-layout.ts'
import type { Store, StoreChange } from '../storage/store.ts'
import type { Entry, Snapshot } from './messages.ts'
import type { HardState, Ready } from './raft.ts'
import { RaftLog } from './raft-log.ts'
import { decodeEntry, decodeSnapshot, encodeEntry, encodeSnapshot } from './wire.ts'

const Field = { HARD_STATE: 0, SNAPSHOT: 1 } as const
const PAGE = 1000

/**
 * The log of one group in a store. Everything that one turn of the machine wants kept goes into one synced batch. Each
 * entry, the term and vote, and the snapshot end with a CRC-32. What cannot be read, or a gap, makes the store useless
 * for this group (R5): going on with an empty log would forget votes and committed entries.
 */
export class LogStore {
  readonly #store: Store
  readonly #group: number
  /** Last index that may be on the medium. */
  #lastStored = 0
  #firstStored = 1

  constructor(store: Store, group: number) {
    this.#store = store
    this.#group = group
  }

  /** @throws KilovoltError `KV_CORRUPT`, `KV_STORAGE` */
  async load(): Promise<{ readonly hardState: HardState; readonly log: RaftLog }> {
    const [state, sealed] = await this.#store.getMany([
      raftStateKey(this.#group, Field.HARD_STATE),
      raftStateKey(this.#group, Field.SNAPSHOT)
    ])
    const hardState = state === undefined ? { term: 0, vote: undefined } : read(state, readHardState)
    const snapshot = sealed === undefined ? undefined : read(sealed, decodeSnapshot)
    const base = snapshot?.index ?? 0
    const entries: Entry[] = []
    const { lt } = raftLogRange(this.#group)
    for (let next = base + 1; ;) {
      const page = await this.#store.page({ gte: raftLogKey(this.#group, next), lt }, PAGE)
      if (page.length === 0) break
      for (const [key, value] of page) {
        const entry = read(value, decodeEntry)
        if (entry.index !== next || decodeRaftLogKey(key)?.index !== next) throw corrupt(`entry ${next} is missing`)
        entries.push(entry)
        next++
      }
    }
    this.#firstStored = base + 1
    this.#lastStored = base + entries.length
    return { hardState, log: new RaftLog(snapshot, entries) }
  }

  /** Makes a ready durable. @throws KilovoltError `KV_STORAGE` */
  async save({ hardState, snapshot, entries, truncateFrom }: Ready): Promise<void> {
    const changes: StoreChange[] = []
    if (hardState !== undefined) changes.push(this.#hardState(hardState))
    if (snapshot !== undefined) {
      // One batch (R4): the old log is valid until the very write that puts the snapshot in its place.
      for (let index = this.#firstStored; index <= this.#lastStored; index++)
        changes.push(this.#entry(index, undefined))
      changes.push(this.#snapshot(snapshot))
      this.#firstStored = snapshot.index + 1
      this.#lastStored = snapshot.index
    }
    const first = truncateFrom ?? entries[0]?.index ?? Infinity
    const last = entries.at(-1)?.index ?? first - 1
    for (let index = Math.max(first, last + 1); index <= this.#lastStored; index++)
      changes.push(this.#entry(index, undefined))
    for (const entry of entries) changes.push(this.#entry(entry.index, seal(encodeEntry(entry))))
    if (first !== Infinity) this.#lastStored = last
    if (changes.length > 0) await this.#store.batch(changes, { sync: true })
  }

  /** Puts a snapshot in the place of the entries that it covers. */
  async compact(snapshot: Snapshot): Promise<void> {
    const changes = [this.#snapshot(snapshot)]
    for (let index = this.#firstStored; index <= snapshot.index; index++) changes.push(this.#entry(index, undefined))
    this.#firstStored = snapshot.index + 1
    await this.#store.batch(changes, { sync: true })
  }

  #hardState({ term, vote }: HardState): StoreChange {
    const writer = new Writer(32).varint(term).bool(vote !== undefined)
    if (vote !== undefined) writer.raw(idToBytes(vote))
    return { key: raftStateKey(this.#group, Field.HARD_STATE), value: seal(writer.finish()) }
  }

  #snapshot(snapshot: Snapshot): StoreChange {
    return { key: raftStateKey(this.#group, Field.SNAPSHOT), value: seal(encodeSnapshot(snapshot)) }
  }

  #entry(index: number, value: Uint8Array | undefined): StoreChange {
    return { key: raftLogKey(this.#group, index), value }
  }
}

/** Writes the first snapshot of a group that consists of one store: what founding a cluster comes down to. */
export async function bootstrapGroup(store: Store, group: number, self: StoreId): Promise<void> {
  const configuration = { voters: [self], next: undefined, learners: [] }
  await new LogStore(store, group).compact({ index: 0, term: 0, configuration, data: new Uint8Array(0) })
}

function readHardState(bytes: Uint8Array): HardState {
  const reader = new Reader(bytes)
  const term = reader.varint()
  return { term, vote: reader.bool() ? idFromBytes(reader.raw(ID_BYTES)) : undefined }
}

function seal(payload: Uint8Array): Uint8Array {
  return new Writer(payload.length + 4).raw(payload).u32(crc32(payload)).finish()
}

function read<T>(sealed: Uint8Array, parse: (payload: Uint8Array) => T): T {
  if (sealed.length < 4) throw corrupt('a record is cut off')
  const payload = sealed.subarray(0, sealed.length - 4)
  if (new Reader(sealed, payload.length).u32() !== crc32(payload)) throw corrupt('a checksum does not match')
  try {
    return parse(payload)
  } catch (error) {
    throw corrupt('a record is malformed', error)
  }
}

function corrupt(what: string, cause?: unknown): KilovoltError {
  return new KilovoltError(
    'KV_CORRUPT',
    `the consensus log in this store cannot be read (${what}): restore the store from a copy, or start the node with an ` +
      'empty one; it then joins as a new member',
    { cause }
  )
}
