import { KilovoltError } from '../base/errors.ts'
import type { Membership } from '../membership/membership.ts'
import { type ClusterId, ID_BYTES, idFromBytes, type StoreId } from '../model/node-id.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { Transport } from '../transport/transport.ts'
import { Admission, type BootstrapPicture } from './admission.ts'
import type { ClusterPhase } from './cluster.ts'
import { type Command, type NewMember, PROPOSE_TIMEOUT_MS } from './commands.ts'
import type { Former } from './former.ts'
import { Founding, type FoundingOptions } from './founding.ts'
import { lookUntil } from './look-until.ts'
import type { MetaLog } from './meta-log.ts'
import type { MetaPeers } from './meta-peers.ts'
import { type FoundingState, Survey } from './survey.ts'
import type { Tenure } from './tenure.ts'

/** What getting into a cluster needs. */
export interface EntryDeps {
  readonly transport: Transport
  readonly membership: Membership
  readonly discovery: BootstrapPicture
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly log: Pick<MetaLog, 'topology' | 'epoch'>
  readonly former: Pick<Former, 'clusters' | 'isEmpty' | 'remove'>
  readonly peers: Pick<MetaPeers, 'join'>
  readonly tenure: () => Tenure
  /** Aborted when the node stops. */
  readonly stopped: AbortSignal
  readonly describe: () => NewMember
  /** Whether the log has this node as a member, and does not only expect it. */
  readonly isKnown: () => boolean
  readonly become: (phase: ClusterPhase) => void
  /** Goes over to whichever cluster is there, as a node that was in another one. */
  readonly comeOver: () => Promise<void>
}

/** Settings of it. */
export interface EntryOptions extends Omit<FoundingOptions, 'lanWaitMs'> {
  readonly self: StoreId
  readonly name: string
  readonly partitions: number
  readonly replicas: number
  readonly joinTimeoutMs: number
}

const LAN_WAIT_MS = 2000

/** How a node that starts gets into a cluster: it founds one, joins one, or finds its own in its store. */
export class Entry {
  readonly #deps: EntryDeps
  readonly #options: EntryOptions
  readonly #survey: Survey
  readonly #admission: Admission

  constructor(deps: EntryDeps, options: EntryOptions) {
    const { clock, random, discovery, log, former, comeOver } = deps
    this.#deps = deps
    this.#options = options
    const lanWaitMs = LAN_WAIT_MS + random.int(LAN_WAIT_MS)
    const founding = new Founding({ ...options, lanWaitMs }, clock.monotonicMs())
    const state = (): FoundingState => founding.state(discovery.listsSelf)
    this.#survey = new Survey({ ...deps, state: () => (log.topology ? undefined : state()) })
    this.#admission = new Admission(
      {
        ...deps,
        founding,
        survey: this.#survey,
        state,
        found: () => this.#found(),
        join: () => (former.isEmpty ? this.#join() : comeOver())
      },
      options
    )
  }

  /** Answers others that look for a cluster. */
  listen(): void {
    this.#survey.listen()
  }

  /** By the rules F1–F4; see {@link Admission.run}. */
  admit(signal: AbortSignal | undefined): Promise<void> {
    return this.#admission.run(signal)
  }

  /**
   * Takes part again in the group of which the store has the log, and resolves when this node knows its cluster.
   *
   * @throws KilovoltError `KV_JOIN_TIMEOUT`, `KV_NODE_STOPPED`
   */
  async resume(): Promise<void> {
    const { clock, log, stopped } = this.#deps
    const tenure = this.#deps.tenure()
    await tenure.start()
    const { voters } = tenure.group.members()
    if (voters.length === 1 && voters[0] === this.#options.self) {
      await tenure.elected()
      await tenure.group.readBarrier(PROPOSE_TIMEOUT_MS)
      // It may have ended between the first entry of the log and the one that founds the cluster.
      if (log.topology === undefined) await tenure.propose(this.#founding())
    }
    const deadlineMs = clock.monotonicMs() + this.#options.joinTimeoutMs
    const late = (): KilovoltError =>
      new KilovoltError('KV_JOIN_TIMEOUT', 'the other voters of this node’s cluster did not answer in time', {
        retryable: true
      })
    await lookUntil(() => log.topology !== undefined, { clock, stopped, deadlineMs, late })
  }

  async #found(): Promise<void> {
    const { tenure, former, become } = this.#deps
    become('joining')
    await tenure().found(this.#founding())
    await former.remove(former.clusters)
    become('member')
  }

  #founding(): Command {
    const { name, partitions, replicas } = this.#options
    const { random, logger, clock, describe } = this.#deps
    const clusterId: ClusterId = idFromBytes(random.bytes(ID_BYTES))
    const foundedMs = Math.max(0, Math.floor(clock.wallMs()))
    logger.info('founding a cluster', { cluster: name, clusterId })
    return { kind: 'found', clusterId, name, partitions, replicas, foundedMs, member: describe() }
  }

  async #join(): Promise<void> {
    const { peers, tenure, log, logger, describe, isKnown, become } = this.#deps
    become('joining')
    try {
      await peers.join(describe(), PROPOSE_TIMEOUT_MS)
      if (!isKnown()) throw new KilovoltError('KV_JOIN_TIMEOUT', 'the cluster did not admit this node')
      await tenure().start()
      logger.info('joined the cluster', { cluster: this.#options.name, epoch: log.epoch })
      become('member')
    } catch (error) {
      become('provisional')
      throw error
    }
  }
}
