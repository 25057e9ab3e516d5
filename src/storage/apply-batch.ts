import { equalBytes } from '../base/bytes.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import type { PartitionId } from '../model/partition.ts'
import { compareRecords, hasSiblings, isMortal, isSpent, type RecordBytes, recordHlc } from '../model/record.ts'
import type { Damage } from './damage.ts'
import type { FenceGroup } from './flush-fence.ts'
import { partitionOfKey } from './key-layout.ts'
import type { RecordForm } from './record-form.ts'
import type { ApplyResult } from './record-store.ts'
import { isForSiblings, letIn, type Mint, settledRecord } from './sibling-door.ts'
import type { RecordChange } from './tree-index.ts'

/**
 * What is to be done with a record: `offer` it; `copy` it, which is to offer it to a copy that is being made, where what
 * is missing need not have been overwritten; `heal` a damaged one with it; `mend` one, if it is damaged, with what this
 * store itself had written there; `remove` it, if it is still this one; `clear`, whatever was given, what lies there if that
 * is damaged; or `mint` another of what lies there.
 */
export type MutationKind = 'offer' | 'copy' | 'heal' | 'mend' | 'remove' | 'clear' | 'mint'

/** Hybrid time up to which the past of the partition of a key is settled. */
export type HorizonOf = (partition: PartitionId) => number

/** What a batch is decided by. */
export interface ApplyRules {
  readonly form: RecordForm
  readonly damage: Damage
  readonly horizonOf: HorizonOf | undefined
  /** Whether this store has all that it is to have of a partition; `undefined`: it has. */
  readonly isWhole?: ((partition: PartitionId) => boolean) | undefined
  readonly joinsSiblings: boolean
}

/** One record on its way into the store. */
export interface Mutation {
  /** The record's key in the store. */
  readonly key: Uint8Array
  readonly record: RecordBytes
  readonly kind: MutationKind
  readonly done: (error: Error | undefined, result: ApplyResult | undefined) => void
  readonly group: FenceGroup
  /** How many of those that come after it are written with it or not at all; the last of such a unit has 0, as has one alone. */
  readonly following: number
  /** Makes the record, when it is to be minted. */
  readonly mint?: Mint | undefined
  /** About how many bytes it adds then. */
  readonly mintBytes?: number | undefined
}

/** One key of a batch, which may be the target of several mutations. */
interface Slot {
  readonly key: Uint8Array
  readonly hash: number
  /** What the store holds. */
  before: RecordBytes | undefined
  current: RecordBytes | undefined
  changed: boolean
  /** Why what the store holds cannot be read, until something takes its place. */
  corrupt: KilovoltError | undefined
  /** What cannot be read is not stamped after this. */
  bound: number
  /** Whether what the store holds has to be read even if it is known: it may have rotted since. */
  isSuspect: boolean
  /** Whether what it will hold only comes from another copy. */
  isCopy: boolean
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
  /** Whether some of them are written together or not at all. */
  readonly hasUnit: boolean
  readonly #slots: readonly Slot[]
  /** Those of which it is not known what the store holds. */
  #unknown: readonly Slot[]
  /** For each mutation its slot. */
  readonly #targets: readonly Slot[]

  constructor(mutations: readonly Mutation[]) {
    this.mutations = mutations
    this.hasUnit = mutations.length > 1 && mutations.some(({ following }) => following > 0)
    if (mutations.length === 1) {
      this.#slots = this.#targets = [newSlot(mutations[0]!.key, 0, undefined)]
    } else {
      const slots: Slot[] = []
      const byHash = new Map<number, Slot>()
      this.#targets = mutations.map(({ key }) => slotOf(key, slots, byHash))
      this.#slots = slots
    }
    this.#unknown = this.#slots
  }

  /** The keys of which it is not known what the store holds, each once: what has to be looked up. */
  get keys(): readonly Uint8Array[] {
    return this.#unknown.map(({ key }) => key)
  }

