import { KilovoltError } from '../base/errors.ts'
import type { ByteRange } from '../model/key-range.ts'
import type { StoreId } from '../model/node-id.ts'
import type { PlacementRules } from '../placement/rules.ts'
import type { Topology } from '../placement/topology.ts'
import type { Clock } from '../runtime/clock.ts'
import { TimerWheel } from '../runtime/timer-wheel.ts'
import type { IndexDefinition } from '../storage/stored-index.ts'
import { type CallOptions, ownersOf } from './call.ts'
import { IndexQuery, type IndexQueryDeps } from './index-query.ts'
import { Routes } from './routes.ts'

/** What the queries of a node need. */
export interface IndexQueriesDeps extends Omit<IndexQueryDeps, 'wheel' | 'routes' | 'track' | 'checksEntries'> {
  readonly self: StoreId
  readonly clock: Clock
  readonly rules: PlacementRules
  readonly topology: () => Topology | undefined
}

/** Runs the queries of this node's app. */
export class IndexQueries {
  readonly #deps: IndexQueryDeps
  readonly #requestTimeoutMs: number
  /** Pages that are waited for, so that a stop can end them. */
  readonly #running = new Set<{ cancel(error: KilovoltError): void }>()
  #routes: Routes | undefined
  /** Why nothing is begun any more. */
  #stopped: KilovoltError | undefined

  constructor(deps: IndexQueriesDeps, requestTimeoutMs: number) {
    this.#deps = {
      ...deps,
      wheel: new TimerWheel(deps.clock),
      routes: () => this.#latestRoutes(deps),
      checksEntries: deps.rules.keepEntries,
      track: page => {
        this.#running.add(page)
        if (this.#stopped !== undefined) page.cancel(this.#stopped)
        return () => this.#running.delete(page)
      }
    }
    this.#requestTimeoutMs = requestTimeoutMs
  }

  /** Begins a query; nothing is asked before its first page is. */
  query(
    definition: IndexDefinition,
    range: ByteRange,
    { requirement, timeoutMs, signal }: CallOptions,
    isReverse: boolean
  ): IndexQuery {
    return new IndexQuery(this.#deps, {
      definition,
      range,
      isReverse,
      requirement: ownersOf(requirement),
      timeoutMs: timeoutMs ?? this.#requestTimeoutMs,
      signal
    })
  }

  /** Ends what is under way. */
  stop(): void {
    this.#stopped = new KilovoltError('KV_NODE_STOPPED', 'the node stops')
    for (const page of this.#running) page.cancel(this.#stopped)
    this.#running.clear()
  }

  #latestRoutes({ topology, self, rules }: IndexQueriesDeps): Routes | undefined {
    const latest = topology()
    if (latest === undefined) return undefined
    if (this.#routes?.topology !== latest) this.#routes = new Routes(latest, self, rules)
    return this.#routes
  }
}
