import { abortError, onAbort } from '../base/abort.ts'
import { createDeferred } from '../base/deferred.ts'
import { KilovoltError } from '../base/errors.ts'
import type { PeerId, StoreId } from '../model/node-id.ts'
import { type Requirement, Tally } from '../model/quorum.ts'
import type { RecordBytes } from '../model/record.ts'
import type { PlacementRules } from '../placement/rules.ts'
import type { Topology } from '../placement/topology.ts'
import type { Clock } from '../runtime/clock.ts'
import { Deadline, type TimerWheel } from '../runtime/timer-wheel.ts'
import type { KeyedRecord, RecordKey, StampSource } from '../storage/record-store.ts'
import type { MessageType } from '../transport/message-type.ts'
import type { Outcome, Transport } from '../transport/transport.ts'
import { outOfReachError, type ReplicaAnswer } from './out-of-reach.ts'
import type { Replica } from './replica.ts'
import type { Route, Routes } from './routes.ts'
import type { Snitch } from './snitch.ts'
import { mayHaveStored } from './wire.ts'

/** What operations share. */
export interface OperationDeps {
  readonly self: StoreId
  readonly transport: Transport
  readonly replica: Replica
  readonly stamps: StampSource
  readonly clock: Clock
  readonly rules: PlacementRules
  /** One wheel for the deadlines of all operations. */
  readonly wheel: TimerWheel
  readonly topology: () => Topology | undefined
  /** Routes of the latest topology; `undefined` before this node is a member. */
  readonly routes: () => Routes | undefined
  /** Whom reads ask first. */
  readonly snitch: Snitch
  readonly catchUp: (epoch: number, timeoutMs: number) => Promise<unknown>
  /** Whether gossip holds a member for dead: it is not asked, but counted as failed at once. */
  readonly isDead: (store: StoreId) => boolean
  /** Keeps a record, or a unit, for a store that could not be given it, or for any owner; `done` as for `HintStore.add`. */
  readonly keepFor: (
    target: StoreId,
    key: RecordKey,
    record: RecordBytes,
    done?: (error: KilovoltError | undefined) => void,
    rest?: readonly KeyedRecord[]
  ) => void
}

/** What one operation was asked for. */
export interface OperationOptions {
  readonly requirement: Requirement
  readonly timeoutMs: number
  /** What is left of that, when some of it has passed already. Default: all of it. */
  readonly leftMs?: number
  readonly signal: AbortSignal | undefined
  /** Whether an earlier attempt may have been executed already. Default false. */
  readonly isRepeat?: boolean
  /** Whether a write that is stamped again ends when it would have ended, instead of later by as much. Default false. */
  readonly keepsExpiry?: boolean
}

/** Figures of a coordinator since its node started. */
export interface CoordinatorStats {
  readonly reads: number
  readonly writes: number
  readonly failed: number
  readonly timedOut: number
  readonly restamped: number
  readonly readRepairs: number
}

/** Phases that one operation may take: each is a refreshed topology or a new stamp. */
const PHASES_MAX = 12

/** What is done when a replica has not answered for a while. */
export class Hedge extends Deadline {
  next: () => void = () => {}

  override expire(): void {
    this.next()
  }
}

/**
 * An operation over the replicas of one row: asks all, or as many as it needs and others when those fail or are slow;
 * counts; ends at the level, the deadline, or when out of reach.
 */
export abstract class Operation<Reply, Result> extends Deadline {
  protected readonly deps: OperationDeps
  protected readonly key: RecordKey
  protected readonly requirement: Requirement
  protected tally!: Tally
  protected route!: Route
  protected epoch = 0
  readonly #timeoutMs: number
  readonly #deadlineMs: number
  readonly #deferred = createDeferred<Result>()
  readonly #forgetAbort: (() => void) | undefined
  #answers: (string | undefined)[] = []
  /** Replicas that have been asked, or need not be: a bit each, by their place in the route. */
  #tried = 0
  #body: Uint8Array | undefined
  #hedging: Hedge | undefined
  #phase = 0
  #ended = false
  /** Whether some replica may have executed the operation although the caller is told that it failed. */
  #mayHaveRun: boolean

  constructor(deps: OperationDeps, key: RecordKey, options: OperationOptions) {
    super()
    this.deps = deps
    this.key = key
    this.requirement = options.requirement
    const { signal, timeoutMs, leftMs = timeoutMs } = options
    this.#mayHaveRun = options.isRepeat === true
    this.#timeoutMs = timeoutMs
    this.#deadlineMs = deps.clock.monotonicMs() + leftMs
    deps.wheel.add(this, leftMs)
    this.#forgetAbort =
      signal === undefined ? undefined : onAbort(signal, () => this.cancel(abortError(signal, this.what)))
  }

