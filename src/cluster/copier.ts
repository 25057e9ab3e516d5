import { messageOf } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { PlacementRules } from '../placement/rules.ts'
import { isRowReplica, type Row, type Topology } from '../placement/topology.ts'
import { type Clock, pause, type Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Mover } from './cluster.ts'
import type { RowRef } from './commands.ts'

/** What a copier needs. */
export interface CopierDeps {
  readonly self: StoreId
  readonly mover: Pick<Mover, 'copy' | 'held' | 'giveBack' | 'drop'>
  readonly rules: Pick<PlacementRules, 'compareBeforeDrop'>
  readonly clock: Clock
  readonly logger: Logger
  /** Resolves when a restart of this node cannot forget the topology of this epoch. */
  readonly settle: (epoch: number) => Promise<void>
  /** Tells the leader which rows' copies are done here; may be lost, and is repeated. */
  readonly report: (rows: readonly RowRef[]) => void
}

/** Partitions that are fetched at once, and that are given back. */
const COPIES_MAX = 4
/** What is done within this time is reported together, ms, unless nothing is left to do: every message wakes somebody. */
const GATHER_MS = 200
/** How often what is done is reported until the leader has ended the change, ms. */
const REPORT_EVERY_MS = 1000
/** Pause before something that could not be cleared away is tried again, ms. */
const CLEAR_AGAIN_MS = 1000
/** Pause after a copy that failed, ms. */
const RETRY_MS = 500

interface Task extends RowRef {
  readonly from: readonly StoreId[]
  readonly abort: AbortController
  state: 'waiting' | 'copying' | 'done'
}

