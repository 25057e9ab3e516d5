import type { MultiaddrConnection, StreamMessageEvent } from '@libp2p/interface'

/** What is used here of a connection of `@libp2p/tcp` beyond the interface of libp2p. */
interface TcpConnection {
  readonly socket: { write: (bytes: Uint8Array) => boolean }
  sendData: (data: Exclude<StreamMessageEvent['data'], Uint8Array>) => { sentBytes: number; canSendMore: boolean }
}

/** Longest data that is copied into one piece, bytes: beyond, the copy takes longer than the calls that it saves. */
const JOINED_BYTES_MAX = 16_384

/**
 * Lets a connection write to its socket what it sends at once, in one call; true when it was as expected.
 *
 * Version 11.0.28 calls once for each piece, and each record of the encryption is two: its length and the rest. As sockets
 * do not wait for more, the two bytes of the length go out as a packet of their own, which wakes the other side for nothing.
 *
 * This replaces a method of single connections, never of a class. Where the connection is not as expected it is left as it is.
 */
export function joinWrites(connection: MultiaddrConnection): boolean {
  if (!isTcpConnection(connection)) return false
  const sendData = connection.sendData.bind(connection)
  connection.sendData = data => {
    if (data.byteLength > JOINED_BYTES_MAX) return sendData(data)
    return { sentBytes: data.byteLength, canSendMore: connection.socket.write(data.subarray()) }
  }
  return true
}

function isTcpConnection(connection: MultiaddrConnection): connection is MultiaddrConnection & TcpConnection {
  const { socket, sendData } = connection as MultiaddrConnection & Partial<TcpConnection>
  return typeof socket?.write === 'function' && typeof sendData === 'function'
}
