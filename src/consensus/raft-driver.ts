import { KilovoltError, isKilovoltError, messageOf } from '../base/errors.ts'
import type { PeerId, StoreId } from '../model/node-id.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Random } from '../runtime/random.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Transport } from '../transport/transport.ts'
import type { LogStore } from './log-store.ts'
import type { RaftMessage, Snapshot } from './messages.ts'
import type { RaftOptions } from './options.ts'
import { Raft } from './raft.ts'
import type { Ready } from './ready.ts'
import type { RaftRules } from './rules.ts'
import { SNAPSHOT_BYTES_MAX, decodeRaftMessage, encodeRaftMessage } from './wire.ts'

/** What the driver works with. */
export interface RaftDriverDeps {
  readonly transport: Pick<Transport, 'send' | 'handle'>
  readonly logStore: LogStore
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly peerOf: (store: StoreId) => PeerId | undefined
  readonly rules: RaftRules | undefined
}

/** What the driver tells. Nothing is called any more after `failed` or {@link RaftDriver.stop}. */
export interface RaftDriverEvents {
  /** A snapshot takes the place of the whole state. */
  restore(snapshot: Snapshot): void
  /** What a turn has brought; the machine counts it as done when this returns. */
  deliver(ready: Ready): void
  /** A turn is over: whatever has come up may be asked of the machine. Returns in how many ms to do so again. */
  turn(raft: Raft, nowMs: number): number
  /** The state of everything applied. */
  snapshot(): Uint8Array
  failed(error: KilovoltError): void
}

/** Figures of the driver. */
export interface RaftDriverOptions extends RaftOptions {
  readonly group: number
  readonly keepEntries: number
  readonly keepBytes: number
}

/** A timer that comes later than this finds a backlog of messages, which are handled before anybody is missed, ms. */
const LATE_MS = 50
/** How long a late timer lets them come in, ms. */
const GRACE_MS = 30
const ROUTES_MAX = 256

/**
 * Runs a {@link Raft} machine: everything that comes in goes into it at once; once per turn of the event loop what has
 * come of it is sent, written, told and applied, in the order that {@link Ready} states.
 */
export class RaftDriver {
  readonly raft: Raft
  readonly #deps: RaftDriverDeps
  readonly #events: RaftDriverEvents
  readonly #options: RaftDriverOptions
  /** Where messages came from: a way back to stores of which nobody else knows the way yet. */
  readonly #routes = new Map<StoreId, PeerId>()
  #timer: Timer | undefined
  #timerAtMs = Number.POSITIVE_INFINITY
  #isLate = false
  #flushing = false
  #working: Promise<void> | undefined
  #trimFrom = 0
  #stopped = false

  /** Reads the log; the machine is what it was when it stopped. @throws KilovoltError `KV_CORRUPT`, `KV_STORAGE` */
  static async open(deps: RaftDriverDeps, events: RaftDriverEvents, options: RaftDriverOptions): Promise<RaftDriver> {
    const state = await deps.logStore.load()
    if (state.snapshot !== undefined) events.restore(state.snapshot)
    const { random, rules, clock } = deps
    const parts = rules === undefined ? { random } : { random, rules }
    return new RaftDriver(deps, events, options, new Raft(parts, options, state, clock.monotonicMs()))
  }

  private constructor(deps: RaftDriverDeps, events: RaftDriverEvents, options: RaftDriverOptions, raft: Raft) {
    this.#deps = deps
    this.#events = events
    this.#options = options
    this.raft = raft
  }

  /** Applies what is known to be committed, and begins to keep time. */
  async start(): Promise<void> {
    this.#work()
    await this.#working
  }

