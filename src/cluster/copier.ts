import { messageOf } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import { isRowReplica, type Topology } from '../placement/topology.ts'
import { type Clock, pause, type Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Mover } from './cluster.ts'
import type { RowRef } from './commands.ts'

/** What a copier needs. */
export interface CopierDeps {
  readonly self: StoreId
  readonly mover: Mover
  readonly clock: Clock
  readonly logger: Logger
  /** Resolves when a restart of this node cannot forget the topology of this epoch. */
  readonly settle: (epoch: number) => Promise<void>
  /** Tells the leader which rows' copies are done here; may be lost, and is repeated. */
  readonly report: (rows: readonly RowRef[]) => void
}

/** Copies under way at once. */
const COPIES_MAX = 4
/** How often what is done is reported until the leader has ended the change, ms. */
const REPORT_EVERY_MS = 1000
/** Pause after a copy that failed, ms. */
const RETRY_MS = 500

interface Task extends RowRef {
  readonly from: readonly StoreId[]
  readonly abort: AbortController
  state: 'waiting' | 'copying' | 'done'
}

/**
 * This node's part in ownership changes: fetches the partitions that rows assign to it, reports them until the change is
 * over, and drops, as the last step of all (C4), what it has no part in any longer; also what an earlier life on the same
 * store was dropping when it ended.
 *
 * Whatever it has reported is never dropped by a later life that has not heard of the change yet: the topology of the
 * change is stored before the report.
 */
export class Copier {
  readonly #deps: CopierDeps
  readonly #tasks = new Map<PartitionId, Task>()
  readonly #holds = new Set<PartitionId>()
  #topology: Topology | undefined
  #copying = 0
  #timer: Timer | undefined
  #reportSoon = false
  #stopped = false

  constructor(deps: CopierDeps) {
    this.#deps = deps
  }

  /** Takes note of a new topology. */
  follow(topology: Topology): void {
    if (this.#stopped) return
    const { self } = this.#deps
    const isFirst = this.#topology === undefined
    this.#topology = topology
    for (const [partition, row] of topology.rows.entries()) {
      const copy = row.change?.copies.find(({ to }) => to === self)
      const task = this.#tasks.get(partition)
      if (task !== undefined && (copy === undefined || task.rowEpoch !== row.rowEpoch)) {
        task.abort.abort()
        this.#tasks.delete(partition)
      }
      if (copy !== undefined && !this.#tasks.has(partition)) {
        this.#tasks.set(partition, {
          partition,
          rowEpoch: row.rowEpoch,
          from: copy.from,
          abort: new AbortController(),
          state: 'waiting'
        })
      }
      if (isRowReplica(row, self)) this.#holds.add(partition)
      else if (this.#holds.delete(partition)) this.#drop(partition)
    }
    if (isFirst) void this.#dropLeftovers()
    this.#work()
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
    for (const { abort } of this.#tasks.values()) abort.abort()
    this.#tasks.clear()
  }

  #work(): void {
    for (const task of this.#tasks.values()) {
      if (this.#copying >= COPIES_MAX) return
      if (task.state === 'waiting') void this.#copy(task)
    }
  }

  async #copy(task: Task): Promise<void> {
    const { mover, settle, clock, logger } = this.#deps
    task.state = 'copying'
    this.#copying++
    try {
      await mover.copy({ partition: task.partition, from: task.from, epoch: task.rowEpoch }, task.abort.signal)
      await settle(task.rowEpoch)
      task.state = 'done'
      this.#report()
    } catch (error) {
      if (!task.abort.signal.aborted) {
        logger.debug('a copy failed and is tried again', { partition: task.partition, error: messageOf(error) })
        await pause(clock, RETRY_MS, task.abort.signal)
        task.state = 'waiting'
      }
    } finally {
      this.#copying--
    }
    if (!this.#stopped) this.#work()
  }

  /** What is done within one turn goes out together. */
  #report(): void {
    if (this.#reportSoon || this.#stopped) return
    this.#reportSoon = true
    this.#deps.clock.soon(() => {
      this.#reportSoon = false
      const done = [...this.#tasks.values()].filter(({ state }) => state === 'done')
      if (done.length === 0 || this.#stopped) return
      this.#deps.report(done.map(({ partition, rowEpoch }) => ({ partition, rowEpoch })))
      this.#timer?.cancel()
      this.#timer = this.#deps.clock.after(REPORT_EVERY_MS, () => this.#report())
    })
  }

  async #dropLeftovers(): Promise<void> {
    const { self, mover, logger } = this.#deps
    try {
      for (const partition of await mover.held()) {
        const row = this.#topology?.rows[partition]
        if (!this.#stopped && (row === undefined || !isRowReplica(row, self))) this.#drop(partition)
      }
    } catch (error) {
      if (!this.#stopped) logger.warn('what the store holds could not be listed', { error: messageOf(error) })
    }
  }

  #drop(partition: PartitionId): void {
    this.#deps.mover.drop(partition).catch((error: unknown) => {
      this.#deps.logger.warn('a partition that moved away could not be deleted here', {
        partition,
        error: messageOf(error)
      })
    })
  }
}
