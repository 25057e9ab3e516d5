import { assertStoredCluster } from '../cluster/stored-cluster.ts'
import type { PeerSource } from '../membership/discovery.ts'
import { SOUND_RULES } from '../placement/rules.ts'
import { loadHash64 } from '../runtime/hash.ts'
import { createLoopMonitor } from '../runtime/loop-monitor.ts'
import { createStderrLogger } from '../runtime/stderr-logger.ts'
import { systemClock } from '../runtime/system-clock.ts'
import { systemRandom } from '../runtime/system-random.ts'
import { openIdentity } from '../storage/identity.ts'
import { LevelStore } from '../storage/level-store.ts'
import { MemoryStore } from '../storage/memory-store.ts'
import type { Store } from '../storage/store.ts'
import { Libp2pHost } from '../transport/libp2p-host.ts'
import { createLife } from '../transport/lives.ts'
import { createPeerKey } from '../transport/peer-key.ts'
import { warnIfExposed } from './exposure.ts'
import type { NodeParts } from './node-core.ts'
import type { ResolvedOptions } from './options.ts'

/** The real world for a node: this is the only file that picks concrete classes. Closes the store again if it fails. */
export async function createParts(options: ResolvedOptions): Promise<NodeParts> {
  const clock = systemClock
  const logger = options.logger ?? createStderrLogger()
  const store = options.storage === undefined ? new MemoryStore(clock) : await LevelStore.open(options.storage)
  try {
    const { cluster, partitions, listen, announce, secret, allow, mdns } = options
    const accept = (opened: Store): Promise<void> => assertStoredCluster(opened, { name: cluster, partitions })
    const identity = await openIdentity(store, { random: systemRandom, createPeerKey, accept })
    const host = await Libp2pHost.create({
      peerKey: identity.peerKey,
      life: createLife(clock, systemRandom),
      cluster,
      partitions,
      listen,
      announce,
      secret,
      allow,
      mdns,
      clock,
      logger
    })
    warnIfExposed(options, logger)
    return {
      clock,
      random: systemRandom,
      logger,
      loop: createLoopMonitor(),
      store,
      identity,
      host,
      hash: await loadHash64(),
      rules: SOUND_RULES,
      ...(mdns ? { lan: createLanSource(host) } : {})
    }
  } catch (error) {
    await store.close()
    throw error
  }
}

function createLanSource(host: Libp2pHost): PeerSource {
  let forget = (): void => {}
  return {
    start: found => {
      forget = host.onDiscovered(found)
    },
    stop: () => forget()
  }
}
