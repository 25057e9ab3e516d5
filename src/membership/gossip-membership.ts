import { Emitter } from '../base/emitter.ts'
import { messageOf } from '../base/errors.ts'
import { type ClusterId, type PeerId, type StoreId, shortId } from '../model/node-id.ts'
import type { Liveness, View, ViewMember } from '../model/view.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { LoopMonitor } from '../runtime/loop-monitor.ts'
import type { Random } from '../runtime/random.ts'
import type { Transport } from '../transport/transport.ts'
import type { DetectorEffect } from './detector-effect.ts'
import { FailureDetector } from './failure-detector.ts'
import { Gossip, type GossipStep, INCARNATION_MAX, type Rumour, type ViewChange, isGone } from './gossip.ts'
import { LinkKeeper } from './link-keeper.ts'
import { eventsOf } from './member-events.ts'
import type { Membership, MembershipEvents, SelfNews } from './membership.ts'
import { Prober } from './prober.ts'
import { Publisher } from './publisher.ts'
import { ViewExchange } from './view-exchange.ts'
import { type GossipMessage, announceable, decodeGossip } from './wire.ts'

/** What membership is built on. */
export interface GossipMembershipDeps {
  readonly transport: Transport
  readonly clock: Clock
  readonly random: Random
  /** Read by membership alone: a reading resets it. Not stopped by it. */
  readonly loop: LoopMonitor
  readonly logger: Logger
}

/** Options of membership. */
export interface GossipMembershipOptions {
  readonly storeId: StoreId
  /** The cluster this store is a member of already. Default: none. */
  readonly clusterId?: ClusterId
  /** Epoch to begin with. Default 0. */
  readonly epoch?: number
  /** A member is probed this often, ms. Default 500. */
  readonly probeIntervalMs?: number
  /** The own record is published this often, ms, in a cluster of up to five. Default 1000. */
  readonly heartbeatMs?: number
  /** How long dead and departed members are remembered, ms. Default 10 min. */
  readonly retentionMs?: number
}

const HEARTBEAT_MS = 1000

/**
 * Membership by gossip and probes: the shell around `Gossip` (what is believed) and `FailureDetector` (what is tried).
 *
 *     PING          every 500 ms to one member; answered by its own record, loop lag, view digest, and its opinion of us
 *     PING_REQUEST  to three helpers when that fails; answered when the target answers them, or does not
 *     VIEW          both views, on each new link and when digests go on differing
 *     gossip        the own record every second, seldom in a large cluster; at once: own news, accusations, death notices,
 *                   the goodbye
 *
 * Only the source of a rumour publishes it. What is lost is made up for by the digests, which travel in heartbeats and
 * answers. Accusations reach the accused in its next ping as well, so that refuting needs no gossip at all.
 */
export class GossipMembership implements Membership {
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #random: Random
  readonly #loop: LoopMonitor
  readonly #logger: Logger
  readonly #options: GossipMembershipOptions
  readonly #gossip: Gossip
  readonly #prober: Prober
  readonly #exchange: ViewExchange
  readonly #links: LinkKeeper
  readonly #publisher: Publisher
  readonly #events = new Emitter<MembershipEvents>()
  readonly #changes: ViewChange[] = []
  readonly #stores = new Map<PeerId, StoreId>()
  readonly #lags = new Map<StoreId, number>()
  readonly #unsubscribe: (() => void)[] = []
  #detector: FailureDetector | undefined
  #phase: 'new' | 'running' | 'stopped' = 'new'
  #telling = false
  #wake: Timer | undefined
  #wakeAtMs = Number.POSITIVE_INFINITY
  #heartbeat: Timer | undefined
  #lagMs = 0
  #lagBeforeMs = 0

