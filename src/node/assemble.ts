import { Emitter } from '../base/emitter.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import { MetaCluster } from '../cluster/meta-cluster.ts'
import { Discovery } from '../membership/discovery.ts'
import { GossipMembership } from '../membership/gossip-membership.ts'
import type { StoreId } from '../model/node-id.ts'
import { type PartitionId, Ring } from '../model/partition.ts'
import { isAnyLeaving } from '../placement/topology.ts'
import type { RoundReport } from '../repair/anti-entropy.ts'
import { Healer } from '../repair/healer.ts'
import { Importer } from '../repair/importer.ts'
import { Mending, type MendingDeps } from '../repair/mending.ts'
import { Purger } from '../repair/purger.ts'
import { Transfer } from '../repair/transfer.ts'
import { Coordinator } from '../replication/coordinator.ts'
import { Minter } from '../replication/minter.ts'
import { Replica } from '../replication/replica.ts'
import { ScanServer } from '../replication/scan-server.ts'
import type { Clock } from '../runtime/clock.ts'
import { type Logger, withFields } from '../runtime/logger.ts'
import { Pace } from '../runtime/pace.ts'
import { Slicer } from '../runtime/slices.ts'
import type { Random } from '../runtime/random.ts'
import { loadZstd } from '../runtime/zstd.ts'
import type { ApplyLoop } from '../storage/apply-loop.ts'
import type { Horizons } from '../storage/horizons.ts'
import { closeIdentity } from '../storage/identity.ts'
import type { StoredRecord } from '../storage/record-store.ts'
import type { TreeIndex } from '../storage/tree-index.ts'
import { loadTrees, saveTrees } from '../storage/tree-store.ts'
import { type Hello, WIRE_VERSION, WIRE_VERSION_MIN } from '../transport/hello.ts'
import { Mesh } from '../transport/mesh.ts'
import { createMover } from './mover.ts'
import type { KeyspaceBackend } from './backend.ts'
import type { IndexDoor } from './index-door.ts'
import type { Indexing } from './indexing.ts'
import { KeyTurns } from './key-turns.ts'
import { adviseStop, type StopAdvice } from './safe-to-stop.ts'
import type { WatchDoor } from './node-watch.ts'
import { Watching } from './watching.ts'
import type { CoreEvents, NodeConfig, NodeCore, NodeParts } from './node-core.ts'
import { Packing } from './packing.ts'
import { describeStatus, type NodeStatus } from './status.ts'
import { StoreReports } from './store-reports.ts'
import { createStores, type Stores } from './stores.ts'

const EVICT_VOLATILE_AFTER_MS = 15_000
const EVICT_DISK_AFTER_MS = 300_000
const GOODBYE_MS = 500

/** Wires a node together; the one place where the floors meet. Nothing runs until `start`. */
export function assembleNode(config: NodeConfig, parts: NodeParts): NodeCore {
  return new Assembly(config, parts)
}

class Assembly implements NodeCore {
  readonly config: NodeConfig
  readonly storeId: StoreId
  readonly clock: Clock
  readonly ring: Ring
  readonly transport: Mesh
  readonly membership: GossipMembership
  readonly cluster: MetaCluster
  readonly records: ApplyLoop
  readonly trees: TreeIndex
  readonly horizons: Horizons
  readonly turns: KeyTurns
  readonly packing: Packing
  readonly #parts: NodeParts
  readonly #discovery: Discovery
  readonly #coordinator: Coordinator
  readonly #watching: Watching
  readonly #indexing: Indexing
  readonly #transfer: Transfer
  readonly #importer: Importer
  readonly #pace: Pace
  readonly #slicer: Slicer
  readonly #mending: Mending
  readonly #stores: Stores
  readonly #healer: Healer
  readonly #reports: StoreReports
  readonly #events = new Emitter<CoreEvents>()
  #isOpen = false
  #stopping: Promise<void> | undefined

