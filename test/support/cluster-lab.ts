import assert from 'node:assert/strict'
import type { Hash64 } from '../../src/model/partition.ts'
import type { Topology } from '../../src/placement/topology.ts'
import { restProblem } from '../../src/testing/at-rest.ts'
import { type MemberOptions, SimCluster } from '../../src/testing/sim-cluster.ts'
import type { SimNode } from '../../src/testing/sim-node.ts'
import { SimWorld } from '../../src/testing/sim-world.ts'

const PATIENCE_MS = 120_000

/** Production nodes over a simulated network: named by letters, started on demand. */
export class ClusterLab {
  readonly world: SimWorld
  readonly cluster: SimCluster

  constructor(hash: Hash64, seed = 1) {
    this.world = new SimWorld({ seed })
    this.cluster = new SimCluster({ world: this.world, hash })
  }

  add(name: string, options: Partial<MemberOptions> & { readonly disk?: boolean } = {}): void {
    const { disk = false, config, ...rest } = options
    this.cluster.add({
      machine: { name, disk: { permanent: disk } },
      config: { partitions: 64, ...config },
      ...rest
    })
  }

  start(...names: string[]): void {
    for (const name of names) this.cluster.start(name)
  }

  node(name: string): SimNode {
    const node = this.cluster.node(name)
    assert.ok(node !== undefined, `${name} runs`)
    return node
  }

  topology(name: string): Topology {
    const { topology } = this.node(name).core.cluster
    assert.ok(topology !== undefined, `${name} knows a topology`)
    return topology
  }

  async until(what: string, condition: () => boolean, limitMs = PATIENCE_MS): Promise<void> {
    const endMs = this.world.nowMs + limitMs
    while (!condition()) {
      assert.ok(this.world.nowMs < endMs, `${what}: not within ${limitMs} ms`)
      await this.world.advance(50)
    }
  }

  /** All of these run and no others, in one cluster at one epoch, and nothing is left to do. */
  async settled(...names: string[]): Promise<void> {
    const endMs = this.world.nowMs + PATIENCE_MS
    for (;;) {
      const problem = restProblem(this.cluster.nodes, names)
      if (problem === undefined) return
      assert.ok(this.world.nowMs < endMs, problem)
      await this.world.advance(100)
    }
  }

  async stop(): Promise<void> {
    const nodes = this.cluster.nodes
    for (const name of this.cluster.names) await this.world.settle(this.cluster.stop(name))
    for (const node of nodes) assert.equal(node.leftTimers, 0, `${node.name} leaves no timer behind`)
  }
}
