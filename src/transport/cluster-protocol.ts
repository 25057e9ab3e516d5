import { KilovoltError } from '../base/errors.ts'
import type { TrafficClass } from './transport.ts'

/** Id of the protocol that links of a class speak. */
export function protocolOf(cluster: string, trafficClass: TrafficClass): string {
  return `/kilovolt/${encodeURIComponent(cluster)}/1/${trafficClass}`
}

/**
 * Topic on which a cluster gossips. Whoever has another number of partitions is turned away on links, and must not be heard of by
 * gossip either: a topic needs no link.
 */
export function topicOf(cluster: string, partitions: number): string {
  return `kilovolt/${encodeURIComponent(cluster)}/1/${partitions}`
}

/** Whether it is the protocol that nodes of some cluster speak, whichever it is. */
export function isClusterProtocol(protocol: string): boolean {
  return /^\/kilovolt\/[^/]+\/\d+\/control$/u.test(protocol)
}

/** The error for a peer that says it belongs to other clusters only. */
export function clusterProblem(own: string, protocols: readonly string[]): KilovoltError | undefined {
  const names = protocols.filter(isClusterProtocol).map(protocol => decodeName(protocol.split('/')[2]!))
  if (names.length === 0 || names.includes(own)) return undefined
  return new KilovoltError(
    'KV_HANDSHAKE',
    `this node belongs to cluster "${own}", the other to "${names.join('", "')}"`,
    {
      details: { own, other: names }
    }
  )
}

function decodeName(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
