import { messageOf } from '../base/errors.ts'
import type { PartitionId } from '../model/partition.ts'
import { isSpent, isTombstone } from '../model/record.ts'
import { type Clock, pause } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Horizons } from '../storage/horizons.ts'
import type { RecordStore, StoredRecord } from '../storage/record-store.ts'
import type { TreeIndex } from '../storage/tree-index.ts'

/** What purging needs. */
export interface PurgerDeps {
  readonly records: RecordStore
  readonly trees: TreeIndex
  readonly horizons: Horizons
  readonly clock: Clock
  readonly logger: Logger
}

/** Pause between two pages, ms: requests go first. */
const REST_MS = 2
const PAGE_RECORDS = 1000
const PAGE_BYTES = 256 * 1024
/** Pause after a partition that could not be purged, ms. */
const RETRY_MS = 5000

/**
 * Deletes here what is spent at the horizon: tombstones, and what has expired. By the rule of the horizon every owner has
 * had it, and lets nothing older in, so nobody needs it any more. One partition at a time, a page at a time.
 */
export class Purger {
  readonly #deps: PurgerDeps
  readonly #wanted = new Set<PartitionId>()
  readonly #abort = new AbortController()
  #running: Promise<void> | undefined
  #purged = 0
  #expired = 0

  constructor(deps: PurgerDeps) {
    this.#deps = deps
  }

  /** Records deleted since the node started. */
  get purged(): number {
    return this.#purged
  }

  /** Of those, values that had expired; the others said "deleted". */
  get expired(): number {
    return this.#expired
  }

  /** Goes on with what an earlier life has left. */
  start(): void {
    for (const partition of this.#deps.horizons.unpurged) this.#wanted.add(partition)
    this.#work()
  }

  /** Takes a later horizon over and purges up to it; resolves when no restart forgets the horizon. */
  async advance(partitions: readonly PartitionId[], horizon: number): Promise<void> {
    await this.#deps.horizons.raiseHorizons(partitions, horizon)
    for (const partition of partitions) this.#wanted.add(partition)
    this.#work()
  }

  /** As {@link Purger.advance}, for a horizon that another owner tells of; it will be told again when this fails. */
  readonly adopt = (partition: PartitionId, horizon: number): void => {
    this.advance([partition], horizon).catch((error: unknown) => {
      this.#deps.logger.debug('a horizon could not be taken over yet', { partition, error: messageOf(error) })
    })
  }

  cancel(): void {
    this.#abort.abort()
  }

  /** Resolves when nothing is being deleted any more. */
  async stop(): Promise<void> {
    this.cancel()
    await this.#running
  }

  #work(): void {
    if (this.#wanted.size === 0 || this.#abort.signal.aborted) return
    this.#running ??= this.#purgeAll().finally(() => {
      this.#running = undefined
      this.#work()
    })
  }

  async #purgeAll(): Promise<void> {
    const { clock, logger } = this.#deps
    for (const partition of this.#wanted) {
      if (this.#abort.signal.aborted) return
      this.#wanted.delete(partition)
      try {
        await this.#purge(partition)
      } catch (error) {
        if (this.#abort.signal.aborted) return
        logger.warn('a partition could not be purged and is tried again', { partition, error: messageOf(error) })
        this.#wanted.add(partition)
        await pause(clock, RETRY_MS, this.#abort.signal)
      }
    }
  }

  async #purge(partition: PartitionId): Promise<void> {
    const { records, trees, horizons, clock } = this.#deps
    const horizon = horizons.horizonOf(partition)
    if (horizons.isPurged(partition)) return
    for (let last: StoredRecord | undefined; trees.mortalsIn(partition) !== 0;) {
      const page: readonly StoredRecord[] = await records.page(partition, last, PAGE_RECORDS, PAGE_BYTES)
      last = page.at(-1)
      if (last === undefined) break
      await Promise.all(page.filter(({ record }) => isSpent(record, horizon)).map(stored => this.#remove(stored)))
      await pause(clock, REST_MS, this.#abort.signal)
      if (this.#abort.signal.aborted) return
    }
    await horizons.setPurged(partition, horizon)
  }

  /** Deletes a record, unless another has taken its place. */
  #remove(stored: StoredRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#deps.records.remove(stored, stored.record, (error, result) => {
        if (error !== undefined) return reject(error)
        if (result?.outcome === 'applied') {
          this.#purged++
          if (!isTombstone(stored.record)) this.#expired++
        }
        resolve()
      })
    })
  }
}
