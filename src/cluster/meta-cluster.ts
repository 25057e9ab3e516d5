import { abortError } from '../base/abort.ts'
import { createDeferred } from '../base/deferred.ts'
import { Emitter } from '../base/emitter.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import { bootstrapGroup, holdsGroup } from '../consensus/log-store.ts'
import { RaftGroup } from '../consensus/raft-group.ts'
import type { Membership } from '../membership/membership.ts'
import { type ClusterId, ID_BYTES, idFromBytes, type PeerId, type StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { PlacementRules } from '../placement/rules.ts'
import type { Topology } from '../placement/topology.ts'
import { type Clock, pause } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { Store } from '../storage/store.ts'
import type { Transport } from '../transport/transport.ts'
import { Admission, type BootstrapPicture } from './admission.ts'
import type { CaretakerOptions } from './caretaker.ts'
import type { Cluster, ClusterEvents, ClusterPhase, Mover } from './cluster.ts'
import type { Command, NewMember, RowRef } from './commands.ts'
import { Copier } from './copier.ts'
import { Founding } from './founding.ts'
import { LeaderDuties } from './leader-duties.ts'
import { MetaLog } from './meta-log.ts'
import { MetaPeers } from './meta-peers.ts'
import { type FoundingState, Survey } from './survey.ts'
import { encodeCommand } from './wire.ts'

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

const META_GROUP = 0
/** How often a leaving node looks whether it is free, ms. */
const LOOK_EVERY_MS = 50
const PROPOSE_TIMEOUT_MS = 5000
/** Pause before a forgotten node asks again to be let in, ms. */
const RENEW_AGAIN_MS = 1000
const LAN_WAIT_MS = 2000
/** How long a leader that stops waits for a voter to take over, ms. */
const HAND_OVER_MS = 500
/** Other clusters of the same name that are remembered, so as to be told of once. */
const MET_MAX = 64

/** {@link Cluster} by a meta group under Raft: founding and joining, then following and, as its leader, caretaking. */
export class MetaCluster implements Cluster {
  readonly #deps: MetaClusterDeps
  readonly #options: MetaClusterOptions
  readonly #events = new Emitter<ClusterEvents>()
  readonly #log: MetaLog
  readonly #group: RaftGroup
  readonly #peers: MetaPeers
  readonly #copier: Copier
  readonly #duties: LeaderDuties
  readonly #survey: Survey
  readonly #admission: Admission
  readonly #abort = new AbortController()
  #phase: ClusterPhase = 'provisional'
  /** Latest epoch that was told: topologies come in order, each once. */
  #toldEpoch = 0
  readonly #met = new Set<ClusterId>()
  #renewing = false
  #groupStarted = false

  constructor(deps: MetaClusterDeps, options: MetaClusterOptions) {
    const { transport, membership, discovery, store, clock, random, logger, mover, rules } = deps
    this.#deps = deps
    this.#options = options
    this.#log = new MetaLog({ store, clock, logger })
    this.#group = new RaftGroup(
      {
        transport,
        store,
        clock,
        random: random.fork('raft'),
        logger,
        machine: this.#log,
        peerOf: id => this.#peerOf(id)
      },
      { group: META_GROUP, self: options.self }
    )
    this.#peers = new MetaPeers({
      transport,
      membership,
      clock,
      log: this.#log,
      leader: () => this.#group.leader,
      isMember: () => this.#phase === 'member' || this.#phase === 'leaving',
      propose: command => this.#proposeHere(command),
      copied: (storeId, rows) => this.#duties.copied(storeId, rows),
      peerOf: id => this.#peerOf(id)
    })
    this.#copier = new Copier({
      self: options.self,
      mover,
      clock,
      logger,
      settle: epoch => this.#log.settle(epoch),
      report: rows => this.#report(rows)
    })
    const topology = (): Topology | undefined => this.#log.topology
    this.#duties = new LeaderDuties(
      { clock, membership, transport, rules, logger, group: this.#group, topology },
      options
    )
    const founding = new Founding({ ...options, lanWaitMs: LAN_WAIT_MS + random.int(LAN_WAIT_MS) }, clock.monotonicMs())
    const state = (): FoundingState => founding.state(discovery.listsSelf)
    this.#survey = new Survey({ transport, membership, clock, state: () => (topology() ? undefined : state()) })
    this.#admission = new Admission(
      {
        clock,
        membership,
        discovery,
        founding,
        survey: this.#survey,
        state,
        stopped: this.#abort.signal,
        found: () => this.#found(),
        join: () => this.#join()
      },
      options
    )
    this.#log.on('topology', topology => this.#onTopology(topology))
    this.#log.on('row', row => this.#events.emit('row', row))
    this.#group.on('leader', ({ leader }) => {
      this.#events.emit('leader', leader)
      this.#duties.follow()
    })
    transport.on('link:up', ({ peer, hello }) => this.#onMet(peer, hello.clusterId))
    membership.on('change', ({ peerId, clusterId }) => this.#onMet(peerId, clusterId))
  }

  get phase(): ClusterPhase {
    return this.#phase
  }

  get topology(): Topology | undefined {
    return this.#log.topology
  }

  get leader(): StoreId | undefined {
    return this.#group.leader
  }

  get strays(): ReadonlySet<PartitionId> | undefined {
    return this.#copier.strays
  }

  on<K extends keyof ClusterEvents>(type: K, listener: (detail: ClusterEvents[K]) => void): () => void {
    return this.#events.on(type, listener)
  }

  async start(signal?: AbortSignal): Promise<void> {
    const known = await this.#log.load()
    this.#peers.listen()
    this.#survey.listen()
    if (known || (await holdsGroup(this.#deps.store, META_GROUP))) return this.#resume()
    await this.#admission.run(signal)
  }

  get #isMember(): boolean {
    return this.#log.topology?.members.has(this.#options.self) === true
  }

  /** Goes on where an earlier life on this store ended, however early that was. */
  async #resume(): Promise<void> {
    const { clock } = this.#deps
    await this.#startGroup()
    const { voters } = this.#group.members()
    if (voters.length === 1 && voters[0] === this.#options.self) {
      await this.#elected()
      await this.#group.readBarrier(PROPOSE_TIMEOUT_MS)
      // It may have ended between the first entry of the log and the one that founds the cluster.
      if (this.#log.topology === undefined) await this.#proposeFounding()
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
    while (this.#copier.strays?.size !== 0) {
      if (this.#abort.signal.aborted) throw new KilovoltError('KV_NODE_STOPPED', 'the node stops')
      if (clock.monotonicMs() >= deadline) {
        const left = this.#copier.strays?.size ?? 'unknown'
        throw new KilovoltError('KV_TIMEOUT', `what is left of ${left} partitions was not taken back`, {
          retryable: true
        })
      }
      await pause(clock, LOOK_EVERY_MS, this.#abort.signal)
    }
    const remainingMs = Math.max(1, deadline - clock.monotonicMs())
    await this.#peers.propose({ kind: 'addMember', member: this.#describe() }, remainingMs)
  }

  async catchUp(epoch: number, timeoutMs: number): Promise<Topology> {
    await this.#peers.catchUp(epoch, timeoutMs)
    return this.#log.topology!
  }

  async leave(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const { self } = this.#options
    const { clock, logger } = this.#deps
    const deadline = clock.monotonicMs() + timeoutMs
    this.#become('leaving')
    for (;;) {
      const topology = this.#log.topology
      const member = topology?.members.get(self)
      if (topology === undefined || member === undefined) break
      // The last one has nobody to hand over to, and neither have those that all leave together.
      const others = [...topology.members.values()].filter(
        ({ storeId, status }) => storeId !== self && status !== 'evicted' && status !== 'leaving'
      )
      if (others.length === 0) break
      if (signal?.aborted === true || clock.monotonicMs() >= deadline) {
        await this.#stay()
        if (signal?.aborted === true) throw abortError(signal, 'leaving')
        throw new KilovoltError(
          'KV_TIMEOUT',
          `the data was not handed over within ${timeoutMs} ms; the node stays and goes on`,
          { retryable: true }
        )
      }
      try {
        if (member.status !== 'leaving')
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
    this.#duties.stop()
    await this.#handLeadershipOver()
    this.#copier.stop()
    this.#peers.stop()
    await this.#group.stop()
    await this.#log.stop()
    if (this.#phase !== 'left') this.#become('provisional')
  }

  /** Otherwise the others would first have to miss this node: a second or two in which nobody leads. */
  async #handLeadershipOver(): Promise<void> {
    const { membership, clock } = this.#deps
    const { self } = this.#options
    const successor = this.#group
      .members()
      .voters.find(store => store !== self && membership.statusOf(store) === 'alive')
    if (!this.#group.isLeader || successor === undefined) return
    this.#group.transferLeadership(successor)
    const done = createDeferred<void>()
    const timer = clock.after(HAND_OVER_MS, done.resolve)
    const forget = this.#group.on('leader', () => {
      if (!this.#group.isLeader) done.resolve()
    })
    await done.promise
    forget()
    timer.cancel()
  }

  async #found(): Promise<void> {
    const { self } = this.#options
    const { store } = this.#deps
    this.#become('joining')
    await bootstrapGroup(store, META_GROUP, self)
    await this.#startGroup()
    await this.#elected()
    await this.#proposeFounding()
    this.#become('member')
  }

  async #proposeFounding(): Promise<void> {
    const { name, partitions, replicas } = this.#options
    const { random, logger } = this.#deps
    const clusterId: ClusterId = idFromBytes(random.bytes(ID_BYTES))
    const found: Command = { kind: 'found', clusterId, name, partitions, replicas, member: this.#describe() }
    await this.#group.propose(encodeCommand(found), PROPOSE_TIMEOUT_MS)
    logger.info('founded a cluster', { cluster: name, clusterId })
  }

  /** A group of one elects itself as soon as it has started. */
  async #elected(): Promise<void> {
    const { promise, resolve } = createDeferred<void>()
    const timer = this.#deps.clock.after(PROPOSE_TIMEOUT_MS, resolve)
    const forget = this.#group.on('leader', () => {
      if (this.#group.isLeader) resolve()
    })
    if (!this.#group.isLeader) await promise
    forget()
    timer.cancel()
  }

  async #join(): Promise<void> {
    this.#become('joining')
    try {
      await this.#peers.join(this.#describe(), PROPOSE_TIMEOUT_MS)
      if (!this.#isMember) {
        throw new KilovoltError('KV_JOIN_TIMEOUT', 'the cluster did not admit this node')
      }
      await this.#startGroup()
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
        if (this.#isMember) await this.#peers.propose({ kind: 'updateMember', member: this.#describe() }, joinTimeoutMs)
        else await this.#rejoin(joinTimeoutMs)
      } catch (error) {
        logger.debug('the present addresses could not be announced yet', { error: messageOf(error) })
        await pause(clock, RENEW_AGAIN_MS, this.#abort.signal)
      }
    } while (!this.#isMember && this.#phase === 'member' && !this.#abort.signal.aborted)
    this.#renewing = false
  }

  async #startGroup(): Promise<void> {
    if (this.#groupStarted) return
    this.#groupStarted = true
    await this.#group.start()
  }

  #become(phase: ClusterPhase): void {
    if (phase === this.#phase) return
    this.#phase = phase
    this.#events.emit('phase', phase)
    const { topology } = this.#log
    if (phase === 'member' && topology !== undefined) this.#onTopology(topology)
  }

  #onTopology(topology: Topology): void {
    const { membership, transport } = this.#deps
    if (topology.epoch <= this.#toldEpoch) return
    if (this.#toldEpoch === 0)
      for (const { peerId, clusterId } of membership.view.values()) this.#onMet(peerId, clusterId)
    this.#toldEpoch = topology.epoch
    transport.setEpoch(topology.clusterId, topology.epoch)
    for (const { storeId, peerId, addresses } of topology.members.values()) {
      if (storeId !== this.#options.self && membership.statusOf(storeId) === undefined)
        transport.keep(peerId, addresses)
    }
    membership.announce({ clusterId: topology.clusterId, epoch: topology.epoch })
    this.#events.emit('topology', topology)
    this.#copier.follow(topology)
    // Whoever was cut off for so long that it was forgotten asks to be let in again.
    if (this.#phase === 'member' && !topology.members.has(this.#options.self)) void this.#renew()
  }

  /** Two clusters of one name, founded apart, stay apart; somebody should know. */
  #onMet(peer: PeerId, clusterId: ClusterId | undefined): void {
    const own = this.#log.topology?.clusterId
    if (own === undefined || clusterId === undefined || own === clusterId || this.#met.has(clusterId)) return
    if (this.#met.size < MET_MAX) this.#met.add(clusterId)
    this.#deps.logger.warn('another cluster of the same name was met: the two stay apart', { peer, own, clusterId })
  }

  #proposeHere(command: Command): Promise<number> {
    return this.#group.propose(encodeCommand(command), PROPOSE_TIMEOUT_MS)
  }

  #report(rows: readonly RowRef[]): void {
    if (this.#group.isLeader) this.#duties.copied(this.#options.self, rows)
    else this.#peers.reportCopied(rows)
  }

  #peerOf(id: StoreId): PeerId | undefined {
    return this.#deps.membership.view.get(id)?.peerId ?? this.#log.topology?.members.get(id)?.peerId
  }
}
