import { gossipsub, type GossipSub } from '@chainsafe/libp2p-gossipsub'
import { identify, type Identify } from '@libp2p/identify'
import type { ConnectionGater, Ed25519PrivateKey } from '@libp2p/interface'
import type { mdns } from '@libp2p/mdns'
import type { Libp2pOptions } from 'libp2p'
import type { EncrypterFactory } from './encryption.ts'
import type { ProtectorFactory } from './private-network.ts'
import { createWatchedTcp } from './watched-tcp.ts'
import { createTamedYamux } from './window-updates.ts'

/** The services of a node. */
export type Libp2pServices = { readonly identify: Identify; readonly pubsub: GossipSub }

/** What differs from node to node. */
export interface Libp2pConfig {
  readonly privateKey: Ed25519PrivateKey
  readonly listen: readonly string[]
  readonly announce: readonly string[]
  readonly topic: string
  /** What connections are encrypted with; whoever dials prefers the first. */
  readonly encrypters: readonly EncrypterFactory[]
  readonly protector: ProtectorFactory | undefined
  readonly gater: ConnectionGater
  /** Looks for nodes on the local network. */
  readonly mdns: ReturnType<typeof mdns> | undefined
  /** An inbound connection did not get as far as being one. */
  readonly onInboundFailed: (remoteAddress: string, error: Error) => void
}

const MIB = 1024 * 1024
/** Streams of one protocol on one connection: one a class, and room for a few that are being replaced. */
export const STREAMS_MAX = 8
/** Time for TCP, encryption and multiplexing together, either way, ms. */
const UPGRADE_TIMEOUT_MS = 5000
/** Of that, what a dial of one address may take, ms: whoever dials waits longer, so as to learn why it failed. */
const DIAL_TIMEOUT_MS = 4000
/** Time to agree on what a stream is for, ms. */
const NEGOTIATION_TIMEOUT_MS = 5000
/** Connections of a node: one for each peer, two where both dialed at once. */
const CONNECTIONS_MAX = 1024

/**
 * How kilovolt sets libp2p up: for a mesh of up to some hundred equals that know each other and keep their own links,
 * not for an open network of strangers. What libp2p would do by itself (pinging, redialing, looking for peers, scoring
 * them) is off: membership and the mesh do it with better knowledge.
 */
export function createLibp2pOptions(config: Libp2pConfig): Libp2pOptions<Libp2pServices> {
  return {
    start: false,
    privateKey: config.privateKey,
    addresses: { listen: [...config.listen], announce: [...config.announce] },
    transports: [createWatchedTcp(config.onInboundFailed)],
    connectionEncrypters: [...config.encrypters],
    streamMuxers: [
      createTamedYamux({
        // 256 KiB, the protocol's own, throttle a stream to that much in a round trip. Both sides must agree on the
        // initial window, so it is part of the wire protocol.
        streamOptions: { initialStreamWindowSize: 4 * MIB, maxStreamWindowSize: 16 * MIB },
        maxInboundStreams: 64,
        maxOutboundStreams: 64,
        // Its pings also measure the round trip, by which windows grow.
        enableKeepAlive: true,
        keepAliveInterval: 30_000
      })
    ],
    ...(config.protector === undefined ? {} : { connectionProtector: config.protector }),
    connectionGater: config.gater,
    ...(config.mdns === undefined ? {} : { peerDiscovery: [config.mdns] }),
    connectionManager: {
      maxConnections: CONNECTIONS_MAX,
      maxParallelDials: 64,
      maxDialQueueLength: CONNECTIONS_MAX,
      maxPeerAddrsToDial: 32,
      dialTimeout: 2 * UPGRADE_TIMEOUT_MS,
      addressDialTimeout: DIAL_TIMEOUT_MS,
      inboundUpgradeTimeout: UPGRADE_TIMEOUT_MS,
      inboundStreamProtocolNegotiationTimeout: NEGOTIATION_TIMEOUT_MS,
      outboundStreamProtocolNegotiationTimeout: NEGOTIATION_TIMEOUT_MS,
      connectionCloseTimeout: 500,
      // A whole cluster may stand behind one address, and all of it may come back at once.
      inboundConnectionThreshold: CONNECTIONS_MAX,
      maxIncomingPendingConnections: 256,
      reconnectRetries: 0
    },
    connectionMonitor: { enabled: false },
    services: {
      identify: identify({ maxInboundStreams: STREAMS_MAX, maxOutboundStreams: STREAMS_MAX }),
      pubsub: gossipsub(gossipOptions(config.topic))
    }
  }
}

function gossipOptions(topic: string): Parameters<typeof gossipsub>[0] {
  return {
    allowedTopics: [topic],
    // One's own news go to all neighbours at once, whether or not the mesh has formed.
    floodPublish: true,
    emitSelf: false,
    allowPublishToZeroTopicPeers: true,
    ignoreDuplicatePublishError: true,
    fallbackToFloodsub: false,
    doPX: false,
    tagMeshPeers: false,
    // Whoever is left alone is grafted again within half a second, and not kept out for a minute after a prune.
    heartbeatInterval: 500,
    pruneBackoff: 2000,
    unsubcribeBackoff: 1000,
    graftFloodThreshold: 500,
    // Nodes are linked with everybody, so what one publishes reaches all at once; the mesh only makes up for a link that is
    // just being renewed, and the digests for the rest. Each neighbour more is one more copy of every message for everybody.
    D: 3,
    Dlo: 2,
    Dhi: 6,
    Dout: 1,
    Dlazy: 0,
    gossipFactor: 0,
    // Rumours are repeated by heartbeats: nothing older than this is worth remembering.
    seenTTL: 30_000,
    maxInboundDataLength: MIB,
    maxOutboundBufferSize: 4 * MIB,
    maxInboundStreams: STREAMS_MAX,
    maxOutboundStreams: STREAMS_MAX,
    // Scores are for strangers. Nodes of a cluster share addresses, and none may be cut off for what it is.
    scoreParams: { IPColocationFactorWeight: 0, behaviourPenaltyWeight: 0, appSpecificWeight: 0, topics: {} }
  }
}
