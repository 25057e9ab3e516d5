import { abortError, throwIfAborted } from '../base/abort.ts'
import { assembleNode } from './assemble.ts'
import { createParts } from './defaults.ts'
import { KilovoltNode } from './kilovolt-node.ts'
import type { Node } from './node.ts'
import { type NodeOptions, resolveOptions } from './options.ts'
import { untilUsable } from './usable.ts'

/**
 * Starts a node: opens its store, listens, finds the others, and founds or joins the cluster. Resolves when the node is a
 * member and can be used: when it is linked with enough others that a `quorum` of every key can be asked, if they are there (it
 * waits for that two seconds at most), and in a cluster that has only one copy of anything, when there are two, if others are
 * there to take them (five seconds at most). When anything fails nothing is left behind.
 *
 * @param options - everything has a default; see {@link NodeOptions}
 * @throws KilovoltError `KV_CONFIG` (every wrong option is named), `KV_PORT_IN_USE`, `KV_STORAGE_IN_USE`,
 *   `KV_STORAGE_FORMAT`, `KV_CORRUPT`, `KV_STORAGE`, `KV_BOOTSTRAP_UNREACHABLE`, `KV_HANDSHAKE`,
 *   `KV_JOIN_TIMEOUT`, `KV_ABORTED`
 *
 * @example
 * ```ts
 * const node = await createNode({ cluster: 'shop', bootstrap: ['/ip4/10.0.0.5/tcp/7400'] })
 * await node.put('user:1', { name: 'Ada' })
 * await node.stop()
 * ```
 */
export async function createNode(options: NodeOptions = {}): Promise<Node> {
  const resolved = resolveOptions(options)
  throwIfAborted(resolved.signal, 'createNode')
  const core = assembleNode(resolved, await createParts(resolved))
  const node = new KilovoltNode(core)
  await core.start(resolved.signal)
  await untilUsable(core, { signal: resolved.signal })
  if (resolved.signal?.aborted !== true) return node
  await core.stop()
  throw abortError(resolved.signal, 'createNode')
}
