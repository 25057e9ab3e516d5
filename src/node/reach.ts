import { type AbortOptions, onAbort } from '../base/abort.ts'
import { createDeferred } from '../base/deferred.ts'
import type { Row } from '../placement/topology.ts'
import { majority } from '../placement/rules.ts'
import type { NodeCore } from './node-core.ts'

/** How long a node that starts waits for links with the others, ms: who is not there by then may be gone. */
export const REACH_MS = 2000

/** What it takes to know whom this node can ask. */
export type Reachable = Pick<NodeCore, 'storeId' | 'clock'> & {
  readonly cluster: Pick<NodeCore['cluster'], 'topology' | 'on'>
  readonly transport: Pick<NodeCore['transport'], 'isLinked' | 'on'>
  on(type: 'stopped', listener: () => void): () => void
}

/**
 * Resolves when this node is linked with a majority of the owners of every row, so that what an app asks of a node that has just
 * been started finds somebody; else when the time is up, it is stopped, or the signal is aborted. A node that comes back
 * knows its cluster from its store, and is a member before it has linked with anybody. Never rejects.
 */
export async function reachQuorums(
  core: Reachable,
  { signal }: AbortOptions = {},
  timeoutMs: number = REACH_MS
): Promise<void> {
  if (isReaching(core)) return
  const { promise, resolve } = createDeferred<void>()
  const check = (): void => {
    if (isReaching(core)) resolve()
  }
  const timer = core.clock.after(timeoutMs, resolve)
  const forgets = [
    core.transport.on('link:up', check),
    core.cluster.on('topology', check),
    core.on('stopped', resolve),
    onAbort(signal, resolve)
  ]
  await promise
  timer.cancel()
  for (const forget of forgets) forget()
}

function isReaching({ storeId, cluster: { topology }, transport }: Reachable): boolean {
  const isReached = ({ slots }: Row): boolean => {
    const reached = slots.filter(store => {
      const peer = topology?.members.get(store)?.peerId
      return store === storeId || (peer !== undefined && transport.isLinked(peer))
    })
    return slots.length === 0 || reached.length >= majority(slots.length)
  }
  return topology?.rows.every(isReached) ?? true
}
