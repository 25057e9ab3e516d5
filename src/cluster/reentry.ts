import { KilovoltError, messageOf } from '../base/errors.ts'
import type { PartitionId } from '../model/partition.ts'
import { type Clock, pause } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Mover } from './cluster.ts'
import type { NewMember } from './commands.ts'
import type { Former } from './former.ts'
import { lookUntil } from './look-until.ts'
import type { MetaLog } from './meta-log.ts'
import type { MetaPeers } from './meta-peers.ts'

/** What asking to be let in again needs. */
export interface ReentryDeps {
  readonly clock: Clock
  readonly logger: Logger
  readonly log: Pick<MetaLog, 'topology'>
  readonly former: Pick<Former, 'clusters' | 'isEmpty' | 'remove'>
  readonly peers: Pick<MetaPeers, 'propose'>
  readonly mover: Pick<Mover, 'forgetPast'>
  /** Aborted when the node stops. */
  readonly stopped: AbortSignal
  readonly describe: () => NewMember
  /** Whether the log has this node as a member, and does not only expect it. */
  readonly isKnown: () => boolean
  /** Whether this node still means to be one. */
  readonly isWanted: () => boolean
  /** What it holds and does not own; `undefined` while it does not know. */
  readonly strays: () => ReadonlySet<PartitionId> | undefined
}

/** Settings of it. */
export interface ReentryOptions {
  readonly joinTimeoutMs: number
}

/** Pause before a forgotten node asks again to be let in, ms. */
const RENEW_AGAIN_MS = 1000

/**
 * How a node whose store knows its cluster becomes a member of it: one that left, one that was forgotten, one that has come
 * from another cluster, and one that only has to say where it can be reached now.
 */
export class Reentry {
  readonly #deps: ReentryDeps
  readonly #options: ReentryOptions
  #renewing = false

  constructor(deps: ReentryDeps, options: ReentryOptions) {
    this.#deps = deps
    this.#options = options
  }

  /**
   * Resolves when the cluster has let a node in that starts, and that it does not know any more.
   *
   * @throws KilovoltError `KV_JOIN_TIMEOUT`
   */
  async inTime(): Promise<void> {
    const { joinTimeoutMs } = this.#options
    try {
      await this.rejoin(joinTimeoutMs)
    } catch (error) {
      const { clusterId } = this.#deps.log.topology!
      throw new KilovoltError(
        'KV_JOIN_TIMEOUT',
        `the store belongs to cluster ${clusterId}, which did not take this node back within ${joinTimeoutMs} ms: ` +
          'start one of its members, or give the node an empty store',
        { cause: error, retryable: true }
      )
    }
  }

  /**
   * Asks to be let in, with nothing in the store that could be taken for an owner's copy: what is left from before has no
   * place among what was settled, and maybe purged, since (rule G3). Whoever does not want to come in any more is not asked for.
   *
   * @throws KilovoltError `KV_TIMEOUT`, `KV_NODE_STOPPED`
   */
  async rejoin(timeoutMs: number, isWanted: () => boolean = () => true): Promise<void> {
    const { clock, stopped, strays, former, mover } = this.#deps
    const deadlineMs = clock.monotonicMs() + timeoutMs
    const late = (): KilovoltError => {
      const left = strays()?.size ?? 'unknown'
      return new KilovoltError('KV_TIMEOUT', `what is left of ${left} partitions was not taken back`, {
        retryable: true
      })
    }
    await lookUntil(() => strays()?.size === 0 || !isWanted(), { clock, stopped, deadlineMs, late })
    if (!isWanted()) return
    // What was settled in another cluster is not in this one.
    if (!former.isEmpty) await mover.forgetPast()
    await this.#comeIn(Math.max(1, deadlineMs - clock.monotonicMs()))
  }

  /** Says where this node can be reached; goes on for as long as the cluster does not have it as a member. Never rejects. */
  async renew(): Promise<void> {
    if (this.#renewing) return
    this.#renewing = true
    const { clock, logger, stopped, former, peers, describe, isKnown, isWanted } = this.#deps
    const { joinTimeoutMs } = this.#options
    do {
      try {
        if (!isKnown()) await this.rejoin(joinTimeoutMs, isWanted)
        else if (former.isEmpty) await peers.propose({ kind: 'updateMember', member: describe() }, joinTimeoutMs)
        else await this.#comeIn(joinTimeoutMs)
      } catch (error) {
        logger.debug('the present addresses could not be announced yet', { error: messageOf(error) })
        await pause(clock, RENEW_AGAIN_MS, stopped)
      }
    } while (!isKnown() && isWanted() && !stopped.aborted)
    this.#renewing = false
  }

  /** Becomes a member, and says which clusters have ended. */
  async #comeIn(timeoutMs: number): Promise<void> {
    const { peers, former, describe } = this.#deps
    const brought = former.clusters
    await peers.propose({ kind: 'addMember', member: describe(), former: brought }, timeoutMs)
    // And not one that it may have left meanwhile.
    await former.remove(brought)
  }
}
