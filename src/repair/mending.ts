import { abortError, throwIfStopped } from '../base/abort.ts'
import type { PeerId, StoreId } from '../model/node-id.ts'
import type { PartitionId } from '../model/partition.ts'
import type { RecordBytes } from '../model/record.ts'
import type { PlacementRules } from '../placement/rules.ts'
import { isRowReplica, type Topology } from '../placement/topology.ts'
import type { Replica } from '../replication/replica.ts'
import { type Clock, pause } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import type { HintStore } from '../storage/hint-store.ts'
import type { Horizons } from '../storage/horizons.ts'
import type { RecordKey, RecordStore, StampSource } from '../storage/record-store.ts'
import type { SetAside } from '../storage/set-aside.ts'
import type { TreeIndex } from '../storage/tree-index.ts'
import type { Transport } from '../transport/transport.ts'
import { AntiEntropy, type AntiEntropyOptions, type AntiEntropyStats, type RoundReport } from './anti-entropy.ts'
import { Exchange } from './exchange.ts'
import { ExchangeServer } from './exchange-server.ts'
import { GiveBack } from './give-back.ts'
import type { Healer } from './healer.ts'
import { HintReplay } from './hint-replay.ts'
import { Purge, type PurgeOptions, type PurgeStats } from './purge.ts'
import { PurgeServer } from './purge-server.ts'
import type { Purger } from './purger.ts'
import { TreeBuilder } from './tree-builder.ts'

/** What mending needs. */
export interface MendingDeps {
  readonly self: StoreId
  readonly transport: Transport
  readonly records: RecordStore
  readonly trees: TreeIndex
  readonly horizons: Horizons
  readonly hints: HintStore
  readonly setAside: SetAside
  readonly stamps: StampSource
  readonly replica: Replica
  /** Gives a quorum of the owners a record, unless they have something at least as new. */
  readonly bring: (place: RecordKey, record: RecordBytes) => Promise<void>
  readonly purger: Purger
  readonly healer: Healer
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly rules: PlacementRules
  readonly topology: () => Topology | undefined
  readonly isAlive: (store: StoreId) => boolean
  readonly catchUp: (epoch: number, timeoutMs: number) => Promise<unknown>
  readonly strays: () => ReadonlySet<PartitionId> | undefined
  readonly onSetAside: (count: number) => void
}

/** Settings of mending. */
export interface MendingOptions {
  readonly repair: AntiEntropyOptions
  readonly purge: PurgeOptions
}

/** Pause between two pages of what is given back, ms. */
const REST_MS = 2

/**
 * All that brings copies together without a read: hints are handed over, copies compared, what was left behind is given
 * back, and what nobody needs any more is purged.
 */
export class Mending {
  readonly #deps: MendingDeps
  readonly #builder: TreeBuilder
  readonly #antiEntropy: AntiEntropy
  readonly #replay: HintReplay
  readonly #server: ExchangeServer
  readonly #giveBack: GiveBack
  readonly #purge: Purge
  readonly #purgeServer: PurgeServer
  readonly #abort = new AbortController()

  constructor(deps: MendingDeps, { repair, purge }: MendingOptions) {
    const { purger, topology } = deps
    const adopt = purger.adopt
    const epoch = (): number => topology()?.epoch ?? 0
    const exchangeWith = (peer: PeerId, rest: () => Promise<void>): Exchange =>
      new Exchange({ ...deps, epoch, rest, adopt }, peer)
    this.#deps = deps
    this.#builder = new TreeBuilder(deps)
    const common = { ...deps, builder: this.#builder, exchangeWith, adopt }
    this.#antiEntropy = new AntiEntropy({ ...common, random: deps.random.fork('rounds') }, repair)
    this.#replay = new HintReplay(deps)
    this.#server = new ExchangeServer(common)
    this.#giveBack = new GiveBack({ ...common, rest: () => this.#rest() })
    this.#purgeServer = new PurgeServer(common, purge.lagMs)
    this.#purge = new Purge({ ...common, server: this.#purgeServer, random: deps.random.fork('purge') }, purge)
  }

  /** Answers those who compare, and those who settle the past. */
  listen(): void {
    this.#server.listen()
    this.#purgeServer.listen()
  }

  /** Begins; to be called when this node is a member. */
  start(): void {
    this.#replay.start()
    this.#antiEntropy.soon()
    this.#deps.purger.start()
    this.#purge.start()
  }

  /** A node is back or new: it has missed something. */
  returned(store: StoreId): void {
    this.#replay.returned(store)
    this.#antiEntropy.soon()
  }

  /** Owners have changed: who has become one may lack something. */
  moved(): void {
    this.#antiEntropy.soon()
  }

  /**
   * Compares with all other owners now; see {@link AntiEntropy.run}.
   *
   * @param isThorough - whether to read every record first, and heal those that are damaged
   */
  async run(isThorough: boolean, signal: AbortSignal | undefined): Promise<RoundReport> {
    if (isThorough) await this.#readAll(signal)
    return this.#antiEntropy.run(signal)
  }

  /** Gives the owners of a partition what they may lack of it; see {@link GiveBack.run}. */
  giveBack(partition: PartitionId): Promise<void> {
    return this.#giveBack.run(partition)
  }

  stats(): AntiEntropyStats {
    return this.#antiEntropy.stats()
  }

  purgeStats(): PurgeStats & { readonly purged: number; readonly expired: number } {
    const { purged, expired } = this.#deps.purger
    return { ...this.#purge.stats(), purged, expired }
  }

  /** Begins nothing more. */
  cancel(): void {
    this.#abort.abort()
    this.#replay.cancel()
    this.#antiEntropy.cancel()
    this.#purge.cancel()
    this.#deps.purger.cancel()
    this.#deps.healer.cancel()
    this.#builder.cancel()
  }

  /** Resolves when nothing is under way any more; the transport must be stopped first, or be about to. */
  async stop(): Promise<void> {
    this.cancel()
    await this.#replay.stop()
    await this.#antiEntropy.stop()
    await this.#purge.stop()
    await this.#deps.purger.stop()
    await this.#deps.healer.stop()
    await this.#builder.stop()
  }

  /** Makes the trees of all that this node owns anew, which reads all of it. */
  async #readAll(signal: AbortSignal | undefined): Promise<void> {
    const { self, trees, topology, healer } = this.#deps
    for (const [partition, row] of (topology()?.rows ?? []).entries()) {
      if (!isRowReplica(row, self)) continue
      trees.forget(partition)
      await this.#builder.ensure(partition)
      if (signal?.aborted === true) throw abortError(signal, 'repair')
    }
    await healer.heal()
  }

  async #rest(): Promise<void> {
    await pause(this.#deps.clock, REST_MS, this.#abort.signal)
    throwIfStopped(this.#abort.signal)
  }
}
