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
   * @throws KilovoltError `KV_BOOTSTRAP_UNREACHABLE` when nobody answered, `KV_JOIN_TIMEOUT` when somebody did but none
   *   let it in, `KV_ABORTED`, `KV_NODE_STOPPED`
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
      if (clock.monotonicMs() >= deadline) throw this.#timeoutError(refusal)
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

  #timeoutError(refusal: unknown): KilovoltError {
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
    const tried = errors.map(([address, { message }]) => `${address}: ${message}`).join('; ')
    return new KilovoltError(
      'KV_BOOTSTRAP_UNREACHABLE',
      `no bootstrap entry answered within ${joinTimeoutMs} ms: ${tried === '' ? 'none was found' : tried}`,
      { retryable: true, details }
    )
  }
}
