import assert from 'node:assert/strict'
import { noise } from '@chainsafe/libp2p-noise'
import type { MessageStream, MultiaddrConnection } from '@libp2p/interface'
import { type EncrypterFactory, tameNoise } from '../../../src/transport/encryption.ts'
import { joinWrites } from '../../../src/transport/joined-writes.ts'
import { Libp2pLab } from '../../support/libp2p-lab.ts'

const never = new AbortController().signal

/** Untamed noise that shows what it encrypts, and what comes of it. */
function watched(seen: { raw: MessageStream; encrypted: MessageStream }[]): EncrypterFactory {
  const create = noise()
  return components => {
    const encrypter = create(components)
    const secureOutbound = encrypter.secureOutbound.bind(encrypter)
    encrypter.secureOutbound = async (raw, options) => {
      const secured = await secureOutbound(raw, options)
      seen.push({ raw, encrypted: secured.connection })
      return secured
    }
    return encrypter
  }
}

/** As much of a connection of noise as matters, whose lengths have two bytes. */
function fakeNoise(): { decoder: { lengthDecoder: (bytes: Uint8Array) => number } } {
  return {
    decoder: {
      lengthDecoder: bytes => {
        if (bytes.byteLength < 2) throw new RangeError('Could not decode')
        return bytes[0]! * 256 + bytes[1]!
      }
    }
  }
}

describe('encryption', () => {
  it('says with the same error each time that there is no length yet, and reads those there are', () => {
    const connection = fakeNoise()
    assert.ok(tameNoise(connection as unknown as MessageStream))
    const errors = [new Uint8Array(), Uint8Array.of(1)].map(bytes => {
      try {
        connection.decoder.lengthDecoder(bytes)
      } catch (error) {
        return error
      }
      return undefined
    })
    assert.ok(errors[0] instanceof RangeError, 'what reads ends at a RangeError only')
    assert.equal(errors[0], errors[1])
    assert.equal(connection.decoder.lengthDecoder(Uint8Array.of(1, 2)), 258)
  })

  it('of any other kind is left alone', () => {
    assert.equal(tameNoise({} as MessageStream), false)
    assert.equal(tameNoise({ decoder: {} } as unknown as MessageStream), false)
  })

  it('and the sockets under it are as is expected of the packages that are used', async () => {
    const lab = new Libp2pLab()
    try {
      const seen: { raw: MessageStream; encrypted: MessageStream }[] = []
      const [a, b] = [await lab.create({ encrypters: [watched(seen)] }), await lab.create()]
      await Promise.all([a.start(), b.start()])
      await a.connect(b.addresses[0]!, never)
      const [{ raw, encrypted }] = seen as [(typeof seen)[number]]
      assert.ok(tameNoise(encrypted), 'noise has changed: see src/transport/encryption.ts')
      assert.ok(joinWrites(raw as MultiaddrConnection), 'TCP has changed: see src/transport/joined-writes.ts')
    } finally {
      await lab.close()
    }
  })
})
