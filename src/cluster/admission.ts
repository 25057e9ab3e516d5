import { abortError, onAbort, stoppedError } from '../base/abort.ts'
import { createDeferred } from '../base/deferred.ts'
import { isKilovoltError, KilovoltError, messageOf } from '../base/errors.ts'
import type { Membership } from '../membership/membership.ts'
import type { StoreId } from '../model/node-id.ts'
import { type Clock, pause } from '../runtime/clock.ts'
import type { Founding, FoundingPicture } from './founding.ts'
import { LOOK_EVERY_MS } from './look-until.ts'
import type { FoundingState, Survey } from './survey.ts'

/** What discovery tells about the bootstrap list. */
export interface BootstrapPicture {
  /** Whether an entry turned out to be this node itself. */
  readonly listsSelf: boolean
  /** Whether no other address can come to be known. */
  readonly isFixed: boolean
  addresses(): ReadonlyMap<string, 'new' | 'linked' | 'self' | 'failed'>
  bootstrapAddresses(): readonly string[]
  /** Why each address that failed did so. */
  lastErrors(): ReadonlyMap<string, KilovoltError>
}

/** What becoming a member needs. */
export interface AdmissionDeps {
  readonly clock: Clock
  readonly membership: Membership
  readonly discovery: BootstrapPicture
  readonly founding: Founding
  readonly survey: Pick<Survey, 'ask' | 'stateOf'>
  /** This node's own state. */
  readonly state: () => FoundingState
  /** Aborted when the node stops. */
  readonly stopped: AbortSignal
  readonly found: () => Promise<void>
  readonly join: () => Promise<void>
}

/** How long to try, and for whom. */
export interface AdmissionOptions {
  readonly self: StoreId
  readonly joinTimeoutMs: number
}

/**
 * So long every entry of the list must refuse this node until it gives up, ms: whoever is being replaced by somebody who fits
 * has the time to go.
 */
const REFUSED_FOR_MS = 3000

/** The way of a provisional node into a cluster: looks around until it may found one or somebody lets it in. */
export class Admission {
  readonly #deps: AdmissionDeps
  readonly #options: AdmissionOptions

  constructor(deps: AdmissionDeps, options: AdmissionOptions) {
    this.#deps = deps
    this.#options = options
  }

