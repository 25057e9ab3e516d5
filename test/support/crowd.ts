import assert from 'node:assert/strict'
import type { MembershipEvents } from '../../src/membership/membership.ts'
import type { StoreId } from '../../src/model/node-id.ts'
import { loadHash64 } from '../../src/runtime/hash.ts'
import { restProblem } from '../../src/testing/at-rest.ts'
import { SimCluster } from '../../src/testing/sim-cluster.ts'
import type { SimNode } from '../../src/testing/sim-node.ts'
import { SimWorld } from '../../src/testing/sim-world.ts'
import { type Carried, Traffic } from './traffic.ts'

/** What membership tells of a status. */
type Told = Exclude<keyof MembershipEvents, 'change' | 'member:returned'>
const TOLD: readonly Told[] = ['member:joined', 'member:suspected', 'member:failed', 'member:left']

/** Something that a node was told of another. */
interface CrowdEvent {
  readonly atMs: number
  readonly type: Told
  readonly at: string
  readonly about: StoreId
  /** Whether the process that it is about was there. */
  readonly wasUp: boolean
}

/** How long news of a member took to reach all others, virtual ms. */
export interface Spread {
  /** From its start until all had heard of it, and until it was a member to all. */
  readonly joined: { readonly heard: number; readonly member: number }
  /** From its goodbye until all had heard it; and how long it had handed over before. */
  readonly left: { readonly heard: number; readonly handedOver: number }
  /** From the end of a process, or of a machine with nobody to close its connections, until all suspected it and held it dead. */
  readonly gone: { readonly suspected: number; readonly dead: number }
}

/** Characters of a real peer id: names of machines are as long as makes the simulated ones so. */
const PEER_CHARACTERS = 52
const PATIENCE_MS = 120_000
const LEAVE_MS = 60_000
const STEP_MS = 10

/** Many production nodes in the simulator, all in memory, that come and go while all is noted that membership tells. */
export class Crowd {
  readonly world: SimWorld
  readonly #cluster: SimCluster
  readonly #traffic: Traffic
  readonly #events: CrowdEvent[] = []
  readonly #nameOf = new Map<StoreId, string>()
  #made = 0

  private constructor(world: SimWorld, cluster: (onNode: (node: SimNode) => void) => SimCluster) {
    this.world = world
    this.#cluster = cluster(node => this.#watch(node))
    this.#traffic = new Traffic(this.#cluster.network, () => this.nodes.map(({ name }) => name))
  }

  /** A crowd whose members know each other and have nothing left to do. */
  static async form(count: number, seed: string | number): Promise<Crowd> {
    const world = new SimWorld({ seed })
    const hash = await loadHash64()
    const crowd = new Crowd(world, onNode => new SimCluster({ world, hash, onNode }))
    for (let i = 0; i < count; i++) crowd.#start()
    await crowd.#until(() => crowd.nodes.length === count, 'all nodes')
    await crowd.settled()
    return crowd
  }

  get nodes(): readonly SimNode[] {
    return this.#cluster.nodes
  }

  /** So many messages in ten thousand vanish from now on. */
  lose(per10k: number): void {
    this.#cluster.network.conditions.set({ lossPer10k: per10k })
  }

  /** Lets time pass until nothing is left to do. */
  async settled(): Promise<void> {
    const isAtRest = (): boolean =>
      restProblem(
        this.nodes,
        this.nodes.map(({ name }) => name)
      ) === undefined
    await this.#until(isAtRest, 'rest', 250)
  }

  /** What each node carries while so much time passes. */
  carried(virtualMs: number): Promise<ReadonlyMap<string, Carried>> {
    return this.#traffic.during(async () => {
      await this.world.advance(virtualMs)
      return { virtualMs }
    })
  }

  /** How often members whose processes were there have been suspected and taken for dead, each by somebody. */
  get accusations(): { readonly suspected: number; readonly dead: number } {
    const count = (type: Told): number => this.#events.filter(event => event.wasUp && event.type === type).length
    return { suspected: count('member:suspected'), dead: count('member:failed') }
  }

  async join(): Promise<Spread['joined']> {
    const fromMs = this.world.nowMs
    const name = this.#start()
    await this.#until(() => this.#cluster.node(name) !== undefined, 'the newcomer')
    const { storeId } = this.#cluster.node(name)!.core
    const heard = await this.#allTold(['member:joined'], storeId, fromMs)
    const isMember = ({ core }: SimNode): boolean => core.cluster.topology?.members.has(storeId) === true
    await this.#until(() => this.nodes.every(isMember), 'the newcomer is a member to all')
    return { heard, member: this.world.nowMs - fromMs }
  }

  async leave({ name, core }: SimNode): Promise<Spread['left']> {
    const fromMs = this.world.nowMs
    let goodbyeMs = Infinity
    core.membership.on('change', ({ storeId, status }) => {
      if (storeId === core.storeId && status === 'left') goodbyeMs = this.world.nowMs
    })
    await this.world.settle(this.#cluster.leave(name, LEAVE_MS))
    const heard = await this.#allTold(['member:left'], core.storeId, fromMs)
    return { heard: fromMs + heard - goodbyeMs, handedOver: goodbyeMs - fromMs }
  }

  /** @param machine - whether all of the machine is gone, so that nobody closes its connections */
  async crash({ name, core }: SimNode, machine: boolean): Promise<Spread['gone']> {
    const fromMs = this.world.nowMs
    this.#cluster.crash(name, { machine })
    const suspected = await this.#allTold(['member:suspected', 'member:failed'], core.storeId, fromMs)
    return { suspected, dead: await this.#allTold(['member:failed'], core.storeId, fromMs) }
  }

  #start(): string {
    const name = `crowd-${this.#made++}-`.padEnd(PEER_CHARACTERS - 'sim--0'.length, 'x')
    this.#cluster.add({ machine: { name, disk: { permanent: false } } })
    this.#cluster.start(name)
    return name
  }

  #watch({ name, core }: SimNode): void {
    this.#nameOf.set(core.storeId, name)
    for (const type of TOLD) {
      core.membership.on(type, ({ storeId: about }) => {
        const wasUp = this.#cluster.node(this.#nameOf.get(about) ?? '') !== undefined
        this.#events.push({ atMs: this.world.nowMs, type, at: name, about, wasUp })
      })
    }
  }

  /** Lets time pass until all others have been told one of these; how long it took the last one, ms. */
  async #allTold(types: readonly Told[], about: StoreId, sinceMs: number): Promise<number> {
    const listeners = this.nodes.filter(({ core }) => core.storeId !== about).map(({ name }) => name)
    const told = new Map<string, number>()
    let seen = this.#events.findIndex(({ atMs }) => atMs >= sinceMs)
    await this.#until(
      () => {
        for (; seen >= 0 && seen < this.#events.length; seen++) {
          const event = this.#events[seen]!
          if (event.about === about && types.includes(event.type) && !told.has(event.at)) told.set(event.at, event.atMs)
        }
        if (seen < 0) seen = this.#events.findIndex(({ atMs }) => atMs >= sinceMs)
        return listeners.every(name => told.has(name))
      },
      `${types.join(' or ')} at all`
    )
    return Math.max(...listeners.map(name => told.get(name)!)) - sinceMs
  }

  async #until(condition: () => boolean, what: string, stepMs = STEP_MS): Promise<void> {
    const endMs = this.world.nowMs + PATIENCE_MS
    while (!condition()) {
      assert.ok(this.world.nowMs < endMs, `waited too long for ${what}`)
      await this.world.advance(stepMs)
    }
  }
}
