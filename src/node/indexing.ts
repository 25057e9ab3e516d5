import type { Emitter } from '../base/emitter.ts'
import { copyBytes, fromUtf8, toLatin1 } from '../base/bytes.ts'
import { messageOf } from '../base/errors.ts'
import { IndexQueries, type IndexQueriesDeps } from '../replication/index-queries.ts'
import type { IndexQuery } from '../replication/index-query.ts'
import { IndexServer } from '../replication/index-server.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Pace } from '../runtime/pace.ts'
import type { ApplyLoop } from '../storage/apply-loop.ts'
import { INDEXED_AT_ONCE } from '../storage/index-upkeep.ts'
import { IndexKeeper } from '../storage/index-keeper.ts'
import { Indexes } from '../storage/indexes.ts'
import type { Store } from '../storage/store.ts'
import { type IndexDefinition, PartitionState, type StoredIndex } from '../storage/stored-index.ts'
import type { Transport } from '../transport/transport.ts'
import type { PlacementRules } from '../placement/rules.ts'
import type { IndexDoor } from './index-door.ts'
import type { CoreEvents } from './node-core.ts'
import type { IndexStatus } from './status.ts'

/** What the indexes of a store need. */
export interface IndexStoreDeps {
  readonly store: Store
  readonly partitions: number
  readonly logger: Logger
  readonly rules: PlacementRules
  readonly events: Emitter<CoreEvents>
}

/** What building and asking them needs. */
export interface IndexingDeps extends Omit<IndexQueriesDeps, 'indexPages' | 'getMany'> {
  /** Reads what queries find. */
  readonly reads: Pick<IndexQueriesDeps, 'getMany'>
  readonly clock: Clock
  readonly logger: Logger
  readonly records: ApplyLoop
  readonly transport: Transport
  readonly pace: Pace
}

/** How long an index that an earlier life has left may go unmentioned while others of its keyspace are defined, ms. */
const FORGET_AFTER_MS = 60_000
/**
 * The same where none are defined. Another part of the app may open the keyspace with them much later; what is forgotten by
 * then has to be built again, while nobody else needs it: a node answers only with what its own app has defined.
 */
const FORGET_ALL_AFTER_MS = 3_600_000

/** A node's part in secondary indexes: those of its own store, and queries from here. */
export class Indexing implements IndexDoor {
  readonly indexes: Indexes
  readonly #store: Store
  /** By the name of a keyspace, when what is left of it is forgotten. */
  readonly #timers = new Map<string, { readonly delayMs: number; readonly timer: Timer }>()
  #isOver = false
  #clock: Clock | undefined
  #keeper: IndexKeeper | undefined
  #queries: IndexQueries | undefined

  constructor({ store, partitions, logger, rules, events }: IndexStoreDeps) {
    this.#store = store
    this.indexes = new Indexes({
      store,
      partitions,
      onFailure: (index, key, error) => {
        const keyspace = fromUtf8(index.keyspace)
        logger.warn('index:failed: no values could be made of a record', {
          keyspace,
          index: index.name,
          error: messageOf(error)
        })
        events.emit('index-failed', { keyspace, index: index.name, key: copyBytes(key), error })
      },
      onWork: () => this.#keeper?.work(),
      removesOld: rules.keepEntries,
      notesUnindexed: rules.noteUnindexed
    })
  }

  /** Wires the rest of it, and answers others from now on. */
  listen(deps: IndexingDeps, { requestTimeoutMs }: { readonly requestTimeoutMs: number }): void {
    const { clock, logger, records, transport, pace, reads } = deps
    this.#clock = clock
    this.#keeper = new IndexKeeper({
      indexes: this.indexes,
      store: this.#store,
      clock,
      logger,
      alone: (partition, task) => records.alone(partition, task),
      rowsOf: (...where) => records.range(...where, INDEXED_AT_ONCE),
      getMany: keys => records.getMany(keys),
      partitions: () => records.partitions(),
      turn: (work, signal) => pace.turn(work, signal)
    })
    const indexPages = new IndexServer({ ...deps, indexes: this.indexes })
    indexPages.listen(transport)
    this.#queries = new IndexQueries(
      { ...deps, indexPages, getMany: (...keys) => reads.getMany(...keys) },
      requestTimeoutMs
    )
  }

  /** Reads what an earlier life has left, if there was one, and goes on with it. */
  async open(isNew: boolean): Promise<void> {
    if (!isNew) await this.indexes.open()
    this.#keeper!.start()
  }

  define(keyspace: Uint8Array, definitions: readonly IndexDefinition[]): void {
    for (const definition of definitions) this.indexes.define(definition)
    const name = toLatin1(keyspace)
    if (this.#isOver || this.#leftOf(name).length === 0) return
    const delayMs = definitions.length > 0 ? FORGET_AFTER_MS : FORGET_ALL_AFTER_MS
    const planned = this.#timers.get(name)
    if (planned !== undefined && planned.delayMs <= delayMs) return
    planned?.timer.cancel()
    const forget = (): void => {
      for (const index of this.#leftOf(name)) this.indexes.drop(index)
    }
    this.#timers.set(name, { delayMs, timer: this.#clock!.after(delayMs, forget) })
  }

  find(keyspace: Uint8Array, name: string): IndexDefinition | undefined {
    return this.indexes.find(keyspace, name)?.definition
  }

  query(...asked: Parameters<IndexDoor['query']>): IndexQuery {
    return this.#queries!.query(...asked)
  }

  /** Figures for `status()`: of those that the app has defined. */
  status(): IndexStatus[] {
    return [...this.indexes.all()]
      .filter(({ definition }) => definition !== undefined)
      .map(index => ({
        keyspace: fromUtf8(index.keyspace),
        index: index.name,
        state: index.isReady ? 'ready' : 'building',
        partitions: index.partitions,
        ready: index.in(PartitionState.READY).length,
        built: index.built,
        failed: index.failed
      }))
  }

  /** Queries fail from now on, and nothing more is built. */
  cancel(): void {
    this.#isOver = true
    for (const { timer } of this.#timers.values()) timer.cancel()
    this.#queries?.stop()
    this.#keeper?.cancel()
  }

  /** Resolves when nothing is being built any more. */
  async stop(): Promise<void> {
    this.cancel()
    await this.#keeper?.stop()
  }

  /** What an earlier life has left of a keyspace, and this one has not mentioned. */
  #leftOf(keyspace: string): readonly StoredIndex[] {
    return [...this.indexes.all()].filter(
      index => index.definition === undefined && toLatin1(index.keyspace) === keyspace
    )
  }
}
