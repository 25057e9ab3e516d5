import { copyBytes, equalBytes, fromUtf8 } from '../base/bytes.ts'
import { KilovoltError } from '../base/errors.ts'
import type { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import { KEYSPACE_BYTES_MAX } from '../model/key.ts'
import { type PartitionId, PARTITIONS_MAX } from '../model/partition.ts'
import type { RecordBytes } from '../model/record.ts'
import { IndexJournal } from './index-journal.ts'
import type { IndexWrite } from './index-upkeep.ts'
import { idOfIndex, indexKey } from './key-layout.ts'
import { seal, unseal } from './sealed.ts'
import type { StoreChange } from './store.ts'

/** Longest name of an index, in UTF-8 bytes. */
export const INDEX_NAME_BYTES_MAX = 64
const FINGERPRINT_BYTES = 16

/** What an index is of, and how a record comes to its values: code of the app's. */
export interface IndexDefinition {
  /** Name of the keyspace in UTF-8. */
  readonly keyspace: Uint8Array
  readonly name: string
  /** 16 bytes that are others when the values may be. */
  readonly fingerprint: Uint8Array
  /**
   * The encoded values of a record, each once; none of a tombstone. A promise only where the value has to be waited for. Throws,
   * or rejects, when the code of the app does, or makes of the record what cannot be indexed.
   */
  readonly valuesOf: (record: RecordBytes) => readonly Uint8Array[] | Promise<readonly Uint8Array[]>
}

/** Where an index stands in a partition. */
export const PartitionState = {
  /** Nothing is kept up, and entries may lie there that are of no use. */
  STALE: 0,
  /** Whatever is written from now on has its entries; what was there before may not. */
  BUILDING: 1,
  /** Every record has its entries. */
  READY: 2,
  /** The same, but for those in the journal: what was written before the code was known. */
  BEHIND: 3
} as const
/** One of them. */
export type PartitionState = (typeof PartitionState)[keyof typeof PartitionState]

const DROPPED = 1

/** An index as it lies in this store. */
export class StoredIndex {
  readonly keyspace: Uint8Array
  readonly name: string
  readonly fingerprint: Uint8Array
  /** Its place in the store; `undefined` before it has one. */
  id: number | undefined
  /** How to go on with it; `undefined` until the app has opened the keyspace, in this life of the node. */
  definition: IndexDefinition | undefined
  /** Records that were read to build it, since the node started. */
  built = 0
  /** Records of which the app's code could make no values, since the node started. */
  failed = 0
  /** What it is behind with. */
  readonly journal: IndexJournal = new IndexJournal()
  readonly #states: Uint8Array
  /** How often the store has come to say more than is so, and up to which of these it was told. */
  #overstated = 0
  #corrected = 0

  constructor({ keyspace, name, fingerprint }: Omit<IndexDefinition, 'valuesOf'>, partitions: number, id?: number) {
    this.keyspace = keyspace
    this.name = name
    this.fingerprint = fingerprint
    this.id = id
    this.#states = new Uint8Array(partitions)
  }

  isOf({ keyspace, name, fingerprint }: Omit<IndexDefinition, 'valuesOf'>): boolean {
    return this.name === name && equalBytes(this.keyspace, keyspace) && equalBytes(this.fingerprint, fingerprint)
  }

  stateOf(partition: PartitionId): PartitionState {
    return this.#states[partition] as PartitionState
  }

  /** What the store says of it has to be written with whatever makes it so. */
  set(partition: PartitionId, state: PartitionState): void {
    this.#states[partition] = state
  }

  setAll(state: PartitionState): void {
    this.#states.fill(state)
    this.journal.clear()
  }

  /** Partitions in a state. */
  in(state: PartitionState): PartitionId[] {
    const found: PartitionId[] = []
    for (const [partition, is] of this.#states.entries()) if (is === state) found.push(partition)
    return found
  }

  /** Notes what a record was that is changed where nobody can tell its entries, unless there is too much to remember. */
  note(key: Uint8Array, before: RecordBytes | undefined, bytes: number): void {
    if (this.journal.add(key, before && copyBytes(before), bytes)) return
    this.journal.clear()
    for (const partition of this.in(PartitionState.BEHIND)) this.set(partition, PartitionState.STALE)
  }

  get partitions(): number {
    return this.#states.length
  }

  get isReady(): boolean {
    return this.#states.every(state => state === PartitionState.READY)
  }

  /** Whether what the store says of the partitions that are ready is more than is so. */
  get isUnsaved(): boolean {
    return this.#overstated !== this.#corrected
  }

  /** The store says more than is so from now on, until it is told otherwise. */
  overstated(): void {
    this.#overstated++
  }

  /** What the store is to say of it. Only once it has an id. */
  saved(): StoreChange {
    return savedAs(this.id!, this, this.#states, 0)
  }

  /** The same, where it may say more than is so; it may come to that again before this is written. */
  correction(): IndexWrite {
    const upTo = this.#overstated
    return { changes: [this.saved()], written: () => (this.#corrected = upTo) }
  }
}

/** What the store is to say of an index whose entries are of no use any more, until all of them are deleted. */
export function savedAsDropped(id: number, index: Omit<IndexDefinition, 'valuesOf'>): StoreChange {
  return savedAs(id, index, new Uint8Array(0), DROPPED)
}

/** What an earlier life has said of an index; only its id when it was dropped, or cannot be read. */
export function readIndex(
  key: Uint8Array,
  value: Uint8Array,
  partitions: number
): { readonly id: number; readonly index: StoredIndex | undefined } {
  const id = idOfIndex(key)
  try {
    return { id, index: unseal(key, value, reader => read(reader, id, partitions), corrupt) }
  } catch {
    // It can be made anew.
    return { id, index: undefined }
  }
}

/** flags u8 (1: dropped) · keyspace · name · fingerprint 16 · partitions varint · one bit for each, set when it is ready */
function savedAs(
  id: number,
  { keyspace, name, fingerprint }: Omit<IndexDefinition, 'valuesOf'>,
  states: Uint8Array,
  flags: number
): StoreChange {
  const bits = new Uint8Array(Math.ceil(states.length / 8))
  for (const [partition, state] of states.entries()) {
    if (state === PartitionState.READY) bits[partition >>> 3]! |= 1 << (partition & 7)
  }
  const writer = new Writer(64 + bits.length).u8(flags).bytes(keyspace).text(name)
  return seal(indexKey(id), writer.raw(fingerprint).varint(states.length).raw(bits).finish())
}

function read(reader: Reader, id: number, partitions: number): StoredIndex | undefined {
  const isDropped = reader.u8() === DROPPED
  const keyspace = copyBytes(reader.bytes(KEYSPACE_BYTES_MAX))
  const name = fromUtf8(reader.bytes(INDEX_NAME_BYTES_MAX))
  const fingerprint = copyBytes(reader.raw(FINGERPRINT_BYTES))
  const count = reader.varint()
  if (isDropped || count !== partitions || count > PARTITIONS_MAX) return undefined
  const bits = reader.raw(Math.ceil(count / 8))
  const index = new StoredIndex({ keyspace, name, fingerprint }, partitions, id)
  for (let partition = 0; partition < partitions; partition++) {
    if ((bits[partition >>> 3]! & (1 << (partition & 7))) !== 0) index.set(partition, PartitionState.READY)
  }
  return index
}

function corrupt(why: string): KilovoltError {
  return new KilovoltError('KV_CORRUPT', `what is known of an index ${why}`)
}
