import assert from 'node:assert/strict'
import type { PeerId } from '../../src/model/node-id.ts'
import type { SimHost } from '../../src/testing/sim-host.ts'
import { SimNetwork } from '../../src/testing/sim-network.ts'
import { SimWorld } from '../../src/testing/sim-world.ts'
import type { Lab, LabHost } from './lab.ts'

const PATIENCE_MS = 60_000

/** Simulated nodes. */
export class SimLab implements Lab {
  readonly world: SimWorld
  readonly network: SimNetwork
  readonly #hosts: SimHost[] = []

  constructor(seed: string | number = 1) {
    this.world = new SimWorld({ seed })
    this.network = new SimNetwork(this.world)
  }

  async host(at?: LabHost): Promise<LabHost> {
    const number = this.#hosts.length
    const clock = this.world.clock(`n${number}`)
    const address = at?.host.addresses[0]?.replace(/\/p2p\/.*/u, '') ?? `/ip4/10.0.0.${number}/tcp/7400`
    const host = this.network.host({ clock, self: `peer${number}` as PeerId, address, topic: 'lab' })
    this.#hosts.push(host)
    return {
      host,
      clock,
      random: this.world.random.fork(`n${number}`),
      leftovers: () => Array.from({ length: clock.pending }, () => 'timer')
    }
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return this.world.settle(promise, { limitMs: PATIENCE_MS })
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    assert.ok(await this.world.run(condition, { limitMs: PATIENCE_MS }), `waited too long for ${what}`)
  }

  async pass(ms: number): Promise<void> {
    await this.world.advance(ms)
  }

  async close(): Promise<void> {
    await Promise.all(this.#hosts.map(host => host.stop()))
  }
}
