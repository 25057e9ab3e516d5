import type { PartitionId } from '../model/partition.ts'
import type { Mutation } from './apply-batch.ts'

/** What dropping partitions needs of the loop. */
export interface PartitionDropsDeps {
  /** Resolves when everything offered before this call is written or refused. */
  readonly passed: () => Promise<void>
  /** Deletes what is stored of a partition. */
  readonly clear: (partition: PartitionId) => Promise<void>
  /** Takes a mutation that has waited. */
  readonly offer: (mutation: Mutation) => void
}

/** The partitions that are being deleted, with the mutations that must wait until that is done. */
export class PartitionDrops {
  readonly #deps: PartitionDropsDeps
  readonly #held = new Map<PartitionId, Mutation[]>()
  readonly #drops = new Map<PartitionId, Promise<void>>()

  constructor(deps: PartitionDropsDeps) {
    this.#deps = deps
  }

  /** Where mutations of a partition wait; `undefined` when they need not. */
  heldOf(partition: PartitionId): Mutation[] | undefined {
    return this.#held.size === 0 ? undefined : this.#held.get(partition)
  }

  drop(partition: PartitionId): Promise<void> {
    const drop = this.#drop(partition).finally(() => {
      if (this.#drops.get(partition) === drop) this.#drops.delete(partition)
    })
    this.#drops.set(partition, drop)
    return drop
  }

  /** Resolves when all that are under way have ended. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#drops.values())
  }

  async #drop(partition: PartitionId): Promise<void> {
    const { passed, clear, offer } = this.#deps
    const held: Mutation[] = []
    this.#held.set(partition, held)
    // What was offered before is written before it is deleted; what is offered from now on waits until it is. Both
    // hold as of this call: what an earlier drop of the same partition keeps waiting belongs before this one.
    const before = passed()
    try {
      await this.#drops.get(partition)?.catch(() => {})
      await before
      await clear(partition)
    } finally {
      if (this.#held.get(partition) === held) this.#held.delete(partition)
      for (const mutation of held) offer(mutation)
    }
  }
}
