import { FrameDecoder } from '../../src/codec/frame.ts'
import type { SimNetwork } from '../../src/testing/sim-network.ts'
import { MessageType } from '../../src/transport/message-type.ts'

/** What bytes were for. */
export type TrafficKind = 'gossip' | 'probes' | 'views' | 'connections' | 'raft' | 'other'

/** Bytes that a node has sent and received, by what they were for. */
export type Carried = Readonly<Record<TrafficKind, number>>

/** What encryption (18) and multiplexing (12) add to a write to a stream; each frame is one. */
const WRITE_BYTES = 30
/**
 * What gossipsub adds to a message: sender, sequence number, signature and key with their fields (40, 10, 66, 38), topic (24),
 * and the fields and lengths around all of it (9).
 */
const GOSSIP_BYTES = 187
/**
 * Mesh neighbours to whom each receiver passes a message on, besides its publisher, who tells everybody: three are wanted and up
 * to six are borne. As found with ten and twenty real nodes in one process.
 */
const FORWARDS = 3.7
/** A ping on each connection every 30 s by either end, and its answer. */
const KEEP_ALIVE_BYTES = 4 * WRITE_BYTES
const KEEP_ALIVE_MS = 30_000

const KINDS: Readonly<Record<number, TrafficKind>> = {
  [MessageType.PING]: 'probes',
  [MessageType.PING_REQUEST]: 'probes',
  [MessageType.VIEW]: 'views',
  [MessageType.RAFT]: 'raft'
}

/**
 * Counts what nodes would write to their sockets and read from them: every frame that goes over the simulated network, and what
 * is added to it beneath. Gossip is a model: the simulator hands each message to everybody once, while gossipsub signs it and
 * sends several copies.
 */
export class Traffic {
  readonly #members: () => readonly string[]
  readonly #carried = new Map<string, Record<TrafficKind, number>>()
  /** What each open request of a link is about: its answer is about the same. */
  readonly #asked = new Map<string, TrafficKind>()
  #isCounting = false

  constructor(network: SimNetwork, members: () => readonly string[]) {
    this.#members = members
    network.tap(({ from, to, class: trafficClass, frame }) => {
      if (!this.#isCounting) return
      const kind = this.#kindOf(`${from}>${to} ${trafficClass}`, `${to}>${from} ${trafficClass}`, frame)
      for (const name of [from, to]) this.#add(name, kind, frame.length + WRITE_BYTES)
    })
    network.tapGossip((from, body) => {
      if (this.#isCounting) this.#published(from, body.length + GOSSIP_BYTES + WRITE_BYTES)
    })
  }

  /** Counts for as long as that takes. */
  async during(run: () => Promise<{ readonly virtualMs: number }>): Promise<ReadonlyMap<string, Carried>> {
    this.#carried.clear()
    this.#asked.clear()
    this.#isCounting = true
    const { virtualMs } = await run()
    this.#isCounting = false
    const names = this.#members()
    const links = names.length - 1
    for (const name of names) this.#add(name, 'connections', links * KEEP_ALIVE_BYTES * (virtualMs / KEEP_ALIVE_MS))
    return this.#carried
  }

  #published(publisher: string, bytes: number): void {
    const names = this.#members()
    this.#add(publisher, 'gossip', (names.length - 1) * bytes)
    // One copy comes from the publisher; what is passed on is sent by one and received by another.
    for (const name of names) if (name !== publisher) this.#add(name, 'gossip', (1 + 2 * FORWARDS) * bytes)
  }

  #add(name: string, kind: TrafficKind, bytes: number): void {
    let carried = this.#carried.get(name)
    if (carried === undefined) {
      carried = { gossip: 0, probes: 0, views: 0, connections: 0, raft: 0, other: 0 }
      this.#carried.set(name, carried)
    }
    carried[kind] += bytes
  }

  /** By the first message: those of one turn share a frame. */
  #kindOf(way: string, back: string, frame: Uint8Array): TrafficKind {
    const decoder = new FrameDecoder(frame)
    let kind: TrafficKind | undefined
    while (decoder.next()) {
      const { type, id } = decoder
      if (type === MessageType.BELONG) continue
      let own = KINDS[type] ?? 'other'
      if (type === MessageType.REPLY) {
        own = this.#asked.get(`${back} ${id}`) ?? 'other'
        this.#asked.delete(`${back} ${id}`)
      } else if (id > 0) this.#asked.set(`${way} ${id}`, own)
      kind ??= own
    }
    return kind ?? 'other'
  }
}

/** What gossip, probes and links cost, as against the log and what else a node says. */
export function membershipBytes({ gossip, probes, views, connections }: Carried): number {
  return gossip + probes + views + connections
}
