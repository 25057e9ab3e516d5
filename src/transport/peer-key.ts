import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys'
import type { Ed25519PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { KilovoltError } from '../base/errors.ts'
import type { PeerId } from '../model/node-id.ts'

/** A new Ed25519 private key in libp2p's protobuf form, to be kept with the store. */
export async function createPeerKey(): Promise<Uint8Array> {
  return privateKeyToProtobuf(await generateKeyPair('Ed25519'))
}

/** @throws KilovoltError `KV_CORRUPT` when the bytes are no such key */
export function parsePeerKey(peerKey: Uint8Array): Ed25519PrivateKey {
  let type: string
  try {
    const key = privateKeyFromProtobuf(peerKey)
    if (key.type === 'Ed25519') return key
    type = `an ${key.type} key where Ed25519 is expected`
  } catch (error) {
    throw new KilovoltError('KV_CORRUPT', 'the private key of this node is unreadable', { cause: error })
  }
  throw new KilovoltError('KV_CORRUPT', `the private key of this node is ${type}`)
}

/** The peer id that belongs to a key of {@link createPeerKey}. */
export function peerIdOfKey(peerKey: Uint8Array): PeerId {
  return peerIdFromPrivateKey(parsePeerKey(peerKey)).toString() as PeerId
}
