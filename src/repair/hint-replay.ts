import { KilovoltError, messageOf } from '../base/errors.ts'
import { hlcToMs } from '../model/hlc.ts'
import type { StoreId } from '../model/node-id.ts'
import { type RecordBytes, recordHlc } from '../model/record.ts'
import { isRowReplica, rowOf, type Topology } from '../placement/topology.ts'
import type { Replica } from '../replication/replica.ts'
import { decodePutReply, encodePut, type PutReply, type PutRequest } from '../replication/wire.ts'
import { type Clock, pause, type Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { ANY_OWNER, type HintStore } from '../storage/hint-store.ts'
import type { RecordKey, StoredRecord } from '../storage/record-store.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import { ask } from './ask.ts'

/** What handing hints over needs. */
export interface HintReplayDeps {
  readonly self: StoreId
  readonly transport: Transport
  readonly hints: HintStore
  readonly replica: Replica
  /** Gives a quorum of the owners a record, unless they have something at least as new. */
  readonly bring: (place: RecordKey, record: RecordBytes) => Promise<void>
  readonly clock: Clock
  readonly logger: Logger
  readonly topology: () => Topology | undefined
  readonly isAlive: (store: StoreId) => boolean
}

/** How often it is looked whether somebody is back, ms; a return that is noticed is looked at at once. */
const LOOK_EVERY_MS = 1000
/** Pause after a target has failed, ms; doubled with each failure up to the greatest. */
const BACK_OFF_MS = 1000
const BACK_OFF_MAX_MS = 60_000
/** Hints under way to one target, and the pause after each page of them, ms: requests go first. */
const AT_ONCE = 16
const REST_MS = 2
const PAGE_RECORDS = 256
const PAGE_BYTES = 256 * 1024
const TIMEOUT_MS = 5000
/** Bytes of hints under way to one target, but for a single unit. */
const BYTES_AT_ONCE = 4 * 1024 * 1024
/** Older than this a hint is given up, ms: comparing copies brings more, and cheaper. Not so one that may be the only copy. */
const AGE_MAX_MS = 3 * 3_600_000

interface Pace {
  failures: number
  notBeforeMs: number
}

/**
 * Hands over what is kept for others: to its target as soon as that lives, or, if it owns the partition no more, to one of
 * those who do. A hint is deleted only when an owner has acknowledged it. One target after the other, each at its own
 * pace: one that fails is left alone for a while.
 */
export class HintReplay {
  readonly #deps: HintReplayDeps
  readonly #paces = new Map<StoreId, Pace>()
  readonly #abort = new AbortController()
  #timer: Timer | undefined
  #running: Promise<void> | undefined
  #stopped = false

  constructor(deps: HintReplayDeps) {
    this.#deps = deps
  }

  start(): void {
    this.#schedule(LOOK_EVERY_MS)
  }

  /** A node is back: what is kept for it need not wait for the next look. */
  returned(store: StoreId): void {
    // It may be an owner of what is kept for any of them, too.
    this.#paces.delete(store)
    this.#paces.delete(ANY_OWNER)
    const { targets } = this.#deps.hints
    if (targets.includes(store) || targets.includes(ANY_OWNER)) this.#schedule(0)
  }

  cancel(): void {
    this.#stopped = true
    this.#abort.abort()
    this.#timer?.cancel()
  }

  /** Resolves when nothing is under way any more; the transport must be stopped first, or be about to. */
  async stop(): Promise<void> {
    this.cancel()
    await this.#running
  }

  #schedule(delayMs: number): void {
    this.#timer?.cancel()
    if (this.#stopped) return
    this.#timer = this.#deps.clock.after(delayMs, () => {
      this.#running ??= this.#round().finally(() => {
        this.#running = undefined
        this.#schedule(LOOK_EVERY_MS)
      })
    })
  }

  async #round(): Promise<void> {
    const { hints, clock, logger } = this.#deps
    for (const target of hints.targets) {
      const pace = this.#paces.get(target) ?? { failures: 0, notBeforeMs: 0 }
      if (this.#stopped) return
      if (clock.monotonicMs() < pace.notBeforeMs || this.#isAwaited(target)) continue
      try {
        await this.#drain(target)
        this.#paces.delete(target)
      } catch (error) {
        const pauseMs = Math.min(BACK_OFF_MAX_MS, BACK_OFF_MS * 2 ** pace.failures)
        this.#paces.set(target, { failures: pace.failures + 1, notBeforeMs: clock.monotonicMs() + pauseMs })
        if (!this.#stopped) logger.debug('hints are kept for later', { target, error: messageOf(error) })
      }
    }
  }

  /** Whether the target is dead and its place is kept: its hints wait for it. */
  #isAwaited(target: StoreId): boolean {
    const { topology, isAlive } = this.#deps
    const status = topology()?.members.get(target)?.status
    return (status === 'up' || status === 'down') && !isAlive(target)
  }

  /** Rejects as soon as one hint can be given to nobody. */
  async #drain(target: StoreId): Promise<void> {
    const { hints, clock } = this.#deps
    const kept = hints.of(target)
    for (const partition of await kept.partitions()) {
      for (let last: StoredRecord | undefined; ;) {
        const page: readonly StoredRecord[] = await kept.page(partition, last, PAGE_RECORDS, PAGE_BYTES)
        last = page.at(-1)
        if (last === undefined) break
        for (const some of shares(await hints.unitsOf(target, page))) {
          await Promise.all(some.map(unit => this.#deliver(target, unit)))
        }
        await pause(clock, REST_MS, this.#abort.signal)
        if (this.#stopped) return
      }
    }
  }

  /** Hands over what was written together, which may be a single record. */
  async #deliver(target: StoreId, unit: readonly StoredRecord[]): Promise<void> {
    const { clock } = this.#deps
    const isOld = clock.wallMs() - hlcToMs(recordHlc(unit[0]!.record)) > AGE_MAX_MS
    if (isOld && target !== ANY_OWNER) return this.#remove(target, unit, false)
    let failure: unknown = new KilovoltError('KV_UNREACHABLE', 'no owner lives', { retryable: true })
    for (const receiver of this.#receivers(target, unit[0]!)) {
      try {
        await this.#give(receiver, unit, target === ANY_OWNER)
        return await this.#remove(target, unit, true)
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }

  async #remove(target: StoreId, unit: readonly StoredRecord[], isDelivered: boolean): Promise<void> {
    await Promise.all(unit.map(stored => this.#deps.hints.remove(target, stored, isDelivered)))
  }

  /** Who may take a hint now: its target, or any owner if that owns the partition no more. */
  #receivers(target: StoreId, { partition }: StoredRecord): readonly StoreId[] {
    const { self, topology, isAlive } = this.#deps
    const here = topology()
    if (here === undefined) return []
    const row = rowOf(here, partition)
    const wanted = isRowReplica(row, target) ? [target] : row.slots
    return wanted.filter(store => store === self || isAlive(store))
  }

  /**
   * Resolves when the receiver holds the record, or a newer one. What may be the only copy of a write is new to its owners.
   * When it comes too late to be taken under its stamp it must not become newer than what was written meanwhile: it is taken
   * for what it is, an old record that somebody brings along (rule G4).
   */
  async #give(receiver: StoreId, unit: readonly StoredRecord[], isNew: boolean): Promise<void> {
    const reply = await this.#put(receiver, unit, isNew)
    if (reply.kind === 'late') {
      await Promise.all(unit.map(stored => this.#deps.bring(stored, stored.record)))
    } else if (reply.kind === 'fenced')
      throw new KilovoltError('KV_UNREACHABLE', `${receiver} did not take it: ${reply.kind}`, { retryable: true })
  }

  async #put(receiver: StoreId, unit: readonly StoredRecord[], isNew: boolean): Promise<PutReply> {
    const { self, transport, replica, topology } = this.#deps
    const { partition, keyspace, key, record } = unit[0]!
    const here = topology()!
    const rest = unit.length === 1 ? undefined : unit.slice(1)
    const request: PutRequest = { partition, keyspace, key, record, exempt: false, repair: !isNew, rest }
    if (receiver === self) {
      return new Promise((resolve, reject) => {
        replica.put(request, here.epoch, (error, reply) => (reply === undefined ? reject(error!) : resolve(reply)))
      })
    }
    const peer = here.members.get(receiver)?.peerId
    if (peer === undefined) throw new KilovoltError('KV_UNREACHABLE', `${receiver} is no member`)
    const message = { type: MessageType.PUT, class: 'bulk', body: encodePut(request), timeoutMs: TIMEOUT_MS } as const
    return decodePutReply((await ask(transport, peer, message)).body)
  }
}

/** What is handed over at the same time. */
function* shares(units: readonly (readonly StoredRecord[])[]): Generator<readonly (readonly StoredRecord[])[]> {
  let some: (readonly StoredRecord[])[] = []
  let bytes = 0
  for (const unit of units) {
    some.push(unit)
    for (const { record } of unit) bytes += record.length
    if (some.length < AT_ONCE && bytes < BYTES_AT_ONCE) continue
    yield some
    some = []
    bytes = 0
  }
  if (some.length > 0) yield some
}
