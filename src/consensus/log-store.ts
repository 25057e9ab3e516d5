import { equalBytes } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import type { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { ID_BYTES, type StoreId, idFromBytes, idToBytes } from '../model/node-id.ts'
import { decodeRaftLogKey, raftLogKey, raftLogRange, raftStateKey, raftStateRange } from '../storage/key-layout.ts'
import { seal, unseal } from '../storage/sealed.ts'
import type { Store, StoreChange } from '../storage/store.ts'
import type { Entry, HardState, Snapshot } from './messages.ts'
import { EMPTY_LOG_STATE, type LogState } from './raft-log.ts'
import type { Ready } from './ready.ts'
import { readConfiguration, readEntry, readIndex, readTerm, writeConfiguration, writeEntry } from './wire.ts'

const VERSION = 1
const PAGE_ENTRIES = 1024
const CLEAR_PAGE = 1024
const PAGE_BYTES = 4 * 1024 * 1024

/** Fields of a group's state; the two slots hold the data of the present snapshot and of the next one. */
const Field = { HARD_STATE: 0, BASE: 1, SLOTS: 0x10 } as const

/** Where the log begins, and which snapshot stands for what came before. */
interface Base {
  readonly slot: number
  readonly firstIndex: number
  readonly beforeTerm: number
  readonly snapshot: Snapshot | undefined
}

const NO_BASE: Base = { slot: 0, firstIndex: 1, beforeTerm: 0, snapshot: undefined }

/**
 * A group's log in the node's store. Every record is sealed: it begins with a checksum of its key and of what follows.
 *
 *     0x20 group index   crc u32 · entry
 *     0x21 group 0x00    crc u32 · version u8 · term · vote 16 (zeros: none) · commit · last index
 *     0x21 group 0x01    crc u32 · version u8 · slot u8 · first index · term before it · snapshot's index (0: none) ·
 *                        term · configuration
 *     0x21 group 0x10    crc u32 · data of the snapshot, when slot is 0; 0x11 when it is 1
 *
 * Whatever one turn wants kept is one batch (rules R1, R2). A new snapshot is written beside the old one and takes its
 * place by the record that names its slot, in the same batch (R4). A record that is missing or does not check makes the
 * whole log unusable (R5): its votes and its acknowledgements were promises to others, so going on without them could
 * undo what the group has committed.
 */
export class LogStore {
  readonly #store: Store
  readonly #group: number
  #base = NO_BASE
  #hard: HardState = EMPTY_LOG_STATE.hardState
  #lastIndex = 0

  /** @param group - 0 … 255 */
  constructor(store: Store, group: number) {
    this.#store = store
    this.#group = group
  }

  /**
   * Reads everything and checks it. To be called once, before anything is written.
   *
   * @throws KilovoltError `KV_CORRUPT` when the log cannot be trusted, `KV_STORAGE_FORMAT` when a later version wrote it
   */
  async load(): Promise<LogState> {
    const [hard, base] = await this.#read(Field.HARD_STATE, Field.BASE)
    if (hard === undefined) {
      if (base === undefined && (await this.#isEmpty())) return EMPTY_LOG_STATE
      throw corrupt('term and vote are missing')
    }
    const { lastIndex, ...hardState } = this.#open(Field.HARD_STATE, hard, readHardState)
    if (base !== undefined) this.#base = await this.#readBase(base)
    this.#lastIndex = lastIndex
    this.#hard = hardState
    const entries = await this.#readEntries()
    const { snapshot, firstIndex, beforeTerm } = this.#base
    const end = firstIndex - 1 + entries.length
    if (end !== lastIndex) throw corrupt(`the log ends at ${end} instead of ${lastIndex}`)
    if (hardState.commit > end) throw corrupt(`${hardState.commit} is committed, but the log ends at ${end}`)
    await this.#sweep()
    return { hardState, snapshot, firstIndex, beforeTerm, entries }
  }

  /** Makes a turn's work durable in one batch. One call at a time. */
  async write({
    hardState,
    snapshot,
    entries,
    sync
  }: Pick<Ready, 'hardState' | 'snapshot' | 'entries' | 'sync'>): Promise<void> {
    if (hardState === undefined && snapshot === undefined && entries.length === 0) return
    const changes: StoreChange[] = []
    const before = this.#lastIndex
    let kept = before
    if (snapshot !== undefined) {
      // The log that it replaces may go on beyond it with entries that never were.
      kept = snapshot.index
      this.#setBase({ firstIndex: snapshot.index + 1, beforeTerm: snapshot.term, snapshot }, changes)
    }
    const from = entries[0]?.index ?? kept + 1
    this.#lastIndex = from - 1 + entries.length
    for (const entry of entries) changes.push(this.#entry(entry))
    for (let index = this.#lastIndex + 1; index <= before; index++) {
      changes.push({ key: raftLogKey(this.#group, index), value: undefined })
    }
    this.#hard = hardState ?? this.#hard
    changes.push(this.#hardChange())
    await this.#store.batch(changes, { sync: sync && this.#store.permanent })
    if (snapshot !== undefined) await this.#sweep()
  }

  /** Makes a snapshot of the applied state durable, then drops the entries below an index. One call at a time. */
  async trim(snapshot: Snapshot, firstIndex: number, beforeTerm: number): Promise<void> {
    const changes: StoreChange[] = []
    this.#setBase({ firstIndex, beforeTerm, snapshot }, changes)
    await this.#store.batch(changes, { sync: this.#store.permanent })
    await this.#sweep()
  }

  #setBase(base: Omit<Base, 'slot'>, changes: StoreChange[]): void {
    this.#base = { slot: 1 - this.#base.slot, ...base }
    const { slot, firstIndex, beforeTerm, snapshot } = this.#base
    const writer = new Writer(128).u8(VERSION).u8(slot).varint(firstIndex).varint(beforeTerm)
    if (snapshot === undefined) writer.varint(0)
    else writeConfiguration(writer.varint(snapshot.index).varint(snapshot.term), snapshot.configuration)
    changes.push(this.#state(Field.BASE, writer.finish()))
    if (snapshot !== undefined) changes.push(this.#state(Field.SLOTS + slot, snapshot.data))
  }

  async #readBase(sealed: Uint8Array): Promise<Base> {
    const base = this.#open(Field.BASE, sealed, readBase)
    const { slot, firstIndex, snapshot } = base
    if (slot > 1 || firstIndex < 1 || firstIndex > (snapshot?.index ?? 0) + 1)
      throw corrupt('where it begins makes no sense')
    if (snapshot === undefined) return base
    const [data] = await this.#read(Field.SLOTS + slot)
    if (data === undefined) throw corrupt('the snapshot is missing')
    return { ...base, snapshot: { ...snapshot, data: this.#open(Field.SLOTS + slot, data, reader => reader.rest()) } }
  }

  async #readEntries(): Promise<Entry[]> {
    const entries: Entry[] = []
    let next = this.#base.firstIndex
    let term = this.#base.beforeTerm
    for (;;) {
      const page = await this.#store.page(raftLogRange(this.#group, next), PAGE_ENTRIES, PAGE_BYTES)
      for (const [key, value] of page) {
        const { index } = decodeRaftLogKey(key)
        if (index !== next) throw corrupt(`the entries from ${next} to ${index - 1} are missing`)
        const entry = unseal(key, value, reader => readEntry(reader, index), spoils(`entry ${index}`))
        if (entry.term < term) throw corrupt(`the terms fall at ${index}`)
        term = entry.term
        entries.push(entry)
        next++
      }
      if (page.length === 0) return entries
    }
  }

  async #isEmpty(): Promise<boolean> {
    const log = await this.#store.page(raftLogRange(this.#group), 1)
    const state = await this.#store.page(raftStateRange(this.#group), 1)
    return log.length === 0 && state.length === 0
  }

  /** Removes what no record refers to any more; a crash may leave some of it for the next start. */
  async #sweep(): Promise<void> {
    const { firstIndex, slot } = this.#base
    if (firstIndex > 1) await this.#store.clear(raftLogRange(this.#group, 0, firstIndex))
    const [spare] = await this.#read(Field.SLOTS + 1 - slot)
    if (spare === undefined) return
    await this.#store.batch([{ key: raftStateKey(this.#group, Field.SLOTS + 1 - slot), value: undefined }], {
      sync: false
    })
  }

  async #read(...fields: number[]): Promise<readonly (Uint8Array | undefined)[]> {
    return await this.#store.getMany(fields.map(field => raftStateKey(this.#group, field)))
  }

  #entry(entry: Entry): StoreChange {
    return seal(raftLogKey(this.#group, entry.index), writeEntry(new Writer(128), entry).finish())
  }

  #hardChange(): StoreChange {
    const { term, vote, commit } = this.#hard
    const writer = new Writer(40).u8(VERSION).varint(term)
    writer.raw(vote === undefined ? NOBODY : idToBytes(vote))
    return this.#state(Field.HARD_STATE, writer.varint(commit).varint(this.#lastIndex).finish())
  }

  #state(field: number, bytes: Uint8Array): StoreChange {
    return seal(raftStateKey(this.#group, field), bytes)
  }

  #open<T>(field: number, sealed: Uint8Array, parse: (reader: Reader) => T): T {
    return unseal(raftStateKey(this.#group, field), sealed, parse, spoils(`field ${field}`))
  }
}

/** Whether a store takes part in a group already. @throws KilovoltError `KV_CORRUPT`, `KV_STORAGE` */
export async function holdsGroup(store: Store, group: number): Promise<boolean> {
  return (await new LogStore(store, group).load()) !== EMPTY_LOG_STATE
}

/** What deletes all that a store keeps of a group: its part in it is over. @throws KilovoltError `KV_STORAGE` */
export async function clearedGroup(store: Store, group: number): Promise<StoreChange[]> {
  const changes: StoreChange[] = []
  for (const { gte, lt } of [raftLogRange(group), raftStateRange(group)]) {
    for (let from: Uint8Array | undefined = gte; from !== undefined;) {
      const page = await store.page({ gte: from, lt }, CLEAR_PAGE)
      for (const [key] of page) changes.push({ key, value: undefined })
      const last: Uint8Array | undefined = page.length < CLEAR_PAGE ? undefined : page.at(-1)![0]
      // The key right after it.
      from = last === undefined ? undefined : new Uint8Array([...last, 0])
    }
  }
  return changes
}

/**
 * Writes the first entry of a new group, which makes a store its only voter: what founding a cluster comes down to.
 *
 * @throws KilovoltError `KV_CONFIG` when the store takes part in such a group already
 */
export async function bootstrapGroup(store: Store, group: number, self: StoreId): Promise<void> {
  const log = new LogStore(store, group)
  if (await holdsGroup(store, group)) {
    throw new KilovoltError('KV_CONFIG', `the store takes part in group ${group} already, so it cannot found it again`)
  }
  const configuration = { voters: [self], outgoing: [], learners: [] }
  await log.write({
    hardState: { term: 1, vote: undefined, commit: 1 },
    snapshot: undefined,
    entries: [{ index: 1, term: 1, kind: 'configuration', configuration }],
    sync: true
  })
}

const NOBODY = new Uint8Array(ID_BYTES)

function readHardState(reader: Reader): HardState & { readonly lastIndex: number } {
  readVersion(reader)
  const term = readTerm(reader)
  const bytes = reader.raw(ID_BYTES)
  const vote = equalBytes(bytes, NOBODY) ? undefined : idFromBytes<StoreId>(bytes)
  return { term, vote, commit: readIndex(reader), lastIndex: readIndex(reader) }
}

function readBase(reader: Reader): Base {
  readVersion(reader)
  const head = { slot: reader.u8(), firstIndex: readIndex(reader), beforeTerm: readTerm(reader) }
  const index = readIndex(reader)
  if (index === 0) return { ...head, snapshot: undefined }
  const term = readTerm(reader)
  return { ...head, snapshot: { index, term, configuration: readConfiguration(reader), data: NOBODY } }
}

function readVersion(reader: Reader): void {
  const version = reader.u8()
  if (version <= VERSION) return
  throw new KilovoltError(
    'KV_STORAGE_FORMAT',
    `the consensus log has format ${version}, this version of kilovolt reads ${VERSION}: upgrade kilovolt on this node`
  )
}

/** One part that cannot be trusted spoils all. */
function spoils(part: string): (why: string) => KilovoltError {
  return why => corrupt(`${part} ${why}`)
}

function corrupt(what: string): KilovoltError {
  return new KilovoltError(
    'KV_CORRUPT',
    `the consensus log in the store cannot be trusted (${what}): start this node with an empty store, and it joins anew`
  )
}
