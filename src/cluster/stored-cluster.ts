import { KilovoltError } from '../base/errors.ts'
import type { Topology } from '../placement/topology.ts'
import type { Store } from '../storage/store.ts'
import { MetaLog } from './meta-log.ts'

/** What a node is told of its cluster that holds for the cluster's life. */
export interface LastingSettings {
  /** Name of the cluster. */
  readonly name: string
  readonly partitions: number
}

/**
 * Refuses a store that belongs to a cluster of another name, or of another number of partitions: with that its records would be
 * looked for where they are not. One that is in no cluster yet goes with any. Only reads.
 *
 * @throws KilovoltError `KV_CONFIG`; `KV_CORRUPT`, `KV_STORAGE` when what the store knows of its cluster cannot be read
 */
export async function assertStoredCluster(store: Store, settings: LastingSettings): Promise<void> {
  assertFits((await MetaLog.stored(store))?.topology, settings)
}

/** The same, of a cluster that is known; nothing is wrong with none. */
export function assertFits(topology: Topology | undefined, settings: LastingSettings): void {
  if (topology === undefined) return
  const { name: cluster, clusterId, rows } = topology
  const { name, partitions } = settings
  const problems: string[] = []
  if (name !== cluster) problems.push(`"cluster" is ${JSON.stringify(name)}`)
  if (partitions !== rows.length) problems.push(`"partitions" is ${partitions}`)
  if (problems.length === 0) return
  throw new KilovoltError(
    'KV_CONFIG',
    `this store belongs to cluster ${JSON.stringify(cluster)} of ${rows.length} partitions, and ${problems.join(' and ')}: ` +
      'neither changes in the life of a cluster; set what the cluster has, or give the node an empty store',
    { details: { clusterId, stored: { cluster, partitions: rows.length }, given: { cluster: name, partitions } } }
  )
}
