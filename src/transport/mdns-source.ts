import type { Libp2pConfig } from './libp2p-config.ts'

/** Multicast DNS among the nodes of one cluster. Loaded only where it is asked for. */
export async function createMdns(cluster: string): Promise<NonNullable<Libp2pConfig['mdns']>> {
  const { mdns } = await import('@libp2p/mdns')
  // A tag of its own, so that other libp2p programs on the network are not dialed. Labels of DNS know few characters.
  const label = [...new TextEncoder().encode(cluster)].map(byte => byte.toString(16).padStart(2, '0')).join('')
  return mdns({ serviceTag: `_kilovolt-${label.slice(0, 40)}._udp.local` })
}
