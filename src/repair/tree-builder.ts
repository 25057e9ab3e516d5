import { messageOf } from '../base/errors.ts'
import type { PartitionId } from '../model/partition.ts'
import { type Clock, pause } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { RecordStore } from '../storage/record-store.ts'
import type { TreeIndex } from '../storage/tree-index.ts'

/** What building trees needs. */
export interface TreeBuilderDeps {
  readonly records: RecordStore
  readonly trees: TreeIndex
  readonly clock: Clock
  readonly logger: Logger
}

/** Pause between two pages, ms: requests go first. */
const REST_MS = 2
const PAGE_RECORDS = 1000
const PAGE_BYTES = 256 * 1024

/** Makes the hash trees that are not known, by reading their partitions, one at a time and each once. */
export class TreeBuilder {
  readonly #deps: TreeBuilderDeps
  readonly #wanted = new Map<PartitionId, Promise<void>>()
  readonly #abort = new AbortController()
  #last: Promise<void> = Promise.resolve()

  constructor(deps: TreeBuilderDeps) {
    this.#deps = deps
  }

  /** Resolves when the tree is known, or could not be made; never rejects. */
  ensure(partition: PartitionId): Promise<void> {
    if (this.#deps.trees.isReady(partition)) return Promise.resolve()
    let building = this.#wanted.get(partition)
    if (building === undefined) {
      building = this.#last = this.#last.then(() => this.#build(partition))
      this.#wanted.set(partition, building)
    }
    return building
  }

  cancel(): void {
    this.#abort.abort()
  }

  /** Resolves when nothing is being read any more. */
  async stop(): Promise<void> {
    this.cancel()
    await this.#last
  }

  async #build(partition: PartitionId): Promise<void> {
    const { records, trees, clock, logger } = this.#deps
    const rest = async (): Promise<boolean> => {
      await pause(clock, REST_MS, this.#abort.signal)
      return !this.#abort.signal.aborted
    }
    try {
      if (this.#abort.signal.aborted || trees.isReady(partition)) return
      await trees.build(partition, after => records.page(partition, after, PAGE_RECORDS, PAGE_BYTES), rest)
    } catch (error) {
      if (!this.#abort.signal.aborted)
        logger.warn('a hash tree could not be built', { partition, error: messageOf(error) })
    } finally {
      this.#wanted.delete(partition)
    }
  }
}
