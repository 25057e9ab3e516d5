import type { Ring } from '../model/partition.ts'
import { Batches, type BatchesDeps, type BatchesOptions } from './batches.ts'
import type { Violation } from './checkers/violation.ts'
import { ExpiryWorkload, type ExpiryWorkloadOptions } from './expiry-workload.ts'
import type { History } from './checkers/history.ts'
import { IndexWorkload, type IndexWorkloadOptions } from './index-workload.ts'
import { ScanWorkload, type ScanWorkloadOptions } from './scan-workload.ts'
import { SiblingWorkload, type SiblingWorkloadOptions } from './sibling-workload.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { SimDisk } from './sim-disk.ts'
import type { SimNode } from './sim-node.ts'
import type { SimWorld } from './sim-world.ts'
import { TaggedScans } from './tagged-scans.ts'

/** Clients beside the usual ones, with claims of their own. */
export interface ExtraWorkload {
  start(): void
  stop(): void
  /** A node has ended: its clients give up what they have under way there. */
  abandon(node: SimNode): void
  /** Looks at what may be gone after the fault that comes next. */
  beforeFault?(): void
  /** From here on keys are read at a majority, which mends copies one by one. */
  mends?(): void
  /** All copies are what they will be. */
  atRest?(): void
  /** Looks at the cluster when all copies are what they will be. */
  compare?(): Promise<void>
  /** When it starts, ms; default when the usual clients do. */
  readonly startAtMs?: number
  /** Keys to be read when all is at rest. Default none. */
  readonly keys?: readonly string[]
  /** Operations under way, where the end has to wait for them. Default none. */
  readonly pending?: number
  readonly violations: readonly Violation[]
}

/** Which of them a plan has; by default none. */
export interface ExtraWorkloadPlan {
  /** Clients that scan what the others write, and others that count, list and clear what they have written themselves. */
  readonly scans?: ScanWorkloadOptions
  /** Clients that query an index of what the others write. */
  readonly indexes?: IndexWorkloadOptions
  /** Clients whose values expire. */
  readonly expiry?: ExpiryWorkloadOptions
  /** Clients that write batches within hash tags. */
  readonly batches?: BatchesOptions
  /** Clients of keyspaces with siblings. */
  readonly siblings?: SiblingWorkloadOptions
}

/** What they work on. */
export interface ExtraWorkloadDeps {
  readonly world: SimWorld
  readonly cluster: SimCluster
  readonly history: History
  /** Keys that the usual clients work on. */
  readonly keys: readonly string[]
}

/** Those of a plan. Each draws from a chance of its own, so that what one does changes nothing for the others. */
export function extraWorkloads(
  { scans, indexes, expiry, batches, siblings }: ExtraWorkloadPlan,
  { world, cluster, history, keys }: ExtraWorkloadDeps
): readonly ExtraWorkload[] {
  const common = {
    after: (delayMs: number, fn: () => void) => world.after(delayMs, fn),
    nodes: () => cluster.nodes
  }
  const extras: ExtraWorkload[] = []
  if (scans !== undefined) {
    extras.push(new ScanWorkload({ ...common, random: world.random.fork('scans'), history, keys }, scans))
    const { pauseMs, timeoutMs } = scans
    extras.push(new TaggedScans({ ...common, random: world.random.fork('tagged scans'), pauseMs, timeoutMs }))
  }
  if (indexes !== undefined) {
    extras.push(new IndexWorkload({ ...common, random: world.random.fork('indexes') }, indexes))
  }
  if (expiry !== undefined) {
    const wallsMs = (): number[] =>
      cluster.names.map(name => cluster.machine(name).oscillator.wallMs(Math.round(world.nowMs * 1000)))
    const random = world.random.fork('expiry')
    extras.push(new ExpiryWorkload({ ...common, random, nowMs: () => world.nowMs, wallsMs }, expiry))
  }
  if (batches !== undefined) {
    const random = world.random.fork('batches')
    const disks = (): ReturnType<BatchesDeps['disks']> =>
      cluster.names.map(name => ({ name, disk: cluster.machine(name).disk }))
    extras.push(new Batches({ ...common, random, history, disks, ring: () => cluster.nodes[0]?.core.ring }, batches))
  }
  if (siblings !== undefined) {
    const random = world.random.fork('siblings')
    const disks = (): SimDisk[] => cluster.names.map(name => cluster.machine(name).disk)
    const ring = (): Ring | undefined => cluster.nodes[0]?.core.ring
    extras.push(new SiblingWorkload({ ...common, random, nowMs: () => world.nowMs, disks, ring }, siblings))
  }
  return extras
}
