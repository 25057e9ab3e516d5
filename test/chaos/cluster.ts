import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../support/free-port.ts'
import { type ChildOptions, ProcessNode, until } from '../support/process-node.ts'
import { LinkProxy } from './link-proxy.ts'

const HEAL_MS = 60_000
/** Members in memory are replaced after this, ms: short, as a run is. */
const EVICT_AFTER_MS = 5000

/** A place for a node: on a disk that outlives its processes, or in memory. Its port stays the same. */
interface Place {
  readonly name: string
  readonly port: number
  readonly folder: string | undefined
  node: ProcessNode | undefined
}

/** The process that works for the app. */
const CLIENT = 'client'

/**
 * Five nodes in processes of their own, two of them in memory, and one without data that works for the app. From each to
 * each a proxy leads, which can be cut.
 */
export class ChaosCluster {
  readonly #places: Place[] = []
  readonly #links = new Map<string, LinkProxy>()

  /** The process that reads and writes; it is never killed. */
  get client(): ProcessNode {
    return this.node(CLIENT)
  }

  async start(): Promise<void> {
    for (const name of [CLIENT, 'disk-1', 'disk-2', 'disk-3', 'memory-1', 'memory-2']) await this.#add(name)
    const [client, ...others] = this.#places
    await this.#boot(client!)
    await Promise.all(others.map(place => this.#boot(place)))
    await this.healed()
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map(node => node.kill()))
    await Promise.all([...this.#links.values()].map(link => link.close()))
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
    if (!this.#places.some(place => place.name === name)) await this.#add(name)
    await this.#boot(this.#place(name))
  }

  /** A node hands its data over and goes for good. */
  async leave(name: string): Promise<void> {
    const place = this.#place(name)
    await this.node(name).call('leave')
    await this.kill(name)
    this.#places.splice(this.#places.indexOf(place), 1)
  }

  /** Cuts, or mends, the ways between two places, both ways. */
  setLink(a: string, b: string, isCut: boolean): void {
    for (const link of [this.#links.get(wayOf(a, b)), this.#links.get(wayOf(b, a))]) {
      if (isCut) link?.cut()
      else link?.mend()
    }
  }

  /** Cuts a place off from all others, or mends that. */
  setAllLinks(name: string, isCut: boolean): void {
    for (const other of this.#places) if (other.name !== name) this.setLink(name, other.name, isCut)
  }

  /** Fills the disk of a place, or empties it. */
  async setDisk(name: string, isFull: boolean): Promise<void> {
    await this.node(name).call('setDisk', isFull)
  }

  /** Resolves with how long it took, ms, until everybody sees everybody, nothing moves and any may be stopped. */
  async healed(): Promise<number> {
    const startMs = performance.now()
    const nodes = this.#nodes
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

  async #add(name: string): Promise<void> {
    const folder = name.startsWith('disk') ? mkdtempSync(join(tmpdir(), 'kilovolt-chaos-')) : undefined
    const added: Place = { name, port: await freePort(), folder, node: undefined }
    for (const other of this.#places) {
      this.#links.set(wayOf(name, other.name), await LinkProxy.open(other.port))
      const back = await LinkProxy.open(added.port)
      this.#links.set(wayOf(other.name, name), back)
      await other.node?.call('detour', { [added.port]: back.port })
    }
    this.#places.push(added)
  }

  async #boot(place: Place): Promise<void> {
    const { name, port, folder } = place
    const detours: Record<number, number> = {}
    for (const other of this.#places)
      if (other !== place) detours[other.port] = this.#links.get(wayOf(name, other.name))!.port
    const options: ChildOptions = {
      listen: [`/ip4/127.0.0.1/tcp/${port}`],
      bootstrap: name === CLIENT ? [] : this.client.addresses,
      evictAfterMs: EVICT_AFTER_MS,
      ...(name === CLIENT ? { weight: 0 } : {}),
      ...(folder === undefined ? {} : { folder })
    }
    place.node = await ProcessNode.start(options, detours)
  }

  #place(name: string): Place {
    const place = this.#places.find(candidate => candidate.name === name)
    if (place === undefined) throw new Error(`there is no place ${name}`)
    return place
  }
}

function wayOf(from: string, to: string): string {
  return `${from} to ${to}`
}
