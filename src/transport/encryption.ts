import { noise, type NoiseInit } from '@chainsafe/libp2p-noise'
import type { MessageStream, StreamMessageEvent } from '@libp2p/interface'
import type { Libp2pInit } from 'libp2p'

/** Makes what encrypts the connections of a node from what libp2p hands it. */
export type EncrypterFactory = NonNullable<Libp2pInit['connectionEncrypters']>[number]

/** What is used here of a connection of `@chainsafe/libp2p-noise` beyond the interface of libp2p. */
interface NoiseConnection {
  readonly decoder: { lengthDecoder: (bytes: StreamMessageEvent['data']) => number }
}

/** Bytes of the length before each record of noise. */
const LENGTH_BYTES = 2

/** Noise whose connections are tamed, both ways. */
export function createTamedNoise(init?: NoiseInit): EncrypterFactory {
  return wrapSecured(noise(init), tameNoise)
}

/** An encrypter of which each connection is changed before anybody has it. */
export function wrapSecured(
  create: EncrypterFactory,
  change: (connection: MessageStream) => unknown
): EncrypterFactory {
  return components => {
    const encrypter = create(components)
    const secureInbound = encrypter.secureInbound.bind(encrypter)
    const secureOutbound = encrypter.secureOutbound.bind(encrypter)
    encrypter.secureInbound = async (connection, options) => {
      const secured = await secureInbound(connection, options)
      change(secured.connection)
      return secured
    }
    encrypter.secureOutbound = async (connection, options) => {
      const secured = await secureOutbound(connection, options)
      change(secured.connection)
      return secured
    }
    return encrypter
  }
}

/**
 * Keeps a connection of noise from making an error for each piece that it receives; true when it was as expected.
 *
 * Version 17.0.0 reads records until there is no other length to be read, which it is told of by a `RangeError` that is made
 * anew each time, with its trace of the stack: 8 µs, for a request and its answer as much as encrypting them takes. Here it is always
 * the same one, which nobody but the loop that reads ever sees.
 *
 * This replaces a member of single connections, never of a class. Where the connection is not as expected it is left as it is.
 */
export function tameNoise(connection: MessageStream): boolean {
  if (!isNoise(connection)) return false
  const { decoder } = connection
  const decodeLength = decoder.lengthDecoder
  const tooShort = new RangeError('there is no whole length to be read')
  decoder.lengthDecoder = bytes => {
    if (bytes.byteLength < LENGTH_BYTES) throw tooShort
    return decodeLength(bytes)
  }
  return true
}

function isNoise(connection: MessageStream): connection is MessageStream & NoiseConnection {
  const { decoder } = connection as MessageStream & Partial<NoiseConnection>
  return typeof decoder?.lengthDecoder === 'function'
}
