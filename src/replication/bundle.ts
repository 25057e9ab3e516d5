import { KilovoltError } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import type { Requirement } from '../model/quorum.ts'
import { Deadline } from '../runtime/timer-wheel.ts'
import type { MessageType } from '../transport/message-type.ts'
import type { Outcome } from '../transport/transport.ts'
import { BUNDLE_BYTES_MAX, BUNDLE_MAX } from './bundle-wire.ts'
import type { Item, ItemState } from './item.ts'
import { Hedge, type OperationDeps } from './operation.ts'
import type { Route } from './routes.ts'

/** What a bundle is made for. */
export interface BundleOptions {
  readonly requirement: Requirement
  readonly timeoutMs: number
  /** Told of each operation that fails here; returns what it is to fail with. */
  readonly failed: (error: unknown) => unknown
  /** Called once, when nothing of it is under way any more. */
  readonly onOver: () => void
}

/**
 * So many operations of a bundle, one after the other, ask the same replicas where they have a choice: fewer messages cost
 * less, and larger ones keep the replicas from working at the same time.
 */
const STRIDE = 32

/**
 * Operations that an app begins in the same turn of the event loop, over the replicas of their rows: each replica is asked
 * once for all of them. Of a `quorum` at 64 in flight a fifth of the time goes into what operations have to do, and the rest
 * into messages, deadlines and counting for each alone; what goes together shares that.
 *
 * The common case alone is dealt with here: rows at rest, and replicas that agree. Whatever is out of the ordinary (a row
 * that changes, copies that differ, a replica that refuses or fails) goes on by itself, as an {@link Operation} from its
 * beginning, which knows all cases.
 */
export abstract class Bundle<I extends Item<Result>, Result, Answer> extends Deadline {
  protected readonly deps: OperationDeps
  protected readonly requirement: Requirement
  readonly #options: BundleOptions
  #deadlineMs = Infinity
  readonly #items: I[] = []
  #bytes = 0
  #running = 0
  #waiting = 0
  #ended = false
  #hedging: Hedge | undefined
  /** The last request, which most often says the same to the next replica. */
  #encoded: { readonly items: readonly I[]; readonly body: Uint8Array } | undefined

  constructor(deps: OperationDeps, options: BundleOptions) {
    super()
    this.deps = deps
    this.requirement = options.requirement
    this.#options = options
  }

  /** Whether it takes no more. */
  get isFull(): boolean {
    return this.#items.length >= BUNDLE_MAX || this.#bytes >= BUNDLE_BYTES_MAX
  }

  /** Bytes of all of it on the wire, roughly. */
  protected get bytes(): number {
    return this.#bytes
  }

  /** Takes an operation in, of some bytes on the wire. */
  protected enter(item: I, bytes: number): void {
    this.#items.push(item)
    this.#bytes += bytes
  }

