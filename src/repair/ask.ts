import { createDeferred } from '../base/deferred.ts'
import { KilovoltError } from '../base/errors.ts'
import type { PeerId } from '../model/node-id.ts'
import type { OutgoingRequest, Transport } from '../transport/transport.ts'

/** What the other side has answered. */
export interface Answer {
  readonly epoch: number
  readonly body: Uint8Array
}

/**
 * Sends a request; resolves with the answer's body and the epoch of who answered.
 *
 * @throws KilovoltError `KV_UNREACHABLE` when there is none, or what the other side refused it with
 */
export function ask(transport: Transport, peer: PeerId, request: OutgoingRequest): Promise<Answer> {
  const { promise, resolve, reject } = createDeferred<Answer>()
  transport.request(peer, request, outcome => {
    if (outcome.kind === 'reply') resolve(outcome)
    else if (outcome.kind === 'refused') reject(outcome.error)
    else reject(new KilovoltError('KV_UNREACHABLE', `${peer} did not answer (${outcome.kind})`, { retryable: true }))
  })
  return promise
}
