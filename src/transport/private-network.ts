import { hkdfSync } from 'node:crypto'
import type { ComponentLogger, ConnectionProtector, MessageStream } from '@libp2p/interface'
import { EMPTY_BYTES, toHex, utf8 } from '../base/bytes.ts'

/** Makes the protector of a node from what libp2p hands it. */
export type ProtectorFactory = (components: { readonly logger: ComponentLogger }) => ConnectionProtector

/** A cipher of the package `xsalsa20`. */
interface Cipher {
  update: (bytes: Uint8Array) => Uint8Array
  finalize: () => void
}

/** What is used here of a protected connection of `@libp2p/pnet` beyond the interface of libp2p. */
interface Box {
  inboundXor: Cipher
  outboundXor: Cipher
  maxMessageSize?: number
}

/** What is encrypted at once: as much as a socket reads at once, so that neither direction needs more. */
const PIECE_BYTES = 65_536

/**
 * The protector of a private network. Its key is derived (HKDF, RFC 5869) from the secret, which may be any text: as no
 * amount of derivation makes a guessable secret safe, it should be a random one. The package is loaded only here,
 * because few need it.
 */
export async function createProtector(secret: string): Promise<ProtectorFactory> {
  const { preSharedKey } = await import('@libp2p/pnet')
  const key = new Uint8Array(hkdfSync('sha256', secret, 'kilovolt', 'private network 1', 32))
  const create = preSharedKey({ psk: utf8(`/key/swarm/psk/1.0.0/\n/base16/\n${toHex(key)}`) })
  return () => {
    const protector = create()
    return {
      async protect(connection, options) {
        const box = await protector.protect(connection, options)
        boundMemory(box)
        return box
      }
    }
  }
}

/**
 * Keeps a protected connection from taking the others down; true when it was as expected.
 *
 * All ciphers of a process share one memory of 640 KiB, in which each has a place. Version 3.0.27 hands a cipher all bytes
 * that wait, and when they do not fit the memory grows; with that the ciphers of all other connections lose sight of it,
 * grow it as well when their turn comes, and so on until it cannot grow and every connection breaks. Here they get pieces
 * that always fit. And places are given back, which it never does: without that some 4,600 connections, also of strangers,
 * fill the memory.
 *
 * Where the connection is not as expected it is left as it is.
 */
export function boundMemory(connection: MessageStream): boolean {
  if (!isBox(connection)) return false
  connection.maxMessageSize = PIECE_BYTES
  connection.addEventListener('close', () => {
    const { inboundXor, outboundXor } = connection
    // What still comes in is of no interest to anybody, and must find no cipher that is gone; nothing goes out in the clear.
    connection.inboundXor = connection.outboundXor = { update: () => EMPTY_BYTES, finalize: () => {} }
    inboundXor.finalize()
    outboundXor.finalize()
  })
  return true
}

function isBox(connection: MessageStream): connection is MessageStream & Box {
  const { inboundXor, outboundXor } = connection as MessageStream & Partial<Box>
  return [inboundXor, outboundXor].every(
    cipher => typeof cipher?.update === 'function' && typeof cipher.finalize === 'function'
  )
}
