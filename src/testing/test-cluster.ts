import { KilovoltError } from '../base/errors.ts'
import type { Node } from '../node/node.ts'
import { loadHash64 } from '../runtime/hash.ts'
import type { NetworkOptions } from './conditions.ts'
import { restProblem } from './at-rest.ts'
import { SimCluster } from './sim-cluster.ts'
import { SimWorld } from './sim-world.ts'

/** How to make a cluster for a test. */
export interface TestClusterOptions {
  /** Everything that chance decides follows from it: the same seed, the same run. @defaultValue `1` */
  readonly seed?: string | number | undefined
  /** Time passes only in `run` and `advance`, as fast as the machine can compute. @defaultValue `'virtual'` */
  readonly clock?: 'virtual' | undefined
  /** Copies of each value. @defaultValue `3` */
  readonly replicas?: number | undefined
  /** Number of partitions, a power of two from 64 to 4,096. @defaultValue `64` */
  readonly partitions?: number | undefined
  /** Whether nodes keep their data over a restart. @defaultValue `false` */
  readonly disk?: boolean | undefined
  /** Delays, losses and the like. @defaultValue a fast and faultless network */
  readonly network?: NetworkOptions | undefined
}

/** How long a cluster may take to form, virtual ms. */
const FORM_MS = 120_000
const LOOK_EVERY_MS = 100

/**
 * A cluster of production nodes in this process, over a simulated network, clock and disk: for tests of applications.
 * Nodes are numbered from 0. No time passes by itself: hand whatever must happen to {@link TestCluster.run}.
 *
 * @example
 * ```ts
 * const cluster = await createTestCluster(3, { seed: 7 })
 * await cluster.run(cluster.node(0).put('a', 1))
 * cluster.crash(0)
 * await cluster.run(cluster.node(1).get('a')) // 1
 * await cluster.stop()
 * ```
 */
export class TestCluster {
  readonly #world: SimWorld
  readonly #cluster: SimCluster
  readonly #options: TestClusterOptions

  /** Made by {@link createTestCluster}. @internal */
  constructor(world: SimWorld, cluster: SimCluster, options: TestClusterOptions) {
    this.#world = world
    this.#cluster = cluster
    this.#options = options
  }

  /** Number of machines, running or not. */
  get size(): number {
    return this.#cluster.names.length
  }

  /** Virtual ms since the cluster was made. */
  get nowMs(): number {
    return this.#world.nowMs
  }

  /** Hash of everything that has happened so far: two runs of one seed have the same. */
  get traceHash(): string {
    return this.#world.trace.hash
  }

  /**
   * The node that runs on a machine.
   *
   * @throws KilovoltError `KV_NODE_STOPPED` when none does
   */
  node(index: number): Node {
    const node = this.#cluster.node(nameOf(index))
    if (node === undefined) throw new KilovoltError('KV_NODE_STOPPED', `node ${index} does not run`)
    return node.node
  }

  /**
   * Lets time pass until a promise is settled, and returns its value or throws its error.
   *
   * @param limitMs - virtual ms. Default one hour
   * @throws KilovoltError `KV_TIMEOUT` when the limit passes
   */
  run<T>(promise: Promise<T>, limitMs?: number): Promise<T> {
    return this.#world.settle(promise, limitMs === undefined ? {} : { limitMs })
  }

  /** Lets this much virtual time pass. */
  advance(ms: number): Promise<void> {
    return this.#world.advance(ms)
  }

  /**
   * Lets time pass until all machines run a node and nothing is left to do: one cluster, one epoch, equal views, every
   * partition at its owners.
   *
   * @throws KilovoltError `KV_TIMEOUT` when that takes more than two virtual minutes; the message says what is missing
   */
  async settled(): Promise<void> {
    const endMs = this.#world.nowMs + FORM_MS
    for (;;) {
      const problem = restProblem(this.#cluster.nodes, this.#cluster.names)
      if (problem === undefined) return
      if (this.#world.nowMs >= endMs) throw new KilovoltError('KV_TIMEOUT', `the cluster does not settle: ${problem}`)
      await this.#world.advance(LOOK_EVERY_MS)
    }
  }

  /** Adds a machine, starts a node on it and returns its number; `settled` waits until it has its share. */
  grow(): number {
    const index = this.size
    const { disk = false, replicas = 3, partitions = 64 } = this.#options
    this.#cluster.add({
      machine: { name: nameOf(index), disk: { permanent: disk } },
      config: { replicas, partitions }
    })
    this.#cluster.start(nameOf(index))
    return index
  }

  /** Ends a node without a word, as `kill -9` does. */
  crash(index: number): void {
    this.#cluster.crash(nameOf(index))
  }

  /** Starts a node again on its machine; `settled` waits until it has joined. */
  restart(index: number): void {
    this.#cluster.start(nameOf(index))
  }

  /** Cuts groups of nodes off from each other; who is in no group reaches everybody. */
  split(...groups: readonly (readonly number[])[]): void {
    this.#cluster.network.split(groups.map(group => group.map(nameOf)))
  }

  /** Ends all splits. */
  heal(): void {
    this.#cluster.network.heal()
  }

  /** Changes the network from now on. */
  setNetwork(options: NetworkOptions): void {
    this.#cluster.network.conditions.set(options)
  }

  /** A node stands still for a while, as in a long collection of garbage. */
  stall(index: number, ms: number): void {
    this.#cluster.apply({ kind: 'stall', node: nameOf(index), forMs: ms })
  }

  /** Sets a node's wall clock forward, or back by a negative number. */
  jumpClock(index: number, ms: number): void {
    this.#cluster.apply({ kind: 'jump', node: nameOf(index), ms })
  }

  /** Stops all nodes in good order. */
  async stop(): Promise<void> {
    for (const name of this.#cluster.names) await this.#world.settle(this.#cluster.stop(name))
  }
}

/**
 * Starts a cluster of simulated nodes and waits until it has settled.
 *
 * @param size - number of nodes, 1 or more
 */
export async function createTestCluster(size: number, options: TestClusterOptions = {}): Promise<TestCluster> {
  if (!Number.isInteger(size) || size < 1) throw new RangeError(`a cluster has 1 or more nodes, not ${size}`)
  const { seed = 1, network } = options
  const world = new SimWorld({ seed })
  const hash = await loadHash64()
  const cluster = new TestCluster(
    world,
    new SimCluster({ world, hash, ...(network === undefined ? {} : { network }) }),
    options
  )
  for (let i = 0; i < size; i++) cluster.grow()
  await cluster.settled()
  return cluster
}

function nameOf(index: number): string {
  return `node-${index}`
}
