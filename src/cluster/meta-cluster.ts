import { Emitter } from '../base/emitter.ts'
import { holdsGroup } from '../consensus/log-store.ts'
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
import type { BootstrapPicture } from './admission.ts'
import type { CaretakerOptions } from './caretaker.ts'
import type { Cluster, ClusterEvents, ClusterPhase, Mover } from './cluster.ts'
import type { NewMember } from './commands.ts'
import { Entry } from './entry.ts'
import { Farewell } from './farewell.ts'
import { Fates } from './fates.ts'
import { Former } from './former.ts'
import { Kin } from './kin.ts'
import { MetaLog } from './meta-log.ts'
import { MetaPeers } from './meta-peers.ts'
import { Migration } from './migration.ts'
import { Reentry } from './reentry.ts'
import { assertFits } from './stored-cluster.ts'
import { META_GROUP, Tenure } from './tenure.ts'

/** What the cluster floor needs. */
export interface MetaClusterDeps {
  readonly transport: Transport
  readonly membership: Membership
  readonly discovery: BootstrapPicture
  readonly store: Store
  readonly mover: Mover
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly rules: PlacementRules
}

/** Settings of the cluster floor. */
export interface MetaClusterOptions extends CaretakerOptions {
  readonly self: StoreId
  readonly name: string
  readonly partitions: number
  readonly replicas: number
  readonly weight: number
  readonly zone: string
  readonly region: string
  readonly found: boolean
  readonly expect: number | undefined
  readonly lan: boolean
  readonly bootstrap: boolean
  readonly joinTimeoutMs: number
}

/** {@link Cluster} by a meta group under Raft: founding and joining, then following and, as its leader, caretaking. */
export class MetaCluster implements Cluster {
  readonly #deps: MetaClusterDeps
  readonly #options: MetaClusterOptions
  readonly #events = new Emitter<ClusterEvents>()
  readonly #log: MetaLog
  readonly #former: Former
  readonly #peers: MetaPeers
  readonly #fates: Fates
  readonly #kin: Kin
  readonly #abort = new AbortController()
  #phase: ClusterPhase = 'provisional'
  /** Latest epoch that was told: topologies come in order, each once. */
  #toldEpoch = 0
  #tenure: Tenure
  readonly #migration: Migration
  readonly #reentry: Reentry
  readonly #farewell: Farewell
  readonly #entry: Entry

