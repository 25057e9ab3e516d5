import type { Violation } from './checkers/violation.ts'
import { ExpiryWorkload, type ExpiryWorkloadOptions } from './expiry-workload.ts'
import type { History } from './checkers/history.ts'
import { ScanWorkload, type ScanWorkloadOptions } from './scan-workload.ts'
import type { SimCluster } from './sim-cluster.ts'
import type { SimNode } from './sim-node.ts'
import type { SimWorld } from './sim-world.ts'

/** Clients beside the usual ones, with claims of their own. */
export interface ExtraWorkload {
  start(): void
  stop(): void
  /** A node has ended: its clients give up what they have under way there. */
  abandon(node: SimNode): void
  /** Looks at what may be gone after the fault that comes next. */
  look?(): void
  /** Operations under way, where the end has to wait for them. Default none. */
  readonly pending?: number
  readonly violations: readonly Violation[]
}

/** Which of them a plan has; by default none. */
export interface ExtraWorkloadPlan {
  /** Clients that scan what the others write. */
  readonly scans?: ScanWorkloadOptions
  /** Clients whose values expire. */
  readonly expiry?: ExpiryWorkloadOptions
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
  { scans, expiry }: ExtraWorkloadPlan,
  { world, cluster, history, keys }: ExtraWorkloadDeps
): readonly ExtraWorkload[] {
  const common = {
    after: (delayMs: number, fn: () => void) => world.after(delayMs, fn),
    nodes: () => cluster.nodes
  }
  const extras: ExtraWorkload[] = []
  if (scans !== undefined) {
    extras.push(new ScanWorkload({ ...common, random: world.random.fork('scans'), history, keys }, scans))
  }
  if (expiry !== undefined) {
    const wallsMs = (): number[] =>
      cluster.names.map(name => cluster.machine(name).oscillator.wallMs(Math.round(world.nowMs * 1000)))
    const random = world.random.fork('expiry')
    extras.push(new ExpiryWorkload({ ...common, random, nowMs: () => world.nowMs, wallsMs }, expiry))
  }
  return extras
}
