import { isKilovoltError, KilovoltError } from '../base/errors.ts'
import type { StoreId } from '../model/node-id.ts'
import type { Hash64 } from '../model/partition.ts'
import type { View } from '../model/view.ts'
import type { NetworkOptions } from './conditions.ts'
import type { Fault } from './faults.ts'
import { rot } from './rot.ts'
import { type MachineOptions, SimMachine } from './sim-machine.ts'
import { SimNetwork } from './sim-network.ts'
import { SimNode, type SimNodeOptions } from './sim-node.ts'
import type { DiskOptions } from './sim-disk.ts'
import type { SimWorld } from './sim-world.ts'

/** A machine and how the nodes on it are set up. */
export interface MemberOptions extends SimNodeOptions {
  readonly machine: Omit<MachineOptions, 'address'>
  /**
   * Whom its nodes look for: `others`: all other machines, so that it joins and never founds (F2); `all`: all machines,
   * itself included, so that they found together (F3); `founder`: nobody at its first start (F1), all others later.
   * Default: `founder` for the first machine, `others` for the rest.
   */
  readonly bootstrap?: 'founder' | 'others' | 'all'
}

/** What a cluster needs. */
export interface SimClusterDeps {
  readonly world: SimWorld
  /** Key hash; loaded once, as it is WebAssembly. */
  readonly hash: Hash64
  readonly network?: NetworkOptions
  /** Called whenever a node has come up, so that it can be watched. */
  readonly onNode?: (node: SimNode) => void
  /** Called whenever a node is gone, by a crash or a stop. */
  readonly onGone?: (node: SimNode) => void
}

interface Member {
  readonly machine: SimMachine
  /** What its disk is like when nothing is wrong with it. */
  readonly usualDisk: DiskOptions
  readonly bootstrap: 'founder' | 'others' | 'all'
  readonly options: SimNodeOptions
}

/** How long to wait before a node that failed to start is started again, ms. */
const RETRY_MS = 1000
/** How long a node may take to hand over what it owns, ms. */
const LEAVE_MS = 10_000

/** Production nodes on simulated machines, and everything that can be done to them. */
export class SimCluster {
  readonly world: SimWorld
  readonly network: SimNetwork
  readonly #deps: SimClusterDeps
  readonly #members = new Map<string, Member>()
  /** Nodes that run, whether or not they have joined. */
  readonly #nodes = new Map<string, SimNode>()
  /** Machines that are to run a node: one that fails to start is started again. */
  readonly #wanted = new Set<string>()
  /** What the network is like when nothing is wrong with it. */
  #usualNetwork: NetworkOptions

  constructor(deps: SimClusterDeps) {
    this.#deps = deps
    this.world = deps.world
    this.network = new SimNetwork(deps.world, deps.network)
    this.#usualNetwork = this.network.conditions.options
  }

