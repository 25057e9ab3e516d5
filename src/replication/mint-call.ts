import { abortError, onAbort } from '../base/abort.ts'
import { createDeferred } from '../base/deferred.ts'
import { type ErrorCode, KilovoltError } from '../base/errors.ts'
import { nameOf } from '../model/key.ts'
import type { StoreId } from '../model/node-id.ts'
import type { Requirement } from '../model/quorum.ts'
import type { RecordBytes } from '../model/record.ts'
import type { Timer } from '../runtime/clock.ts'
import { Deadline } from '../runtime/timer-wheel.ts'
import { MessageType } from '../transport/message-type.ts'
import type { Outcome } from '../transport/transport.ts'
import { AGAIN_WITHIN_MS, decodeMintReply, encodeMint, type MintReply, type MintRequest } from './mint-wire.ts'
import type { Minter } from './minter.ts'
import type { OperationDeps, OperationOptions } from './operation.ts'
import { foreseen, outOfReachError, type ReplicaAnswer } from './out-of-reach.ts'
import type { Route } from './routes.ts'
import { mayHaveStored } from './wire.ts'

/** What finding somebody who mints needs. */
export interface MintCallDeps extends Pick<
  OperationDeps,
  'self' | 'transport' | 'clock' | 'wheel' | 'routes' | 'snitch' | 'catchUp' | 'isDead'
> {
  readonly minter: Minter
}

/** What an owner has minted. */
export interface Minted {
  /** Who. */
  readonly store: StoreId
  /** In which epoch it was asked. */
  readonly epoch: number
  readonly record: RecordBytes
  readonly existed: boolean
}

/** How one owner fared: what it says, or that it cannot have done it. */
type Asked = { readonly kind: 'reply'; readonly reply: MintReply } | Exclude<Outcome, { readonly kind: 'reply' }>

/** Refusals that another owner would only repeat. */
const FINAL: readonly ErrorCode[] = ['KV_TOO_MANY_SIBLINGS', 'KV_CLOCK_DRIFT', 'KV_PROTOCOL']
/** Pause before an owner is asked again whose answer was lost, ms. */
const AGAIN_MS = 50

/**
 * Has one owner of a key mint a sibling: this node if it is one, else the first of the row that can be asked. Another is asked
 * only when it is certain that the one before has done nothing. When that is not known the same is asked again, by the same name
 * of the write, until it answers or the deadline comes, or it says that it may have forgotten: a write that two have minted would
 * be two siblings of one value, of which each could come back after the other was replaced (rule S3).
 */
export class MintCall extends Deadline {
  readonly #deps: MintCallDeps
  readonly #request: MintRequest
  readonly #requirement: Requirement
  readonly #timeoutMs: number
  readonly #startMs: number
  readonly #deadlineMs: number
  readonly #deferred = createDeferred<Minted>()
  readonly #forgetAbort: () => void
  readonly #answers = new Map<StoreId, string>()
  /** Who may have minted it. */
  #suspect: StoreId | undefined
  #again: Timer | undefined
  #ended = false

  constructor(deps: MintCallDeps, request: MintRequest, { requirement, timeoutMs, signal }: OperationOptions) {
    super()
    this.#deps = deps
    this.#request = request
    this.#requirement = requirement
    this.#timeoutMs = timeoutMs
    this.#startMs = deps.clock.monotonicMs()
    this.#deadlineMs = this.#startMs + timeoutMs
    deps.wheel.add(this, timeoutMs)
    this.#forgetAbort = onAbort(signal, () => this.cancel(abortError(signal!, 'a write')))
  }

