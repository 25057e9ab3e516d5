import type { StoreId } from '../model/node-id.ts'
import type { HintStore } from '../storage/hint-store.ts'
import {
  AntiEntropy,
  type AntiEntropyDeps,
  type AntiEntropyOptions,
  type AntiEntropyStats,
  type RoundReport
} from './anti-entropy.ts'
import { ExchangeServer } from './exchange-server.ts'
import { HintReplay } from './hint-replay.ts'
import { TreeBuilder } from './tree-builder.ts'

/** What mending needs. */
export interface MendingDeps extends Omit<AntiEntropyDeps, 'builder'> {
  readonly hints: HintStore
}

/** All that brings copies together without a read: hints are handed over, and copies compared. */
export class Mending {
  readonly #builder: TreeBuilder
  readonly #antiEntropy: AntiEntropy
  readonly #replay: HintReplay
  readonly #server: ExchangeServer

  constructor(deps: MendingDeps, options: AntiEntropyOptions) {
    this.#builder = new TreeBuilder(deps)
    this.#antiEntropy = new AntiEntropy({ ...deps, builder: this.#builder }, options)
    this.#replay = new HintReplay(deps)
    this.#server = new ExchangeServer({ ...deps, builder: this.#builder })
  }

  /** Answers those who compare. */
  listen(): void {
    this.#server.listen()
  }

  /** Begins; to be called when this node is a member. */
  start(): void {
    this.#replay.start()
    this.#antiEntropy.soon()
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

  /** Compares with all other owners now; see {@link AntiEntropy.run}. */
  run(signal: AbortSignal | undefined): Promise<RoundReport> {
    return this.#antiEntropy.run(signal)
  }

  stats(): AntiEntropyStats {
    return this.#antiEntropy.stats()
  }

  /** Begins nothing more. */
  cancel(): void {
    this.#replay.cancel()
    this.#antiEntropy.cancel()
    this.#builder.cancel()
  }

  /** Resolves when nothing is under way any more; the transport must be stopped first, or be about to. */
  async stop(): Promise<void> {
    this.cancel()
    await this.#replay.stop()
    await this.#antiEntropy.stop()
    await this.#builder.stop()
  }
}
