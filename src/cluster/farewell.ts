import { abortError, throwIfStopped } from '../base/abort.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
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
  readonly reentry: Pick<Reentry, 'rejoin'>
  /** Aborted when the node stops. */
  readonly stopped: AbortSignal
  readonly describe: () => NewMember
  /** Whether the log has this node as a member, and does not only expect it. */
  readonly isKnown: () => boolean
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
      if (this.#isFree()) break
      if (isLate()) {
        await this.#stay()
        if (signal?.aborted === true) throw abortError(signal, 'leaving')
        throw new KilovoltError(
          'KV_TIMEOUT',
          `the data was not handed over within ${timeoutMs} ms; the node stays and goes on`,
          { retryable: true }
        )
      }
      await this.#step(Math.max(1, deadline - clock.monotonicMs()))
      await pause(clock, LOOK_EVERY_MS, stopped)
      throwIfStopped(stopped)
    }
    become('left')
  }

  /** On its way between two clusters there is nobody to hand anything over to. */
  async #arrive(isLate: () => boolean): Promise<void> {
    const { clock, stopped, become, migration, log } = this.#deps
    if (log.kinship.dissolvedInto === undefined && !migration.isUnderWay) return
    become('member')
    while (migration.isUnderWay && !isLate() && !stopped.aborted) await pause(clock, LOOK_EVERY_MS, stopped)
    become('leaving')
  }

  /** Whether nobody expects anything of this node any more, or could take it. */
  #isFree(): boolean {
    const { log, former } = this.#deps
    const { self } = this.#options
    const { topology } = log
    if (topology === undefined || (!topology.members.has(self) && former.isEmpty)) return true
    // The last one has nobody to hand over to, and neither have those that all leave together.
    return [...topology.members.values()].every(
      ({ storeId, status }) => storeId === self || (status !== 'up' && status !== 'down')
    )
  }

  async #step(leftMs: number): Promise<void> {
    const { logger, log, peers, reentry, isKnown } = this.#deps
    const { self } = this.#options
    try {
      // What it has brought along from another cluster it hands over first.
      if (!isKnown()) await reentry.rejoin(leftMs)
      else if (log.topology?.members.get(self)?.status !== 'leaving')
        await peers.propose({ kind: 'setStatus', storeId: self, status: 'leaving' }, PROPOSE_TIMEOUT_MS)
      await peers.pull(PROPOSE_TIMEOUT_MS)
    } catch (error) {
      logger.debug('leaving: tried again', { error: messageOf(error) })
    }
  }

  /** Takes a leave back. */
  async #stay(): Promise<void> {
    const { logger, peers, become, describe } = this.#deps
    become('member')
    try {
      await peers.propose({ kind: 'updateMember', member: describe() }, PROPOSE_TIMEOUT_MS)
    } catch (error) {
      logger.warn('the cluster could not be told that this node stays', { error: messageOf(error) })
    }
  }
}
