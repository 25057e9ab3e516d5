import { abortError, stoppedError, throwIfStopped, unlessAborted } from '../base/abort.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import type { Membership } from '../membership/membership.ts'
import { type ClusterId, ID_BYTES, idFromBytes, type StoreId } from '../model/node-id.ts'
import type { PlacementRules } from '../placement/rules.ts'
import { type Clock, pause } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { StoreChange } from '../storage/store.ts'
import type { Mover } from './cluster.ts'
import type { Command } from './commands.ts'
import { Fate, type Fates } from './fates.ts'
import type { Former } from './former.ts'
import type { Departure } from './kin.ts'
import { LOOK_EVERY_MS } from './look-until.ts'
import type { MetaLog } from './meta-log.ts'
import type { MetaPeers } from './meta-peers.ts'
import { MetaState } from './meta-state.ts'
import type { Tenure } from './tenure.ts'

/** What going from one cluster to another needs. */
export interface MigrationDeps {
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly membership: Pick<Membership, 'view'>
  readonly log: Pick<MetaLog, 'topology' | 'epoch' | 'kinship' | 'snapshot' | 'settle' | 'adopt'>
  readonly former: Former
  readonly peers: Pick<MetaPeers, 'fetchState'>
  readonly fates: Pick<Fates, 'ofOwn' | 'isFirst'>
  readonly mover: Pick<Mover, 'compareAll' | 'forgetPast'>
  readonly rules: PlacementRules
  /** Aborted when the node stops. */
  readonly stopped: AbortSignal
  /** This node belongs to no cluster for the moment. */
  readonly onLeave: () => void
  /** Ends the tenure in one cluster and begins another; `enter` is its first step, given what clears the old one away. */
  readonly begin: (enter: (tenure: Tenure, cleared: readonly StoreChange[]) => Promise<void>) => Promise<void>
  /** This node follows the log of its new cluster. */
  readonly onArrival: () => void
}

/** Pause before another cluster is looked for again, ms; {@link LOOK_EVERY_MS} while somebody waits for this node to start. */
const AGAIN_MS = 1000
/** How long the members of a cluster that has dissolved compare their copies for the last time at most, ms. */
const CLOSE_MS = 60_000
const CLOSE_AGAIN_MS = 200
/** For so long nobody of any other cluster must have been there before this node's own, which has ended, is founded anew, ms. */
const FORSAKEN_MS = 60_000

/**
 * A node's way out of a cluster that has ended, and into another one; or, when there is none any more into which it could
 * go, into one that goes on where its own has ended.
 */
export class Migration {
  readonly #deps: MigrationDeps
  /** The way under way; never rejects. */
  #departing: Promise<void> | undefined
  #isClosed = false
  /** Since when nobody of a cluster is there that may take this node in. */
  #forsakenSince: number | undefined
  /** Clusters that were found to have ended: they take in nobody any more. */
  readonly #ended = new Set<ClusterId>()

  constructor(deps: MigrationDeps) {
    this.#deps = deps
  }

  /** Whether this node has compared its copies for the last time, in a cluster that has dissolved. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  get isUnderWay(): boolean {
    return this.#departing !== undefined
  }

  /** Resolves when no way is under way. */
  async settled(): Promise<void> {
    await this.#departing
  }

