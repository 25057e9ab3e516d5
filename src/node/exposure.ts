import type { Logger } from '../runtime/logger.ts'
import type { ResolvedOptions } from './options.ts'

/** Addresses that only this machine reaches. */
const LOOPBACK = /^\/(?:ip4\/127\.|ip6\/(?:::|(?:0+:){7}0*)1\/|dns[46]?\/localhost\/)/u

/**
 * Warns when other machines can reach this node and nothing is asked of who does: such a cluster is open to everybody on the
 * network, and its app may not know.
 */
export function warnIfExposed(
  { listen, secret, allow }: Pick<ResolvedOptions, 'listen' | 'secret' | 'allow'>,
  logger: Logger
): void {
  if (secret !== undefined || allow !== undefined) return
  const exposed = listen.filter(address => !LOOPBACK.test(address))
  if (exposed.length === 0) return
  logger.warn(
    'whoever reaches this node can join its cluster, and read and write everything: set "secret" (or "allow"), or listen on loopback only',
    { listen: exposed }
  )
}
