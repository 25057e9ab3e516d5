import { isKilovoltError } from '../base/errors.ts'
import { pause } from '../runtime/clock.ts'
import type { ClusterId } from '../model/node-id.ts'
import type { Hash64 } from '../model/partition.ts'
import {
  canLoseOne,
  damageProblem,
  hintProblem,
  purgeProblem,
  replicaPictures,
  restProblem,
  treeProblem
} from './at-rest.ts'
import { checkAcknowledged } from './checkers/acknowledged.ts'
import { History, type Operation } from './checkers/history.ts'
import { checkLeftovers } from './checkers/leftovers.ts'
import { checkRegisters } from './checkers/register.ts'
import { checkReplicas } from './checkers/replicas.ts'
import type { Violation } from './checkers/violation.ts'
import type { NetworkOptions } from './conditions.ts'
import type { TimedFault } from './faults.ts'
import { type ExtraWorkload, extraWorkloads, type ExtraWorkloadPlan } from './extra-workloads.ts'
import { type MemberOptions, SimCluster } from './sim-cluster.ts'
import type { SimNode } from './sim-node.ts'
import { SimWorld } from './sim-world.ts'
import { Watch } from './watch.ts'
import { drawFollower, Watchers } from './watchers.ts'
import { Workload, type WorkloadOptions } from './workload.ts'

/** A machine of a plan. */
export interface PlannedMember extends MemberOptions {
  /** When its node is started, ms. */
  readonly startAtMs: number
}

/** Everything that a seed has drawn: what there is, what is done, and what goes wrong. */
export interface SimulationPlan extends ExtraWorkloadPlan {
  readonly seed: string
  readonly members: readonly PlannedMember[]
  readonly network?: NetworkOptions
  readonly workload: WorkloadOptions
  /** Whether an app on each machine follows all keys by watching them. Default: no */
  readonly watches?: boolean
  /**
   * Machines that found clusters apart and meet later. Each side has clients and keys of its own, and what is read of a key
   * while its cluster becomes part of another is not judged: it may be on its way.
   */
  readonly sides?: readonly (readonly string[])[]
  /** When clients begin, ms. */
  readonly workloadAtMs: number
  readonly faults: readonly TimedFault[]
  /** End of the chaos, ms: clients stop and everything is healed. */
  readonly chaosMs: number
  /** Time within which the healed cluster must have come to rest, ms. */
  readonly convergeMs: number
}

/** What came of a plan. */
export interface SimulationReport {
  readonly violations: readonly Violation[]
  /** Hash of everything that happened. */
  readonly hash: string
  readonly events: number
  readonly lastEvents: readonly string[]
  readonly virtualMs: number
  readonly operations: number
  /** Operations that were acknowledged or have returned. */
  readonly succeeded: number
}

/** How long a single operation at rest, or the stop of a node, may take, ms. */
const AT_REST_MS = 30_000
/** Attempts at a read at rest, and the pause between two, ms. */
const READS_MAX = 3
const RETRY_READ_MS = 500
/** Time within which what lasts longer is compared at rest, ms. */
const COMPARE_MS = 300_000
/** How often the healed cluster is asked whether it is at rest, ms. */
const REST_CHECK_MS = 250
/** Time within which those who watch must know all that was read at rest, ms. */
const TELL_MS = 100_000
/** How often it is asked whether all copies are the same, ms. */
const TREE_CHECK_MS = 1000
/** How long it must have been at rest, ms. */
const CALM_MS = 2000
/** Least time between two losses, in which the voters of the meta group are replaced, ms. */
const LOSS_GAP_MS = 6000
/** When a fault that must wait is tried again, ms. */
const RETRY_FAULT_MS = 500

/**
 * Runs a plan in two phases. *Chaos*: nodes start, clients work, faults happen; whatever is returned or acknowledged is
 * recorded, and the bounds and the consensus group are watched. *Heal*: faults end, and the cluster must come to rest in
 * bounded time; then every key is read, and what was promised is checked over the whole history.
 */
