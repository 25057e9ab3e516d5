import type { PeerId, StoreId } from '../../../src/model/node-id.ts'
import type { Liveness, ViewMember } from '../../../src/model/view.ts'
import { Discovery } from '../../../src/membership/discovery.ts'
import { GossipMembership } from '../../../src/membership/gossip-membership.ts'
import type { MembershipEvents } from '../../../src/membership/membership.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { FakeNetwork, FakeTransport, addressOf } from './fake-network.ts'

/** Something that membership told, and when. */
export interface Told {
  readonly atMs: number
  readonly type: keyof MembershipEvents
  readonly member: ViewMember
}

export class FakeNode {
  readonly name: string
  readonly clock: SimClock
  readonly transport: FakeTransport
  readonly membership: GossipMembership
  readonly discovery: Discovery
  readonly told: Told[] = []

  constructor(
    net: FakeNetwork,
    name: string,
    store: StoreId,
    peer: PeerId,
    bootstrap: readonly string[],
    machine?: SimClock
  ) {
    this.name = name
    this.clock = net.world.clock(name, machine?.oscillator ?? {})
    this.transport = new FakeTransport(net, this.clock, peer, store)
    const random = net.world.random.fork(name)
    this.membership = new GossipMembership(
      { transport: this.transport, clock: this.clock, random, loop: this.clock.loopMonitor, logger: silentLogger },
      { storeId: store }
    )
    this.discovery = new Discovery(
      {
        transport: this.transport,
        clock: this.clock,
        random: random.fork('discovery'),
        logger: silentLogger,
        isAlone: () => this.membership.isAlone
      },
      { bootstrap }
    )
    for (const type of EVENTS) {
      this.membership.on(type, member => this.told.push({ atMs: net.world.nowMs, type, member }))
    }
  }

  get store(): StoreId {
    return this.membership.self.storeId
  }

  async start(): Promise<void> {
    await this.transport.start()
    this.membership.start()
    this.discovery.start()
  }

  sees(other: FakeNode): Liveness | undefined {
    return this.membership.statusOf(other.store)
  }

  /** How often it told that of the other. */
  count(type: keyof MembershipEvents, other: FakeNode): number {
    return this.told.filter(told => told.type === type && told.member.storeId === other.store).length
  }
}

const EVENTS = [
  'member:joined',
  'member:suspected',
  'member:failed',
  'member:returned',
  'member:left',
  'change'
] as const

/** Nodes that know the first one's address. */
export class FakeCluster {
  readonly world: SimWorld
  readonly net: FakeNetwork
  readonly nodes: FakeNode[] = []

  constructor(seed: string | number) {
    this.world = new SimWorld({ seed })
    this.net = new FakeNetwork(this.world)
  }

  /** A new node that is not started. */
  make(options: { store?: StoreId; peer?: PeerId; bootstrap?: readonly string[]; machine?: SimClock } = {}): FakeNode {
    const index = this.nodes.length
    const first = this.nodes[0]
    const bootstrap = options.bootstrap ?? (first === undefined ? [] : [addressOf(first.transport.self)])
    const store = options.store ?? storeId(index)
    const peer = options.peer ?? (`peer-${(index * 7 + 3) % 10}-${index}` as PeerId)
    const node = new FakeNode(this.net, `n${index}`, store, peer, bootstrap, options.machine)
    this.nodes.push(node)
    return node
  }

  async form(size: number): Promise<void> {
    for (let i = 0; i < size; i++) await this.make().start()
    if (!(await this.world.run(() => this.isWhole(), { limitMs: 30_000 }))) throw new Error('the cluster did not form')
    // Nobody is a newcomer any more, and every round trip is known.
    await this.world.advance(10_000)
    if (!this.isWhole()) throw new Error('the cluster did not stay whole')
  }

  /** Everybody running sees everybody running as alive. */
  isWhole(nodes: readonly FakeNode[] = this.running()): boolean {
    return nodes.every(node => nodes.every(other => node.sees(other) === 'alive'))
  }

  running(): FakeNode[] {
    return this.nodes.filter(({ transport, clock }) => transport.started && !clock.isDead)
  }

  /** All views as text, to compare them. */
  views(): string[] {
    return this.running().map(({ membership }) =>
      JSON.stringify([...membership.view.values()].sort((a, b) => (a.storeId < b.storeId ? -1 : 1)))
    )
  }

  /** Virtual ms until the condition holds. */
  async until(condition: () => boolean, limitMs: number, what: string): Promise<number> {
    const fromMs = this.world.nowMs
    if (!(await this.world.run(condition, { limitMs }))) throw new Error(`not within ${limitMs} ms: ${what}`)
    return this.world.nowMs - fromMs
  }

  stop(): void {
    for (const { membership, discovery, transport } of this.nodes) {
      membership.stop()
      discovery.stop()
      void transport.stop()
    }
  }
}

export function storeId(index: number): StoreId {
  return index.toString(16).padStart(32, '0') as StoreId
}

/** The middle of some figures. */
export function median(figures: readonly number[]): number {
  return [...figures].sort((a, b) => a - b)[Math.floor(figures.length / 2)]!
}
