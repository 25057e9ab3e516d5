import { fromUtf8, utf8 } from '../base/bytes.ts'
import type { ConsistencyLevel } from '../model/quorum.ts'
import { recordStamp, recordValue } from '../model/record.ts'
import { formatStamp } from '../model/stamp.ts'
import { assembleNode } from '../node/assemble.ts'
import type { NodeConfig, NodeCore } from '../node/node-core.ts'
import { KilovoltNode } from '../node/kilovolt-node.ts'
import type { WriteOptions } from '../node/keyspace.ts'
import type { Node } from '../node/node.ts'
import { resolveOptions } from '../node/options.ts'
import { type PlacementRules, SOUND_RULES } from '../placement/rules.ts'
import type { Hash64 } from '../model/partition.ts'
import { type Logger, silentLogger } from '../runtime/logger.ts'
import { openIdentity } from '../storage/identity.ts'
import type { SimClock } from './sim-clock.ts'
import type { Process, SimMachine } from './sim-machine.ts'
import type { ClientTarget, ManyRead } from './workload.ts'

/** How a node on a machine is set up. */
export interface SimNodeOptions {
  /** Settings that differ from a production node's defaults. */
  readonly config?: Partial<NodeConfig>
  /** Rules of ownership change. Default: the sound ones. */
  readonly rules?: PlacementRules
  readonly logger?: Logger
  /** Whether a node in memory comes back under the id of its former life: a bug to be planted. Default false. */
  readonly keepsId?: boolean
  /** Copies that clients ask for when they mean a quorum: what a wrong majority would be. Default: a real quorum. */
  readonly quorum?: { readonly r?: number; readonly w?: number }
}

/** What a node needs. */
export interface SimNodeDeps {
  readonly machine: SimMachine
  readonly hash: Hash64
}

/** A production node in one simulated process, from its start to its end. */
export class SimNode implements ClientTarget {
  readonly name: string
  readonly machine: SimMachine
  readonly process: Process
  readonly #deps: SimNodeDeps
  readonly #options: SimNodeOptions
  #core: NodeCore | undefined
  #facade: Node | undefined
  #up = false
  #leftTimers: number | undefined

  /** Boots a process on the machine; it must have none. */
  constructor(deps: SimNodeDeps, options: SimNodeOptions) {
    this.#deps = deps
    this.#options = options
    this.machine = deps.machine
    this.name = deps.machine.name
    this.process = deps.machine.boot()
  }

  get clock(): SimClock {
    return this.process.clock
  }

  /** Whether it has joined and not ended. */
  get isUp(): boolean {
    return this.#up && !this.clock.isDead
  }

  /** Timers that were still set when it had stopped in good order; `undefined` when it has not. */
  get leftTimers(): number | undefined {
    return this.#leftTimers
  }

  /** The assembled node; only once it is up. */
  get core(): NodeCore {
    return this.#core!
  }

  /** The node as an application sees it; only once it is up. */
  get node(): Node {
    return this.#facade!
  }

  /**
   * Starts the node with a list of addresses to look at; resolves when it is a member. Rejects as `createNode` does,
   * with nothing left behind.
   */
  async start(bootstrap: readonly string[]): Promise<void> {
    const { clock, random, store, host } = this.process
    const { config, rules = SOUND_RULES, logger = silentLogger } = this.#options
    const opened = await openIdentity(store, { random, createPeerKey: async () => Uint8Array.of(1) })
    const { storeId, actor } = (this.machine.firstIdentity ??= opened)
    const identity = this.#options.keepsId === true ? { ...opened, storeId, actor } : opened
    const { hash } = this.#deps
    const parts = { clock, random, logger, loop: clock.loopMonitor, store, identity, host, hash, rules }
    this.#core = assembleNode({ ...resolveOptions(), bootstrap, ...config }, parts)
    this.#facade = new KilovoltNode(this.#core)
    await this.#core.start()
    this.#up = true
  }

  /** Stops the node in good order; its process goes on until {@link SimNode.end}. */
  async stop(): Promise<void> {
    await this.#core?.stop()
    this.#up = false
  }

  /** Hands the node's data over and stops it; its process goes on until {@link SimNode.end}. */
  async leave(timeoutMs: number): Promise<void> {
    await this.#core?.leave(timeoutMs, undefined)
    this.#up = false
  }

  /** Ends the process of a node that has stopped. */
  end(): void {
    if (this.clock.isDead) return
    this.#up = false
    this.#leftTimers = this.clock.pending
    this.machine.stopped()
  }

  async get(
    key: string,
    consistency: ConsistencyLevel,
    timeoutMs: number
  ): Promise<{ value: string; version: string } | undefined> {
    await this.turn()
    const r = consistency === 'quorum' ? this.#options.quorum?.r : undefined
    const entry = await this.node.getEntry(key, r === undefined ? { consistency, timeoutMs } : { r, timeoutMs })
    return entry === undefined ? undefined : { value: entry.value as string, version: entry.version }
  }

  async put(key: string, value: string, consistency: ConsistencyLevel, timeoutMs: number): Promise<void> {
    await this.turn()
    await this.node.put(key, value, this.#write(consistency, timeoutMs))
  }

  async delete(key: string, consistency: ConsistencyLevel, timeoutMs: number): Promise<void> {
    await this.turn()
    await this.node.delete(key, this.#write(consistency, timeoutMs))
  }

  async readMany(keys: readonly string[], level: ConsistencyLevel, timeoutMs: number): Promise<readonly ManyRead[]> {
    await this.turn()
    const requirement = level === 'quorum' ? (this.#options.quorum?.r ?? level) : level
    const options = { requirement, timeoutMs, signal: undefined }
    const { results, failures } = await this.core.data.getMany(utf8(''), keys.map(utf8), options)
    return results.map((record, i) => {
      if (failures.has(i)) return failures.get(i) as Error
      const value = record === undefined ? undefined : recordValue(record)
      if (record === undefined || value === undefined) return undefined
      return { value: JSON.parse(fromUtf8(value)) as string, version: formatStamp(recordStamp(record)) }
    })
  }

  async writeMany(
    writes: readonly { readonly key: string; readonly value: string | undefined }[],
    level: ConsistencyLevel,
    timeoutMs: number
  ): Promise<readonly (Error | undefined)[]> {
    await this.turn()
    const requirement = level === 'quorum' ? (this.#options.quorum?.w ?? level) : level
    const { failures } = await this.core.data.putMany(
      utf8(''),
      writes.map(({ key, value }) => ({
        key: utf8(key),
        value: value === undefined ? undefined : utf8(JSON.stringify(value))
      })),
      { requirement, timeoutMs, signal: undefined }
    )
    return writes.map((_, i) => failures.get(i) as Error | undefined)
  }

  #write(consistency: ConsistencyLevel, timeoutMs: number): WriteOptions {
    const w = consistency === 'quorum' ? this.#options.quorum?.w : undefined
    return w === undefined ? { consistency, timeoutMs } : { w, timeoutMs }
  }

  /** A client's call waits for its process, which may stand still. Never resolves when the process ends. */
  turn(): Promise<void> {
    return new Promise(resolve => {
      this.clock.arrive(0, resolve)
    })
  }
}
