import type { Stream } from '@libp2p/interface'

/** What is used here of a stream of `@chainsafe/libp2p-yamux` beyond the interface of libp2p. */
interface YamuxStream {
  readonly state: number
  readonly recvWindow: number
  readonly recvWindowCapacity: number
  sendWindowUpdate: () => void
}

const ESTABLISHED = 3

/**
 * Has a yamux stream tell its peer of free window only when half of it is used, as the protocol's reference
 * implementation does. The one for JavaScript tells after every data frame, which doubles the packets, encryptions and
 * system calls of a small request: without them one round trip after another is 40 % faster. The window is never
 * overdrawn by waiting, and never stays shut: whoever has used it up is told at once.
 *
 * This reaches into the stream. Where it is not as expected it is left as it is, and works as before; true when it was
 * changed.
 */
export function spareWindowUpdates(stream: Stream): boolean {
  if (!isYamuxStream(stream)) return false
  const send = stream.sendWindowUpdate.bind(stream)
  stream.sendWindowUpdate = () => {
    if (stream.state !== ESTABLISHED || stream.recvWindowCapacity * 2 <= stream.recvWindow) send()
  }
  return true
}

function isYamuxStream(stream: Stream): stream is Stream & YamuxStream {
  const { state, recvWindow, recvWindowCapacity, sendWindowUpdate } = stream as Stream & Partial<YamuxStream>
  return (
    typeof sendWindowUpdate === 'function' &&
    [state, recvWindow, recvWindowCapacity].every(value => typeof value === 'number')
  )
}
