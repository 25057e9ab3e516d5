import type { NoiseInit } from '@chainsafe/libp2p-noise'
import type { MessageStream } from '@libp2p/interface'
import { createTamedNoise, type EncrypterFactory, wrapSecured } from '../../src/transport/encryption.ts'
import type { Encryption } from './bare-frames.ts'

/** Packages are loaded only here: most benches have one encryption. */
export async function createEncrypter(encryption: Encryption): Promise<EncrypterFactory> {
  switch (encryption) {
    case 'noise':
      return createTamedNoise()
    case 'packagedNoise':
      return (await import('@chainsafe/libp2p-noise')).noise()
    case 'tls':
      return (await import('@libp2p/tls')).tls()
    case 'corkedTls':
      return wrapSecured((await import('@libp2p/tls')).tls(), cork)
    case 'plaintext':
      return (await import('@libp2p/plaintext')).plaintext()
    case 'nodeNoise':
    case 'wasmNoise':
    case 'jsNoise':
      return createTamedNoise({ crypto: await cryptoOf(encryption) })
  }
}

async function cryptoOf(encryption: 'nodeNoise' | 'wasmNoise' | 'jsNoise'): Promise<NonNullable<NoiseInit['crypto']>> {
  const { asCrypto, nodeCrypto, pureJsCrypto } = await import('@chainsafe/libp2p-noise/crypto')
  switch (encryption) {
    case 'nodeNoise':
      return { ...pureJsCrypto, ...nodeCrypto }
    case 'wasmNoise':
      return { ...pureJsCrypto, ...asCrypto }
    case 'jsNoise':
      return pureJsCrypto
  }
}

/** Lets TLS make one record of what is sent at once; by itself it makes one of each piece. */
function cork(connection: MessageStream): void {
  const inner = connection as MessageStream & {
    readonly socket: { cork: () => void; uncork: () => void }
    sendData: (data: unknown) => unknown
  }
  const sendData = inner.sendData.bind(inner)
  inner.sendData = data => {
    inner.socket.cork()
    try {
      return sendData(data)
    } finally {
      inner.socket.uncork()
    }
  }
}
