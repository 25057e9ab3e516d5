import assert from 'node:assert/strict'
import { pause } from '../../src/runtime/clock.ts'
import { silentLogger } from '../../src/runtime/logger.ts'
import { systemClock } from '../../src/runtime/system-clock.ts'
import { systemRandom } from '../../src/runtime/system-random.ts'
import { Libp2pHost, type Libp2pHostOptions } from '../../src/transport/libp2p-host.ts'
import { createPeerKey } from '../../src/transport/peer-key.ts'
import type { Lab, LabHost } from './lab.ts'

const PATIENCE_MS = 10_000

/** Real nodes on the loopback interface. */
export class Libp2pLab implements Lab {
  readonly #hosts: Libp2pHost[] = []
  readonly #defaults: Partial<Libp2pHostOptions>

  /** @param defaults - settings of all hosts */
  constructor(defaults: Partial<Libp2pHostOptions> = {}) {
    this.#defaults = defaults
  }

  async host(at?: LabHost): Promise<LabHost> {
    const listen = at?.host.addresses.map(address => address.replace(/\/p2p\/.*/u, ''))
    const host = await this.create(listen === undefined ? {} : { listen })
    return {
      host,
      clock: systemClock,
      random: systemRandom,
      leftovers: () => process.getActiveResourcesInfo().filter(name => name.startsWith('TCP'))
    }
  }

  /** A host with settings of one's own. */
  async create(options: Partial<Libp2pHostOptions> = {}): Promise<Libp2pHost> {
    const host = await Libp2pHost.create({
      peerKey: await createPeerKey(),
      cluster: 'lab',
      partitions: 256,
      listen: ['/ip4/127.0.0.1/tcp/0'],
      announce: [],
      secret: undefined,
      allow: undefined,
      clock: systemClock,
      logger: silentLogger,
      ...this.#defaults,
      ...options
    })
    this.#hosts.push(host)
    return host
  }

  async settle<T>(promise: Promise<T>): Promise<T> {
    let settled = false
    const mark = (): void => {
      settled = true
    }
    promise.then(mark, mark)
    await this.until(() => settled, 'a promise to settle')
    return promise
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    const deadlineMs = systemClock.monotonicMs() + PATIENCE_MS
    while (!condition()) {
      assert.ok(systemClock.monotonicMs() < deadlineMs, `waited too long for ${what}`)
      await pause(systemClock, 2)
    }
  }

  async pass(ms: number): Promise<void> {
    await pause(systemClock, ms)
  }

  async close(): Promise<void> {
    await Promise.all(this.#hosts.map(host => host.stop()))
  }
}
