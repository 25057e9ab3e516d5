import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ProcessNode, until } from '../support/process-node.ts'

const HEAL_MS = 60_000
/** Members in memory are replaced after this, ms: short, as a run is. */
const EVICT_AFTER_MS = 5000

/** A place for a node: on a disk that outlives its processes, or in memory. */
interface Place {
  readonly name: string
  readonly folder: string | undefined
  node: ProcessNode | undefined
}

/** Five nodes in processes of their own, two of them in memory, and one without data that works for the app. */
export class ChaosCluster {
  readonly #places: Place[] = []
  #client: ProcessNode | undefined

  /** The process that reads and writes; nothing is ever done to it. */
  get client(): ProcessNode {
    return this.#client!
  }

  async start(): Promise<void> {
    this.#client = await ProcessNode.start({ weight: 0, evictAfterMs: EVICT_AFTER_MS })
    for (const name of ['disk-1', 'disk-2', 'disk-3', 'memory-1', 'memory-2']) this.#add(name)
    await Promise.all(this.#places.map(place => this.#boot(place)))
    await this.healed()
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map(node => node.kill()))
    await this.#client?.kill()
    for (const { folder } of this.#places) if (folder !== undefined) rmSync(folder, { recursive: true })
  }

  node(name: string): ProcessNode {
    return this.#place(name).node!
  }

  /** Ends a process with SIGKILL; what it had in memory is gone. */
  async kill(name: string): Promise<void> {
    const place = this.#place(name)
    await place.node?.kill()
    place.node = undefined
  }

  /** Stops a node in good order. */
  async halt(name: string): Promise<void> {
    await this.node(name).call('stop')
    await this.kill(name)
  }

  /** Starts a node at its place again, or for the first time. */
  async revive(name: string): Promise<void> {
    if (!this.#places.some(place => place.name === name)) this.#add(name)
    await this.#boot(this.#place(name))
  }

  /** A node hands its data over and goes for good. */
  async leave(name: string): Promise<void> {
    const place = this.#place(name)
    await this.node(name).call('leave')
    await this.kill(name)
    this.#places.splice(this.#places.indexOf(place), 1)
  }

  /** Resolves with how long it took, ms, until everybody sees everybody, nothing moves and any may be stopped. */
  async healed(): Promise<number> {
    const startMs = performance.now()
    const nodes = [...this.#nodes, this.client]
    const ids = nodes.map(({ id }) => id)
    await until('the cluster is whole again', HEAL_MS, async () => {
      for (const node of nodes) {
        const members = await node.members()
        const up = members.filter(({ status, membership }) => status === 'alive' && membership === 'up')
        if (up.length !== ids.length || members.some(({ membership }) => membership === 'down')) return false
        const { partitions } = await node.status()
        if (partitions.changing > 0 || partitions.underReplicated > 0) return false
        if (node !== this.client && !(await node.safeToStop()).safe) return false
      }
      return true
    })
    return performance.now() - startMs
  }

  get #nodes(): ProcessNode[] {
    return this.#places.flatMap(({ node }) => node ?? [])
  }

  #add(name: string): void {
    const folder = name.startsWith('disk') ? mkdtempSync(join(tmpdir(), 'kilovolt-chaos-')) : undefined
    this.#places.push({ name, folder, node: undefined })
  }

  async #boot(place: Place): Promise<void> {
    const { folder } = place
    place.node = await ProcessNode.start({
      bootstrap: this.client.addresses,
      evictAfterMs: EVICT_AFTER_MS,
      ...(folder === undefined ? {} : { folder })
    })
  }

  #place(name: string): Place {
    const place = this.#places.find(candidate => candidate.name === name)
    if (place === undefined) throw new Error(`there is no place ${name}`)
    return place
  }
}