  /** Names of all machines, in order of their making. */
  get names(): readonly string[] {
    return [...this.#members.keys()]
  }

  /** Nodes that have started and not ended. */
  get nodes(): readonly SimNode[] {
    return [...this.#nodes.values()].filter(({ isUp }) => isUp)
  }

  node(name: string): SimNode | undefined {
    const node = this.#nodes.get(name)
    return node?.isUp === true ? node : undefined
  }

  machine(name: string): SimMachine {
    return this.#member(name).machine
  }

  /** Sets up a machine; nothing runs on it yet. */
  add({ machine, bootstrap, ...options }: MemberOptions): void {
    const address = `/ip4/10.0.0.${this.#members.size + 1}/tcp/7400`
    const deps = { world: this.world, network: this.network, topic: 'simulation' }
    const made = new SimMachine(deps, { ...machine, address })
    this.#members.set(machine.name, {
      machine: made,
      usualDisk: made.disk.options,
      bootstrap: bootstrap ?? (this.#members.size === 0 ? 'founder' : 'others'),
      options
    })
  }

  /** Starts a node and goes on trying until it is up or told to end. */
  start(name: string): void {
    this.#wanted.add(name)
    if (!this.#nodes.has(name)) void this.#boot(name)
  }

  /** Stops a node in good order. */
  async stop(name: string): Promise<void> {
    this.#wanted.delete(name)
    const node = this.#nodes.get(name)
    if (node === undefined) return
    await node.stop()
    await this.#end(node)
  }

  /** Ends a node without a word. */
  crash(name: string, options: { readonly machine?: boolean } = {}): void {
    this.#wanted.delete(name)
    const node = this.#nodes.get(name)
    if (node === undefined) return
    node.machine.crash(options)
    this.#ended(node)
  }

  /** Hands a node's data over, ends it and empties its disk. @throws KilovoltError as `Node.leave` does; the node stays then */
  async leave(name: string, timeoutMs: number): Promise<void> {
    this.#wanted.delete(name)
    const node = this.#nodes.get(name)
    if (node === undefined) return
    await node.leave(timeoutMs)
    await this.#end(node)
    node.machine.disk.wipe()
  }

  /** Makes a fault happen; one that lasts ends by itself. */
  apply(fault: Fault): void {
    const { conditions } = this.network
    const later = (ms: number, fn: () => void): void => void this.world.after(ms, fn)
    switch (fault.kind) {
      case 'crash':
        this.crash(fault.node, { machine: fault.machine })
        return later(fault.forMs, () => this.start(fault.node))
      case 'restart':
        void this.stop(fault.node).then(() => later(fault.forMs, () => this.start(fault.node)))
        return
      case 'leave':
        this.leave(fault.node, LEAVE_MS).then(
          () => later(fault.forMs, () => this.start(fault.node)),
          (error: unknown) => {
            // It stays when nobody takes its data in time, and is stopped when something else comes in between.
            if (!isKilovoltError(error)) throw error
            this.start(fault.node)
          }
        )
        return
      case 'split':
        this.network.split(fault.groups)
        return later(fault.forMs, () => this.network.heal())
      case 'one-way':
        conditions.block(fault.from, fault.to)
        return later(fault.forMs, () => conditions.unblock(fault.from, fault.to))
      case 'clog':
        return conditions.clog(fault.from, fault.to, this.world.nowUs + fault.forMs * 1000)
      case 'deaf':
        return conditions.deafen(fault.node, this.world.nowUs + fault.forMs * 1000)
      case 'starve':
        return conditions.starve(fault.node, this.world.nowUs + fault.forMs * 1000)
      case 'cut':
        return this.network.cut(fault.a, fault.b)
      case 'weather': {
        conditions.set(fault.options)
        return later(fault.forMs, () => conditions.set(this.#usualNetwork))
      }
      case 'stall':
        return this.#nodes.get(fault.node)?.clock.stall(fault.forMs)
      case 'jump':
        return this.machine(fault.node).oscillator.jump(fault.ms)
      case 'drift':
        return this.machine(fault.node).oscillator.drift(this.world.nowUs, fault.ppm)
      case 'rot': {
        const { disk } = this.machine(fault.node)
        const others = [...this.#members.values()].map(({ machine }) => machine.disk).filter(other => other !== disk)
        return rot(disk, others, fault.pick)
      }
      case 'disk': {
        const { machine, usualDisk } = this.#member(fault.node)
        machine.disk.set(fault.options)
        return later(fault.forMs, () => machine.disk.set(usualDisk))
      }
    }
  }

  /** Ends all faults and starts whatever does not run. */
  heal(names: readonly string[] = this.names): void {
    this.network.heal()
    this.#usualNetwork = { ...this.#usualNetwork, ...CALM }
    this.network.conditions.set(this.#usualNetwork)
    for (const name of names) {
      const { machine, usualDisk } = this.#member(name)
      machine.disk.set(usualDisk)
      this.#nodes.get(name)?.clock.resume()
      this.start(name)
    }
  }

  /** The view of each node. */
  views(): Map<StoreId, View> {
    return new Map(this.nodes.map(({ core }) => [core.storeId, core.membership.view]))
  }

  async #boot(name: string): Promise<void> {
    const { machine, bootstrap, options } = this.#member(name)
    const node = new SimNode({ machine, hash: this.#deps.hash }, options)
    const all = [...this.#members.values()].map(member => member.machine.address)
    const others = all.filter(address => address !== machine.address)
    const isFirst = bootstrap === 'founder' && node.process.generation === 0
    const addresses = isFirst ? [] : bootstrap === 'all' ? all : others
    this.#nodes.set(name, node)
    try {
      await node.start(addresses)
    } catch (error) {
      // It was refused or found nobody; a supervisor would start the process again.
      if (!(error instanceof KilovoltError) || error.code === 'KV_INTERNAL') throw error
      if (node.clock.isDead) return
      await this.#end(node)
      this.world.after(RETRY_MS, () => {
        if (this.#wanted.has(name) && !this.#nodes.has(name)) void this.#boot(name)
      })
      return
    }
    this.#deps.onNode?.(node)
  }

  /** Ends the process of a node that has stopped. What was to be done soon may still run: a stop does not take it back. */
  async #end(node: SimNode): Promise<void> {
    const turn = (delayMs: number): Promise<void> => new Promise(resolve => this.world.after(delayMs, resolve))
    // A process that stands still does it when it goes on.
    while (node.clock.stalledUntilUs > this.world.nowUs) {
      await turn((node.clock.stalledUntilUs - this.world.nowUs) / 1000)
    }
    // A microsecond later everything of this instant is over.
    await turn(0.001)
    node.end()
    this.#ended(node)
  }

  #ended(node: SimNode): void {
    if (this.#nodes.get(node.name) !== node) return
    this.#nodes.delete(node.name)
    this.#deps.onGone?.(node)
  }

  #member(name: string): Member {
    const member = this.#members.get(name)
    if (member === undefined) throw new KilovoltError('KV_CONFIG', `there is no machine ${name}`)
    return member
  }
}

const CALM: NetworkOptions = { lossPer10k: 0, dataLossPer10k: 0, duplicatePer10k: 0, reorderPer10k: 0 }
