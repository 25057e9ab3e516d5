import { toHex } from '../base/bytes.ts'
import { decodeFrame } from '../codec/frame.ts'
import { decodeRaftMessage } from '../consensus/wire.ts'
import { compareIds } from '../model/node-id.ts'
import type { Topology } from '../placement/topology.ts'
import { MessageType } from '../transport/message-type.ts'
import { type Bounded, checkBounds } from './checkers/bounds.ts'
import { ConsensusChecker } from './checkers/consensus.ts'
import type { Violation } from './checkers/violation.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { Delivery } from './sim-link.ts'
import type { SimNode } from './sim-node.ts'
import { hashText } from './trace.ts'

/** How often quantities are compared with their bounds, ms. */
const SAMPLE_MS = 1000
/** Timers that one node may have set: far more than it needs, far fewer than a leak makes. */
const TIMERS_MAX = 5000
/** Requests and mutations that one node may have under way with a handful of clients. */
const IN_FLIGHT_MAX = 10_000

/**
 * Watches a running cluster for what must hold at every moment: the messages of the consensus group as they arrive, each
 * node's applied states, and the bounds.
 */
export class Watch {
  readonly #cluster: SimCluster
  readonly #consensus = new ConsensusChecker()
  readonly #bounds = new Map<string, Violation>()

  constructor(cluster: SimCluster) {
    this.#cluster = cluster
    cluster.network.tap(delivery => this.#look(delivery))
    this.#sample()
  }

  get violations(): readonly Violation[] {
    return [...this.#consensus.violations, ...this.#bounds.values()]
  }

  /** Watches a node that has come up. */
  add({ core }: SimNode): void {
    const applied = (topology: Topology): void => {
      this.#consensus.applied(topology.clusterId, topology.epoch, core.storeId, fingerprint(topology))
    }
    if (core.cluster.topology !== undefined) applied(core.cluster.topology)
    core.cluster.on('topology', applied)
  }

  #look({ class: trafficClass, frame, to }: Delivery): void {
    if (trafficClass !== 'control') return
    let cluster = 'no cluster'
    for (const { type, body } of decodeFrame(frame)) {
      if (type === MessageType.BELONG) cluster = toHex(body)
      if (type !== MessageType.RAFT) continue
      const { group, from, message } = decodeRaftMessage(body)
      // Terms mean something within one cluster only, and a node may go over to another one.
      const name = `${group} of ${cluster}`
      if (message.kind === 'append') this.#consensus.leader(name, message.term, from)
      else if (message.kind === 'vote' && !message.pre) this.#consensus.vote(name, message.term, from, from)
      else if (message.kind === 'voteReply' && !message.pre && message.granted) {
        const candidate = this.#cluster.node(to)?.core.storeId
        if (candidate !== undefined) this.#consensus.vote(name, message.term, from, candidate)
      }
    }
  }

  #sample(): void {
    const quantities = this.#cluster.nodes.flatMap(({ name, clock, core }): Bounded[] => {
      const { transport, storage } = core.status()
      return [
        { node: name, what: 'timers', value: clock.pending, max: TIMERS_MAX },
        { node: name, what: 'requests in flight', value: transport.requestsInFlight, max: IN_FLIGHT_MAX },
        { node: name, what: 'mutations waiting', value: storage.pending, max: IN_FLIGHT_MAX }
      ]
    })
    for (const violation of checkBounds(quantities)) {
      if (!this.#bounds.has(violation.rule)) this.#bounds.set(violation.rule, violation)
    }
    this.#cluster.world.after(SAMPLE_MS, () => this.#sample())
  }
}

/** All of a topology in a few digits; the order of members and of fields does not matter. */
function fingerprint({ clusterId, epoch, replicas, members, rows }: Topology): string {
  const people = [...members.values()]
    .toSorted((a, b) => compareIds(a.storeId, b.storeId))
    .map(({ storeId, peerId, addresses, weight, zone, region, volatile, status, joinedEpoch }) => {
      return [storeId, peerId, addresses, weight, zone, region, volatile, status, joinedEpoch]
    })
  const owners = rows.map(({ slots, change, rowEpoch }) => {
    return [slots, change?.next, change?.copies.map(({ to, from }) => [to, from]), rowEpoch]
  })
  return hashText(JSON.stringify([clusterId, epoch, replicas, people, owners])).toString(16)
}