  /** Asks for what is known without a look-up, of what is not said to be damaged; before {@link keys}. */
  recall(recordOf: (key: Uint8Array) => RecordBytes | undefined): void {
    for (const [i, { kind }] of this.mutations.entries()) {
      if (kind === 'heal' || kind === 'mend' || kind === 'clear') this.#targets[i]!.isSuspect = true
    }
    this.#unknown = this.#slots.filter(slot => {
      if (!slot.isSuspect) slot.before = slot.current = recordOf(slot.key)
      return slot.current === undefined
    })
  }

  /**
   * What becomes of each mutation when these values are stored under {@link keys}. A damaged record spoils the mutations
   * of its key alone.
   *
   * Rule G1: what lies at or below the horizon and is missing was overwritten, so it is not let in again.
   *
   * Rule K1: only what is newer than a damaged record can have been takes its place, or what is proven to be the newest
   * (`heal`), or what lay there itself (`mend`). Else a record that was acknowledged by this copy and one other could lose its place to an older one, and a
   * later quorum, of this copy and a third, would not find it.
   */
  decide(values: readonly (Uint8Array | undefined)[], rules: ApplyRules): readonly (ApplyResult | KilovoltError)[] {
    const { form, damage, horizonOf } = rules
    for (let i = 0; i < this.#unknown.length; i++) load(this.#unknown[i]!, values[i], form, damage)
    // Why the rest of a unit is not taken, and how many that concerns.
    let refusal: KilovoltError | undefined
    let refused = 0
    return this.mutations.map(({ record, kind, following, mint }, i) => {
      if (refused > 0) {
        refused--
        return refusal!
      }
      if (following > 0 && (i === 0 || this.mutations[i - 1]!.following === 0)) {
        refusal = this.#refusalOf(i, following)
        if (refusal !== undefined) {
          refused = following
          return refusal
        }
      }
      const slot = this.#targets[i]!
      if (kind === 'remove') return remove(slot, record)
      if (kind === 'clear') return clear(slot)
      if (mint !== undefined) return minted(slot, mint, rules)
      if (kind === 'mend' && slot.corrupt === undefined) return { outcome: 'stale', current: slot.current }
      return slot.corrupt === undefined ? offer(slot, record, kind, rules) : replace(slot, record, kind, horizonOf)
    })
  }

  /** Why the unit that begins here cannot be taken as a whole; its keys differ, so that no member is in another's way. */
  #refusalOf(first: number, following: number): KilovoltError | undefined {
    for (let i = first; i <= first + following; i++) {
      const { corrupt, bound } = this.#targets[i]!
      if (corrupt !== undefined && recordHlc(this.mutations[i]!.record) <= bound) return corrupt
    }
    return undefined
  }

  /** What has to be written after {@link decide}: the newest record of each key that changed. */
  changes(): RecordChange[] {
    const changes: RecordChange[] = []
    for (const { key, before, current, changed, isCopy } of this.#slots) {
      if (changed) changes.push({ key, value: current, before, isCopy })
    }
    return changes
  }
}

function offer(slot: Slot, record: RecordBytes, kind: MutationKind, rules: ApplyRules): ApplyResult | KilovoltError {
  const { current } = slot
  const { horizonOf } = rules
  if (isForSiblings(current, record)) return join(slot, record, kind, rules)
  if (current === undefined && horizonOf !== undefined) {
    const horizon = horizonOf(partitionOfKey(slot.key))
    const isSettled = kind === 'copy' ? isSpent(record, horizon) : recordHlc(record) <= horizon
    if (horizon > 0 && isSettled) return SETTLED
  }
  const order = current === undefined ? 1 : compareRecords(record, current)
  if (order < 0) return { outcome: 'stale', current }
  if (order === 0) return { outcome: 'same', current }
  put(slot, record, horizonOf)
  slot.isCopy = kind === 'copy'
  return current === undefined ? APPLIED_TO_NOTHING : { outcome: 'applied', current }
}

