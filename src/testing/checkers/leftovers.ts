import type { Violation } from './violation.ts'

/** What is left of a node that has stopped. */
export interface Leftovers {
  readonly node: string
  /** Timers that would still run. */
  readonly timers: number
  /** Calls whose promises are still pending. */
  readonly calls: number
}

/** Checks that a node that has stopped leaves no timer behind and lets nobody wait. */
export function checkLeftovers(nodes: readonly Leftovers[]): Violation[] {
  return nodes
    .filter(({ timers, calls }) => timers > 0 || calls > 0)
    .map(({ node, timers, calls }) => ({
      rule: 'stopping leaves nothing behind',
      message: `${node} has stopped with ${timers} timers and ${calls} pending calls`
    }))
}
