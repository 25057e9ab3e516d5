import { abortError } from '../base/abort.ts'
import { Emitter } from '../base/emitter.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import { holdsGroup } from '../consensus/log-store.ts'
import type { Membership } from '../membership/membership.ts'
import { type ClusterId, ID_BYTES, idFromBytes, type PeerId, type StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { PlacementRules } from '../placement/rules.ts'
import type { Topology } from '../placement/topology.ts'
import { type Clock, pause } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { Store, StoreChange } from '../storage/store.ts'
import type { Transport } from '../transport/transport.ts'
import { Admission, type BootstrapPicture } from './admission.ts'
import type { CaretakerOptions } from './caretaker.ts'
import type { Cluster, ClusterEvents, ClusterPhase, Mover } from './cluster.ts'
import type { Command, NewMember } from './commands.ts'
import { Former } from './former.ts'
import { Founding } from './founding.ts'
import { Kin } from './kin.ts'
import { MetaLog } from './meta-log.ts'
import { MetaPeers } from './meta-peers.ts'
import { Migration } from './migration.ts'
import { type FoundingState, Survey } from './survey.ts'
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

/** How often a leaving node looks whether it is free, ms. */
const LOOK_EVERY_MS = 50
const PROPOSE_TIMEOUT_MS = 5000
/** Pause before a forgotten node asks again to be let in, ms. */
const RENEW_AGAIN_MS = 1000
const LAN_WAIT_MS = 2000

/** {@link Cluster} by a meta group under Raft: founding and joining, then following and, as its leader, caretaking. */
export class MetaCluster implements Cluster {
  readonly #deps: MetaClusterDeps
  readonly #options: MetaClusterOptions
  readonly #events = new Emitter<ClusterEvents>()
  readonly #log: MetaLog
  readonly #former: Former
  readonly #peers: MetaPeers
  readonly #kin: Kin
  readonly #survey: Survey
  readonly #admission: Admission
  readonly #abort = new AbortController()
  #phase: ClusterPhase = 'provisional'
  /** Latest epoch that was told: topologies come in order, each once. */
  #toldEpoch = 0
  #tenure: Tenure
  #renewing = false
  readonly #migration: Migration

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
      isMember: () => this.#phase === 'member' || this.#phase === 'leaving',
      propose: command => this.#tenure.propose(command),
      copied: (storeId, rows) => this.#tenure.copied(storeId, rows),
      peerOf: id => this.#peerOf(id)
    })
    this.#kin = this.#createKin()
    this.#migration = new Migration({
      ...deps,
      log: this.#log,
      former: this.#former,
      peers: this.#peers,
      kin: this.#kin,
      stopped: this.#abort.signal,
      onLeave: () => this.#become('joining'),
      begin: enter => this.#begin(enter),
      onArrival: () => {
        this.#become('member')
        void this.#renew()
      }
    })
    const founding = new Founding(
      { ...options, lanWaitMs: LAN_WAIT_MS + deps.random.int(LAN_WAIT_MS) },
      clock.monotonicMs()
    )
    const state = (): FoundingState => founding.state(deps.discovery.listsSelf)
    this.#survey = new Survey({ transport, membership, clock, state: () => (this.topology ? undefined : state()) })
    this.#admission = new Admission(
      {
        ...deps,
        founding,
        survey: this.#survey,
        state,
        stopped: this.#abort.signal,
        found: () => this.#found(),
        join: () => (this.#former.isEmpty ? this.#join() : this.#migration.comeOver(undefined))
      },
      options
    )
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

  #createKin(): Kin {
    return new Kin({
      ...this.#deps,
      log: this.#log,
      leader: () => this.leader,
      former: () => this.#former.clusters,
      isLeaving: () => this.#migration.isUnderWay || this.#phase !== 'member',
      isClosed: () => this.#migration.isClosed,
      propose: (command, timeoutMs) => this.#peers.propose(command, timeoutMs),
      depart: departure => this.#migration.depart(departure)
    })
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

  on<K extends keyof ClusterEvents>(type: K, listener: (detail: ClusterEvents[K]) => void): () => void {
    return this.#events.on(type, listener)
  }

  async start(signal?: AbortSignal): Promise<void> {
    const known = await this.#log.load()
    await this.#former.load()
    this.#peers.listen()
    this.#survey.listen()
    this.#kin.listen()
    // An earlier life was on its way out of a cluster that has ended.
    if (this.#former.has(this.topology?.clusterId)) {
      return this.#migration.comeOverInTime(this.#options.joinTimeoutMs, signal)
    }
    if (known || (await holdsGroup(this.#deps.store, META_GROUP))) return this.#resume()
    await this.#admission.run(signal)
  }

  /** Whether the log has this node as a member, and does not only expect it. */
  get #isMember(): boolean {
    const status = this.#log.topology?.members.get(this.#options.self)?.status
    return status !== undefined && status !== 'arriving'
  }

  /** Goes on where an earlier life on this store ended, however early that was. */
  async #resume(): Promise<void> {
    const { clock } = this.#deps
    const { group } = this.#tenure
    await this.#tenure.start()
    const { voters } = group.members()
    if (voters.length === 1 && voters[0] === this.#options.self) {
      await this.#tenure.elected()
      await group.readBarrier(PROPOSE_TIMEOUT_MS)
      // It may have ended between the first entry of the log and the one that founds the cluster.
      if (this.#log.topology === undefined) await this.#tenure.propose(this.#founding())
    }
    const deadline = clock.monotonicMs() + this.#options.joinTimeoutMs
    while (this.#log.topology === undefined) {
      if (this.#abort.signal.aborted) throw new KilovoltError('KV_NODE_STOPPED', 'the node stops')
      if (clock.monotonicMs() >= deadline) {
        throw new KilovoltError('KV_JOIN_TIMEOUT', 'the other voters of this node’s cluster did not answer in time', {
          retryable: true
        })
      }
      await pause(clock, LOOK_EVERY_MS, this.#abort.signal)
    }
    // It left or was forgotten: it belongs to this cluster and to no other, and asks to be let in again.
    if (!this.#isMember) await this.#return()
    this.#become('member')
    // Where it can be reached may have changed since, and it may have been forgotten meanwhile.
    void this.#renew()
  }

  async #return(): Promise<void> {
    const { joinTimeoutMs } = this.#options
    this.#onTopology(this.#log.topology!)
    try {
      await this.#rejoin(joinTimeoutMs)
    } catch (error) {
      const { clusterId } = this.#log.topology!
      throw new KilovoltError(
        'KV_JOIN_TIMEOUT',
        `the store belongs to cluster ${clusterId}, which did not take this node back within ${joinTimeoutMs} ms: ` +
          'start one of its members, or give the node an empty store',
        { cause: error, retryable: true }
      )
    }
  }

  /**
   * Asks to be let in again, with nothing in the store that could be taken for an owner's copy: what is left from before
   * has no place among what was settled, and maybe purged, since (rule G3).
   */
  async #rejoin(timeoutMs: number): Promise<void> {
    const { clock } = this.#deps
    const deadline = clock.monotonicMs() + timeoutMs
    while (this.strays?.size !== 0) {
      if (this.#abort.signal.aborted) throw new KilovoltError('KV_NODE_STOPPED', 'the node stops')
      if (clock.monotonicMs() >= deadline) {
        const left = this.strays?.size ?? 'unknown'
        throw new KilovoltError('KV_TIMEOUT', `what is left of ${left} partitions was not taken back`, {
          retryable: true
        })
      }
      await pause(clock, LOOK_EVERY_MS, this.#abort.signal)
    }
    // What was settled in another cluster is not in this one.
    if (!this.#former.isEmpty) await this.#deps.mover.forgetPast()
    await this.#comeIn(Math.max(1, deadline - clock.monotonicMs()))
  }

  /** Becomes a member, and says which clusters have ended. */
  async #comeIn(timeoutMs: number): Promise<void> {
    const former = this.#former.clusters
    await this.#peers.propose({ kind: 'addMember', member: this.#describe(), former }, timeoutMs)
    await this.#former.clear()
  }

  async catchUp(epoch: number, timeoutMs: number): Promise<Topology> {
    await this.#peers.catchUp(epoch, timeoutMs)
    return this.#log.topology!
  }

  async leave(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const { self } = this.#options
    const { clock, logger } = this.#deps
    const deadline = clock.monotonicMs() + timeoutMs
    const isLate = (): boolean => signal?.aborted === true || clock.monotonicMs() >= deadline
    this.#become('leaving')
    for (;;) {
      // On its way between two clusters there is nobody to hand anything over to.
      if (this.isOver || this.#migration.isUnderWay) {
        this.#become('member')
        while (this.#migration.isUnderWay && !isLate()) await pause(clock, LOOK_EVERY_MS, this.#abort.signal)
        this.#become('leaving')
      }
      const topology = this.#log.topology
      const member = topology?.members.get(self)
      if (topology === undefined || (member === undefined && this.#former.isEmpty)) break
      // The last one has nobody to hand over to, and neither have those that all leave together.
      const others = [...topology.members.values()].filter(
        ({ storeId, status }) => storeId !== self && (status === 'up' || status === 'down')
      )
      if (others.length === 0) break
      if (isLate()) {
        await this.#stay()
        if (signal?.aborted === true) throw abortError(signal, 'leaving')
        throw new KilovoltError(
          'KV_TIMEOUT',
          `the data was not handed over within ${timeoutMs} ms; the node stays and goes on`,
          { retryable: true }
        )
      }
      try {
        // What it has brought along from another cluster it hands over first.
        if (!this.#isMember) await this.#rejoin(Math.max(1, deadline - clock.monotonicMs()))
        else if (member?.status !== 'leaving')
          await this.#peers.propose({ kind: 'setStatus', storeId: self, status: 'leaving' }, PROPOSE_TIMEOUT_MS)
        await this.#peers.pull(PROPOSE_TIMEOUT_MS)
      } catch (error) {
        logger.debug('leaving: tried again', { error: messageOf(error) })
      }
      await pause(clock, LOOK_EVERY_MS, this.#abort.signal)
      if (this.#abort.signal.aborted) throw new KilovoltError('KV_NODE_STOPPED', 'the node stops')
    }
    this.#become('left')
  }

  /** Takes a leave back. */
  async #stay(): Promise<void> {
    this.#become('member')
    try {
      await this.#peers.propose({ kind: 'updateMember', member: this.#describe() }, PROPOSE_TIMEOUT_MS)
    } catch (error) {
      this.#deps.logger.warn('the cluster could not be told that this node stays', { error: messageOf(error) })
    }
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

  async #found(): Promise<void> {
    this.#become('joining')
    await this.#tenure.found(this.#founding())
    await this.#former.clear()
    this.#become('member')
  }

  #founding(): Command {
    const { name, partitions, replicas } = this.#options
    const { random, logger, clock } = this.#deps
    const clusterId: ClusterId = idFromBytes(random.bytes(ID_BYTES))
    const foundedMs = Math.max(0, Math.floor(clock.wallMs()))
    logger.info('founding a cluster', { cluster: name, clusterId })
    return { kind: 'found', clusterId, name, partitions, replicas, foundedMs, member: this.#describe() }
  }

  async #join(): Promise<void> {
    this.#become('joining')
    try {
      await this.#peers.join(this.#describe(), PROPOSE_TIMEOUT_MS)
      if (!this.#isMember) {
        throw new KilovoltError('KV_JOIN_TIMEOUT', 'the cluster did not admit this node')
      }
      await this.#tenure.start()
      this.#deps.logger.info('joined the cluster', { cluster: this.#options.name, epoch: this.#log.epoch })
      this.#become('member')
    } catch (error) {
      this.#become('provisional')
      throw error
    }
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

  /** Says where this node can be reached; goes on for as long as the cluster has forgotten it. */
  async #renew(): Promise<void> {
    if (this.#renewing) return
    this.#renewing = true
    const { clock, logger } = this.#deps
    const { joinTimeoutMs } = this.#options
    do {
      try {
        if (!this.#isMember) await this.#rejoin(joinTimeoutMs)
        else if (this.#former.isEmpty)
          await this.#peers.propose({ kind: 'updateMember', member: this.#describe() }, joinTimeoutMs)
        else await this.#comeIn(joinTimeoutMs)
      } catch (error) {
        logger.debug('the present addresses could not be announced yet', { error: messageOf(error) })
        await pause(clock, RENEW_AGAIN_MS, this.#abort.signal)
      }
    } while (!this.#isMember && this.#phase === 'member' && !this.#abort.signal.aborted)
    this.#renewing = false
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
    if (this.#phase === 'member' && !this.#isMember) void this.#renew()
  }

  #leaveIfOver(): void {
    if (this.isOver && this.#phase === 'member') this.#migration.depart('dissolved')
  }

  #peerOf(id: StoreId): PeerId | undefined {
    return this.#deps.membership.view.get(id)?.peerId ?? this.#log.topology?.members.get(id)?.peerId
  }
}
