import assert from 'node:assert/strict'
import { peerIdFromString } from '@libp2p/peer-id'
import { Emitter } from '../../../src/base/emitter.ts'
import type { Logger } from '../../../src/runtime/logger.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { createGater, hangUp, inboundFailed } from '../../../src/transport/admission.ts'
import type { HostEvents } from '../../../src/transport/host.ts'
import { createPeerKey, peerIdOfKey } from '../../../src/transport/peer-key.ts'

describe('hanging up', () => {
  it('says why, and bears a connection that ends while it is being ended', async () => {
    const remotePeer = peerIdFromString(peerIdOfKey(await createPeerKey()))
    const heard: string[] = []
    const logger: Logger = {
      ...silentLogger,
      debug: (message, fields) => heard.push(`${message}: ${String(fields?.['error'])}`)
    }
    const reasons: string[] = []
    const abort = (error: Error): void => {
      reasons.push(error.message)
      if (reasons.length > 1) throw new Error('Cannot write to a stream that is closed')
    }
    for (const reason of ['first', 'second']) hangUp({ remotePeer, abort }, new Error(reason), logger)
    assert.deepEqual(reasons, ['first', 'second'])
    assert.deepEqual(heard, ['a connection did not end in order: Cannot write to a stream that is closed'])
  })
})

describe('a connection from outside that did not complete the handshake', () => {
  it('is no sign of another secret alone where the other side broke it off', () => {
    const events = new Emitter<HostEvents>()
    const heard: string[] = []
    events.on('refused', ({ error }) => heard.push(error.message))
    const causes = ['Encryption failed', 'read ECONNRESET', 'Unexpected EOF - stream closed while reading 0/1 bytes']
    for (const cause of causes) inboundFailed(events, '/ip4/10.0.0.9/tcp/7', new Error(cause))
    assert.deepEqual(
      heard.map(message => /broke it off/u.test(message)),
      [true, true, false]
    )
    for (const message of heard) assert.match(message, /^a connection from \/ip4\/10\.0\.0\.9.*another secret/u)
  })
})

describe('the list of peers', () => {
  it('takes ids in every form of theirs, and nothing else', async () => {
    const peer = peerIdFromString(peerIdOfKey(await createPeerKey()))
    const other = peerIdFromString(peerIdOfKey(await createPeerKey()))
    const events = new Emitter<HostEvents>()
    for (const form of [peer.toString(), peer.toCID().toString()]) {
      const gater = createGater([form], events)
      const denied = [peer, other].map(id => gater.denyOutboundEncryptedConnection!(id, undefined as never))
      assert.deepEqual(denied, [false, true])
    }
    assert.throws(() => createGater(['12D3Koonsense'], events), { code: 'KV_CONFIG', message: /"12D3Koonsense"/u })
  })
})
