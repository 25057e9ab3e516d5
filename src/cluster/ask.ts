import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import type { PeerId } from '../model/node-id.ts'
import type { MessageType } from '../transport/message-type.ts'
import type { MessageHandler, Transport } from '../transport/transport.ts'

/** How long a node is given to say what it knows of other clusters, ms. */
export const ASK_TIMEOUT_MS = 2000

/** The answer; `undefined` when there is none, or the peer refuses. */
export function ask(
  transport: Pick<Transport, 'request'>,
  peer: PeerId,
  type: MessageType,
  body: Uint8Array
): Promise<Uint8Array | undefined> {
  return new Promise(resolve => {
    transport.request(peer, { type, class: 'control', body, timeoutMs: ASK_TIMEOUT_MS }, outcome =>
      resolve(outcome.kind === 'reply' ? new Uint8Array(outcome.body) : undefined)
    )
  })
}

/** Answers requests of a type. Bytes that make no sense are their sender's fault, not this node's. */
export function answer(transport: Pick<Transport, 'handle'>, type: MessageType, handler: MessageHandler): void {
  transport.handle(type, (message, respond) => {
    try {
      handler(message, respond)
    } catch (error) {
      respond.refuse(asError(error))
    }
  })
}

/** What a peer may be told of an error. */
export function asError(error: unknown): KilovoltError {
  return isKilovoltError(error) ? error : new KilovoltError('KV_INTERNAL', String(error))
}
