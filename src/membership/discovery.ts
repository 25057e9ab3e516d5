import { KilovoltError, isKilovoltError, messageOf } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import type { Clock, Timer } from '../runtime/clock.ts'
import type { Logger } from '../runtime/logger.ts'
import { type Random, jitter } from '../runtime/random.ts'
import type { Transport } from '../transport/transport.ts'
import { type Bootstrap, BootstrapSource } from './bootstrap-source.ts'

/** Something that finds addresses by itself, such as multicast DNS. */
export interface PeerSource {
  /** Calls `found` with each multiaddr it comes across, as often as it likes. */
  start(found: (address: string) => void): void
  stop(): void
}

/** What discovery needs. */
export interface DiscoveryDeps {
  readonly transport: Pick<Transport, 'addresses' | 'dial' | 'links' | 'helloOf'>
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** Whether no other node is known to be alive. */
  readonly isAlone: () => boolean
}

/** Options of discovery. */
export interface DiscoveryOptions {
  readonly bootstrap: Bootstrap
  readonly source?: PeerSource
  /** One attempt to reach an address takes at most this long, ms. Default 5000. */
  readonly dialTimeoutMs?: number
}

/**
 * How an address has turned out so far: `new`: not tried yet, or for the first time just now; `linked`: the store that
 * answered is linked; `self`: it is this very node's; `failed`: the last attempt failed, or the link is gone again.
 */
export type AddressState = 'new' | 'linked' | 'self' | 'failed'

const DIAL_TIMEOUT_MS = 5000
/** Addresses taken from one answer of the source, and addresses found by themselves; more are ignored. */
const ADDRESSES_MAX = 256
/** Attempts at one time. */
const DIALING_MAX = 8
/** Pause after the first failure; doubles with each, ms. */
const PAUSE_MIN_MS = 250
/** Longest pause while nobody else is alive, ms. */
const PAUSE_ALONE_MS = 5000
/** Longest pause otherwise: halves of a cluster that have forgotten each other find together within about this, ms. */
const PAUSE_MAX_MS = 60_000
/**
 * Longest pause for an entry of a short bootstrap list, ms: whoever starts there anew must be met before it takes itself for
 * the first (`Founding`). A longer list gets as many attempts in all.
 */
const PAUSE_LISTED_MS = 1000
const SHORT_LIST = 8
/** Failures after which an address that was found by itself is dropped: it will be found again if it is still there. */
const FOUND_FAILURES_MAX = 6
/** Name under which the errors of a bootstrap function are reported. */
const SOURCE_NAME = 'bootstrap function'

/** When something is to be tried again. */
interface Attempts {
  /** End of the last attempt; `undefined` before the first. */
  triedMs: number | undefined
  /** In a row. */
  failures: number
  error: KilovoltError | undefined
}

interface Hint extends Attempts {
  readonly address: string
  /** Stretches its pauses, in thousandths, so that many nodes do not dial at the same instant. */
  readonly stretch: number
  origin: 'bootstrap' | 'found'
  isSelf: boolean
  store: StoreId | undefined
  dialing: { readonly abort: AbortController; readonly timer: Timer } | undefined
}

/**
 * Finds other nodes: dials the addresses of the bootstrap list (or function, or `PeerSource`) that are not linked.
 * Addresses are hints and never members: an entry that nobody answers at delays and accuses nothing. Each is tried at
 * once and then with growing, jittered pauses: of a short list up to a second, else up to 5 s while nobody else is alive and
 * up to a minute otherwise. That goes on for ever, and a function is asked again at the same pace, so that two halves
 * of a cluster that have forgotten each other find together again (the healer of ringpop).
 */
export class Discovery {
  readonly #deps: DiscoveryDeps
  readonly #source: BootstrapSource
  readonly #finder: PeerSource | undefined
  readonly #dialTimeoutMs: number
  readonly #hints = new Map<string, Hint>()
  readonly #reading: Attempts = { triedMs: undefined, failures: 0, error: undefined }
  #phase: 'new' | 'running' | 'stopped' = 'new'
  #timer: Timer | undefined

  constructor(deps: DiscoveryDeps, { bootstrap, source, dialTimeoutMs = DIAL_TIMEOUT_MS }: DiscoveryOptions) {
    this.#deps = deps
    this.#source = new BootstrapSource(deps.clock, bootstrap)
    this.#finder = source
    this.#dialTimeoutMs = dialTimeoutMs
  }