  /** Resolves when nothing is being written any more. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await this.#working
  }

  /** A frame's message; malformed ones are dropped. */
  receive(from: PeerId, body: Uint8Array): void {
    if (this.#stopped) return
    try {
      const { group, from: store, message } = decodeRaftMessage(body)
      if (group !== this.#options.group) return
      if (this.#routes.size >= ROUTES_MAX && !this.#routes.has(store)) this.#routes.clear()
      this.#routes.set(store, from)
      this.raft.step(message, this.#now())
    } catch (error) {
      if (isKilovoltError(error, 'KV_PROTOCOL')) {
        this.#deps.logger.warn('a malformed consensus message was dropped', { peer: from, error: messageOf(error) })
      } else this.#fail(error)
      return
    }
    this.wake()
  }

  /** The machine was given something: looks after it when the turn is over. */
  wake(): void {
    if (this.#flushing || this.#stopped) return
    this.#flushing = true
    this.#deps.clock.soon(() => {
      this.#flushing = false
      this.#work()
    })
  }

  #now(): number {
    return this.#deps.clock.monotonicMs()
  }

  #work(): void {
    if (this.#stopped) return
    this.#turn()
    this.#working ??= this.#drain().then(
      () => void (this.#working = undefined),
      (error: unknown) => this.#fail(error)
    )
  }

  async #drain(): Promise<void> {
    const { raft } = this
    const { logStore, clock } = this.#deps
    for (let ready = raft.ready(); ready !== undefined; ready = raft.ready()) {
      const { hardState, entries, snapshot, messages } = ready
      const mustWrite = hardState !== undefined || entries.length > 0 || snapshot !== undefined
      if (mustWrite) await logStore.write(ready)
      if (this.#stopped) return
      this.#send(messages)
      if (snapshot !== undefined) this.#events.restore(snapshot)
      this.#events.deliver(ready)
      raft.advance(this.#now())
      await this.#trim()
      // A long log is applied in slices, so that the event loop runs in between.
      const { applied, committed, stable } = raft.log
      if (ready.committed.length > 0 && applied < Math.min(committed, stable)) {
        await new Promise<void>(resolve => clock.soon(resolve))
      }
      if (this.#stopped) return
      this.#turn()
    }
  }

  /** What can be done without the disk. */
  #turn(): void {
    const nowMs = this.#now()
    const againMs = this.#events.turn(this.raft, nowMs)
    this.#send(this.raft.takeMessages(nowMs))
    this.#arm(Math.min(this.raft.deadlineMs, nowMs + againMs))
  }

  #send(messages: readonly RaftMessage[]): void {
    const { transport, peerOf } = this.#deps
    for (const message of messages) {
      const peer = peerOf(message.to) ?? this.#routes.get(message.to)
      if (peer === undefined) continue
      transport.send(peer, 'control', MessageType.RAFT, encodeRaftMessage(this.#options.group, message))
    }
  }

  #arm(atMs: number): void {
    if (atMs >= this.#timerAtMs || this.#isLate) return
    this.#timer?.cancel()
    this.#timerAtMs = atMs
    this.#timer = this.#deps.clock.after(Math.max(0, atMs - this.#now()), () => this.#ring())
  }

  /** First whatever has arrived, and only then the time: a process that stood still has messages waiting. */
  #ring(): void {
    const { clock } = this.#deps
    if (!this.#isLate && this.#now() - this.#timerAtMs > LATE_MS) {
      this.#isLate = true
      this.#timer = clock.after(GRACE_MS, () => this.#ring())
      return
    }
    clock.soon(() => {
      if (this.#stopped) return
      this.#isLate = false
      this.#timerAtMs = Number.POSITIVE_INFINITY
      this.raft.tick(this.#now())
      this.#work()
    })
  }

  /** Keeps the log short: a snapshot takes the place of old entries, once there are a quarter more than are kept. */
  async #trim(): Promise<void> {
    const { keepEntries, keepBytes } = this.#options
    const { log } = this.raft
    const isLong = log.applied - log.firstIndex + 1 > keepEntries * 1.25 || log.bytes > keepBytes * 1.25
    if (!isLong || log.applied < this.#trimFrom || log.applied <= (log.snapshot?.index ?? 0)) return
    this.#trimFrom = log.applied + Math.ceil(keepEntries / 4)
    const data = this.#events.snapshot()
    if (data.length > SNAPSHOT_BYTES_MAX) {
      this.#deps.logger.error('the state of a consensus group is too large to be sent: its log is not trimmed', {
        bytes: data.length,
        maxBytes: SNAPSHOT_BYTES_MAX
      })
      return
    }
    const index = log.applied
    const snapshot = { index, term: log.termAt(index)!, configuration: log.configurationAt(index), data }
    const firstIndex = log.firstWithin(index, keepEntries, keepBytes)
    await this.#deps.logStore.trim(snapshot, firstIndex, log.termAt(firstIndex - 1)!)
    this.raft.trim(snapshot, firstIndex)
    this.#deps.logger.debug('trimmed the log of a consensus group', { index, firstIndex })
  }

  /** A node that cannot keep its word must not give it. */
  #fail(error: unknown): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#timer?.cancel()
    const cause = isKilovoltError(error)
      ? error
      : new KilovoltError('KV_INTERNAL', `a consensus group failed: ${messageOf(error)}`, { cause: error })
    this.#deps.logger.error('this node takes no part in its consensus group any more', { error: messageOf(cause) })
    this.#events.failed(cause)
  }
}