  get remainingMs(): number {
    return Math.max(1, this.#deadlineMs - this.#deps.clock.monotonicMs())
  }

  run(): Promise<Minted> {
    if (!this.#ended) this.#begin()
    return this.#deferred.promise
  }

  /** Ends it at once, because the node stops or the caller wants it no more. */
  cancel(error: KilovoltError): void {
    if (this.#end()) this.#deferred.reject(error)
  }

  override expire(): void {
    const message = `no owner has minted the write within ${this.#timeoutMs} ms${UNKNOWN}`
    this.cancel(new KilovoltError('KV_TIMEOUT', message, { details: { answers: this.#listed(), outcome: 'unknown' } }))
  }

  /** What the others could not be given is not minted: it would be there, and its author told that it failed. */
  #begin(): void {
    const requirement = this.#requirement
    const { partition, brought } = this.#request
    const route = brought || requirement === 'one' ? undefined : this.#deps.routes()?.of(partition, false)
    const answers = route && foreseen(route, requirement, at => this.#canBeAsked(route, at))
    if (route === undefined || answers === undefined) return this.#ask()
    const { sets } = route
    const error = { what: 'write', key: this.#request, requirement, sets, answers, mayHaveRun: false } as const
    this.#fail(outOfReachError(error))
  }

  #canBeAsked({ replicas, peers }: Route, at: number): boolean {
    const { isDead, self } = this.#deps
    return replicas[at] === self || (peers[at] !== undefined && !isDead(replicas[at]!))
  }

  #ask(): void {
    const { routes, self, transport, snitch, clock, minter } = this.#deps
    const latest = routes()
    if (latest === undefined) {
      return this.cancel(new KilovoltError('KV_NOT_JOINED', 'this node is not a member of a cluster yet'))
    }
    const { epoch } = latest.topology
    const route = latest.of(this.#request.partition, true)
    const at = this.#choose(route)
    if (at === -1) return this.#outOfReach()
    const store = route.replicas[at]!
    if (store === self) {
      minter.mint(this.#request, epoch, (error, reply) => {
        if (reply === undefined) this.#on(store, epoch, { kind: 'refused', error: error! })
        else this.#on(store, epoch, { kind: 'reply', reply })
      })
      return
    }
    const body = encodeMint({ ...this.#request, again: this.#suspect !== undefined })
    const request = { type: MessageType.MINT, class: 'data', body } as const
    const askedMs = clock.monotonicMs()
    transport.request(route.peers[at]!, { ...request, timeoutMs: this.remainingMs }, outcome => {
      snitch.ended(store, clock.monotonicMs() - askedMs, outcome)
      this.#on(store, epoch, outcome.kind === 'reply' ? decoded(outcome.body) : outcome)
    })
  }

  /** Place of the owner to be asked: the one that may have done it already, before any other. */
  #choose(route: Route): number {
    const { snitch } = this.#deps
    const { replicas, locals } = route
    if (this.#suspect !== undefined) {
      const at = replicas.indexOf(this.#suspect)
      return at !== -1 && this.#canBeAsked(route, at) ? at : -1
    }
    let tried = 0
    for (let at = 0; at < replicas.length; at++) {
      if (!this.#canBeAsked(route, at)) this.#answers.set(replicas[at]!, 'down')
      if (this.#answers.has(replicas[at]!)) tried |= 1 << at
    }
    return locals === 1 && (tried & 1) === 0 ? 0 : snitch.next(route, tried, 0)
  }

  #on(store: StoreId, epoch: number, asked: Asked): void {
    if (this.#ended) return
    switch (asked.kind) {
      case 'reply':
        return this.#onReply(store, epoch, asked.reply)
      case 'refused':
        if (FINAL.includes(asked.error.code)) return this.cancel(asked.error)
        // A database that fails does not say how far it came.
        if (mayHaveStored(asked.error)) return this.#giveUp(store, asked.error.code)
        return this.#goOn(store, asked.error.code)
      case 'unsent':
        return this.#goOn(store, 'unsent')
      case 'lost':
      case 'timeout':
        this.#suspect = store
        return this.#goOn(store, asked.kind)
    }
  }

  #onReply(store: StoreId, epoch: number, reply: MintReply): void {
    if (reply.kind === 'minted') {
      const { record, existed } = reply
      if (this.#end()) this.#deferred.resolve({ store, epoch, record, existed })
    } else if (reply.epoch > epoch) {
      this.#deps.catchUp(reply.epoch, this.remainingMs).then(
        () => this.#ended || this.#ask(),
        (error: unknown) => this.cancel(error as KilovoltError)
      )
    } else this.#goOn(store, 'fenced')
  }

  #goOn(store: StoreId, answer: string): void {
    this.#answers.set(store, answer)
    const again = (): void => {
      if (!this.#ended) this.#ask()
    }
    const { clock } = this.#deps
    if (this.#suspect === undefined) clock.soon(again)
    else if (clock.monotonicMs() - this.#startMs > AGAIN_WITHIN_MS) this.#outOfReach()
    else this.#again = clock.after(AGAIN_MS, again)
  }

  /** Who may have minted it will not say so any more. */
  #giveUp(store: StoreId, answer: string): void {
    this.#answers.set(store, answer)
    this.#suspect = store
    this.#outOfReach()
  }

  #outOfReach(): void {
    const outcome = this.#suspect === undefined ? 'not-executed' : 'unknown'
    const answers = this.#listed()
    const said = answers.map(({ store, answer }) => `${store.slice(0, 8)} ${answer}`).join(', ')
    const error = new KilovoltError(
      'KV_QUORUM_NOT_REACHED',
      `a write in ${nameOf(this.#request.keyspace)}, which keeps siblings, needs an owner to mint it, at every level: ${said}; ` +
        `${outcome === 'unknown' ? 'one of them may have stored it' : 'no copy has stored it'} ` +
        `(partition ${this.#request.partition})`,
      { retryable: true, details: { answers, outcome, partition: this.#request.partition } }
    )
    this.#fail(error)
  }

  /** Fails a turn later, as operations do: an app that calls again at once would keep the event loop to itself. */
  #fail(error: KilovoltError): void {
    if (this.#end()) this.#deps.clock.soon(() => this.#deferred.reject(error))
  }

  #listed(): ReplicaAnswer[] {
    return [...this.#answers].map(([store, answer]) => ({ store, answer }))
  }

  #end(): boolean {
    if (this.#ended) return false
    this.#ended = true
    this.#deps.wheel.cancel(this)
    this.#again?.cancel()
    this.#forgetAbort()
    return true
  }
}

const UNKNOWN = ': its outcome is unknown, it may be stored or become so'

/** An answer that makes no sense was given by somebody who may have done it. */
function decoded(body: Uint8Array): Asked {
  try {
    return { kind: 'reply', reply: decodeMintReply(body) }
  } catch {
    return { kind: 'lost' }
  }
}