/** Of records with siblings neither takes the place of the other. */
function join(slot: Slot, record: RecordBytes, kind: MutationKind, rules: ApplyRules): ApplyResult {
  const { current } = slot
  const { horizonOf, joinsSiblings: joins } = rules
  const joined = letIn(current, record, { ...pastOf(slot, rules), isCopy: kind === 'copy', joins })
  if (joined === undefined) return SETTLED
  if (joined === current) return { outcome: equalBytes(record, current) ? 'same' : 'stale', current }
  put(slot, joined, horizonOf)
  slot.isCopy = kind === 'copy'
  return joined === record ? { outcome: 'applied', current } : { outcome: 'applied', current, stored: joined }
}

/** How far the past of a key is settled, and whether all of that is here. */
function pastOf({ key }: Slot, { horizonOf, isWhole }: ApplyRules): { horizon: number; isWhole: boolean } {
  const partition = partitionOfKey(key)
  return { horizon: horizonOf?.(partition) ?? 0, isWhole: isWhole?.(partition) !== false }
}

/** Nothing is minted upon what cannot be read: it may hold what must not be lost. */
function minted(slot: Slot, mint: Mint, rules: ApplyRules): ApplyResult | KilovoltError {
  const { current, corrupt } = slot
  if (corrupt !== undefined) return corrupt
  const { horizonOf } = rules
  const made = mint(settledRecord(current, pastOf(slot, rules)))
  if (made instanceof Error) return made
  if (current !== undefined && equalBytes(made, current)) return { outcome: 'same', current, stored: current }
  put(slot, made, horizonOf)
  return { outcome: 'applied', current, stored: made }
}

/** Rule G1 is of what is missing. What lies here damaged is not, so that what others have of it may lie below the horizon. */
function replace(
  slot: Slot,
  record: RecordBytes,
  kind: MutationKind,
  horizonOf: HorizonOf | undefined
): ApplyResult | KilovoltError {
  const isProven = kind === 'heal' || kind === 'mend'
  // What is stamped later than all that was here has no part of it, where it has siblings.
  if (!isProven && (recordHlc(record) <= slot.bound || hasSiblings(record))) return slot.corrupt!
  put(slot, record, horizonOf)
  return APPLIED_TO_NOTHING
}

function put(slot: Slot, record: RecordBytes, horizonOf: HorizonOf | undefined): void {
  // What is spent at the horizon already would be purged at once, and the others hold nothing in its place.
  const isGone = horizonOf !== undefined && isMortal(record) && isSpent(record, horizonOf(partitionOfKey(slot.key)))
  slot.current = isGone ? undefined : record
  slot.corrupt = undefined
  slot.changed = true
}

function remove(slot: Slot, record: RecordBytes): ApplyResult | KilovoltError {
  const { current, corrupt, bound } = slot
  if (corrupt !== undefined) return recordHlc(record) <= bound ? corrupt : clear(slot)
  if (current === undefined) return { outcome: 'same', current }
  if (!equalBytes(current, record)) return { outcome: 'stale', current }
  slot.current = undefined
  slot.changed = true
  return { outcome: 'applied', current }
}

function clear(slot: Slot): ApplyResult {
  const { current, corrupt } = slot
  if (corrupt === undefined) return { outcome: current === undefined ? 'same' : 'stale', current }
  slot.corrupt = undefined
  slot.changed = true
  return APPLIED_TO_NOTHING
}

function load(slot: Slot, value: Uint8Array | undefined, form: RecordForm, damage: Damage): void {
  try {
    if (value !== undefined) slot.before = slot.current = form.open(slot.key, value)
    damage.remove(slot.key)
  } catch (error) {
    slot.bound = damage.add(slot.key)
    slot.corrupt = new KilovoltError('KV_CORRUPT', messageOf(error), { details: { newerThan: slot.bound } })
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
  return {
    key,
    hash,
    before: undefined,
    current: undefined,
    changed: false,
    corrupt: undefined,
    bound: -1,
    isSuspect: false,
    isCopy: false,
    next
  }
}

/** FNV-1a, 32 bits: cheaper for short keys than to make a string of them. */
function hashOf(key: Uint8Array): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key[i]!, 0x01000193)
  return hash
}
