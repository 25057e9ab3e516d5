import { createDeferred } from '../base/deferred.ts'
import { bootstrapGroup, clearedGroup } from '../consensus/log-store.ts'
import { RaftGroup } from '../consensus/raft-group.ts'
import type { Membership } from '../membership/membership.ts'
import type { PeerId, StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { PlacementRules } from '../placement/rules.ts'
import type { Topology } from '../placement/topology.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { Store, StoreChange } from '../storage/store.ts'
import type { Transport } from '../transport/transport.ts'
import type { CaretakerOptions } from './caretaker.ts'
import type { Mover } from './cluster.ts'
import { type Command, PROPOSE_TIMEOUT_MS, type RowRef } from './commands.ts'
import { Copier } from './copier.ts'
import { LeaderDuties } from './leader-duties.ts'
import type { MetaLog } from './meta-log.ts'
import { encodeCommand } from './wire.ts'

/** What a tenure needs. */
export interface TenureDeps {
  readonly transport: Transport
  readonly membership: Membership
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly rules: PlacementRules
  readonly log: MetaLog
  readonly mover: Mover
  /** Gives what this node holds of a partition, which it does not own, to those who do. */
  readonly giveBack: (partition: PartitionId) => Promise<void>
  readonly peerOf: (store: StoreId) => PeerId | undefined
  readonly onLeader: (leader: StoreId | undefined) => void
  /** Tells another node, which leads, which copies are done here. */
  readonly report: (rows: readonly RowRef[]) => void
}

/** Settings of a tenure. */
export interface TenureOptions extends CaretakerOptions {
  readonly self: StoreId
}

/** The group that decides on members and owners. */
export const META_GROUP = 0
/** How long a leader that stops waits for a voter to take over, ms. */
const HAND_OVER_MS = 500

/**
 * A node's time in one cluster: its part in the group that keeps the log, the copies it has to make, and what it has to look
 * after while it leads. A node that goes over to another cluster ends one and begins the next.
 */
export class Tenure {
  readonly group: RaftGroup
  readonly copier: Copier
  readonly #deps: TenureDeps
  readonly #options: TenureOptions
  readonly #duties: LeaderDuties
  #starting: Promise<void> | undefined

  constructor(deps: TenureDeps, options: TenureOptions) {
    const { transport, membership, store, clock, random, logger, rules, log, mover, peerOf } = deps
    const { self } = options
    this.#deps = deps
    this.#options = options
    this.group = new RaftGroup(
      { transport, store, clock, random: random.fork('raft'), logger, machine: log, peerOf },
      { group: META_GROUP, self }
    )
    this.copier = new Copier({
      self,
      mover: {
        copy: (task, signal) => mover.copy(task, signal),
        held: () => mover.held(),
        drop: (partition, signal) => mover.drop(partition, signal),
        giveBack: deps.giveBack
      },
      rules,
      clock,
      logger,
      settle: epoch => log.settle(epoch),
      report: rows => (this.group.isLeader ? this.copied(self, rows) : deps.report(rows))
    })
    // The log of a cluster that has dissolved has ended: there is nothing to look after any more (I6).
    const topology = (): Topology | undefined => (log.kinship.dissolvedInto === undefined ? log.topology : undefined)
    this.#duties = new LeaderDuties(
      { clock, membership, transport, rules, logger, group: this.group, topology },
      options
    )
    this.group.on('leader', ({ leader }) => {
      deps.onLeader(leader)
      this.#duties.follow()
    })
  }

  /** Takes part in the group, as a voter or not. */
  start(): Promise<void> {
    this.#starting ??= this.group.start()
    return this.#starting
  }

  /** Makes this node the only voter of a new group, whose first command founds a cluster. */
  async found(command: Command): Promise<void> {
    await bootstrapGroup(this.#deps.store, META_GROUP, this.#options.self)
    await this.start()
    await this.elected()
    await this.propose(command)
  }

  /** A group of one elects itself as soon as it has started. */
  async elected(): Promise<void> {
    const { promise, resolve } = createDeferred<void>()
    const timer = this.#deps.clock.after(PROPOSE_TIMEOUT_MS, resolve)
    const forget = this.group.on('leader', () => {
      if (this.group.isLeader) resolve()
    })
    if (!this.group.isLeader) await promise
    forget()
    timer.cancel()
  }

  propose(command: Command): Promise<number> {
    return this.group.propose(encodeCommand(command), PROPOSE_TIMEOUT_MS)
  }

  /** A member reports rows whose copies are done there. */
  copied(store: StoreId, rows: readonly RowRef[]): void {
    this.#duties.copied(store, rows)
  }

  /** What deletes everything that the store keeps of a part in the group. */
  static cleared(store: Store): Promise<StoreChange[]> {
    return clearedGroup(store, META_GROUP)
  }

  async stop(): Promise<void> {
    this.#duties.stop()
    await this.#handLeadershipOver()
    this.copier.stop()
    await this.group.stop()
  }

  /** Otherwise the others would first have to miss this node: a second or two in which nobody leads. */
  async #handLeadershipOver(): Promise<void> {
    const { membership, clock } = this.#deps
    const { self } = this.#options
    const successor = this.group.members().voters.find(id => id !== self && membership.statusOf(id) === 'alive')
    if (!this.group.isLeader || successor === undefined) return
    this.group.transferLeadership(successor)
    const done = createDeferred<void>()
    const timer = clock.after(HAND_OVER_MS, done.resolve)
    const forget = this.group.on('leader', () => {
      if (!this.group.isLeader) done.resolve()
    })
    await done.promise
    forget()
    timer.cancel()
  }
}
