import { throwIfStopped } from '../base/abort.ts'
import type { PartitionId } from '../model/partition.ts'
import type { RecordBytes } from '../model/record.ts'
import { type Clock, pause } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { RecordKey, RecordStore, StoredRecord } from '../storage/record-store.ts'

/** What importing needs. */
export interface ImporterDeps {
  readonly records: RecordStore
  readonly clock: Clock
  readonly logger: Logger
  /** Gives one record to its present owners; see `Coordinator.bring`. */
  readonly bring: (place: RecordKey, record: RecordBytes) => Promise<void>
}

/** Records under way at the same time, and the pause after each page of them, ms: requests go first. */
const AT_ONCE = 32
const REST_MS = 1
const PAGE_RECORDS = 256
const PAGE_BYTES = 256 * 1024

/**
 * Brings what this node holds from a cluster that has ended into the one it has come to (rule G4): record by record, read
 * and written at quorum, as the two clusters have no past in common by which copies could be compared.
 */
export class Importer {
  readonly #deps: ImporterDeps
  readonly #abort = new AbortController()

  constructor(deps: ImporterDeps) {
    this.#deps = deps
  }

  /**
   * Resolves when the owners of a partition have whatever of it is the newest. Broken off anywhere it can begin anew.
   *
   * @throws KilovoltError when they cannot be reached now
   */
  async run(partition: PartitionId): Promise<void> {
    const { records, clock, logger } = this.#deps
    // What was taken just before this node went over is stored by then.
    await records.flushed()
    let count = 0
    for (let last: StoredRecord | undefined; ;) {
      const page: readonly StoredRecord[] = await records.page(partition, last, PAGE_RECORDS, PAGE_BYTES)
      last = page.at(-1)
      if (last === undefined) break
      for (let at = 0; at < page.length; at += AT_ONCE)
        await Promise.all(page.slice(at, at + AT_ONCE).map(stored => this.#deps.bring(stored, stored.record)))
      count += page.length
      await pause(clock, REST_MS, this.#abort.signal)
      throwIfStopped(this.#abort.signal)
    }
    if (count > 0) logger.debug('a partition of another cluster was brought along', { partition, records: count })
  }

  cancel(): void {
    this.#abort.abort()
  }
}