  /** Leaves a cluster that has ended, once. */
  depart(departure: Departure): void {
    if (this.#departing !== undefined || this.#deps.stopped.aborted) return
    this.#departing = this.#leaveFor(departure)
      .catch((error: unknown) => {
        if (!this.#deps.stopped.aborted)
          this.#deps.logger.error('this node could not leave a cluster that has ended', { error: messageOf(error) })
      })
      .finally(() => {
        this.#departing = undefined
        this.#isClosed = false
      })
  }

  async #leaveFor(departure: Departure): Promise<void> {
    const { clock, logger, log, former, rules } = this.#deps
    const { clusterId } = log.topology!
    const state = log.snapshot()
    logger.warn('this node leaves a cluster that has ended', { clusterId, departure })
    this.#deps.onLeave()
    if (departure === 'dissolved' && rules.closeFirst) await this.#close()
    while (!this.#deps.stopped.aborted) {
      try {
        // Who finds the note must find the log as well, which may be younger than its last copy in the store: it could take the
        // cluster for one that it is in, or wait for those of its members who have gone on.
        await log.settle(log.epoch)
        await former.add(clusterId)
        if (departure === 'refound' || this.#isForsaken()) return await this.#refound(clusterId, state)
        return await this.comeOver(clusterId)
      } catch (error) {
        logger.debug('no other cluster was reached yet', { error: messageOf(error) })
        await pause(clock, AGAIN_MS, this.#deps.stopped)
      }
    }
  }

  /**
   * Whether it is on this node to found its cluster anew, as nobody has been there for long enough who may take its members
   * in. The log stays ended: what is founded is another cluster.
   */
  #isForsaken(): boolean {
    const { clock, membership, fates, log } = this.#deps
    const over = this.#over()
    const isThere = [...membership.view.values()].some(
      ({ status, clusterId }) =>
        (status === 'alive' || status === 'suspect') && clusterId !== undefined && !over.has(clusterId)
    )
    const nowMs = clock.monotonicMs()
    this.#forsakenSince = isThere ? undefined : (this.#forsakenSince ?? nowMs)
    const { topology } = log
    if (this.#forsakenSince === undefined || nowMs - this.#forsakenSince < FORSAKEN_MS) return false
    // Without a topology it was begun before, and something came in between.
    return topology === undefined || fates.isFirst(topology)
  }

  /** Clusters that are known to have ended. */
  #over(): ReadonlySet<ClusterId> {
    const { former, log } = this.#deps
    return new Set([...former.clusters, ...this.#ended, ...log.kinship.absorbed])
  }

  /**
   * Writes are refused since the log has ended. What was acknowledged is given to all other owners who live, and nobody goes
   * before all have done so: whoever brings a record along brings the newest of it.
   */
  async #close(): Promise<void> {
    const { clock, membership, mover, fates, log } = this.#deps
    const untilMs = clock.monotonicMs() + CLOSE_MS
    const isOver = (): boolean => this.#deps.stopped.aborted || clock.monotonicMs() >= untilMs
    const isHere = (store: StoreId): boolean => {
      const seen = membership.view.get(store)
      return seen?.status === 'alive' && seen.clusterId === log.topology?.clusterId
    }
    while (!isOver() && (await this.#unlessStopped(mover.compareAll())).some(isHere))
      await pause(clock, CLOSE_AGAIN_MS, this.#deps.stopped)
    this.#isClosed = true
    const isDone = (fate: Fate | undefined): boolean => fate === Fate.CLOSED || fate === Fate.ABSORBED
    while (!isOver() && !(await this.#unlessStopped(fates.ofOwn())).every(isDone))
      await pause(clock, CLOSE_AGAIN_MS, this.#deps.stopped)
  }

  /** A node that stops waits for nobody's answer. */
  #unlessStopped<T>(answer: Promise<T>): Promise<T> {
    return unlessAborted(answer, this.#deps.stopped, stoppedError)
  }

  /**
   * Goes on with a way on which an earlier life of this node was.
   *
   * @throws KilovoltError `KV_JOIN_TIMEOUT`, `KV_ABORTED`, `KV_NODE_STOPPED`
   */
  async comeOverInTime(timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { clock, log } = this.#deps
    const { clusterId } = log.topology!
    const into = log.kinship.dissolvedInto
    const state = log.snapshot()
    // It has compared its copies before it went: nobody has to wait for that.
    this.#isClosed = true
    const deadline = clock.monotonicMs() + timeoutMs
    try {
      for (;;) {
        try {
          if (this.#isForsaken()) return await this.#refound(clusterId, state)
          return await this.comeOver(clusterId)
        } catch (error) {
          if (signal?.aborted === true) throw abortError(signal, 'joining')
          throwIfStopped(this.#deps.stopped)
          if (clock.monotonicMs() >= deadline) throw lateError(clusterId, into, timeoutMs, error)
          await pause(clock, LOOK_EVERY_MS, this.#deps.stopped)
        }
      }
    } finally {
      this.#isClosed = false
    }
  }

  /**
   * Goes over to another cluster: from here on this node follows its log. Where this cluster's own members, and owners, are
   * those of the other one, all stays where it is. Otherwise this node is a stranger there, and brings its records along
   * before it asks to be let in.
   */
  async comeOver(ended: ClusterId | undefined): Promise<void> {
    const { mover, logger, peers, log } = this.#deps
    const onEnded = (cluster: ClusterId): void => void this.#ended.add(cluster)
    const state = await this.#unlessStopped(peers.fetchState(this.#over(), log.kinship.dissolvedInto, onEnded))
    const { clusterId } = state.topology!
    const isHeir = ended !== undefined && state.kinship.lineage.has(ended)
    if (!isHeir) await mover.forgetPast()
    await this.#deps.begin(async (tenure, cleared) => {
      await log.adopt(state, cleared)
      await tenure.start()
    })
    logger.warn('this node has gone over to another cluster', { from: ended, to: clusterId })
    this.#arrived()
  }

  /** Founds a cluster that goes on where the one that has ended cannot, from the last that is known of it. */
  async #refound(ended: ClusterId, state: Uint8Array): Promise<void> {
    const { random, clock, logger, log, former } = this.#deps
    const clusterId: ClusterId = idFromBytes(random.bytes(ID_BYTES))
    const foundedMs = Math.max(0, Math.floor(clock.wallMs()))
    const refound: Command = { kind: 'refound', clusterId, foundedMs, state }
    await this.#deps.begin(async (tenure, cleared) => {
      await log.adopt(new MetaState(), cleared)
      await tenure.found(refound)
      // What it may still have to bring along from a third one is not of this one either.
      await former.remove([ended])
    })
    logger.warn('the cluster could not go on, and was founded again', { from: ended, clusterId })
    this.#arrived()
  }

  #arrived(): void {
    this.#forsakenSince = undefined
    this.#ended.clear()
    this.#deps.onArrival()
  }
}

function lateError(ended: ClusterId, into: ClusterId | undefined, timeoutMs: number, cause: unknown): KilovoltError {
  const to = into === undefined ? 'another one' : `cluster ${into}`
  return new KilovoltError(
    'KV_JOIN_TIMEOUT',
    `this node was on its way from cluster ${ended}, which has ended, to ${to}, but nobody there took it in within ` +
      `${timeoutMs} ms (${messageOf(cause)}): start one of its members, or if they are gone for good start this node ` +
      `with a joinTimeoutMs of more than ${FORSAKEN_MS}, so that it founds the ended one anew`,
    { cause, retryable: true }
  )
}