  override expire(): void {
    this.fail(this.#timeoutError())
  }

  /** "read" or "write", for messages. */
  protected abstract readonly what: 'read' | 'write'
  protected abstract readonly type: MessageType
  /** How many replicas are asked at once; others only when those fail or are slow. {@link Infinity}: all. */
  protected abstract readonly atOnce: number
  protected abstract encode(): Uint8Array
  protected abstract decode(body: Uint8Array): Reply
  protected abstract askSelf(done: (error: KilovoltError | undefined, reply: Reply | undefined) => void): void
  /** A replica has answered in the present phase. */
  protected abstract onReply(store: StoreId, reply: Reply): void

  /** A replica has answered, or not, in the last phase, but after the operation's end. */
  protected onLate(_store: StoreId, _outcome: Outcome): void {}

  /** Whether a replica is known to have done it in this epoch, and need not be asked. */
  protected isHeldBy(_store: StoreId): boolean {
    return false
  }

  /** Ends it at once, because the node stops or the caller wants it no more. */
  cancel(error: KilovoltError): void {
    if (this.#end()) this.#deferred.reject(error)
  }

  run(): Promise<Result> {
    if (!this.#ended) this.phase()
    return this.#deferred.promise
  }

  /** Takes the latest topology and asks the replicas of the row. */
  protected phase(): void {
    const routes = this.deps.routes()
    if (routes === undefined) {
      return this.fail(new KilovoltError('KV_NOT_JOINED', 'this node is not a member of a cluster yet'))
    }
    // Whoever has not answered in the phase before may have done it all the same.
    if (this.#phase > 0) this.#mayHaveRun = true
    const phase = ++this.#phase
    if (phase > PHASES_MAX) return this.fail(this.#timeoutError())
    this.epoch = routes.topology.epoch
    this.route = routes.of(this.key.partition, this.requirement === 'one')
    this.tally = new Tally(this.route.sets, this.requirement)
    this.#answers = []
    this.#body = undefined
    this.#tried = 0
    if (this.what === 'write' && !this.#mayHaveRun) this.#passOverDead()
    // Nobody is asked for what can come to nothing: a write would be stored by some, and told to have failed. More
    // copies may be asked for than the row has.
    if (this.tally.state === 'lost') return this.outOfReach()
    const count = Math.min(this.atOnce, this.route.replicas.length)
    for (let i = 0; i < count && phase === this.#phase && !this.#ended; i++) this.#askNext()
  }

  /** Counts those who cannot be asked as failed, before anybody is asked. */
  #passOverDead(): void {
    const { replicas } = this.route
    for (let at = 0; at < replicas.length; at++) {
      if (!this.#isDown(at)) continue
      this.#tried |= 1 << at
      this.note(replicas[at]!, 'down')
      this.tally.no(replicas[at]!)
    }
  }

  #isDown(at: number): boolean {
    const store = this.route.replicas[at]!
    return store !== this.deps.self && (this.route.peers[at] === undefined || this.deps.isDead(store))
  }

  /** Whether some replicas are asked only when others fail or are slow. */
  get #isSparing(): boolean {
    return this.atOnce < this.route.replicas.length
  }

  /** This node first: what it holds is known at once. */
  #nextPlace(): number {
    const { replicas, locals } = this.route
    if (locals === 1 && this.#tried === 0) return 0
    // At `one` nobody takes turns: what an app has read there once it does not miss again for no reason.
    const from = this.requirement === 'one' ? 0 : this.deps.snitch.rotation
    if (this.#isSparing) return this.deps.snitch.next(this.route, this.#tried, from)
    for (let at = 0; at < replicas.length; at++) if (((this.#tried >> at) & 1) === 0) return at
    return -1
  }

  #askNext(): void {
    const at = this.#nextPlace()
    if (at === -1) return
    this.#tried |= 1 << at
    const store = this.route.replicas[at]!
    const phase = this.#phase
    if (this.isHeldBy(store)) return
    if (store === this.deps.self) {
      this.askSelf((error, reply) => {
        if (phase !== this.#phase || this.#ended) return
        if (error !== undefined) this.no(store, error.code, mayHaveStored(error))
        else this.onReply(store, reply!)
      })
      return
    }
    if (this.#isDown(at)) return this.no(store, 'down', false)
    const peer = this.route.peers[at]!
    this.#body ??= this.encode()
    if (this.#isSparing) this.#askSparingly(peer, store, phase)
    else this.#send(peer, store, phase)
  }

  /** Others can be asked: who fails, or is late, is not asked first for a while. */
  #askSparingly(peer: PeerId, store: StoreId, phase: number): void {
    const { snitch, clock } = this.deps
    const askedMs = clock.monotonicMs()
    this.#hedge(store, phase)
    this.#send(peer, store, phase, outcome => snitch.ended(store, clock.monotonicMs() - askedMs, outcome))
  }

  #send(peer: PeerId, store: StoreId, phase: number, heard?: (outcome: Outcome) => void): void {
    const { transport } = this.deps
    const timeoutMs = this.answerWithinMs
    transport.request(peer, { type: this.type, class: 'data', body: this.#body!, timeoutMs }, outcome => {
      heard?.(outcome)
      if (phase !== this.#phase) return
      if (this.#ended) this.onLate(store, outcome)
      else this.#onOutcome(store, outcome)
    })
  }

  #hedge(store: StoreId, phase: number): void {
    const { wheel, snitch } = this.deps
    this.#hedging ??= new Hedge()
    this.#hedging.next = () => {
      if (phase !== this.#phase || this.#ended) return
      for (const late of this.#pending()) snitch.late(late)
      this.#askNext()
    }
    wheel.add(this.#hedging, snitch.lateAfterMs(store))
  }

  #stopHedging(): void {
    if (this.#hedging !== undefined) this.deps.wheel.cancel(this.#hedging)
  }

  /** The others that have been asked and may still answer. */
  #pending(): readonly StoreId[] {
    const { replicas, locals } = this.route
    return replicas.filter(
      (_, at) => at >= locals && this.#answers[at] === undefined && ((this.#tried >> at) & 1) === 1
    )
  }

  /** Refreshes the topology to an epoch, then begins the next phase. */
  protected refresh(epoch: number): void {
    const phase = this.#phase
    this.#stopHedging()
    this.deps.catchUp(epoch, this.remainingMs).then(
      () => {
        if (phase === this.#phase && !this.#ended) this.phase()
      },
      (error: unknown) => this.fail(error)
    )
  }

  /** How long a replica may take to answer, when all are asked at once. */
  protected get answerWithinMs(): number {
    return this.remainingMs
  }

  protected get remainingMs(): number {
    return Math.max(1, this.#deadlineMs - this.deps.clock.monotonicMs())
  }

  /** Notes how a replica fared, for people to read. */
  protected note(store: StoreId, answer: string): void {
    this.#answers[this.route.replicas.indexOf(store)] = answer
  }

  /** Replicas that have answered, but not as they were asked to. */
  protected get failed(): readonly StoreId[] {
    return this.route.replicas.filter((_, i) => this.#answers[i] !== undefined && this.#answers[i] !== 'ok')
  }

  protected yes(store: StoreId): boolean {
    this.note(store, 'ok')
    this.#mayHaveRun = true
    if (this.tally.yes(store) !== 'won') return false
    this.#stopHedging()
    return true
  }

  protected no(store: StoreId, answer: string, mayHaveRun: boolean): void {
    this.note(store, answer)
    if (mayHaveRun) this.#mayHaveRun = true
    const state = this.tally.no(store)
    if (state === 'lost') this.outOfReach()
    else if (state === 'pending' && this.#isSparing && !this.#ended) this.#askNext()
  }

  protected succeed(result: Result): void {
    if (this.#end()) this.#deferred.resolve(result)
  }

  /**
   * Fails a turn later: an app that calls again at once, whatever happens, would otherwise keep the event loop to itself, and
   * with it the messages that would make the next call succeed.
   */
  protected fail(error: unknown): void {
    if (this.#end()) this.deps.clock.soon(() => this.#deferred.reject(error))
  }

  #onOutcome(store: StoreId, outcome: Outcome): void {
    switch (outcome.kind) {
      case 'reply': {
        let reply: Reply
        try {
          reply = this.decode(outcome.body)
        } catch (error) {
          return this.no(store, (error as KilovoltError).code, true)
        }
        return this.onReply(store, reply)
      }
      case 'refused':
        return this.no(store, outcome.error.code, mayHaveStored(outcome.error))
      case 'unsent':
        return this.no(store, 'unsent', false)
      case 'lost':
      case 'timeout':
        return this.no(store, outcome.kind, true)
    }
  }

  protected outOfReach(): void {
    const { what, key, requirement } = this
    const answers = this.#listAnswers()
    const mayHaveRun = this.#mayHaveRun || answers.some(({ answer }) => answer === 'pending')
    this.fail(outOfReachError({ what, key, requirement, sets: this.route.sets, answers, mayHaveRun }))
  }

  #timeoutError(): KilovoltError {
    const unknown = this.what === 'write' ? ': its outcome is unknown, it may be stored or become so' : ''
    return new KilovoltError('KV_TIMEOUT', `a ${this.what} did not finish within ${this.#timeoutMs} ms${unknown}`, {
      retryable: this.what === 'read',
      details: { answers: this.#listAnswers(), ...(this.what === 'write' ? { outcome: 'unknown' } : {}) }
    })
  }

  #listAnswers(): ReplicaAnswer[] {
    return (this.#phase === 0 ? [] : this.route.replicas).map((store, i) => ({
      store,
      answer: this.#answers[i] ?? ((this.#tried >> i) & 1 ? 'pending' : 'unasked')
    }))
  }

  /** How many phases there have been. */
  protected get phases(): number {
    return this.#phase
  }

  protected get hasEnded(): boolean {
    return this.#ended
  }

  #end(): boolean {
    if (this.#ended) return false
    this.#ended = true
    this.deps.wheel.cancel(this)
    this.#stopHedging()
    this.#forgetAbort?.()
    return true
  }
}
