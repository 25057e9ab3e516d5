import { equalBytes } from '../base/bytes.ts'
import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import type { PartitionId } from '../model/partition.ts'
import { assertRecord, compareRecords, isMortal, isSpent, type RecordBytes, recordHlc } from '../model/record.ts'
import type { FenceGroup } from './flush-fence.ts'
import { partitionOfKey } from './key-layout.ts'
import type { ApplyResult } from './record-store.ts'
import type { RecordChange } from './tree-index.ts'

/**
 * What is to be done with a record: `offer` it; `copy` it, which is to offer it to a copy that is being made, where what
 * is missing need not have been overwritten; `remove` it, if it is still this one.
 */
export type MutationKind = 'offer' | 'copy' | 'remove'

/** Hybrid time up to which the past of the partition of a key is settled. */
export type HorizonOf = (partition: PartitionId) => number

/** One record on its way into the store. */
export interface Mutation {
  /** The record's key in the store. */
  readonly key: Uint8Array
  readonly record: RecordBytes
  readonly kind: MutationKind
  readonly done: (error: Error | undefined, result: ApplyResult | undefined) => void
  readonly group: FenceGroup
}

/** One key of a batch, which may be the target of several mutations. */
interface Slot {
  readonly key: Uint8Array
  readonly hash: number
  /** What the store holds. */
  before: RecordBytes | undefined
  current: RecordBytes | undefined
  changed: boolean
  corrupt: KilovoltError | undefined
  /** The next slot of the same hash. */
  readonly next: Slot | undefined
}

const APPLIED_TO_NOTHING: ApplyResult = { outcome: 'applied', current: undefined }
const SETTLED: ApplyResult = { outcome: 'settled', current: undefined }

/**
 * The mutations of one write, decided together: which of them are newer than what is stored, or than one before them in
 * the same batch. Synchronous and without effects; the loop reads, writes and acknowledges.
 */
export class ApplyBatch {
  readonly mutations: readonly Mutation[]
  /** The keys concerned, each once: what has to be looked up. */
  readonly keys: readonly Uint8Array[]
  readonly #slots: readonly Slot[]
  /** For each mutation its slot. */
  readonly #targets: readonly Slot[]

  constructor(mutations: readonly Mutation[]) {
    this.mutations = mutations
    if (mutations.length === 1) {
      this.#slots = this.#targets = [newSlot(mutations[0]!.key, 0, undefined)]
    } else {
      const slots: Slot[] = []
      const byHash = new Map<number, Slot>()
      this.#targets = mutations.map(({ key }) => slotOf(key, slots, byHash))
      this.#slots = slots
    }
    this.keys = this.#slots.map(({ key }) => key)
  }

  /**
   * What becomes of each mutation when these values are stored under {@link keys}. A stored value that is no record
   * spoils the mutations of its key alone.
   *
   * Rule G1: what lies at or below the horizon and is missing was overwritten, so it is not let in again.
   */
  decide(values: readonly (Uint8Array | undefined)[], horizonOf?: HorizonOf): readonly (ApplyResult | KilovoltError)[] {
    for (let i = 0; i < this.#slots.length; i++) load(this.#slots[i]!, values[i])
    return this.mutations.map(({ record, kind }, i) =>
      kind === 'remove'
        ? remove(this.#targets[i]!, record)
        : offer(this.#targets[i]!, record, kind === 'copy', horizonOf)
    )
  }

  /** What has to be written after {@link decide}: the newest record of each key that changed. */
  changes(): RecordChange[] {
    const changes: RecordChange[] = []
    for (const { key, before, current, changed } of this.#slots) {
      if (changed) changes.push({ key, value: current, before })
    }
    return changes
  }
}

function offer(
  slot: Slot,
  record: RecordBytes,
  isCopy: boolean,
  horizonOf: HorizonOf | undefined
): ApplyResult | KilovoltError {
  const { current, corrupt } = slot
  if (corrupt !== undefined) return corrupt
  if (current === undefined && horizonOf !== undefined) {
    const horizon = horizonOf(partitionOfKey(slot.key))
    const isSettled = isCopy ? isSpent(record, horizon) : recordHlc(record) <= horizon
    if (horizon > 0 && isSettled) return SETTLED
  }
  const order = current === undefined ? 1 : compareRecords(record, current)
  if (order < 0) return { outcome: 'stale', current }
  if (order === 0) return { outcome: 'same', current }
  // What is spent at the horizon already would be purged at once, and the others hold nothing in its place.
  const isGone = horizonOf !== undefined && isMortal(record) && isSpent(record, horizonOf(partitionOfKey(slot.key)))
  slot.current = isGone ? undefined : record
  slot.changed = true
  return current === undefined ? APPLIED_TO_NOTHING : { outcome: 'applied', current }
}

function remove(slot: Slot, record: RecordBytes): ApplyResult | KilovoltError {
  const { current, corrupt } = slot
  if (corrupt !== undefined) return corrupt
  if (current === undefined) return { outcome: 'same', current }
  if (!equalBytes(current, record)) return { outcome: 'stale', current }
  slot.current = undefined
  slot.changed = true
  return { outcome: 'applied', current }
}

function load(slot: Slot, value: Uint8Array | undefined): void {
  if (value === undefined) return
  try {
    assertRecord(value)
    slot.before = slot.current = value
  } catch (error) {
    slot.corrupt = isKilovoltError(error)
      ? error
      : new KilovoltError('KV_CORRUPT', 'a stored record cannot be read', { cause: error })
  }
}

function slotOf(key: Uint8Array, slots: Slot[], byHash: Map<number, Slot>): Slot {
  const hash = hashOf(key)
  const first = byHash.get(hash)
  // Keys chosen to collide make the chain as long as the batch, which is bounded.
  for (let slot = first; slot !== undefined; slot = slot.next) if (equalBytes(slot.key, key)) return slot
  const slot = newSlot(key, hash, first)
  byHash.set(hash, slot)
  slots.push(slot)
  return slot
}

function newSlot(key: Uint8Array, hash: number, next: Slot | undefined): Slot {
  return { key, hash, before: undefined, current: undefined, changed: false, corrupt: undefined, next }
}

/** FNV-1a, 32 bits: cheaper for short keys than to make a string of them. */
function hashOf(key: Uint8Array): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key[i]!, 0x01000193)
  return hash
}
