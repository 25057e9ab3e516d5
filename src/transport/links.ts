import { abortError, onAbort } from '../base/abort.ts'
import { createDeferred, type Deferred } from '../base/deferred.ts'
import { isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'
import type { PeerId } from '../model/node-id.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { Deadline, TimerWheel } from '../runtime/timer-wheel.ts'
import type { TransportCounters } from './counters.ts'
import { Greeting, type GreetingDeps, type GreetingResult, refusedBy } from './greeting.ts'
import type { Hello } from './hello.ts'
import type { Host, Link } from './host.ts'
import { Lives } from './lives.ts'
import { PeerLinks } from './peer-links.ts'
import { RefusalLog } from './refusal-log.ts'
import { Rpc, type RpcDeps } from './rpc.ts'
import type { MessageHandler, TrafficClass } from './transport.ts'

/** What the links of a node need. */
export interface LinksDeps {
  readonly host: Host
  readonly clock: Clock
  readonly logger: Logger
  readonly counters: TransportCounters
  readonly hello: () => Hello
  readonly check: (other: Hello) => KilovoltError | undefined
  readonly epoch: () => number
  readonly tag: () => Uint8Array | undefined
  readonly handlerOf: (type: number) => MessageHandler | undefined
  readonly onUp: (peer: PeerId, hello: Hello) => void
  readonly onDown: (peer: PeerId, reason: string) => void
  readonly onRefused: (peer: PeerId | undefined, error: KilovoltError) => void
}

/** Malformed frames after which a peer's connection is closed. */
const STRIKES_MAX = 3
/** Longest it may take to open a link on an existing connection, ms. */
const OPEN_TIMEOUT_MS = 5000
/** How long a connection on which no link could be opened is left, so that both sides can find out why, ms. */
const LINGER_MS = 500
/** Peers of which it is remembered in which lives they were met. */
const LIVES_MAX = 4096

/**
 * All links of a node. The control link to a peer comes first and decides: it is open exactly as long as the peer
 * counts as linked. The data link is opened right after it by the smaller peer id, or by whoever needs it earlier; the
 * bulk link by whoever needs it.
 */
export class Links {
  readonly #deps: LinksDeps
  readonly #peers = new Map<PeerId, PeerLinks>()
  /** What is asked of peers about data before there is a link: their data links to be. */
  readonly #early = new Map<PeerId, Rpc>()
  /** Who waits for a peer to be linked. */
  readonly #waiting = new Map<PeerId, Deferred<Hello>>()
  readonly #greetings = new Set<Greeting>()
  /** Kept for those who are gone, too: two processes that run as one take turns. */
  readonly #lives = new Map<PeerId, Lives>()
  readonly #lingering = new Set<Linger>()
  readonly #refusals: RefusalLog
  readonly #rpcDeps: RpcDeps
  readonly #greetingDeps: GreetingDeps
  /** Aborted when all is closed. */
  readonly #abort = new AbortController()

  constructor(deps: LinksDeps) {
    const { host, clock, logger, counters, hello, check, epoch, tag, handlerOf } = deps
    const wheel = new TimerWheel(clock)
    this.#deps = deps
    this.#refusals = new RefusalLog(clock, logger)
    this.#rpcDeps = {
      clock,
      wheel,
      logger,
      counters,
      epoch,
      tag,
      handlerOf,
      onMalformed: (rpc, error) => this.#onMalformed(rpc.peer, error),
      onFarewell: (rpc, error) => this.#refused(rpc.peer, refusedBy(rpc.peer, error)),
      onClosed: (rpc, reason) => this.#onClosed(rpc, reason)
    }
    this.#greetingDeps = {
      wheel,
      hello,
      check,
      onTurnedAway: greeting => {
        this.#greetings.delete(greeting)
        this.#disconnectIdle(greeting.link.peer, 'refused')
      }
    }
    host.on('link', link => this.#onLink(link))
    host.on('disconnected', ({ peer, reason }) => this.#onDisconnected(peer, reason))
    host.on('refused', ({ peer, error }) => {
      if (error.code === 'KV_PROTOCOL' && peer !== undefined) this.#onMalformed(peer, error)
      else this.#refused(peer, error)
    })
  }

  isLinked(peer: PeerId): boolean {
    return this.#peers.get(peer)?.isLinked === true
  }

  /** Peers with an open control link. */
  linked(): readonly PeerId[] {
    return [...this.#peers.values()].filter(({ isLinked }) => isLinked).map(({ id }) => id)
  }

  helloOf(peer: PeerId): Hello | undefined {
    return this.#peers.get(peer)?.hello
  }

  /** Where a message of this class goes, if the peer is linked; begins to open the link when there is none yet. */
  rpc(to: PeerId, trafficClass: TrafficClass): Rpc | undefined {
    const peer = this.#peers.get(to)
    if (peer === undefined || !peer.isLinked) return undefined
    return peer.rpc(trafficClass) ?? this.#open(peer, trafficClass)
  }

  /** Where requests about data wait for a peer that is not linked yet, until it is, or `giveUp` or `close` is called. */
  early(to: PeerId): Rpc {
    let rpc = this.#early.get(to)
    if (rpc === undefined) this.#early.set(to, (rpc = new Rpc(to, 'data', this.#rpcDeps)))
    return rpc
  }

  /** Ends what waits for a peer to be linked. */
  giveUp(peer: PeerId, reason: string): void {
    const rpc = this.#early.get(peer)
    this.#early.delete(peer)
    rpc?.close(reason)
  }

  /**
   * Resolves with its hello when the peer, with which there is a connection, is linked.
   *
   * @throws KilovoltError `KV_UNREACHABLE`, `KV_HANDSHAKE`, `KV_ABORTED`
   */
  async link(id: PeerId, signal: AbortSignal): Promise<Hello> {
    const peer = this.#peer(id)
    if (peer.hello !== undefined) return peer.hello
    let waiting = this.#waiting.get(id)
    if (waiting === undefined) {
      this.#waiting.set(id, (waiting = createDeferred()))
      if (peer.rpc('control') === undefined) this.#open(peer, 'control')
    }
    const aborted = createDeferred<never>()
    const forget = onAbort(signal, () => aborted.reject(abortError(signal, `linking with ${id}`)))
    try {
      return await Promise.race([waiting.promise, aborted.promise])
    } finally {
      forget()
    }
  }

  /** Closes all links to a peer. */
  close(peer: PeerId, reason: string): void {
    this.giveUp(peer, reason)
    for (const rpc of this.#peers.get(peer)?.all() ?? []) rpc.close(reason)
  }

  /** Closes all links to everybody, for good. */
  closeAll(reason: string): void {
    this.#abort.abort(new KilovoltError('KV_NODE_STOPPED', reason))
    for (const greeting of this.#greetings) greeting.abandon(reason)
    this.#greetings.clear()
    for (const linger of this.#lingering) this.#rpcDeps.wheel.cancel(linger)
    for (const peer of [...this.#early.keys(), ...this.#peers.keys()]) this.close(peer, reason)
  }

  #peer(id: PeerId): PeerLinks {
    let peer = this.#peers.get(id)
    if (peer === undefined) this.#peers.set(id, (peer = new PeerLinks(this.#deps.host.self, id)))
    return peer
  }

  #livesOf(id: PeerId): Lives {
    let lives = this.#lives.get(id)
    if (lives !== undefined) return lives
    if (this.#lives.size >= LIVES_MAX) this.#lives.clear()
    this.#lives.set(id, (lives = new Lives()))
    return lives
  }

  #open(peer: PeerLinks, trafficClass: TrafficClass, rpc = new Rpc(peer.id, trafficClass, this.#rpcDeps)): Rpc {
    peer.opening(rpc)
    const limit = new AbortController()
    const timer = this.#deps.clock.after(OPEN_TIMEOUT_MS, () => limit.abort(new Error('it took too long')))
    const forget = onAbort(this.#abort.signal, () => limit.abort(this.#abort.signal.reason))
    const settle = (): void => {
      timer.cancel()
      forget()
    }
    this.#deps.host.open(peer.id, trafficClass, limit.signal).then(
      link => {
        settle()
        if (rpc.isClosed) link.close('nobody needs it any more')
        else this.#greet(link, rpc)
      },
      (error: unknown) => {
        settle()
        this.#openFailed(rpc, isKilovoltError(error) ? error : unreachable(peer.id, error))
      }
    )
    return rpc
  }

  #openFailed(rpc: Rpc, error: KilovoltError): void {
    const late = isKilovoltError(error, 'KV_ABORTED')
    if (rpc.class === 'control') this.#answerWaiting(rpc.peer, late ? unreachable(rpc.peer, error.cause) : error)
    rpc.close(error.message)
    this.#linger(rpc.peer, error.message)
  }

  /** The other side has opened a link. */
  #onLink(link: Link): void {
    if (this.#abort.signal.aborted) link.close('this node stops')
    else this.#greet(link, undefined)
  }

  /** Exchanges hellos; `rpc` is given when this node has opened the link. */
  #greet(link: Link, rpc: Rpc | undefined): void {
    const peer = this.#peer(link.peer)
    peer.greetings++
    const { check } = this.#greetingDeps
    const lives = this.#livesOf(link.peer)
    const deps = {
      ...this.#greetingDeps,
      check: (other: Hello) => check(other) ?? lives.admit(other, peer.isLinked)
    }
    const greeting = new Greeting(deps, link, rpc !== undefined, result => {
      peer.greetings--
      if (!greeting.isLingering) this.#greetings.delete(greeting)
      if ('hello' in result) this.#opened(peer, link, rpc, result.hello)
      else this.#notOpened(peer, link, rpc, result)
    })
    this.#greetings.add(greeting)
    greeting.start()
  }

  #opened(peer: PeerLinks, link: Link, ours: Rpc | undefined, hello: Hello): void {
    if (ours?.isClosed === true) {
      link.close('nobody needs it any more')
      return
    }
    const rpc = ours ?? new Rpc(peer.id, link.class, this.#rpcDeps)
    let isNews = !peer.isLinked
    const replaced = peer.opened(rpc, ours !== undefined, this.#deps.clock.monotonicMs())
    if (replaced.length > 0 && link.class === 'control') {
      // The peer has started anew, or lost the other link without our noticing: what was on it is gone.
      for (const old of peer.all()) if (old !== rpc) old.close('the peer has linked anew')
      this.#deps.onDown(peer.id, 'the peer has linked anew')
      isNews = true
    }
    for (const old of replaced) old.close('replaced')
    rpc.attach(link)
    if (link.class !== 'control') {
      // A data link of somebody whose control link is gone serves nobody.
      if (!peer.isLinked) rpc.close('there is no control link')
      return
    }
    peer.hello = hello
    this.#answerWaiting(peer.id, hello)
    if (!isNews) return
    const early = this.#early.get(peer.id)
    this.#early.delete(peer.id)
    if (early !== undefined) this.#open(peer, 'data', early)
    else if (this.#deps.host.self < peer.id && peer.rpc('data') === undefined) this.#open(peer, 'data')
    this.#deps.onUp(peer.id, hello)
  }

  #notOpened(
    peer: PeerLinks,
    link: Link,
    rpc: Rpc | undefined,
    { error, refused, malformed }: Extract<GreetingResult, { error: KilovoltError }>
  ): void {
    if (rpc !== undefined && link.class === 'control') this.#answerWaiting(peer.id, error)
    rpc?.close(error.message)
    if (malformed) this.#onMalformed(peer.id, error)
    else if (refused) this.#refused(peer.id, error)
    this.#forgetIdle(peer)
  }

  #answerWaiting(id: PeerId, answer: Hello | KilovoltError): void {
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) return
    this.#waiting.delete(id)
    if (answer instanceof KilovoltError) {
      // Whoever waited may have given up.
      waiting.promise.catch(() => {})
      waiting.reject(answer)
    } else {
      waiting.resolve(answer)
    }
  }

  #onClosed(rpc: Rpc, reason: string): void {
    const peer = this.#peers.get(rpc.peer)
    if (peer === undefined) return
    const wasLinked = peer.isLinked
    peer.closed(rpc)
    if (wasLinked && !peer.isLinked) {
      peer.hello = undefined
      for (const other of peer.all()) other.close(reason)
      this.#deps.onDown(peer.id, reason)
    }
    if (rpc.class === 'control' && !peer.isLinked) this.#answerWaiting(peer.id, unreachable(peer.id, reason))
    this.#forgetIdle(peer)
  }

  #onDisconnected(id: PeerId, reason: string): void {
    const peer = this.#peers.get(id)
    if (peer === undefined) return
    peer.strikes = 0
    for (const rpc of peer.all()) rpc.close(reason)
    this.#forgetIdle(peer)
  }

  #forgetIdle(peer: PeerLinks): void {
    if (peer.isIdle && peer.strikes === 0 && this.#peers.get(peer.id) === peer) this.#peers.delete(peer.id)
  }

  /** Closes the connection with a peer with whom there is nothing more to say, once it may have learnt why. */
  #linger(peer: PeerId, reason: string): void {
    if (this.#abort.signal.aborted) return
    const linger = new Linger(() => {
      this.#lingering.delete(linger)
      this.#disconnectIdle(peer, reason)
    })
    this.#lingering.add(linger)
    this.#rpcDeps.wheel.add(linger, LINGER_MS)
  }

  #disconnectIdle(id: PeerId, reason: string): void {
    if (this.#peers.get(id)?.isIdle !== false) this.#deps.host.disconnect(id, reason)
  }

  #onMalformed(id: PeerId, error: KilovoltError): void {
    const peer = this.#peer(id)
    this.#refused(id, error)
    if (++peer.strikes >= STRIKES_MAX) this.#deps.host.disconnect(id, `${STRIKES_MAX} malformed frames`)
  }

  #refused(peer: PeerId | undefined, error: KilovoltError): void {
    this.#refusals.note(peer, error)
    this.#deps.onRefused(peer, error)
  }
}

/** A disconnection that is put off. */
class Linger extends Deadline {
  readonly #then: () => void

  constructor(then: () => void) {
    super()
    this.#then = then
  }

  expire(): void {
    this.#then()
  }
}

function unreachable(peer: PeerId, cause: unknown): KilovoltError {
  return new KilovoltError('KV_UNREACHABLE', `no link to ${peer}: ${messageOf(cause)}`, { cause, retryable: true })
}