  /** Begins: asks this node's copies and others. To be called once. */
  start(timeoutMs: number = this.#options.timeoutMs): void {
    if (this.#ended) return
    // All that it was made for goes by itself.
    if (this.#items.length === 0) return this.#end()
    const { clock, wheel, routes } = this.deps
    const latest = routes()
    this.#running = this.#items.length
    // The time of all begins now: the last one of a long turn has no less of it than the first.
    this.#deadlineMs = clock.monotonicMs() + timeoutMs
    wheel.add(this, timeoutMs)
    const here: I[] = []
    const others = new Map<StoreId, I[]>()
    for (let i = 0; i < this.#items.length; i++) {
      const item = this.#items[i]!
      const route = latest?.of(item.partition, this.requirement === 'one')
      if (route?.isSteady !== true) {
        this.alone(item)
        continue
      }
      this.#begin(item, route, i, others)
      if (route.locals === 1 && item.state === 'running') here.push(item)
    }
    this.#askHere(here, latest?.topology.epoch ?? 0)
    this.#askAll(others)
    this.#endIfOver()
  }

  /** Ends what is under way, because the node stops. */
  cancel(error: KilovoltError): void {
    for (const item of this.#items) this.fail(item, error)
    this.#end()
  }

  override expire(): void {
    for (const item of this.#items) if (item.state === 'running') this.fail(item, this.#timeoutError(item))
  }

  protected abstract readonly what: 'read' | 'write'
  protected abstract readonly type: MessageType
  /** Whether no more replicas are asked than are needed, unless those are slow. */
  protected abstract readonly isSparing: boolean
  protected abstract encode(items: readonly I[]): Uint8Array
  protected abstract decode(body: Uint8Array, items: readonly I[]): readonly Answer[]
  protected abstract answerHere(
    items: readonly I[],
    epoch: number,
    done: (error: KilovoltError | undefined, answers: readonly Answer[] | undefined) => void
  ): void
  /** The replica at this place of the route has answered for an operation. */
  protected abstract onAnswer(item: I, at: number, answer: Answer): void
  /** That replica has not, and will not; `isFailure`: what it was to be given it has not got. */
  protected abstract onMiss(item: I, at: number, isFailure: boolean): void
  /** Does the operation by itself, within the time that is left. */
  protected abstract goOn(item: I, timeoutMs: number): Promise<Result>

  /** All that it was started for has its result, or goes on by itself. */
  protected onSettled(): void {}

  protected get remainingMs(): number {
    return Math.max(1, this.#deadlineMs - this.deps.clock.monotonicMs())
  }

  /** One answer more that says what the others do; whether that is enough. */
  protected agree(item: I, at: number): boolean {
    item.agreed |= 1 << at
    item.had++
    return item.had >= item.needed
  }

  /** One answer less to wait for. */
  protected miss(item: I, at: number, isFailure: boolean): void {
    item.miss(at)
    this.onMiss(item, at, isFailure)
    if (item.isOutOfReach) this.alone(item)
  }

  /** That replica has certainly not done it. */
  protected spare(item: I, at: number): void {
    item.asked &= ~(1 << at)
  }

  protected succeed(item: I, result: Result): void {
    if (this.#leave(item, 'done')) item.waiter.resolve(item.index, result)
  }

  protected fail(item: I, error: unknown): void {
    if (this.#leave(item, 'failed')) item.waiter.reject(item.index, this.#options.failed(error))
  }

  protected alone(item: I): void {
    if (this.#leave(item, 'alone')) item.waiter.resolve(item.index, this.goOn(item, this.remainingMs))
  }

  /** Decides whom to ask for an operation. */
  #begin(item: I, route: Route, index: number, others: Map<StoreId, I[]>): void {
    item.begin(route, this.requirement)
    const from = this.deps.snitch.rotation + Math.floor(index / STRIDE)
    const count = this.isSparing ? item.needed - route.locals : Infinity
    if (item.isOutOfReach) this.alone(item)
    for (let i = 0; i < count && item.state === 'running' && this.#choose(item, from, others); i++);
  }

  /** Chooses one replica more; whether there is one. Who is dead is not asked. */
  #choose(item: I, from: number, others: Map<StoreId, I[]>): boolean {
    const route = item.route!
    for (;;) {
      const at = this.deps.snitch.next(route, item.tried, from)
      if (at === -1) return false
      item.tried |= 1 << at
      const store = route.replicas[at]!
      if (route.peers[at] !== undefined && !this.deps.isDead(store)) {
        add(others, store, item)
        return true
      }
      item.miss(at)
      if (item.isOutOfReach) this.alone(item)
    }
  }

  #askHere(items: readonly I[], epoch: number): void {
    if (items.length === 0) return
    // Oneself is first in each route.
    for (const item of items) item.asked |= 1
    this.#waiting++
    this.answerHere(items, epoch, (error, answers) => {
      for (let i = 0; i < items.length; i++) {
        if (error !== undefined || answers === undefined) this.miss(items[i]!, 0, true)
        else this.onAnswer(items[i]!, 0, answers[i]!)
      }
      this.#waiting--
      this.#endIfOver()
    })
  }

  #askAll(others: ReadonlyMap<StoreId, readonly I[]>): void {
    let lateMs = 0
    for (const [store, items] of others) {
      this.#ask(store, items)
      lateMs = Math.max(lateMs, this.deps.snitch.lateAfterMs(store))
    }
    this.#encoded = undefined
    if (this.isSparing && lateMs > 0 && this.#running > 0) this.#hedge(lateMs)
  }

  #ask(store: StoreId, all: readonly I[]): void {
    const items = all.every(this.#isWanted) ? all : all.filter(this.#isWanted)
    if (items.length === 0) return
    for (const item of items) item.asked |= 1 << item.placeOf(store)
    this.#waiting++
    const { clock, snitch, transport } = this.deps
    const askedMs = clock.monotonicMs()
    const peer = items[0]!.route!.peers[items[0]!.placeOf(store)]!
    const request = { type: this.type, class: 'data', body: this.#bodyOf(items), timeoutMs: this.remainingMs } as const
    transport.request(peer, request, outcome => {
      if (this.isSparing) snitch.ended(store, clock.monotonicMs() - askedMs, outcome)
      this.#onOutcome(items, store, outcome)
      this.#waiting--
      this.#endIfOver()
    })
  }

  /** A read may be over by what this node holds; a write goes to everybody. */
  readonly #isWanted = ({ state }: I): boolean => state === 'running' || (state === 'done' && !this.isSparing)

  #bodyOf(items: readonly I[]): Uint8Array {
    const last = this.#encoded
    if (last?.items.length === items.length && items.every((item, i) => item === last.items[i])) return last.body
    const body = this.encode(items)
    this.#encoded = { items, body }
    return body
  }

  /** Whoever is slow is not waited for alone. */
  #hedge(lateMs: number): void {
    this.#hedging ??= new Hedge()
    this.#hedging.next = () => {
      const late = new Set<StoreId>()
      for (const item of this.#items) if (item.state === 'running') item.addPending(late)
      for (const store of late) if (store !== this.deps.self) this.deps.snitch.late(store)
      const others = new Map<StoreId, I[]>()
      for (const item of this.#items) if (item.state === 'running') this.#choose(item, 0, others)
      this.#askAll(others)
    }
    this.deps.wheel.add(this.#hedging, lateMs)
  }

  #onOutcome(items: readonly I[], store: StoreId, outcome: Outcome): void {
    let answers: readonly Answer[] | undefined
    try {
      if (outcome.kind === 'reply') answers = this.decode(outcome.body, items)
    } catch {
      // Bytes that make no sense are no answer.
    }
    // What never went out, or was turned away, has certainly not been done.
    const isDefinite = outcome.kind === 'unsent' || outcome.kind === 'refused'
    for (let i = 0; i < items.length; i++) {
      const item = items[i]!
      const at = item.placeOf(store)
      if (isDefinite) this.spare(item, at)
      if (answers === undefined) this.miss(item, at, true)
      else this.onAnswer(item, at, answers[i]!)
    }
  }

  #leave(item: I, state: ItemState): boolean {
    if (item.state !== 'running') return false
    item.state = state
    if (--this.#running === 0) {
      this.deps.wheel.cancel(this)
      if (this.#hedging !== undefined) this.deps.wheel.cancel(this.#hedging)
      this.onSettled()
    }
    return true
  }

  /** Replicas that answer late still have something to say. */
  #endIfOver(): void {
    if (this.#running === 0 && this.#waiting === 0) this.#end()
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#options.onOver()
  }

  #timeoutError(item: I): KilovoltError {
    const unknown = this.what === 'write' ? ': its outcome is unknown, it may be stored or become so' : ''
    const answers = (item.route?.replicas ?? []).map((store, at) => ({ store, answer: item.answerOf(at) }))
    return new KilovoltError(
      'KV_TIMEOUT',
      `a ${this.what} did not finish within ${this.#options.timeoutMs} ms${unknown}`,
      { retryable: this.what === 'read', details: { answers, outcome: 'unknown' } }
    )
  }
}

function add<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [value])
  else list.push(value)
}