  /** Registers its handlers, so it must be made before the transport starts. */
  constructor(deps: GossipMembershipDeps, options: GossipMembershipOptions) {
    const { transport, clock, random, loop, logger } = deps
    this.#transport = transport
    this.#clock = clock
    this.#random = random
    this.#loop = loop
    this.#logger = logger
    this.#options = options
    const self: ViewMember = {
      storeId: options.storeId,
      peerId: transport.self,
      addresses: announceable(transport.addresses),
      incarnation: Math.min(INCARNATION_MAX, Math.max(1, Math.floor(clock.wallMs()))),
      status: 'alive',
      clusterId: options.clusterId,
      epoch: options.epoch ?? 0
    }
    const { retentionMs } = options
    this.#gossip = new Gossip(self, retentionMs === undefined ? {} : { retentionMs })
    this.#links = new LinkKeeper(transport)
    const parts = { transport, clock, random, logger, gossip: this.#gossip }
    this.#publisher = new Publisher({ ...parts, ownLagMs: this.#ownLagMs })
    this.#exchange = new ViewExchange(parts, { hear: this.#hear, isStopped: this.#isStopped })
    this.#prober = new Prober(parts, {
      hear: this.#hear,
      isStopped: this.#isStopped,
      acked: (store, probe) => this.#drive(detector => detector.acked(this.#now(), store, probe)),
      missed: (store, probe) => this.#drive(detector => detector.missed(this.#now(), store, probe)),
      helped: (...report) => this.#drive(detector => detector.helped(this.#now(), ...report)),
      reported: this.#reported,
      ownLagMs: this.#ownLagMs
    })
    this.#listen()
  }

  /** This node included. */
  get view(): View {
    return this.#gossip.view
  }

  get self(): ViewMember {
    return this.#gossip.self
  }

  get healthMultiplier(): number {
    return this.#detector?.healthMultiplier ?? 1
  }

  /** Whether nobody else is known that is not dead or departed: time to look for others. */
  get isAlone(): boolean {
    for (const member of this.view.values()) if (member.storeId !== this.self.storeId && !isGone(member)) return false
    return true
  }

  statusOf(store: StoreId): Liveness | undefined {
    return this.#gossip.get(store)?.status
  }

  storeAt(peer: PeerId): StoreId | undefined {
    return this.#transport.helloOf(peer)?.storeId
  }

  /** How late the member's event loop ran when it was last heard, ms: a member can be alive and yet of no use. */
  lagMsOf(store: StoreId): number | undefined {
    return store === this.self.storeId ? this.#ownLagMs() : this.#lags.get(store)
  }

  on<K extends keyof MembershipEvents>(type: K, listener: (detail: MembershipEvents[K]) => void): () => void {
    return this.#events.on(type, listener)
  }

  announce(news: SelfNews): void {
    const { incarnation } = this.self
    const step = this.#gossip.announce(news)
    this.#apply({ ...step, publish: [] })
    this.#publisher.publish(step.publish, this.self.incarnation !== incarnation)
  }

  start(): void {
    if (this.#phase !== 'new') return
    this.#phase = 'running'
    const nowMs = this.#now()
    const { storeId, probeIntervalMs, heartbeatMs = HEARTBEAT_MS } = this.#options
    const options = probeIntervalMs === undefined ? {} : { probeIntervalMs }
    this.#loop.takeLagMs()
    this.#publisher.start()
    const detector = new FailureDetector(storeId, nowMs, this.#random, options)
    this.#detector = detector
    this.#apply(this.#gossip.announce({ addresses: announceable(this.#transport.addresses) }))
    for (const store of this.#stores.values()) this.#drive(() => detector.linked(nowMs, store))
    for (const member of this.view.values()) {
      this.#drive(() => this.#learn(detector, nowMs, member))
    }
    this.#heartbeat = this.#clock.after(this.#random.int(heartbeatMs), this.#beat)
  }

  leave(timeoutMs: number): Promise<void> {
    if (this.#phase !== 'running') {
      this.stop()
      return Promise.resolve()
    }
    this.#apply(this.#gossip.leave())
    this.#publisher.send()
    return new Promise(resolve => {
      const peers = this.#transport.links()
      let left = peers.length
      const finish = (): void => {
        timer.cancel()
        this.stop()
        resolve()
      }
      const timer = this.#clock.after(timeoutMs, finish)
      if (left === 0) finish()
      for (const peer of peers) {
        this.#exchange.tell(peer, timeoutMs, () => {
          if (--left === 0) finish()
        })
      }
    })
  }

  stop(): void {
    if (this.#phase === 'stopped') return
    this.#phase = 'stopped'
    for (const timer of [this.#wake, this.#heartbeat]) timer?.cancel()
    this.#publisher.stop()
    for (const unsubscribe of this.#unsubscribe) unsubscribe()
  }

  readonly #isStopped = (): boolean => this.#phase === 'stopped'
  readonly #hear = (rumours: readonly Rumour[]): void => this.#apply(this.#gossip.hear(this.#now(), rumours))

  readonly #reported = (store: StoreId, lagMs: number, digest: number): void => {
    const peer = this.#gossip.get(store)?.peerId
    if (peer === undefined || store === this.self.storeId) return
    this.#lags.set(store, lagMs)
    this.#exchange.note(peer, digest)
  }

  #listen(): void {
    this.#transport.onPublished((from, body) => {
      if (this.#phase === 'stopped') return
      let message: GossipMessage | undefined
      try {
        message = decodeGossip(body)
      } catch (error) {
        this.#logger.warn('a malformed gossip message', { from, error: messageOf(error) })
      }
      if (message === undefined || message.sender === this.self.storeId) return
      this.#hear(message.rumours)
      this.#reported(message.sender, message.lagMs, message.digest)
    })
    const up = this.#transport.on('link:up', ({ peer, hello }) => {
      const before = this.#stores.get(peer)
      this.#stores.set(peer, hello.storeId)
      if (before !== undefined && before !== hello.storeId) this.#unlinked(before)
      this.#drive(detector => detector.linked(this.#now(), hello.storeId))
      this.#exchange.linkUp(peer)
    })
    const down = this.#transport.on('link:down', ({ peer }) => {
      this.#exchange.linkDown(peer)
      const store = this.#stores.get(peer)
      this.#stores.delete(peer)
      if (store !== undefined) this.#unlinked(store)
    })
    this.#unsubscribe.push(up, down)
  }

  #unlinked(store: StoreId): void {
    if (![...this.#stores.values()].includes(store)) this.#drive(detector => detector.unlinked(this.#now(), store))
  }

  /** Lets everybody know what has changed: detector, links, listeners, other nodes. */
  #apply({ changes, accused, publish }: GossipStep): void {
    if (this.#phase === 'stopped') return
    const nowMs = this.#now()
    for (const change of changes) {
      if (this.self.storeId !== (change.after ?? change.before)!.storeId) this.#links.update(nowMs, change)
      this.#drive(detector => this.#teach(detector, nowMs, change))
      if (change.after === undefined) this.#lags.delete(change.before!.storeId)
    }
    for (const member of accused) this.#drive(detector => this.#learn(detector, nowMs, member))
    this.#publisher.publish(publish)
    this.#changes.push(...changes)
    this.#tell()
  }

  #teach(detector: FailureDetector, nowMs: number, { before, after }: ViewChange): readonly DetectorEffect[] {
    if (after === undefined) return detector.forget(nowMs, before!.storeId)
    return this.#learn(detector, nowMs, after)
  }

  #learn(detector: FailureDetector, nowMs: number, member: ViewMember): readonly DetectorEffect[] {
    const hasEnded = member.status === 'suspect' && this.#transport.isRefusing(member.peerId)
    return detector.learn(nowMs, member, this.#gossip.accusersOf(member.storeId), hasEnded)
  }

  /** Emits the events of all changes in their order, also when a listener causes further ones. */
  #tell(): void {
    if (this.#telling) return
    this.#telling = true
    try {
      for (let change = this.#changes.shift(); change !== undefined; change = this.#changes.shift()) {
        const member = (change.after ?? change.before)!
        const events = member.storeId === this.self.storeId ? (['change'] as const) : eventsOf(change)
        const facts = { store: shortId(member.storeId), peer: member.peerId, incarnation: member.incarnation }
        for (const type of events) {
          if (type !== 'change') this.#logger[type === 'member:suspected' ? 'debug' : 'info'](type, facts)
          this.#events.emit(type, member)
        }
      }
    } finally {
      this.#telling = false
    }
  }

  /** Gives the detector an input and does what it wants. */
  #drive(input: (detector: FailureDetector) => readonly DetectorEffect[]): void {
    const detector = this.#detector
    if (detector === undefined || this.#phase !== 'running') return
    for (const effect of input(detector)) {
      if (effect.kind === 'ping') this.#prober.ping(effect)
      else if (effect.kind === 'ping-request') this.#prober.pingRequest(effect)
      else this.#apply(this.#gossip[effect.kind](this.#now(), effect.store, effect.incarnation))
    }
    this.#arm(detector.wakeAtMs)
  }

  #arm(atMs: number): void {
    if (atMs >= this.#wakeAtMs || this.#phase !== 'running') return
    this.#wake?.cancel()
    this.#wakeAtMs = atMs
    this.#wake = this.#clock.after(Math.max(0, atMs - this.#now()), () => {
      this.#wakeAtMs = Number.POSITIVE_INFINITY
      const lagMs = this.#loop.takeLagMs()
      this.#lagMs = Math.max(this.#lagMs, lagMs)
      this.#drive(detector => detector.tick(this.#now(), lagMs))
    })
  }

  /** Once a second: what has piled up is tidied, and the own record goes out when it is time. */
  readonly #beat = (): void => {
    const { heartbeatMs = HEARTBEAT_MS } = this.#options
    this.#heartbeat = this.#clock.after(heartbeatMs, this.#beat)
    this.#lagBeforeMs = this.#lagMs
    this.#lagMs = 0
    this.#apply(this.#gossip.announce({ addresses: announceable(this.#transport.addresses) }))
    this.#apply(this.#gossip.expire(this.#now()))
    this.#publisher.beat()
    this.#exchange.tick()
    this.#links.tick(this.#now())
  }

  /** The worst of this second and the one before. */
  readonly #ownLagMs = (): number => Math.max(this.#lagMs, this.#lagBeforeMs)

  #now(): number {
    return this.#clock.monotonicMs()
  }
}
