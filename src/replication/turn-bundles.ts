import type { KilovoltError } from '../base/errors.ts'
import type { Requirement } from '../model/quorum.ts'
import { type RecordBytes, restamp } from '../model/record.ts'
import type { RecordKey } from '../storage/record-store.ts'
import type { BundleOptions } from './bundle.ts'
import type { Repair } from './get-operation.ts'
import type { OperationDeps, OperationOptions } from './operation.ts'
import type { PutResult } from './put-operation.ts'
import { ReadBundle } from './read-bundle.ts'
import { WriteBundle } from './write-bundle.ts'

/** What the bundles of a coordinator share. */
export interface TurnBundlesOptions {
  /** Deadline of operations that name none, ms. */
  readonly timeoutMs: number
  /** What is under way, so that a stop can end it. */
  readonly running: Set<{ cancel(error: KilovoltError): void }>
  readonly repair: Repair
  readonly readAlone: (
    place: RecordKey,
    requirement: Requirement,
    timeoutMs: number
  ) => Promise<RecordBytes | undefined>
  readonly writeAlone: (place: RecordKey, record: RecordBytes, options: OperationOptions) => Promise<PutResult>
}

/** What an operation was called with, as far as it matters here. */
interface Call {
  readonly requirement: Requirement | 'any'
  readonly timeoutMs: number | undefined
  readonly signal: AbortSignal | undefined
}

/** Level and deadline: what goes together has the same. */
type BundleKey = string | number

/** Whichever of the two kinds of bundle. */
interface Startable {
  start(): void
  cancel(error: KilovoltError): void
}

/** Larger values go by themselves: those that share a message with them would wait for them. */
const VALUE_BYTES_MAX = 64 * 1024

/**
 * Gathers the operations that begin in one turn of the event loop. The first of a turn goes at once and by itself, so that an
 * app that does one thing after the other waits for nothing; those that follow it go together when the turn is over, as
 * messages do anyway.
 */
export class TurnBundles {
  readonly #deps: OperationDeps
  readonly #options: TurnBundlesOptions
  readonly #reads = new Map<BundleKey, ReadBundle>()
  readonly #writes = new Map<BundleKey, WriteBundle>()
  /** Whether an operation has begun in this turn. */
  #hasBegun = false
  #isStopped = false

  constructor(deps: OperationDeps, options: TurnBundlesOptions) {
    this.#deps = deps
    this.#options = options
  }

  /** Where a read is to go; `undefined` when it is to go by itself. */
  readsFor(call: Call): ReadBundle | undefined {
    const { requirement } = call
    // At `one` a single replica is asked, and the next one when it does not answer soon.
    if (!this.#isBundled(call) || requirement === 'any' || requirement === 'one') return undefined
    const key = keyOf(requirement, call.timeoutMs)
    const present = this.#reads.get(key)
    if (present?.isFull === false) return present
    const { repair, readAlone } = this.#options
    const bundle: ReadBundle = new ReadBundle(this.#deps, {
      ...this.#shared(requirement, call.timeoutMs, () => bundle),
      repair,
      readAlone: (place, timeoutMs) => readAlone(place, requirement, timeoutMs)
    })
    return this.#opened(this.#reads, key, bundle)
  }

  /** Where a write is to go; `undefined` when it is to go by itself. */
  writesFor(call: Call, bytes: number): WriteBundle | undefined {
    const { requirement } = call
    if (!this.#isBundled(call) || requirement === 'any' || bytes > VALUE_BYTES_MAX) return undefined
    const key = keyOf(requirement, call.timeoutMs)
    const present = this.#writes.get(key)
    if (present?.isFull === false) return present
    const { stamps } = this.#deps
    const { writeAlone } = this.#options
    const bundle: WriteBundle = new WriteBundle(this.#deps, {
      ...this.#shared(requirement, call.timeoutMs, () => bundle),
      writeAlone: async ({ place, record, timeoutMs, isRepeat, isBehind }) => {
        const options = { requirement, timeoutMs, signal: undefined, isRepeat }
        // Else it stays the same record: who has it already takes it for that, and not for a second write of the value.
        return writeAlone(place, isBehind ? restamp(record, await stamps.next()) : record, options)
      }
    })
    return this.#opened(this.#writes, key, bundle)
  }

  /** Takes nothing more: what comes goes by itself. What was taken is among those that run, and ended as such. */
  stop(): void {
    this.#isStopped = true
    this.#reads.clear()
    this.#writes.clear()
  }

  /** Whether the operation is not the first one of this turn, and cannot be called off by itself. */
  #isBundled({ signal }: Call): boolean {
    if (this.#isStopped) return false
    if (!this.#hasBegun) {
      this.#hasBegun = true
      this.#deps.clock.soon(this.#onTurnOver)
      return false
    }
    return signal === undefined
  }

  #shared(requirement: Requirement, ownTimeoutMs: number | undefined, self: () => Startable): BundleOptions {
    const { timeoutMs, running } = this.#options
    return { requirement, timeoutMs: ownTimeoutMs ?? timeoutMs, onOver: () => running.delete(self()) }
  }

  #opened<B extends Startable>(bundles: Map<BundleKey, B>, key: BundleKey, bundle: B): B {
    // One that is full already need not wait for the end of the turn.
    bundles.get(key)?.start()
    bundles.set(key, bundle)
    this.#options.running.add(bundle)
    return bundle
  }

  readonly #onTurnOver = (): void => {
    this.#hasBegun = false
    for (const bundles of [this.#reads, this.#writes]) {
      const due = [...bundles.values()]
      bundles.clear()
      for (const bundle of due) bundle.start()
    }
  }
}

function keyOf(requirement: Requirement, timeoutMs: number | undefined): BundleKey {
  return timeoutMs === undefined ? requirement : `${requirement} within ${timeoutMs}`
}
