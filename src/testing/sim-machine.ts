import type { PeerId } from '../model/node-id.ts'
import type { Random } from '../runtime/random.ts'
import type { Identity } from '../storage/identity.ts'
import type { Oscillator, OscillatorOptions } from './oscillator.ts'
import type { SimClock } from './sim-clock.ts'
import { type DiskOptions, SimDisk } from './sim-disk.ts'
import type { SimHost } from './sim-host.ts'
import type { SimNetwork } from './sim-network.ts'
import { SimStore } from './sim-store.ts'
import type { SimWorld } from './sim-world.ts'

/** What a machine is like. */
export interface MachineOptions {
  readonly name: string
  /** Multiaddr to listen on, without the peer id. */
  readonly address: string
  readonly clock?: OscillatorOptions
  readonly disk?: DiskOptions
}

/** What a machine stands in. */
export interface MachineDeps {
  readonly world: SimWorld
  readonly network: SimNetwork
  /** Hosts of other topics do not hear this one's gossip. */
  readonly topic: string
}

/** The world as one process on a machine finds it. */
export interface Process {
  readonly clock: SimClock
  readonly random: Random
  readonly store: SimStore
  readonly host: SimHost
  /** How many processes ran on the machine before. */
  readonly generation: number
}

/** A computer: its disk and its clock outlive the processes that run on it, one after the other. */
export class SimMachine {
  readonly name: string
  readonly address: string
  readonly disk: SimDisk
  readonly oscillator: Oscillator
  /** Identity of the first node that ran here; for who plants the bug of going on under it. */
  firstIdentity: Identity | undefined
  readonly #deps: MachineDeps
  #process: Process | undefined
  #generations = 0

  constructor(deps: MachineDeps, { name, address, clock, disk }: MachineOptions) {
    this.#deps = deps
    this.name = name
    this.address = address
    this.disk = new SimDisk(deps.world.random.fork(`disk ${name}`), disk)
    this.oscillator = deps.world.oscillator(clock)
  }

  /** The process that runs now. */
  get process(): Process | undefined {
    return this.#process
  }

  /** Starts a process; the one before must have ended. */
  boot(): Process {
    const { world, network, topic } = this.#deps
    const generation = this.#generations++
    const clock = world.clock(this.name, this.oscillator)
    const self = this.#peerId(generation)
    this.#process = {
      clock,
      random: world.random.fork(`process ${this.name} ${generation}`),
      store: new SimStore({ disk: this.disk, clock }),
      host: network.host({ clock, self, address: this.address, topic }),
      generation
    }
    return this.#process
  }

  /**
   * Ends the process without a word; with `machine` the whole computer, so that what was not synced may be lost and
   * nobody is told that the connections are gone.
   */
  crash({ machine = false }: { readonly machine?: boolean } = {}): void {
    const process = this.#process
    if (process === undefined) return
    this.#process = undefined
    process.clock.kill()
    this.#deps.network.crash(process.host, { silent: machine })
    this.disk.crash({ machine })
  }

  /** The process has stopped in good order. */
  stopped(): void {
    this.#process?.clock.kill()
    this.#process = undefined
    // A start that failed early may have left it open, as the end of the process closes all files.
    if (this.disk.isOpen) this.disk.crash()
  }

  /** With a disk the key is kept there, so the peer id stays; without one each process is a stranger. */
  #peerId(generation: number): PeerId {
    return `sim-${this.name}${this.disk.options.permanent ? '' : `-${generation}`}` as PeerId
  }
}
