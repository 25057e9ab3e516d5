import { KilovoltError, messageOf } from '../base/errors.ts'
import { HandshakeFailedError } from './watched-tcp.ts'

/** An error with everything inside it: the parts of an aggregate and all causes. */
export function flattenError(error: unknown): Error[] {
  if (!(error instanceof Error)) return []
  const parts = error instanceof AggregateError ? (error.errors as unknown[]) : []
  return [error, ...[...parts, error.cause].flatMap(flattenError)]
}

/** The error for a node that cannot listen. */
export function listenError(error: unknown, listen: readonly string[]): KilovoltError {
  const addresses = listen.join(', ')
  // libp2p reports the failed addresses as text only.
  const text = flattenError(error)
    .map(({ message }) => message)
    .join('\n')
  const details = { addresses: listen }
  if (/\bEADDRINUSE\b/u.test(text)) {
    const what = listen.length === 1 ? `${addresses} is in use` : `one of ${addresses} is in use`
    return new KilovoltError('KV_PORT_IN_USE', `${what} by another process`, { cause: error, details })
  }
  const code = /\b(?:EACCES|EADDRNOTAVAIL|ENOTFOUND|EINVAL)\b/u.exec(text)?.[0]
  // What else it tells of an address stands behind it, in front of a stack and below advice that is not for apps.
  const reason = code ?? /^\s*\/\S+: (.+)$/mu.exec(text)?.[1] ?? messageOf(error)
  return new KilovoltError('KV_CONFIG', `this node cannot listen on ${addresses}: ${reason}`, { cause: error, details })
}

/** The error for a dial that failed. */
export function dialError(error: unknown, address: string, self: boolean): KilovoltError {
  if (self) return new KilovoltError('KV_HANDSHAKE', `${address} is this node itself`, { details: { self: true } })
  const errors = flattenError(error)
  const refused = errors.some(({ message }) => /\bECONNREFUSED\b/u.test(message))
  const options = { cause: error, retryable: true, details: { address, refused } }
  if (errors.some(one => one instanceof HandshakeFailedError)) {
    return new KilovoltError(
      'KV_UNREACHABLE',
      `who answers at ${address} did not complete the handshake (${messageOf(error)}): it may have another secret or ` +
        'another peer id, not have this node on its list of peers, or be no kilovolt node',
      { ...options, details: { ...options.details, answered: true } }
    )
  }
  return new KilovoltError('KV_UNREACHABLE', `${address} cannot be reached: ${messageOf(error)}`, options)
}

/** The error for a dial of a peer in whose place another one answers. */
export function elsewhereError(address: string, other: string): KilovoltError {
  return new KilovoltError('KV_UNREACHABLE', `${other} answers at ${address}, and nobody else does`, {
    retryable: true,
    details: { address, refused: false, answered: true }
  })
}