  constructor(deps: MetaClusterDeps, options: MetaClusterOptions) {
    const { transport, membership, store, clock, logger } = deps
    this.#deps = deps
    this.#options = options
    this.#log = new MetaLog({ store, clock, logger })
    this.#former = new Former(store)
    this.#tenure = this.#newTenure()
    this.#peers = new MetaPeers({
      transport,
      membership,
      clock,
      log: this.#log,
      leader: () => this.leader,
      isMember: () => !this.#isAway,
      propose: command => this.#tenure.propose(command),
      copied: (storeId, rows) => this.#tenure.copied(storeId, rows),
      peerOf: id => this.#peerOf(id)
    })
    this.#fates = this.#createFates()
    this.#kin = this.#createKin()
    this.#migration = this.#createMigration()
    this.#reentry = this.#createReentry()
    this.#farewell = this.#createFarewell()
    this.#entry = this.#createEntry()
    this.#log.on('topology', topology => this.#onTopology(topology))
    this.#log.on('row', row => this.#events.emit('row', row))
  }

  #newTenure(): Tenure {
    const { mover } = this.#deps
    // What was brought along from another cluster is new to the owners in this one.
    const giveBack = (partition: PartitionId): Promise<void> =>
      this.#former.isEmpty ? mover.giveBack(partition) : mover.bringAlong(partition)
    return new Tenure(
      {
        ...this.#deps,
        log: this.#log,
        giveBack,
        peerOf: id => this.#peerOf(id),
        onLeader: leader => this.#events.emit('leader', leader),
        report: rows => this.#peers.reportCopied(rows)
      },
      this.#options
    )
  }

  #createFates(): Fates {
    return new Fates({
      ...this.#deps,
      log: this.#log,
      leader: () => this.leader,
      former: () => this.#former.clusters,
      isLeaving: () => this.#isAway,
      isClosed: () => this.#migration.isClosed
    })
  }

  #createKin(): Kin {
    return new Kin({
      ...this.#deps,
      log: this.#log,
      fates: this.#fates,
      leader: () => this.leader,
      former: () => this.#former.clusters,
      isLeaving: () => this.#isAway,
      propose: (command, timeoutMs) => this.#peers.propose(command, timeoutMs),
      depart: departure => this.#migration.depart(departure)
    })
  }

  #createMigration(): Migration {
    return new Migration({
      ...this.#deps,
      log: this.#log,
      former: this.#former,
      peers: this.#peers,
      fates: this.#fates,
      stopped: this.#abort.signal,
      onLeave: () => this.#become('joining'),
      begin: enter => this.#begin(enter),
      onArrival: () => {
        this.#become('member')
        void this.#reentry.renew()
      }
    })
  }

  #createReentry(): Reentry {
    return new Reentry(
      {
        ...this.#deps,
        log: this.#log,
        former: this.#former,
        peers: this.#peers,
        stopped: this.#abort.signal,
        describe: () => this.#describe(),
        isKnown: () => this.#isMember,
        isWanted: () => this.#phase === 'member',
        strays: () => this.strays
      },
      this.#options
    )
  }

  #createFarewell(): Farewell {
    return new Farewell(
      {
        ...this.#deps,
        log: this.#log,
        former: this.#former,
        peers: this.#peers,
        migration: this.#migration,
        reentry: this.#reentry,
        stopped: this.#abort.signal,
        describe: () => this.#describe(),
        isKnown: () => this.#isMember,
        owed: () => this.#owed,
        become: phase => this.#become(phase)
      },
      this.#options
    )
  }

  #createEntry(): Entry {
    return new Entry(
      {
        ...this.#deps,
        log: this.#log,
        former: this.#former,
        peers: this.#peers,
        tenure: () => this.#tenure,
        stopped: this.#abort.signal,
        describe: () => this.#describe(),
        isKnown: () => this.#isMember,
        become: phase => this.#become(phase),
        comeOver: () => this.#migration.comeOver(undefined)
      },
      this.#options
    )
  }

  /**
   * Whether this node is in no cluster, or in one that has ended. Who is to leave is there until it has left: it may be
   * waiting for those who come from another cluster, and so has to deal with that.
   */
  get #isAway(): boolean {
    const isIn = this.#phase === 'member' || this.#phase === 'leaving'
    return this.#migration.isUnderWay || this.isOver || !isIn
  }

  get phase(): ClusterPhase {
    return this.#phase
  }

  get topology(): Topology | undefined {
    return this.#log.topology
  }

  get leader(): StoreId | undefined {
    return this.#tenure.group.leader
  }

  get isOver(): boolean {
    return this.#log.kinship.dissolvedInto !== undefined
  }

  get strays(): ReadonlySet<PartitionId> | undefined {
    return this.#tenure.copier.strays
  }

  /** What others may lack of what this node has: partitions, and records that no owner has. */
  get #owed(): number | undefined {
    const partitions = this.#tenure.copier.owed
    return partitions === undefined ? undefined : partitions + this.#deps.mover.sole()
  }

  on<K extends keyof ClusterEvents>(type: K, listener: (detail: ClusterEvents[K]) => void): () => void {
    return this.#events.on(type, listener)
  }

  async start(signal?: AbortSignal): Promise<void> {
    const known = await this.#log.load()
    await this.#former.load()
    this.#peers.listen()
    this.#entry.listen()
    this.#fates.listen()
    this.#kin.listen()
    // An earlier life was on its way out of a cluster that has ended.
    if (this.#former.has(this.topology?.clusterId)) {
      return this.#migration.comeOverInTime(this.#options.joinTimeoutMs, signal)
    }
    if (known || (await holdsGroup(this.#deps.store, META_GROUP))) return this.#resume()
    await this.#entry.admit(signal)
  }

  /** Whether the log has this node as a member, and does not only expect it. */
  get #isMember(): boolean {
    const status = this.#log.topology?.members.get(this.#options.self)?.status
    return status !== undefined && status !== 'arriving'
  }

  /** Goes on where an earlier life on this store ended, however early that was. */
  async #resume(): Promise<void> {
    await this.#entry.resume()
    // Who was killed in its first second as a member has the log only.
    assertFits(this.topology, this.#options)
    // It left or was forgotten: it belongs to this cluster and to no other, and asks to be let in again. One that has ended
    // lets nobody in any more.
    if (!this.#isMember && !this.isOver) {
      this.#onTopology(this.#log.topology!)
      await this.#reentry.inTime()
    }
    this.#become('member')
    // Where it can be reached may have changed since, and it may have been forgotten meanwhile. In a log that has ended nothing
    // is said any more.
    if (!this.isOver) void this.#reentry.renew()
  }

  async catchUp(epoch: number, timeoutMs: number): Promise<Topology> {
    await this.#peers.catchUp(epoch, timeoutMs)
    return this.#log.topology!
  }

  leave(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    return this.#farewell.run(timeoutMs, signal)
  }

  async stop(): Promise<void> {
    if (this.#abort.signal.aborted) return
    this.#abort.abort()
    this.#kin.stop()
    // First: whoever goes from one member to the next in search of something gives up.
    this.#peers.stop()
    await this.#migration.settled()
    await this.#tenure.stop()
    await this.#log.stop()
    if (this.#phase !== 'left') this.#become('provisional')
  }

  #describe(): NewMember {
    const { self, weight, zone, region } = this.#options
    const { transport, store } = this.#deps
    return {
      storeId: self,
      peerId: transport.self,
      addresses: transport.addresses,
      weight,
      zone,
      region,
      volatile: !store.permanent
    }
  }

  /** Ends a tenure and begins another, of which `enter` is the first step; it is given what clears the old one away. */
  async #begin(enter: (tenure: Tenure, cleared: readonly StoreChange[]) => Promise<void>): Promise<void> {
    this.#log.close()
    await this.#tenure.stop()
    const cleared = await Tenure.cleared(this.#deps.store)
    this.#tenure = this.#newTenure()
    this.#toldEpoch = 0
    this.#kin.reset()
    await enter(this.#tenure, cleared)
  }

  #become(phase: ClusterPhase): void {
    if (phase === this.#phase) return
    this.#phase = phase
    this.#events.emit('phase', phase)
    const { topology } = this.#log
    if (phase === 'member' && topology !== undefined) this.#onTopology(topology)
    this.#leaveIfOver()
  }

  #onTopology(topology: Topology): void {
    const { membership, transport } = this.#deps
    if (topology.epoch <= this.#toldEpoch) return
    this.#toldEpoch = topology.epoch
    transport.setEpoch(topology.clusterId, topology.epoch)
    for (const { storeId, peerId, addresses } of topology.members.values()) {
      if (storeId !== this.#options.self && membership.statusOf(storeId) === undefined)
        transport.keep(peerId, addresses)
    }
    membership.announce({ clusterId: topology.clusterId, epoch: topology.epoch })
    this.#events.emit('topology', topology)
    this.#tenure.copier.follow(topology)
    this.#leaveIfOver()
    // Whoever was cut off for so long that it was forgotten asks to be let in again.
    if (this.#phase === 'member' && !this.#isMember) void this.#reentry.renew()
  }

  #leaveIfOver(): void {
    if (this.isOver && this.#phase === 'member') this.#migration.depart('dissolved')
  }

  #peerOf(id: StoreId): PeerId | undefined {
    return this.#deps.membership.view.get(id)?.peerId ?? this.#log.topology?.members.get(id)?.peerId
  }
}