  /**
   * Resolves when this node is a member.
   *
   * @throws KilovoltError `KV_BOOTSTRAP_UNREACHABLE` when nobody answered, `KV_HANDSHAKE` when whoever did does not fit,
   *   `KV_JOIN_TIMEOUT` when somebody did fit but none let it in, `KV_ABORTED`, `KV_NODE_STOPPED`
   */
  async run(signal: AbortSignal | undefined): Promise<void> {
    const interrupted = createDeferred<never>()
    // Whoever races with it handles it; alone it must not count as unhandled.
    interrupted.promise.catch(() => {})
    const forgets = [
      onAbort(signal, () => interrupted.reject(abortError(signal!, 'joining'))),
      onAbort(this.#deps.stopped, () => interrupted.reject(stoppedError()))
    ]
    try {
      await Promise.race([this.#lookAround(() => signal?.aborted === true), interrupted.promise])
    } finally {
      for (const forget of forgets) forget()
    }
  }

  async #lookAround(isAborted: () => boolean): Promise<void> {
    const { clock, founding, survey, stopped, found, join } = this.#deps
    const deadline = clock.monotonicMs() + this.#options.joinTimeoutMs
    let refusal: unknown
    let acceptableMs = clock.monotonicMs()
    while (!stopped.aborted && !isAborted()) {
      survey.ask()
      const decision = founding.look(this.#picture())
      if (decision === 'found') return found()
      if (decision === 'join') {
        try {
          return await join()
        } catch (error) {
          if (isKilovoltError(error, 'KV_CORRUPT')) throw error
          refusal = error
        }
      }
      const nowMs = clock.monotonicMs()
      if (!this.#isRefusedByAll()) acceptableMs = nowMs
      if (nowMs >= deadline || nowMs - acceptableMs >= REFUSED_FOR_MS) throw this.#failure(refusal)
      await pause(clock, LOOK_EVERY_MS, stopped)
    }
  }

  #picture(): FoundingPicture {
    const { membership, discovery, clock, survey } = this.#deps
    const { self } = this.#options
    const own = this.#deps.state()
    const others = [...membership.view.values()].filter(({ storeId, status }) => storeId !== self && status === 'alive')
    const isMember = ({ clusterId }: { clusterId: unknown }): boolean => clusterId !== undefined
    const provisional = others.filter(other => !isMember(other)).map(({ storeId }) => storeId)
    const whoever = (is: (state: FoundingState) => boolean): StoreId[] => [
      ...(is(own) ? [self] : []),
      ...provisional.filter(store => {
        const state = survey.stateOf(store)
        return state !== undefined && is(state)
      })
    ]
    return {
      nowMs: clock.monotonicMs(),
      self,
      provisional: whoever(({ counts }) => counts),
      founders: whoever(({ mayFound }) => mayFound),
      members: others.filter(isMember).map(({ storeId }) => storeId),
      listed: discovery.bootstrapAddresses().length,
      listsSelf: discovery.listsSelf
    }
  }

  /** The entries of the list, without this node itself, and why each that failed did so. */
  #entries(): [string, KilovoltError | undefined][] {
    const { discovery } = this.#deps
    const errors = discovery.lastErrors()
    const states = discovery.addresses()
    const others = discovery.bootstrapAddresses().filter(address => states.get(address) !== 'self')
    return others.map(address => [address, errors.get(address)])
  }

  /** Whether no one is left who may let this node in, as far as is known: each has said that the two do not fit. */
  #isRefusedByAll(): boolean {
    const { discovery, membership } = this.#deps
    if (!discovery.isFixed || membership.view.size > 1) return false
    const entries = this.#entries()
    return entries.length > 0 && entries.every(([, error]) => isLasting(error))
  }

  #failure(refusal: unknown): KilovoltError {
    const { joinTimeoutMs } = this.#options
    const errors = [...this.#deps.discovery.lastErrors()]
    const details = {
      errors: Object.fromEntries(errors.map(([address, { code, message }]) => [address, { code, message }]))
    }
    if (refusal !== undefined || this.#deps.membership.view.size > 1) {
      const why = refusal === undefined ? 'no cluster has been founded yet' : messageOf(refusal)
      return new KilovoltError('KV_JOIN_TIMEOUT', `no cluster let this node in within ${joinTimeoutMs} ms: ${why}`, {
        cause: refusal,
        retryable: true,
        details
      })
    }
    const answered = errors.filter(([, error]) => isRefusal(error))
    const silent = errors.filter(([, error]) => !isRefusal(error))
    const untried = this.#entries().filter(([, error]) => error === undefined)
    const others = [...silent.map(told), ...untried.map(([address]) => `${address}: no answer yet`)].join('; ')
    if (answered.length === 0) {
      const message = `no bootstrap entry answered within ${joinTimeoutMs} ms: ${others === '' ? 'none was found' : others}`
      return new KilovoltError('KV_BOOTSTRAP_UNREACHABLE', message, { retryable: true, details })
    }
    const whoever = others === '' ? 'every bootstrap entry' : 'every bootstrap entry that answered'
    const rest = others === '' ? '' : `; not reached: ${others}`
    return new KilovoltError('KV_HANDSHAKE', `${whoever} refuses this node: ${answered.map(told).join('; ')}${rest}`, {
      cause: answered[0]![1],
      retryable: !this.#isRefusedByAll(),
      details
    })
  }
}

function told([address, { message }]: readonly [string, KilovoltError]): string {
  return `${address}: ${message}`
}

/** Whether somebody is there who says, as long as nobody changes options, that the two do not fit. */
function isLasting(error: KilovoltError | undefined): boolean {
  return isKilovoltError(error, 'KV_HANDSHAKE') && !error.retryable
}

/** Whether somebody is there and does not fit. One who breaks off the handshake, as with another secret, cannot say why. */
function isRefusal(error: KilovoltError): boolean {
  return error.code === 'KV_HANDSHAKE' || error.details['answered'] === true
}
