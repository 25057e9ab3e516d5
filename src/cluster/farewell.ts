import { abortError, throwIfStopped } from '../base/abort.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import type { TopologyMember } from '../placement/topology.ts'
import { type Clock, pause } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { ClusterPhase } from './cluster.ts'
import { type NewMember, PROPOSE_TIMEOUT_MS } from './commands.ts'
import type { Former } from './former.ts'
import { LOOK_EVERY_MS } from './look-until.ts'
import type { MetaLog } from './meta-log.ts'
import type { MetaPeers } from './meta-peers.ts'
import type { Migration } from './migration.ts'
import type { Reentry } from './reentry.ts'

/** What leaving needs. */
export interface FarewellDeps {
  readonly clock: Clock
  readonly logger: Logger
  readonly log: Pick<MetaLog, 'topology' | 'kinship'>
  readonly former: Pick<Former, 'isEmpty'>
  readonly peers: Pick<MetaPeers, 'propose' | 'pull'>
  readonly migration: Pick<Migration, 'isUnderWay'>
  readonly reentry: Pick<Reentry, 'rejoin' | 'renew'>
  /** Aborted when the node stops. */
  readonly stopped: AbortSignal
  readonly describe: () => NewMember
  /** Whether the log has this node as a member, and does not only expect it. */
  readonly isKnown: () => boolean
  /** What others may lack of what this node has; `undefined` while it does not know. */
  readonly owed: () => number | undefined
  readonly become: (phase: ClusterPhase) => void
}

/** Who leaves. */
export interface FarewellOptions {
  readonly self: StoreId
}

/** A node's way out of its cluster for good: it hands everything over, then is struck from the log. */
export class Farewell {
  readonly #deps: FarewellDeps
  readonly #options: FarewellOptions

  constructor(deps: FarewellDeps, options: FarewellOptions) {
    this.#deps = deps
    this.#options = options
  }

  /** @throws KilovoltError `KV_TIMEOUT`, `KV_ABORTED`: the node stays; `KV_NODE_STOPPED` */
  async run(timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { clock, stopped, become } = this.#deps
    const deadline = clock.monotonicMs() + timeoutMs
    const isLate = (): boolean => signal?.aborted === true || clock.monotonicMs() >= deadline
    become('leaving')
    for (;;) {
      await this.#arrive(isLate)
      // It may have come to another cluster since the last look.
      become('leaving')
      if (this.#isFree()) break
      if (isLate()) {
        await this.#stay()
        if (signal?.aborted === true) throw abortError(signal, 'leaving')
        throw this.#lateError(timeoutMs)
      }
      await this.#step(Math.max(1, deadline - clock.monotonicMs()))
      await pause(clock, LOOK_EVERY_MS, stopped)
      throwIfStopped(stopped)
    }
    become('left')
  }

  /** On its way between two clusters there is nobody to hand anything over to. */
  async #arrive(isLate: () => boolean): Promise<void> {
    const { clock, stopped, migration } = this.#deps
    if (!this.#isOnItsWay) return
    this.#goOn()
    while (migration.isUnderWay && !isLate() && !stopped.aborted) await pause(clock, LOOK_EVERY_MS, stopped)
    throwIfStopped(stopped)
  }

  /** Whether this node's cluster has ended, and it is not in another one yet. */
  get #isOnItsWay(): boolean {
    const { log, migration } = this.#deps
    return log.kinship.dissolvedInto !== undefined || migration.isUnderWay
  }

  /** Is again what it would be if it did not leave. */
  #goOn(): void {
    const { log, migration, become } = this.#deps
    // Whoever becomes a member where the log has ended sets out, unless it has already.
    const hasSetOut = log.kinship.dissolvedInto !== undefined && migration.isUnderWay
    become(hasSetOut ? 'joining' : 'member')
  }

  /** Whether nobody expects anything of this node any more, or could take it. */
  #isFree(): boolean {
    const { log, former, owed } = this.#deps
    const { topology } = log
    // What it holds goes to others than those whom the log that has ended knows: none may be left there, or not even a log.
    if (this.#isOnItsWay) return false
    if (topology === undefined) return true
    // The last one has nobody to hand over to, and neither have those that all leave together. Who arrives will be somebody.
    if (this.#others.every(({ status }) => status === 'leaving' || status === 'evicted')) return true
    // Copies are made from a majority of the owners: that one of them was without it, and took writes at `one`, none has seen.
    return this.#isStruck && former.isEmpty && owed() === 0
  }

  /** Whether the log has this node no more. */
  get #isStruck(): boolean {
    return this.#deps.log.topology?.members.has(this.#options.self) === false
  }

  get #others(): readonly TopologyMember[] {
    const members = this.#deps.log.topology?.members.values() ?? []
    return [...members].filter(({ storeId }) => storeId !== this.#options.self)
  }

  #lateError(timeoutMs: number): KilovoltError {
    const arriving = this.#others.filter(({ status }) => status === 'arriving').length
    const isAwaiting = arriving > 0 && this.#others.every(({ status }) => status !== 'up')
    const why = isAwaiting
      ? `: there is nobody to take it before ${arriving} nodes have come that are expected from another cluster. Leave ` +
        'again then, or stop() at once, without what only this node has'
      : ''
    return new KilovoltError(
      'KV_TIMEOUT',
      `the data was not handed over within ${timeoutMs} ms; the node stays and goes on${why}`,
      { retryable: true }
    )
  }

  async #step(leftMs: number): Promise<void> {
    const { logger, log, former, peers, reentry, isKnown } = this.#deps
    const { self } = this.#options
    try {
      // What it has brought along from another cluster it hands over first.
      if (!isKnown() && !former.isEmpty) await reentry.rejoin(leftMs)
      else if (log.topology?.members.get(self)?.status !== 'leaving')
        await peers.propose({ kind: 'setStatus', storeId: self, status: 'leaving' }, PROPOSE_TIMEOUT_MS)
      await peers.pull(PROPOSE_TIMEOUT_MS)
    } catch (error) {
      logger.debug('leaving: tried again', { error: messageOf(error) })
    }
  }

  /** Takes a leave back. */
  async #stay(): Promise<void> {
    const { logger, peers, reentry, describe } = this.#deps
    this.#goOn()
    // It says so where it arrives; nothing is said any more in a log that has ended.
    if (this.#isOnItsWay) return
    // Struck already, it comes back as one who was forgotten does: when the others have taken what it has.
    if (this.#isStruck) return void reentry.renew()
    try {
      await peers.propose({ kind: 'updateMember', member: describe() }, PROPOSE_TIMEOUT_MS)
    } catch (error) {
      logger.warn('the cluster could not be told that this node stays', { error: messageOf(error) })
    }
  }
}
