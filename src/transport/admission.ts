import type { Connection, ConnectionGater } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import type { Emitter } from '../base/emitter.ts'
import { KilovoltError, messageOf } from '../base/errors.ts'
import type { PeerId } from '../model/node-id.ts'
import type { Logger } from '../runtime/logger.ts'
import type { HostEvents } from './host.ts'

/**
 * Lets only the listed peers connect, and be connected to; everybody without a list.
 *
 * @throws KilovoltError `KV_CONFIG` for what is no peer id
 */
export function createGater(allow: readonly string[] | undefined, events: Emitter<HostEvents>): ConnectionGater {
  if (allow === undefined) return {}
  const allowed = new Set(allow.map(parsePeerId))
  const error = (peer: string): KilovoltError =>
    new KilovoltError('KV_HANDSHAKE', `${peer} is not on this node's list of peers`)
  return {
    denyInboundEncryptedConnection: id => {
      const peer = id.toString() as PeerId
      if (allowed.has(peer)) return false
      events.emit('refused', { peer, error: error(peer) })
      return true
    },
    denyOutboundEncryptedConnection: id => !allowed.has(id.toString())
  }
}

/** What libp2p says when the other side has ended it, and not this one for what it was sent; the first of the two for want of a message. */
const BROKEN_OFF = /^Encryption failed$|\bECONNRESET\b/u

/** A peer id in the one form that libp2p compares. */
function parsePeerId(id: string): string {
  try {
    return peerIdFromString(id).toString()
  } catch (error) {
    throw new KilovoltError('KV_CONFIG', `"allow" names ${JSON.stringify(id)}, which is no peer id`, { cause: error })
  }
}

/** Tells of an inbound connection that did not become one. */
export function inboundFailed(events: Emitter<HostEvents>, remoteAddress: string, error: Error): void {
  // The list of peers has spoken already, and a node that dials itself knows why it hung up.
  if (['ConnectionInterceptedError', 'InvalidPeerIdError'].includes(error.name)) return
  const message =
    `a connection from ${remoteAddress} did not complete the handshake (${error.message}): ` +
    (BROKEN_OFF.test(error.message)
      ? 'the other side broke it off, as one that stops, that wants another node at this address, or that has another secret'
      : 'another secret, or no kilovolt node')
  events.emit('refused', { peer: undefined, error: new KilovoltError('KV_HANDSHAKE', message, { cause: error }) })
}

/**
 * Ends a connection at once. Never throws: timers and the ends of links call this, where an exception would end the process,
 * and libp2p throws when a connection ends while it is being ended.
 */
export function hangUp(connection: Pick<Connection, 'abort' | 'remotePeer'>, reason: Error, logger: Logger): void {
  try {
    connection.abort(reason)
  } catch (error) {
    const peer = connection.remotePeer.toString()
    logger.debug('a connection did not end in order', { peer, reason: reason.message, error: messageOf(error) })
  }
}