export class Simulation {
  readonly #plan: SimulationPlan
  readonly #world: SimWorld
  readonly #cluster: SimCluster
  readonly #history = new History()
  /** One for each side. */
  readonly #workloads: readonly Workload[]
  /** Those whose clients do something else, where the plan has them. */
  readonly #extras: readonly ExtraWorkload[]
  /** Clusters that nodes of each side were seen in. */
  readonly #clusters: readonly Set<ClusterId>[]
  readonly #watch: Watch
  readonly #violations: Violation[] = []
  readonly #watchers: Watchers | undefined
  #nextLossMs = 0
  readonly #final = new Map<string, string | undefined>()

  constructor(plan: SimulationPlan, hash: Hash64) {
    this.#plan = plan
    this.#world = new SimWorld({ seed: plan.seed })
    this.#cluster = new SimCluster({
      world: this.#world,
      hash,
      ...(plan.network === undefined ? {} : { network: plan.network }),
      onNode: node => this.#add(node),
      onGone: node => this.#gone(node)
    })
    this.#watch = new Watch(this.#cluster)
    const sides = plan.sides ?? [plan.members.map(({ machine }) => machine.name)]
    this.#clusters = sides.map(() => new Set())
    this.#workloads = sides.map((side, i) => {
      const name = sides.length === 1 ? '' : `side${i}-`
      return new Workload(
        {
          random: this.#world.random.fork(`${name}workload`),
          history: this.#history,
          after: (delayMs, fn) => this.#world.after(delayMs, fn),
          targets: () => this.#cluster.nodes.filter(node => side.includes(node.name))
        },
        { ...plan.workload, prefix: name }
      )
    })
    this.#extras = extraWorkloads(plan, {
      world: this.#world,
      cluster: this.#cluster,
      history: this.#history,
      keys: this.#workloads[0]!.keys
    })
    if (plan.watches === true) this.#watchers = this.#createWatchers()
  }

  #createWatchers(): Watchers {
    const random = this.#world.random.fork('watches')
    const keys = this.#workloads.flatMap(workload => workload.keys)
    const plans = new Map(this.#plan.members.map(({ machine }) => [machine.name, drawFollower(random, keys)]))
    return new Watchers({ keys, planOf: name => plans.get(name) ?? {} })
  }

  /** Runs the whole plan. Never rejects for a fault of the cluster's: those are violations. */
  async run(): Promise<SimulationReport> {
    try {
      await this.#chaos()
      if ((await this.#heal()) && (await this.#converge())) {
        await this.#readAll()
        await this.#compare()
        await this.#askWatchers()
      }
      await this.#stopAll()
    } catch (error) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
      this.#report('nothing throws out of its own part', text)
    }
    return this.#conclude()
  }

  async #chaos(): Promise<void> {
    const { members, workloadAtMs, faults, chaosMs } = this.#plan
    for (const { startAtMs, ...member } of members) {
      this.#cluster.add(member)
      this.#world.after(startAtMs, () => this.#cluster.start(member.machine.name))
    }
    this.#world.after(workloadAtMs, () => {
      for (const workload of this.#workloads) workload.start()
    })
    for (const extra of this.#extras) this.#world.after(extra.startAtMs ?? workloadAtMs, () => extra.start())
    for (const fault of faults) this.#world.after(fault.atMs, () => this.#apply(fault))
    await this.#world.advance(chaosMs)
  }

  /**
   * Applies a fault; one that takes a member away only while every copy is where it should be: of three copies one may be lost at
   * a time, and more is promised to nobody.
   */
  #apply(fault: TimedFault): void {
    for (const extra of this.#extras) extra.beforeFault?.()
    const { nodes, names } = this.#cluster
    const { nowMs } = this.#world
    const loses = this.#losesData(fault)
    if (!loses && fault.kind !== 'leave' && fault.kind !== 'rot') return this.#cluster.apply(fault)
    // Damaged records are healed where they are: nobody is replaced for them.
    const isDue = fault.kind === 'rot' || nowMs >= this.#nextLossMs
    if (isDue && canLoseOne(nodes, names)) {
      if (loses) this.#nextLossMs = nowMs + LOSS_GAP_MS
      return this.#cluster.apply(fault)
    }
    if (this.#world.nowMs + RETRY_FAULT_MS < this.#plan.chaosMs) {
      this.#world.after(RETRY_FAULT_MS, () => this.#apply(fault))
    }
  }

  #losesData(fault: TimedFault): boolean {
    if (fault.kind !== 'crash' && fault.kind !== 'restart') return false
    if (!this.#cluster.machine(fault.node).disk.options.permanent) return true
    const member = this.#plan.members.find(({ machine }) => machine.name === fault.node)
    return fault.kind === 'crash' && fault.machine && member?.config?.durability !== 'fsync'
  }

  /** Whether the cluster came to rest in time. */
  async #heal(): Promise<boolean> {
    for (const workload of this.#workloads) workload.stop()
    for (const extra of this.#extras) extra.stop()
    this.#cluster.heal()
    const endMs = this.#world.nowMs + this.#plan.convergeMs
    let problem: string | undefined
    let calmSinceMs = this.#world.nowMs
    while (this.#world.nowMs - calmSinceMs < CALM_MS && calmSinceMs < endMs) {
      await this.#world.advance(REST_CHECK_MS)
      const pending = [...this.#workloads, ...this.#extras].reduce((sum, { pending: calls = 0 }) => sum + calls, 0)
      problem =
        pending > 0 ? `${pending} operations are pending` : restProblem(this.#cluster.nodes, this.#cluster.names)
      if (problem !== undefined) calmSinceMs = this.#world.nowMs
    }
    if (problem === undefined) await this.#readDisks()
    else {
      this.#report('a healed cluster comes to rest', `not after ${this.#plan.convergeMs} ms: ${problem}`)
    }
    return problem === undefined
  }

  /** What has rotted and was never read is found by nobody else. */
  async #readDisks(): Promise<void> {
    if (!this.#plan.faults.some(({ kind }) => kind === 'rot')) return
    for (const { core } of this.#cluster.nodes) {
      await this.#world.settle(core.repair(true, undefined), { limitMs: AT_REST_MS })
    }
  }

  /** Whether all copies became the same although nobody read them; not asked where nobody compares them. */
  async #converge(): Promise<boolean> {
    if (this.#plan.members.some(({ config }) => config?.repairIntervalMs === Infinity)) return true
    const endMs = this.#world.nowMs + this.#plan.convergeMs
    for (;;) {
      const problem =
        treeProblem(this.#cluster.nodes) ??
        damageProblem(this.#cluster.nodes) ??
        hintProblem(this.#cluster.nodes) ??
        purgeProblem(this.#cluster.nodes)
      if (problem === undefined) return true
      if (this.#world.nowMs >= endMs) {
        this.#report('copies converge without being read', `not after ${this.#plan.convergeMs} ms: ${problem}`)
        return false
      }
      await this.#world.advance(TREE_CHECK_MS)
    }
  }

  /** Reads each key at quorum from two nodes, then at `all`, which mends what is behind. */
  async #readAll(): Promise<void> {
    for (const extra of this.#extras) extra.mends?.()
    const { nodes } = this.#cluster
    const keys = [...this.#workloads, ...this.#extras].flatMap(({ keys: written = [] }) => written)
    const read = async (key: string, node: SimNode, level: 'all' | 'quorum'): Promise<void> => {
      const operation = this.#history.begin({ client: 'checker', kind: 'get', key, level })
      try {
        const found = await this.#world.settle(patiently(node, key, level), { limitMs: 2 * AT_REST_MS })
        this.#history.returned(operation, found?.value, found?.version)
        this.#final.set(key, found?.value)
      } catch (error) {
        if (!isKilovoltError(error)) throw error
        this.#report('a cluster at rest serves every key', `${key} at ${level} from ${node.name}: ${error.message}`)
      }
    }
    for (const [i, key] of keys.entries()) {
      await read(key, nodes[i % nodes.length]!, 'quorum')
      await read(key, nodes[(i + 1) % nodes.length]!, 'quorum')
      await read(key, nodes[i % nodes.length]!, 'all')
    }
    this.#violations.push(...checkReplicas(replicaPictures(nodes, keys)))
    for (const extra of this.#extras) extra.atRest?.()
    if (this.#final.size === keys.length) {
      this.#violations.push(...checkAcknowledged(this.#history.operations, this.#final))
    }
  }

  async #compare(): Promise<void> {
    for (const extra of this.#extras) {
      if (extra.compare !== undefined) await this.#world.settle(extra.compare(), { limitMs: COMPARE_MS })
    }
  }

  /** Whether those who watch come to know all that was read. */
  async #askWatchers(): Promise<void> {
    const watchers = this.#watchers
    if (watchers === undefined) return
    const final = new Map([...this.#final, ...(await this.#readMortals(watchers.known))])
    const unasked = this.#plan.faults.length === 0 ? watchers.quietProblem : undefined
    if (unasked !== undefined) this.#report('a watch is told no reset where nothing fails', unasked)
    const endMs = this.#world.nowMs + TELL_MS
    for (;;) {
      const problem = watchers.problem(final)
      if (problem === undefined) return
      if (this.#world.nowMs >= endMs) return this.#report('a watch tells the last version of every key', problem)
      await this.#world.advance(REST_CHECK_MS)
    }
  }

  /** What has become of other keys that those who watch know of, when all that was to expire has done so. */
  async #readMortals(known: Iterable<string>): Promise<ReadonlyMap<string, string | undefined>> {
    const final = new Map<string, string | undefined>()
    const { expiry } = this.#plan
    const node = this.#cluster.nodes[0]
    if (expiry === undefined || node === undefined) return final
    await this.#world.advance(2 * expiry.ttlMaxMs)
    for (const key of known) {
      if (this.#final.has(key)) continue
      const found = await this.#world.settle(patiently(node, key, 'quorum'), { limitMs: 2 * AT_REST_MS })
      final.set(key, found?.value)
    }
    return final
  }

  async #stopAll(): Promise<void> {
    for (const name of this.#cluster.names) {
      try {
        await this.#world.settle(this.#cluster.stop(name), { limitMs: AT_REST_MS })
      } catch (error) {
        if (!isKilovoltError(error, 'KV_TIMEOUT')) throw error
        this.#report('a node stops', `${name} did not stop: ${error.message}`)
      }
    }
  }

  #add(node: SimNode): void {
    this.#watch.add(node)
    this.#watchers?.add(node)
    const sides = this.#plan.sides ?? []
    const note = (clusterId: ClusterId): void => {
      for (const [i, side] of sides.entries()) if (side.includes(node.name)) this.#clusters[i]!.add(clusterId)
    }
    if (node.core.cluster.topology !== undefined) note(node.core.cluster.topology.clusterId)
    node.core.cluster.on('topology', ({ clusterId }) => note(clusterId))
  }

  /** A node is gone: clients that wait for it will never know. After a stop in good order none may be waiting. */
  #gone(node: SimNode): void {
    if (node.leftTimers !== undefined) {
      const calls = this.#workloads.reduce((sum, workload) => sum + workload.pendingAt(node), 0)
      this.#violations.push(...checkLeftovers([{ node: node.name, timers: node.leftTimers, calls }]))
    }
    for (const workload of this.#workloads) workload.abandon(node)
    for (const extra of this.#extras) extra.abandon(node)
  }

  #conclude(): SimulationReport {
    const { operations } = this.#history
    this.#violations.push(...checkRegisters(this.#judged()), ...this.#watch.violations)
    for (const { violations } of this.#extras) this.#violations.push(...violations)
    this.#violations.push(...(this.#watchers?.violations ?? []))
    const { trace, nowMs } = this.#world
    return {
      violations: this.#violations,
      hash: trace.hash,
      events: trace.count,
      lastEvents: trace.lines(),
      virtualMs: nowMs,
      operations: operations.length,
      succeeded: operations.filter(({ outcome }) => outcome === 'ok').length
    }
  }

  /** What was read and written in the cluster that has stayed. */
  #judged(): readonly Operation[] {
    const { operations } = this.#history
    if (this.#workloads.length === 1) return operations
    const moved = this.#workloads.filter((_, i) => this.#clusters[i]!.size > 1)
    return operations.filter(({ key }) => !moved.some(({ options }) => key.startsWith(options.prefix)))
  }

  #report(rule: string, message: string): void {
    this.#violations.push({ rule, message })
  }
}

/** Reads, and reads again when told that it may help: a link may be closed, to be opened anew, at any time. */
async function patiently(node: SimNode, key: string, level: 'all' | 'quorum'): ReturnType<SimNode['get']> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await node.get(key, level, AT_REST_MS / READS_MAX)
    } catch (error) {
      if (attempt === READS_MAX || !isKilovoltError(error) || !error.retryable) throw error
      await pause(node.clock, RETRY_READ_MS)
    }
  }
}
