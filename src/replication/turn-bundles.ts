import type { KilovoltError } from '../base/errors.ts'
import type { Requirement } from '../model/quorum.ts'
import type { RecordBytes } from '../model/record.ts'
import type { RecordKey } from '../storage/record-store.ts'
import type { BundleOptions } from './bundle.ts'
import type { Repair } from './get-operation.ts'
import type { OperationDeps, OperationOptions } from './operation.ts'
import { ReadBundle } from './read-bundle.ts'
import { type LoneWrite, type Stored, WriteBundle } from './write-bundle.ts'
import { ROOM_FROM_BYTES, type WriteRoom } from './write-room.ts'

/** What the bundles of a coordinator share. */
export interface TurnBundlesOptions {
  /** Deadline of operations that name none, ms. */
  readonly timeoutMs: number
  /** What is under way, so that a stop can end it. */
  readonly running: Set<{ cancel(error: KilovoltError): void }>
  /** Where bundles of writes that are large wait for their turn. */
  readonly room: WriteRoom
  readonly repair: Repair
  /** What of a record a reader sees. */
  readonly visible: (found: RecordBytes | undefined) => RecordBytes | undefined
  /** Told of each operation that fails; returns what it is to fail with. */
  readonly failed: (error: unknown) => unknown
  readonly readAlone: (place: RecordKey, options: OperationOptions) => Promise<RecordBytes | undefined>
  readonly writeAlone: (write: LoneWrite, options: OperationOptions) => Promise<Stored>
}

/** What an operation was called with, as far as it matters here. */
interface Call {
  readonly requirement: Requirement | 'any'
  readonly timeoutMs: number | undefined
  readonly signal: AbortSignal | undefined
}

/** A call at a level of owners. */
interface OwnersCall extends Call {
  readonly requirement: Requirement
}

/** Level and deadline: what goes together has the same. */
type BundleKey = string | number

/** Whichever of the two kinds of bundle. */
interface Startable {
  start(): void
  cancel(error: KilovoltError): void
}

/** Larger values go by themselves: those that share a message with them would wait for them. */
export const BUNDLED_BYTES_MAX: number = ROOM_FROM_BYTES
/** Values of more bytes go together, but not with smaller ones, which need not wait where there are many of them. */
const SMALL_BYTES_MAX = 4 * 1024

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
    if (!isOfReads(call) || !this.#isBundled(call)) return undefined
    const key = keyOf(call)
    const present = this.#reads.get(key)
    return present?.isFull === false ? present : this.#opened(this.#reads, key, this.#readBundle(call))
  }

  /** Where a write of so many bytes is to go; `undefined` when it is to go by itself. */
  writesFor(call: Call, bytes: number): WriteBundle | undefined {
    if (!isOfWrites(call) || bytes > BUNDLED_BYTES_MAX || !this.#isBundled(call)) return undefined
    const key = bytes > SMALL_BYTES_MAX ? `large at ${keyOf(call)}` : keyOf(call)
    const present = this.#writes.get(key)
    return present?.isFull === false ? present : this.#opened(this.#writes, key, this.#writeBundle(call, false))
  }

  /** A bundle for the reads of one call, which starts it; `undefined` when they are to go by themselves. */
  reads(call: Call): ReadBundle | undefined {
    return isOfReads(call) && !this.#isStopped ? this.#readBundle(call) : undefined
  }

  /** A bundle for the writes of one call, which starts it; `undefined` when they are to go by themselves. */
  writes(call: Call): WriteBundle | undefined {
    return isOfWrites(call) && !this.#isStopped ? this.#writeBundle(call, true) : undefined
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

  #readBundle(call: OwnersCall): ReadBundle {
    const { requirement, signal } = call
    const { repair, visible, readAlone } = this.#options
    const bundle: ReadBundle = new ReadBundle(this.#deps, {
      ...this.#shared(call, () => bundle),
      repair,
      visible,
      readAlone: (place, timeoutMs) => readAlone(place, { requirement, timeoutMs, signal })
    })
    this.#options.running.add(bundle)
    return bundle
  }

  #writeBundle(call: OwnersCall, isHeld: boolean): WriteBundle {
    const { requirement, signal } = call
    const { writeAlone, room } = this.#options
    const bundle: WriteBundle = new WriteBundle(this.#deps, {
      ...this.#shared(call, () => bundle),
      room,
      isHeld,
      writeAlone: write => {
        const { timeoutMs, isRepeat } = write
        return writeAlone(write, { requirement, timeoutMs, signal, isRepeat })
      }
    })
    this.#options.running.add(bundle)
    return bundle
  }

  #shared({ requirement, timeoutMs: ownTimeoutMs }: OwnersCall, self: () => Startable): BundleOptions {
    const { timeoutMs, running, failed } = this.#options
    return { requirement, timeoutMs: ownTimeoutMs ?? timeoutMs, failed, onOver: () => running.delete(self()) }
  }

  #opened<B extends Startable>(bundles: Map<BundleKey, B>, key: BundleKey, bundle: B): B {
    // One that is full already need not wait for the end of the turn.
    bundles.get(key)?.start()
    bundles.set(key, bundle)
    return bundle
  }

  readonly #onTurnOver = (): void => {
    this.#hasBegun = false
    for (const bundles of [this.#reads, this.#writes]) {
      const due = [...bundles.values()]
      bundles.clear()
      for (const bundle of due) bundle.start()
    }
    // Not before: what goes together, and what has gone by itself in this turn, asks the same replicas.
    this.#deps.snitch.rotate()
  }
}

/** At `one` a single replica is asked, and the next one when it does not answer soon. */
function isOfReads(call: Call): call is OwnersCall {
  return call.requirement !== 'any' && call.requirement !== 'one'
}

function isOfWrites(call: Call): call is OwnersCall {
  return call.requirement !== 'any'
}

function keyOf({ requirement, timeoutMs }: OwnersCall): BundleKey {
  return timeoutMs === undefined ? requirement : `${requirement} within ${timeoutMs}`
}
