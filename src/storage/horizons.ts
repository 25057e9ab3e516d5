import { KilovoltError } from '../base/errors.ts'
import type { Reader } from '../codec/reader.ts'
import { Writer } from '../codec/writer.ts'
import type { PartitionId } from '../model/partition.ts'
import { partitionOfKey, settledKey, settledRange } from './key-layout.ts'
import { seal, unseal } from './sealed.ts'
import { storageError } from './storage-error.ts'
import type { Store, StoreChange } from './store.ts'

/**
 * How far the past of a partition is settled, as hybrid times of which none ever goes back:
 *
 * - `floor`: nothing new is taken here that is stamped at or below it;
 * - `horizon`: every owner has, or has had, whatever was written at or below it, so that what is missing was overwritten;
 * - `purged`: what only says "nothing is there" is gone up to here. At most `horizon`, which is at most `floor`.
 */
interface Settled {
  floor: number
  horizon: number
  purged: number
}

const ENTRY_BYTES = 24
const SYNC = { sync: true } as const
const NO_SYNC = { sync: false } as const

/**
 * The floors and horizons of a node, kept in its store: what was refused or purged because of one must not be let in by a
 * later life. Some 20 bytes for a partition, written once in a round of purging.
 */
export class Horizons {
  readonly #store: Store
  readonly #entries: Settled[]
  /** The floors that no restart forgets: a write of those in force may be under way, or have failed. */
  readonly #durableFloors: number[]
  /** Writes one after another, so that a later one never gives way to an earlier one. */
  #writing: Promise<void> = Promise.resolve()
  /** How many resets have not ended. */
  #resets = 0

  constructor(store: Store, partitions: number) {
    this.#store = store
    this.#entries = Array.from({ length: partitions }, () => ({ floor: 0, horizon: 0, purged: 0 }))
    this.#durableFloors = Array.from({ length: partitions }, () => 0)
  }

  /**
   * Reads what an earlier life has kept. To be called before anything else.
   *
   * @throws KilovoltError `KV_CORRUPT` when it cannot be read, `KV_STORAGE` when the database fails
   */
  async open(): Promise<void> {
    const { gte, lt } = settledRange()
    for (const [key, value] of await this.#store.page({ gte: settledKey(0), lt }, this.#entries.length)) {
      const partition = partitionOfKey(key)
      if (key.length <= gte.length || partition >= this.#entries.length) continue
      const entry = (this.#entries[partition] = unseal(key, value, read, corrupt))
      this.#durableFloors[partition] = entry.floor
    }
  }

  /** Nothing new is taken at or below this; 0 when there is no bound. */
  floorOf(partition: PartitionId): number {
    return this.#entries[partition]?.floor ?? 0
  }

  /** What is stamped at or below this, and missing here, was overwritten. */
  horizonOf(partition: PartitionId): number {
    return this.#entries[partition]?.horizon ?? 0
  }

  /** Whether all that is spent at the horizon is gone: only then do trees of the same horizon compare. */
  isPurged(partition: PartitionId): boolean {
    const entry = this.#entries[partition]
    return entry === undefined || entry.purged === entry.horizon
  }

  /** Partitions in which something may be left to be purged. */
  get unpurged(): readonly PartitionId[] {
    return [...this.#entries.keys()].filter(partition => !this.isPurged(partition))
  }

  /** Raises floors: at once for whoever asks, and resolves when no restart forgets it. Lower than before they stay. */
  raiseFloors(partitions: readonly PartitionId[], floor: number): Promise<void> {
    for (const partition of partitions) {
      if (floor > this.floorOf(partition)) this.#entries[partition]!.floor = floor
    }
    // Again in its turn: all may be forgotten before that, and what has been stored already with it.
    return this.#write(
      () => partitions.filter(partition => floor > this.#durableFloors[partition]!),
      SYNC,
      entry => ({ ...entry, floor: Math.max(entry.floor, floor) })
    )
  }

  /** Raises horizons, and floors with them; resolves when no restart forgets it, and only then do they count. */
  async raiseHorizons(partitions: readonly PartitionId[], horizon: number): Promise<void> {
    await this.#write(
      () => partitions.filter(partition => horizon > this.horizonOf(partition)),
      SYNC,
      entry => ({ ...entry, floor: Math.max(entry.floor, horizon), horizon: Math.max(entry.horizon, horizon) })
    )
  }

  /** All that is spent at this horizon is gone. Where that was forgotten meanwhile it counts for nothing. */
  async setPurged(partition: PartitionId, horizon: number): Promise<void> {
    await this.#write(
      () => [partition],
      NO_SYNC,
      entry => ({ ...entry, purged: Math.max(entry.purged, Math.min(entry.horizon, horizon)) })
    )
  }

  /** Forgets everything: what was settled in another cluster is not settled in this one. */
  async reset(): Promise<void> {
    this.#resets++
    const reset = this.#writing.then(async () => {
      const kept = [...this.#entries.entries()].filter(([, { floor }]) => floor > 0)
      await this.#batch(
        kept.map(([partition]) => ({ key: settledKey(partition), value: undefined })),
        SYNC
      )
      for (const [partition] of kept) {
        this.#entries[partition] = { floor: 0, horizon: 0, purged: 0 }
        this.#durableFloors[partition] = 0
      }
    })
    this.#writing = reset.catch(() => {})
    await reset.finally(() => this.#resets--)
  }

  /** Resolves when everything that was written to the store before is on its medium. */
  async sync(): Promise<void> {
    await this.#batch([{ key: settledRange().gte, value: new Uint8Array(0) }], SYNC)
  }

  /** Changes what is settled of some partitions, as they are when what was called before is written. */
  #write(
    partitionsOf: () => readonly PartitionId[],
    options: typeof SYNC | typeof NO_SYNC,
    change: (entry: Settled) => Settled
  ): Promise<void> {
    // What is so already is waited for only where all is being forgotten.
    if (this.#resets === 0 && partitionsOf().length === 0) return Promise.resolve()
    const write = this.#writing.then(async () => {
      const partitions = partitionsOf()
      if (partitions.length === 0) return
      const changed = partitions.map(partition => [partition, { ...change(this.#entries[partition]!) }] as const)
      await this.#batch(
        changed.map(([partition, entry]) => seal(settledKey(partition), encode(entry))),
        options
      )
      for (const [partition, { floor, horizon, purged }] of changed) {
        // A floor may have been raised meanwhile.
        const entry = this.#entries[partition]!
        this.#entries[partition] = { floor: Math.max(entry.floor, floor), horizon, purged }
        if (options.sync) this.#durableFloors[partition] = floor
      }
    })
    this.#writing = write.catch(() => {})
    return write
  }

  async #batch(changes: readonly StoreChange[], options: { readonly sync: boolean }): Promise<void> {
    try {
      await this.#store.batch(changes, options)
    } catch (error) {
      throw storageError(error, 'writing how far the past is settled')
    }
  }
}

function encode({ floor, horizon, purged }: Settled): Uint8Array {
  return new Writer(ENTRY_BYTES).varint(floor).varint(horizon).varint(purged).finish()
}

function read(reader: Reader): Settled {
  return { floor: reader.varint(), horizon: reader.varint(), purged: reader.varint() }
}

/** With a lower one what was purged would come back, with a higher one what was written would be taken for purged. */
function corrupt(why: string): KilovoltError {
  return new KilovoltError(
    'KV_CORRUPT',
    `the store does not tell how far the past of a partition is settled (what it says ${why}): give the node an empty ` +
      'store, or restore this one from a copy'
  )
}
