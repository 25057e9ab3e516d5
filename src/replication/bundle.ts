import { KilovoltError } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import { type Requirement, requiredAnswers } from '../model/quorum.ts'
import { Deadline } from '../runtime/timer-wheel.ts'
import type { RecordKey } from '../storage/record-store.ts'
import type { MessageType } from '../transport/message-type.ts'
import type { Outcome } from '../transport/transport.ts'
import type { OperationDeps } from './operation.ts'
import type { Route } from './routes.ts'
import { BUNDLE_MAX } from './bundle-wire.ts'

/** `running`; `done`: has its result; `failed`: has its error; `alone`: goes on by itself, outside of the bundle. */
export type ItemState = 'running' | 'done' | 'failed' | 'alone'

/** One operation of a bundle, while it is under way. */
export abstract class Item<Result> {
  readonly place: RecordKey
  readonly promise: Promise<Result>
  resolve!: (result: Result | Promise<Result>) => void
  reject!: (error: unknown) => void
  state: ItemState = 'running'
  /** Its row, once it is asked for. */
  route: Route | undefined
  /** Answers needed, answers had, and replicas that may still answer. */
  needed = 0
  had = 0
  left = 0
  /** Replicas that were asked and may have done it, that have, and that have not: a bit each, by their place in the route. */
  asked = 0
  agreed = 0
  missed = 0

  constructor(place: RecordKey) {
    this.place = place
    this.promise = new Promise<Result>((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }
}

/** What a bundle is made for. */
export interface BundleOptions {
  readonly requirement: Requirement
  readonly timeoutMs: number
  /** Called once, when nothing of it is under way any more. */
  readonly onOver: () => void
}

/** Bytes of one message of a bundle, roughly: what is large delays what is small behind it. */
const BUNDLE_BYTES_MAX = 1024 * 1024

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

  /** Takes an operation in, of some bytes on the wire. */
  protected enter(item: I, bytes: number): Promise<Result> {
    this.#items.push(item)
    this.#bytes += bytes
    return item.promise
  }

  /** Begins: asks this node's copies and all others. To be called once. */
  start(): void {
    if (this.#ended) return
    const { self, clock, wheel, routes } = this.deps
    const latest = routes()
    this.#running = this.#items.length
    // The time of all begins now: the last one of a long turn has no less of it than the first.
    this.#deadlineMs = clock.monotonicMs() + this.#options.timeoutMs
    wheel.add(this, this.#options.timeoutMs)
    const here: I[] = []
    const others = new Map<StoreId, I[]>()
    for (const item of this.#items) {
      const route = latest?.of(item.place.partition, this.requirement === 'one')
      if (route?.isSteady !== true) {
        this.alone(item)
        continue
      }
      this.#route(item, route)
      for (let at = 0; at < route.replicas.length && item.state === 'running'; at++) {
        const store = route.replicas[at]!
        if (store === self) here.push(item)
        else if (route.peers[at] === undefined || this.deps.isDead(store)) this.miss(item, at, true)
        else add(others, store, item)
      }
    }
    this.#askHere(here, latest?.topology.epoch ?? 0)
    for (const [store, items] of others) this.#ask(store, items)
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
    item.missed |= 1 << at
    item.left--
    this.onMiss(item, at, isFailure)
    if (item.left < item.needed) this.alone(item)
  }

  /** That replica has certainly not done it. */
  protected spare(item: I, at: number): void {
    item.asked &= ~(1 << at)
  }

  protected succeed(item: I, result: Result): void {
    if (this.#leave(item, 'done')) item.resolve(result)
  }

  protected fail(item: I, error: unknown): void {
    if (this.#leave(item, 'failed')) item.reject(error)
  }

  protected alone(item: I): void {
    if (this.#leave(item, 'alone')) item.resolve(this.goOn(item, this.remainingMs))
  }

  #route(item: I, route: Route): void {
    item.route = route
    item.needed = requiredAnswers(route.sets, this.requirement)[0]!
    item.left = route.replicas.length
    if (item.left < item.needed) this.alone(item)
  }

  #askHere(all: readonly I[], epoch: number): void {
    const items = all.filter(({ state }) => state !== 'alone')
    if (items.length === 0) return
    // Oneself is first in each route.
    for (const item of items) item.asked |= 1
    this.#waiting++
    this.answerHere(items, epoch, (error, answers) => {
      if (error !== undefined || answers === undefined) for (const item of items) this.miss(item, 0, true)
      else for (let i = 0; i < items.length; i++) this.onAnswer(items[i]!, 0, answers[i]!)
      this.#waiting--
      this.#endIfOver()
    })
  }

  #ask(store: StoreId, all: readonly I[]): void {
    // A read may be over by what this node holds; a write goes to everybody.
    const items = all.filter(({ state }) => state === 'running' || (state === 'done' && this.what === 'write'))
    if (items.length === 0) return
    const places = items.map(({ route }) => route!.replicas.indexOf(store))
    for (const [i, item] of items.entries()) item.asked |= 1 << places[i]!
    this.#waiting++
    const peer = items[0]!.route!.peers[places[0]!]!
    const body = this.encode(items)
    const timeoutMs = this.remainingMs
    this.deps.transport.request(peer, { type: this.type, class: 'data', body, timeoutMs }, outcome => {
      this.#onOutcome(items, places, outcome)
      this.#waiting--
      this.#endIfOver()
    })
  }

  #onOutcome(items: readonly I[], places: readonly number[], outcome: Outcome): void {
    let answers: readonly Answer[] | undefined
    try {
      if (outcome.kind === 'reply') answers = this.decode(outcome.body, items)
    } catch {
      // Bytes that make no sense are no answer.
    }
    // What never went out, or was turned away, has certainly not been done.
    const isDefinite = outcome.kind === 'unsent' || outcome.kind === 'refused'
    for (const [i, item] of items.entries()) {
      const at = places[i]!
      if (isDefinite) this.spare(item, at)
      if (answers === undefined) this.miss(item, at, true)
      else this.onAnswer(item, at, answers[i]!)
    }
  }

  #leave(item: I, state: ItemState): boolean {
    if (item.state !== 'running') return false
    item.state = state
    if (--this.#running === 0) this.deps.wheel.cancel(this)
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

  #timeoutError({ route, agreed, missed }: I): KilovoltError {
    const unknown = this.what === 'write' ? ': its outcome is unknown, it may be stored or become so' : ''
    const answers = (route?.replicas ?? []).map((store, at) => ({
      store,
      answer: (agreed >> at) & 1 ? 'ok' : (missed >> at) & 1 ? 'failed' : 'pending'
    }))
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
