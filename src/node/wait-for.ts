import { onAbort } from '../base/abort.ts'
import { createDeferred } from '../base/deferred.ts'
import type { NodeCore } from './node-core.ts'

/** What tells that something about the cluster has changed. */
export type Waitable = Pick<NodeCore, 'clock'> & {
  readonly cluster: Pick<NodeCore['cluster'], 'on'>
  readonly membership: Pick<NodeCore['membership'], 'on'>
  readonly transport: Pick<NodeCore['transport'], 'on'>
  on(type: 'stopped', listener: () => void): () => void
}

/** How a wait ended: it is as was wanted, the time is up, the node is stopped, or the signal is aborted. */
export type WaitEnd = 'met' | 'late' | 'stopped' | 'aborted'

/** Resolves when the cluster is as `isMet` wants it, or not any more. It is asked at each change of topology, members and links. */
export async function waitFor(
  core: Waitable,
  isMet: () => boolean,
  timeoutMs: number,
  signal?: AbortSignal
): Promise<WaitEnd> {
  if (isMet()) return 'met'
  const { promise, resolve } = createDeferred<WaitEnd>()
  const check = (): void => {
    if (isMet()) resolve('met')
  }
  const timer = core.clock.after(timeoutMs, () => resolve('late'))
  const forgets = [
    core.cluster.on('topology', check),
    core.membership.on('change', check),
    core.transport.on('link:up', check),
    core.on('stopped', () => resolve('stopped')),
    onAbort(signal, () => resolve('aborted'))
  ]
  const end = await promise
  timer.cancel()
  for (const forget of forgets) forget()
  return end
}