  constructor(config: NodeConfig, parts: NodeParts) {
    const { clock, loop, identity, host, hash, rules } = parts
    const random = parts.random.fork(identity.storeId)
    const logger = withFields(parts.logger, { node: identity.storeId.slice(0, 8) })
    this.config = config
    this.#parts = parts
    this.storeId = identity.storeId
    this.clock = clock
    this.turns = new KeyTurns(clock, { timeoutMs: config.requestTimeoutMs })
    this.packing = new Packing(clock, loadZstd)
    this.ring = new Ring(config.partitions, hash)
    this.#reports = new StoreReports({ clock, logger, events: this.#events })
    const owns = (partition: PartitionId): boolean =>
      this.cluster.topology?.rows[partition]?.slots.includes(this.storeId) === true
    this.#stores = createStores(config, parts, this.#reports, () => this.#healer.found(), owns)
    const { records, trees, horizons, hints, setAside, stamps, damage } = this.#stores
    this.records = records
    this.trees = trees
    this.horizons = horizons
    this.transport = new Mesh({ host, clock, random: random.fork('mesh'), logger, hello: () => this.#hello() })
    this.membership = new GossipMembership(
      { transport: this.transport, clock, random: random.fork('membership'), loop, logger },
      { storeId: this.storeId }
    )
    this.#discovery = this.#createDiscovery(random.fork('discovery'), logger)
    const common = {
      self: this.storeId,
      transport: this.transport,
      records,
      trees,
      horizons,
      hints,
      setAside,
      stamps,
      ring: this.ring,
      clock,
      logger,
      rules,
      repairIntervalMs: config.repairIntervalMs,
      topology: () => this.cluster.topology,
      catchUp: (epoch: number, timeoutMs: number) => this.cluster.catchUp(epoch, timeoutMs),
      isOver: () => this.cluster.isOver,
      isAlive: (id: StoreId) => this.membership.statusOf(id) === 'alive',
      isDead: (id: StoreId) => {
        const status = this.membership.statusOf(id)
        return status === 'dead' || status === 'left'
      },
      keepFor: hints.add.bind(hints)
    }
    const purger = new Purger(common)
    const healer = (this.#healer = new Healer({ ...common, damage }))
    const replica = new Replica(common, config)
    const minter = new Minter({ ...common, replica }, config.maxClockDriftMs, identity.created)
    const slicer = (this.#slicer = new Slicer(clock, () => this.#coordinator.requests + replica.requests))
    const scans = new ScanServer({ ...common, slicer }, config)
    this.#coordinator = new Coordinator({ ...common, replica, minter, scans, slicer }, config.requestTimeoutMs)
    this.#pace = new Pace(clock, () => this.#coordinator.operations + replica.requests + scans.pages)
    this.#transfer = new Transfer({ ...common, purger, healer, pace: this.#pace })
    this.cluster = this.#createCluster(random.fork('cluster'), logger)
    const bring = this.#coordinator.bring.bind(this.#coordinator)
    this.#importer = new Importer({ records, clock, logger, bring })
    const mends = { ...common, replica, bring, purger, healer, random: random.fork('repair') }
    this.#mending = this.#createMending(mends, config)
    for (const served of [replica, minter, scans]) served.listen(this.transport)
    this.#watching = new Watching(this.#stores.arrivals)
    this.#watching.listen({ ...common, pace: this.#pace, random: random.fork('watch'), events: this.#events })
    this.#indexing = this.#stores.indexing
    this.#indexing.listen({ ...common, slicer, pace: this.#pace, reads: this.#coordinator }, config)
    this.#transfer.listen()
    this.#mending.listen()
    this.#followChanges()
  }

  #createMending(deps: Omit<MendingDeps, 'strays' | 'onSetAside'>, config: NodeConfig): Mending {
    const { onSetAside } = this.#reports
    return new Mending(
      { ...deps, strays: () => this.cluster.strays, onSetAside },
      {
        repair: { everyMs: config.repairIntervalMs },
        purge: { everyMs: config.purgeIntervalMs, lagMs: config.purgeLagMs }
      }
    )
  }

  #createDiscovery(random: Random, logger: Logger): Discovery {
    const { lan } = this.#parts
    return new Discovery(
      {
        transport: this.transport,
        clock: this.clock,
        random,
        logger,
        isAlone: () => this.membership.isAlone
      },
      { bootstrap: this.config.bootstrap, ...(lan === undefined ? {} : { source: lan }) }
    )
  }

  #createCluster(random: Random, logger: Logger): MetaCluster {
    const { config } = this
    const { clock, store, lan, rules } = this.#parts
    return new MetaCluster(
      {
        transport: this.transport,
        membership: this.membership,
        discovery: this.#discovery,
        store,
        mover: createMover({
          ...this.#stores,
          transfer: this.#transfer,
          mending: () => this.#mending,
          importer: () => this.#importer
        }),
        clock,
        random,
        logger,
        rules
      },
      {
        ...config,
        self: this.storeId,
        name: config.cluster,
        lan: lan !== undefined,
        bootstrap: typeof config.bootstrap === 'function' || config.bootstrap.length > 0,
        evictVolatileAfterMs: config.evictAfterMs ?? EVICT_VOLATILE_AFTER_MS,
        evictDiskAfterMs: config.evictAfterMs ?? EVICT_DISK_AFTER_MS
      }
    )
  }

  get stopped(): boolean {
    return this.#stopping !== undefined
  }

  async start(signal?: AbortSignal): Promise<void> {
    try {
      await Promise.all([this.horizons.open(), this.#indexing.open(this.#parts.identity.created)])
      await this.#openTrees()
      await this.#stores.hints.open()
      await this.#stores.setAside.open()
      await this.transport.start()
      this.membership.start()
      this.#discovery.start()
      await this.cluster.start(signal)
      this.#mending.start()
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  async #openTrees(): Promise<void> {
    const { store, identity } = this.#parts
    if (!identity.created) await loadTrees(store, this.trees, identity.openedClean)
    // After a crash it is at least known which partitions are empty; the others are read when they are compared.
    if (!this.trees.isComplete) this.trees.onlyHolds(await this.records.partitions())
    this.#isOpen = true
  }

  /** Whoever was away has missed something; who has become an owner may have. Watches follow the owners, a leaver waits. */
  #followChanges(): void {
    for (const event of ['member:returned', 'member:joined'] as const) {
      this.membership.on(event, ({ storeId }) => this.#mending.returned(storeId))
    }
    this.cluster.on('row', ({ event }) => {
      if (event !== 'begin') this.#mending.moved()
    })
    this.cluster.on('topology', () => this.#watching.topologyChanged())
    this.cluster.on('topology', topology => this.#pace.awaited(isAnyLeaving(topology)))
  }

  get data(): KeyspaceBackend {
    this.#assertRunning()
    return this.#coordinator
  }

  get watches(): WatchDoor {
    this.#assertRunning()
    return this.#watching.door
  }

  get indexes(): IndexDoor {
    return this.#indexing
  }

  safeToStop(): StopAdvice {
    return adviseStop({
      self: this.storeId,
      topology: this.cluster.topology,
      isAlive: id => this.membership.statusOf(id) === 'alive',
      hints: this.#stores.hints,
      strays: this.cluster.strays
    })
  }

  async repair(isThorough: boolean, signal: AbortSignal | undefined): Promise<RoundReport> {
    this.#assertRunning()
    return this.#mending.run(isThorough, signal)
  }

  async leave(timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    await this.cluster.leave(timeoutMs, signal)
    await this.membership.leave(GOODBYE_MS)
    await this.stop()
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  on<K extends keyof CoreEvents>(type: K, listener: (detail: CoreEvents[K]) => void): () => void {
    return this.#events.on(type, listener)
  }

  setAside(): AsyncIterable<StoredRecord> {
    return this.#stores.setAside.entries()
  }

  discardSetAside(): Promise<void> {
    return this.#stores.setAside.clear()
  }

  status(): NodeStatus {
    return describeStatus({
      id: this.storeId,
      cluster: this.config.cluster,
      isStopped: this.stopped,
      meta: this.cluster,
      view: this.membership.view,
      isLinked: peer => this.transport.isLinked(peer),
      operations: this.#coordinator.stats(),
      transfer: this.#transfer.stats(),
      repair: this.#mending.stats(),
      purge: { ...this.#mending.purgeStats(), setAside: this.#stores.setAside.count },
      hints: this.#stores.hints.stats(),
      indexes: this.#indexing.status(),
      storage: this.records.stats(),
      permanent: this.#parts.store.permanent,
      readOnly: this.#stores.guard.failure?.message,
      openedClean: this.#parts.identity.created ? undefined : this.#parts.identity.openedClean,
      transport: this.transport.stats(),
      healthMultiplier: this.membership.healthMultiplier
    })
  }

  /** From the top down, and each part even if another fails: nothing may be left running. */
  async #stop(): Promise<void> {
    const { store, loop, logger } = this.#parts
    this.#events.emit('stopped', undefined)
    this.#watching.stop()
    this.#indexing.cancel()
    this.#mending.cancel()
    this.#importer.cancel()
    this.#pace.stop()
    this.#slicer.stop()
    this.#reports.cancel()
    const steps: readonly (readonly [string, () => void | Promise<void>])[] = [
      ['turns', () => this.turns.stop()],
      ['operations', () => this.#coordinator.stop()],
      ['discovery', () => this.#discovery.stop()],
      ['cluster', () => this.cluster.stop()],
      ['membership', () => this.membership.stop()],
      ['transport', () => this.transport.stop()],
      ['mending', () => this.#mending.stop()],
      ['hints', () => this.#stores.hints.close()],
      ['set aside', () => this.#stores.setAside.close()],
      ['indexes', () => this.#indexing.stop()],
      ['records', () => this.records.close()],
      ['stamps', () => this.#stores.stamps.close()],
      ['identity', () => this.#close()],
      ['store', () => store.close()],
      ['loop monitor', () => loop.stop()]
    ]
    for (const [name, step] of steps) {
      try {
        await step()
      } catch (error) {
        logger.warn(`the ${name} did not stop in good order`, { error: messageOf(error) })
      }
    }
  }

  /** Marks the store as closed in good order, unless what an unclean end has left was not even looked at. */
  async #close(): Promise<void> {
    const { store } = this.#parts
    if (!this.#isOpen) return
    await saveTrees(store, this.trees)
    await closeIdentity(store, this.#stores.stamps.last)
  }

  #hello(): Hello {
    const { cluster, partitions, weight, zone, region } = this.config
    return {
      version: WIRE_VERSION,
      versionMin: WIRE_VERSION_MIN,
      cluster,
      clusterId: this.cluster.topology?.clusterId,
      storeId: this.storeId,
      partitions,
      addresses: this.transport.addresses,
      weight,
      zone,
      region,
      volatile: !this.#parts.store.permanent,
      epoch: this.cluster.topology?.epoch ?? 0,
      wallMs: this.clock.wallMs()
    }
  }

  #assertRunning(): void {
    if (this.stopped) throw new KilovoltError('KV_NODE_STOPPED', 'this node is stopped')
  }
}