/**
 * This node's part in ownership changes: fetches the partitions that rows assign to it, reports them until the change is
 * over, and clears away, as the last step of all (C4), what it has no part in any longer; also what an earlier life on the
 * same store has left. It is compared with an owner's copy first, and what that lacks is given back (C5): a write at `one`,
 * say, that nobody but this node took, as it was cut off, or after it was copied from.
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
  #gathering: Timer | undefined
  /** What is being cleared away, and of each whether the owners may lack something. */
  readonly #clearing = new Map<PartitionId, boolean>()
  /**
   * What is being deleted, or waits for its turn, each with what calls it off: a copy that begins before that is over would find
   * that it has everything already.
   */
  readonly #dropping = new Map<PartitionId, AbortController>()
  #isListed = false
  /** What is given back, in each lane one partition after another. Never reject. */
  readonly #lanes: Promise<unknown>[] = Array.from({ length: COPIES_MAX }, () => Promise.resolve())
  readonly #abort = new AbortController()

  constructor(deps: CopierDeps) {
    this.#deps = deps
  }

  /**
   * Partitions of which this node holds something without being their owner, and which are being cleared; `undefined` while
   * that is not known.
   */
  get strays(): ReadonlySet<PartitionId> | undefined {
    return this.#isListed ? new Set(this.#clearing.keys()) : undefined
  }

  /** Partitions of which the owners may lack something that this node holds; `undefined` while that is not known. */
  get owed(): number | undefined {
    return this.#isListed ? [...this.#clearing.values()].filter(Boolean).length : undefined
  }

  /** Takes note of a new topology. */
  follow(topology: Topology): void {
    if (this.#stopped) return
    const { self, rules } = this.#deps
    const before = this.#topology
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
      if (isRowReplica(row, self)) {
        this.#holds.add(partition)
        this.#dropping.get(partition)?.abort()
      } else if (this.#holds.delete(partition))
        this.#clear(partition, !rules.compareBeforeDrop || isSpare(before?.rows[partition], self))
    }
    if (before === undefined) void this.#clearLeftovers()
    this.#work()
  }

  stop(): void {
    this.#abort.abort()
    this.#timer?.cancel()
    this.#gathering?.cancel()
    for (const { abort } of this.#tasks.values()) abort.abort()
    this.#tasks.clear()
    // What has not begun by now may come when another tenure has made a copy.
    for (const abort of this.#dropping.values()) abort.abort()
  }

  get #stopped(): boolean {
    return this.#abort.signal.aborted
  }

  #work(): void {
    for (const task of this.#tasks.values()) {
      if (this.#copying >= COPIES_MAX) return
      if (task.state === 'waiting' && !this.#dropping.has(task.partition)) void this.#copy(task)
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

  /** Tells soon what is done, together with what is done meanwhile. */
  #report(): void {
    const isOver = [...this.#tasks.values()].every(({ state }) => state === 'done')
    if (this.#stopped || (this.#gathering !== undefined && !isOver)) return
    this.#gathering?.cancel()
    this.#gathering = this.#deps.clock.after(isOver ? 0 : GATHER_MS, () => this.#tell())
  }

  #tell(): void {
    this.#gathering = undefined
    const done = [...this.#tasks.values()].filter(({ state }) => state === 'done')
    if (done.length === 0) return
    this.#deps.report(done.map(({ partition, rowEpoch }) => ({ partition, rowEpoch })))
    this.#timer?.cancel()
    this.#timer = this.#deps.clock.after(REPORT_EVERY_MS, () => this.#report())
  }

  async #clearLeftovers(): Promise<void> {
    const { self, mover, clock, logger } = this.#deps
    while (!this.#isListed && !this.#stopped) {
      try {
        for (const partition of await mover.held()) {
          const row = this.#topology?.rows[partition]
          if (row === undefined || !isRowReplica(row, self)) this.#clear(partition, false)
        }
        this.#isListed = true
      } catch (error) {
        if (!this.#stopped) logger.warn('what the store holds could not be listed', { error: messageOf(error) })
        await pause(clock, RETRY_MS, this.#abort.signal)
      }
    }
  }

  #clear(partition: PartitionId, isSpare: boolean): void {
    if (this.#stopped) return
    const isUnderWay = this.#clearing.has(partition)
    // Owned again meanwhile, it may have taken something since it was given back.
    if (!isUnderWay || !isSpare) this.#clearing.set(partition, !isSpare)
    if (!isUnderWay) void this.#clearAway(partition)
  }

  #giveBack(partition: PartitionId): Promise<void> {
    const lane = partition % COPIES_MAX
    const given = this.#lanes[lane]!.then(() => this.#deps.mover.giveBack(partition))
    this.#lanes[lane] = given.catch(() => {})
    return given
  }

  async #drop(partition: PartitionId): Promise<void> {
    const abort = new AbortController()
    this.#dropping.set(partition, abort)
    try {
      await this.#deps.mover.drop(partition, abort.signal)
    } finally {
      this.#dropping.delete(partition)
      if (!this.#stopped) this.#work()
    }
  }

  /** Gives back what the owners may lack, then deletes it, unless this node owns the partition again. Never rejects. */
  async #clearAway(partition: PartitionId): Promise<void> {
    const { self, clock, logger } = this.#deps
    while (!this.#stopped) {
      const row = this.#topology!.rows[partition]
      if (row !== undefined && isRowReplica(row, self)) break
      const owesNothing = (): boolean => row === undefined || this.#clearing.get(partition) === false
      // Owned again for a while, it may have taken something meanwhile, which is written behind a deletion.
      const isSameRow = (): boolean => row?.rowEpoch === this.#topology!.rows[partition]?.rowEpoch
      try {
        if (owesNothing()) {
          await this.#drop(partition)
          if (owesNothing() && isSameRow()) break
        } else {
          await this.#giveBack(partition)
          if (isSameRow()) this.#clearing.set(partition, false)
        }
      } catch (error) {
        logger.debug('a partition that moved away is cleared later', { partition, error: messageOf(error) })
        await pause(clock, CLEAR_AGAIN_MS, this.#abort.signal)
      }
    }
    this.#clearing.delete(partition)
  }
}

/**
 * Whether a node was only about to become an owner, so that nothing that was acknowledged rests on what it holds. Beside a single
 * owner it was the other half of every quorum (C1), and has the only copy if that owner has died.
 */
function isSpare(row: Row | undefined, self: StoreId): boolean {
  return row?.change !== undefined && !row.slots.includes(self) && row.slots.length > 1
}
