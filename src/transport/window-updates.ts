import { yamux, type YamuxMuxerInit } from '@chainsafe/libp2p-yamux'
import type { Stream, StreamMuxerFactory } from '@libp2p/interface'

/** What is used here of a stream of `@chainsafe/libp2p-yamux` beyond the interface of libp2p. */
interface YamuxStream {
  readonly state: number
  readonly recvWindow: number
  readonly recvWindowCapacity: number
  sendWindowUpdate: () => void
}

/** And of a muxer. */
interface YamuxMuxer {
  _newStream: (...args: unknown[]) => Stream
  sendGoAway: (...args: unknown[]) => void
}

const ESTABLISHED = 3

/** yamux whose streams are tamed, all of them from their first moment: also those that libp2p opens for itself. */
export function createTamedYamux(init: YamuxMuxerInit): () => StreamMuxerFactory {
  const create = yamux(init)
  return () => {
    const factory: StreamMuxerFactory = create()
    const createStreamMuxer = factory.createStreamMuxer.bind(factory)
    factory.createStreamMuxer = connection => {
      const muxer = createStreamMuxer(connection)
      tameMuxer(muxer)
      return muxer
    }
    return factory
  }
}

/**
 * Tames a yamux muxer, and every stream that it makes from now on; true when the muxer was as expected.
 *
 * Version 8.0.1 says goodbye at the end of `abort`, after it has aborted all streams. Whoever is told that a stream is gone may
 * have closed the connection meanwhile, and then the goodbye throws: out of `abort` into a timer or a listener of an event,
 * where the exception is the whole process's. Here it is dropped: nobody is there to hear it.
 */
export function tameMuxer(muxer: object): boolean {
  if (!isYamuxMuxer(muxer)) return false
  const sendGoAway = muxer.sendGoAway.bind(muxer)
  muxer.sendGoAway = (...args) => {
    try {
      sendGoAway(...args)
    } catch {
      // The connection is gone, as was wanted.
    }
  }
  const newStream = muxer._newStream.bind(muxer)
  muxer._newStream = (...args) => {
    const stream = newStream(...args)
    tameWindowUpdates(stream)
    return stream
  }
  return true
}

/**
 * Keeps a yamux stream's window updates from ending the process, and from doubling its packets.
 *
 * Version 8.0.1 sends an update from a microtask after every data frame, and one to open a stream. When the connection has
 * been lost in the same turn, that throws where nobody can catch it, and the exception is the whole process's. Here it is dropped: the loss of
 * the connection is reported by the stream itself. And as the protocol's reference implementation does, an update is sent
 * only when half of the window is used. The window is never overdrawn by waiting, and never stays shut: whoever has used
 * it up is told at once.
 *
 * This replaces methods of single muxers and streams, never of a class. Where the stream is not as expected it is left as it is;
 * true when it was changed.
 */
export function tameWindowUpdates(stream: Stream): boolean {
  if (!isYamuxStream(stream)) return false
  const send = stream.sendWindowUpdate.bind(stream)
  stream.sendWindowUpdate = () => {
    if (stream.state === ESTABLISHED && stream.recvWindowCapacity * 2 > stream.recvWindow) return
    try {
      send()
    } catch {
      // The connection is gone; the stream's close event tells.
    }
  }
  return true
}

function isYamuxMuxer(muxer: object): muxer is YamuxMuxer {
  const { _newStream, sendGoAway } = muxer as Partial<YamuxMuxer>
  return typeof _newStream === 'function' && typeof sendGoAway === 'function'
}

function isYamuxStream(stream: Stream): stream is Stream & YamuxStream {
  const { state, recvWindow, recvWindowCapacity, sendWindowUpdate } = stream as Stream & Partial<YamuxStream>
  return (
    typeof sendWindowUpdate === 'function' &&
    [state, recvWindow, recvWindowCapacity].every(value => typeof value === 'number')
  )
}