  /** Begins to dial. The transport must have been started. Idempotent. */
  start(): void {
    if (this.#phase !== 'new') return
    this.#phase = 'running'
    this.#finder?.start(address => this.#find(address))
    this.#step()
  }

  /** Gives up all attempts; leaves no timer. Idempotent. */
  stop(): void {
    if (this.#phase === 'running') this.#finder?.stop()
    this.#phase = 'stopped'
    this.#timer?.cancel()
    this.#source.stop()
    for (const { dialing } of this.#hints.values()) {
      dialing?.timer.cancel()
      dialing?.abort.abort()
    }
  }

  /** Every address known, of the bootstrap list or found, and how it has turned out. */
  addresses(): ReadonlyMap<string, AddressState> {
    const linked = this.#linkedStores()
    return new Map([...this.#hints.values()].map(hint => [hint.address, stateOf(hint, linked)]))
  }

  /** The latest bootstrap list. */
  bootstrapAddresses(): readonly string[] {
    return [...this.#hints.values()].filter(({ origin }) => origin === 'bootstrap').map(({ address }) => address)
  }

  /** Whether the bootstrap list names this node: known once that address has been tried. */
  get listsSelf(): boolean {
    return [...this.#hints.values()].some(({ origin, isSelf }) => origin === 'bootstrap' && isSelf)
  }

  /** Whether there are the addresses of the list, now and for ever. */
  get isFixed(): boolean {
    return !this.#source.isFunction && this.#finder === undefined
  }

  /** Whether the source has answered and every bootstrap address has been tried, successfully or not. */
  get hasTriedAll(): boolean {
    if (this.#reading.triedMs === undefined) return false
    return [...this.#hints.values()].every(
      hint => hint.origin !== 'bootstrap' || hint.isSelf || hint.triedMs !== undefined
    )
  }

  /** The store that answered last at the address. */
  storeAt(address: string): StoreId | undefined {
    return this.#hints.get(address)?.store
  }

  /**
   * Why each address that cannot be reached cannot; a failing bootstrap function is listed by that name. Whoever has refused this
   * node hangs up on it a little later, so a link that breaks says nothing against the refusal before it.
   */
  lastErrors(): ReadonlyMap<string, KilovoltError> {
    const errors = new Map<string, KilovoltError>()
    if (this.#reading.error !== undefined) errors.set(SOURCE_NAME, this.#reading.error)
    for (const { address, error } of this.#hints.values()) if (error !== undefined) errors.set(address, error)
    return errors
  }

  /** Does what is due and waits for what is due next. */
  #step(): void {
    if (this.#phase !== 'running') return
    const nowMs = this.#deps.clock.monotonicMs()
    const pauseMaxMs = this.#deps.isAlone() ? PAUSE_ALONE_MS : PAUSE_MAX_MS
    // Company and links may be lost at any time: a long pause is looked at again after a short one.
    let nextMs = PAUSE_ALONE_MS
    const listedMs = PAUSE_LISTED_MS * Math.max(1, this.bootstrapAddresses().length / SHORT_LIST)
    const isDue = (attempts: Attempts, stretch: number, isListed = false): boolean => {
      const longestMs = isListed ? Math.min(pauseMaxMs, listedMs) : pauseMaxMs
      const waitMs = dueMs(attempts, longestMs, stretch) - nowMs
      if (waitMs > 0) nextMs = Math.min(nextMs, waitMs)
      return waitMs <= 0
    }
    if (!this.#source.isReading && isDue(this.#reading, 1000)) this.#read()
    const linked = this.#linkedStores()
    let free = DIALING_MAX - [...this.#hints.values()].filter(({ dialing }) => dialing !== undefined).length
    for (const hint of this.#hints.values()) {
      const state = stateOf(hint, linked)
      if (hint.dialing !== undefined || state === 'self' || state === 'linked') continue
      if (!isDue(hint, hint.stretch, hint.origin === 'bootstrap') || free === 0) continue
      free--
      this.#dial(hint)
    }
    this.#timer?.cancel()
    this.#timer = this.#deps.clock.after(nextMs, () => this.#step())
  }

  #read(): void {
    this.#source.read(answer => {
      const attempts = this.#reading
      attempts.triedMs = this.#deps.clock.monotonicMs()
      if (answer instanceof KilovoltError) {
        attempts.failures = attempts.error === undefined ? 1 : attempts.failures + 1
        attempts.error = answer
        this.#deps.logger.warn(answer.message)
      } else {
        // Something to be asked again from time to time has no failures and yet the longest pause.
        attempts.failures = Number.POSITIVE_INFINITY
        attempts.error = undefined
        this.#take(answer)
      }
      if (this.#source.isFunction) this.#step()
    })
  }

  /** The bootstrap list is this from now on. */
  #take(addresses: readonly string[]): void {
    const wanted = new Set(addresses.slice(0, ADDRESSES_MAX))
    for (const { address, origin } of this.#hints.values()) {
      if (origin === 'bootstrap' && !wanted.has(address)) this.#remove(address)
    }
    for (const address of wanted) this.#add(address).origin = 'bootstrap'
  }

  #find(address: string): void {
    if (this.#phase !== 'running' || this.#hints.has(address)) return
    const found = [...this.#hints.values()].filter(({ origin }) => origin === 'found')
    if (found.length >= ADDRESSES_MAX) {
      // The one that has failed most often makes room.
      const worst = found.reduce((a, b) => (b.failures > a.failures ? b : a))
      if (worst.failures === 0) return
      this.#remove(worst.address)
    }
    this.#add(address)
    this.#step()
  }

  #add(address: string): Hint {
    const known = this.#hints.get(address)
    if (known !== undefined) return known
    const hint: Hint = {
      address,
      stretch: jitter(this.#deps.random, 1000),
      origin: 'found',
      isSelf: false,
      store: undefined,
      dialing: undefined,
      triedMs: undefined,
      failures: 0,
      error: undefined
    }
    this.#hints.set(address, hint)
    return hint
  }

  #remove(address: string): void {
    this.#hints.get(address)?.dialing?.abort.abort()
    this.#hints.delete(address)
  }

  #dial(hint: Hint): void {
    const { transport, clock } = this.#deps
    if (transport.addresses.includes(hint.address)) {
      hint.isSelf = true
      return
    }
    const abort = new AbortController()
    const timer = clock.after(this.#dialTimeoutMs, () => abort.abort())
    hint.dialing = { abort, timer }
    const end = (): void => {
      timer.cancel()
      hint.dialing = undefined
      hint.triedMs = clock.monotonicMs()
      this.#step()
    }
    transport.dial(hint.address, abort.signal).then(
      ({ storeId }) => {
        hint.store = storeId
        hint.failures = 0
        hint.error = undefined
        end()
      },
      (error: unknown) => {
        if (isKilovoltError(error, 'KV_HANDSHAKE') && error.details.self === true) {
          hint.isSelf = true
          hint.error = undefined
        } else this.#fail(hint, abort.signal.aborted ? noAnswer(hint.address, this.#dialTimeoutMs) : asError(error))
        end()
      }
    )
  }

  #fail(hint: Hint, error: KilovoltError): void {
    this.#deps.logger.debug('an address cannot be reached', { address: hint.address, error: error.message })
    hint.store = undefined
    const isBreak = error.code === 'KV_UNREACHABLE' && error.details['address'] === undefined
    if (!isBreak || !isKilovoltError(hint.error, 'KV_HANDSHAKE')) hint.error = error
    hint.failures++
    if (hint.origin === 'found' && hint.failures >= FOUND_FAILURES_MAX) this.#hints.delete(hint.address)
  }

  #linkedStores(): ReadonlySet<StoreId> {
    const stores = new Set<StoreId>()
    const { transport } = this.#deps
    for (const peer of transport.links()) {
      const store = transport.helloOf(peer)?.storeId
      if (store !== undefined) stores.add(store)
    }
    return stores
  }
}

function stateOf({ isSelf, triedMs, store }: Hint, linked: ReadonlySet<StoreId>): AddressState {
  if (isSelf) return 'self'
  if (store !== undefined && linked.has(store)) return 'linked'
  return triedMs === undefined ? 'new' : 'failed'
}

/** When the next attempt is due, in monotonic ms. */
function dueMs({ triedMs, failures }: Attempts, pauseMaxMs: number, stretch: number): number {
  if (triedMs === undefined) return Number.NEGATIVE_INFINITY
  const pauseMs = Math.min(pauseMaxMs, PAUSE_MIN_MS * 2 ** Math.max(0, failures - 1))
  return triedMs + (pauseMs * stretch) / 1000
}

function noAnswer(address: string, timeoutMs: number): KilovoltError {
  return new KilovoltError('KV_UNREACHABLE', `no answer from ${address} within ${timeoutMs} ms`, {
    retryable: true,
    details: { address }
  })
}

function asError(error: unknown): KilovoltError {
  if (isKilovoltError(error)) return error
  return new KilovoltError('KV_UNREACHABLE', messageOf(error), { cause: error, retryable: true })
}
