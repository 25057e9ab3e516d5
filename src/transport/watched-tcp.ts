import type { Connection, MultiaddrConnection, Transport, Upgrader, UpgraderOptions } from '@libp2p/interface'
import { tcp, type TCPComponents } from '@libp2p/tcp'
import { messageOf } from '../base/errors.ts'
import { joinWrites } from './joined-writes.ts'

/** What became of a connection after TCP had connected, when it was nothing. */
export class HandshakeFailedError extends Error {
  override readonly name = 'HandshakeFailedError'

  constructor(cause: unknown) {
    super(messageOf(cause), { cause })
  }
}

/**
 * libp2p's TCP, which writes in fewer calls and tells one more thing: where a connection failed. For outbound ones, whether it was before or after
 * TCP had connected; for inbound ones, that they failed at all, which libp2p only logs: strangers, nodes with another
 * secret, whatever else knocks at the port.
 */
export function createWatchedTcp(
  onInboundFailed: (remoteAddress: string, error: Error) => void
): (components: TCPComponents) => Transport {
  return components => {
    // Liveness is membership's to judge: these close only what has been silent for very long.
    const inner = tcp({ inboundSocketInactivityTimeout: 120_000, outboundSocketInactivityTimeout: 120_000 })(components)
    const createListener = inner.createListener.bind(inner)
    const dial = inner.dial.bind(inner)
    inner.createListener = options =>
      createListener({ ...options, upgrader: watchInbound(options.upgrader, onInboundFailed) })
    inner.dial = (address, options) => dial(address, { ...options, upgrader: watchOutbound(options.upgrader) })
    return inner
  }
}

function watchInbound(upgrader: Upgrader, onFailed: (remoteAddress: string, error: Error) => void): Upgrader {
  const watched = Object.create(upgrader) as Upgrader
  watched.upgradeInbound = async (connection: MultiaddrConnection, options: UpgraderOptions): Promise<void> => {
    joinWrites(connection)
    try {
      await upgrader.upgradeInbound(connection, options)
    } catch (error) {
      // Aborted: this node stops.
      if (!options.signal.aborted && error instanceof Error) onFailed(connection.remoteAddr.toString(), error)
      throw error
    }
  }
  return watched
}

function watchOutbound(upgrader: Upgrader): Upgrader {
  const watched = Object.create(upgrader) as Upgrader
  watched.upgradeOutbound = async (connection: MultiaddrConnection, options: UpgraderOptions): Promise<Connection> => {
    joinWrites(connection)
    try {
      return await upgrader.upgradeOutbound(connection, options)
    } catch (error) {
      throw new HandshakeFailedError(error)
    }
  }
  return watched
}
