import { hkdfSync } from 'node:crypto'
import { toHex, utf8 } from '../base/bytes.ts'
import type { ComponentLogger, ConnectionProtector } from '@libp2p/interface'

/** Makes the protector of a node from what libp2p hands it. */
export type ProtectorFactory = (components: { readonly logger: ComponentLogger }) => ConnectionProtector

/**
 * The protector of a private network. Its key is derived (HKDF, RFC 5869) from the secret, which may be any text: as no
 * amount of derivation makes a guessable secret safe, it should be a random one. The package is loaded only here,
 * because few need it.
 */
export async function createProtector(secret: string): Promise<ProtectorFactory> {
  const { preSharedKey } = await import('@libp2p/pnet')
  const key = new Uint8Array(hkdfSync('sha256', secret, 'kilovolt', 'private network 1', 32))
  return preSharedKey({ psk: utf8(`/key/swarm/psk/1.0.0/\n/base16/\n${toHex(key)}`) })
}
