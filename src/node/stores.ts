import { hlcFromMs } from '../model/hlc.ts'
import type { PartitionId } from '../model/partition.ts'
import { ApplyLoop } from '../storage/apply-loop.ts'
import { ArrivalLog } from '../storage/arrival-log.ts'
import { Damage } from '../storage/damage.ts'
import { GuardedStore } from '../storage/guarded-store.ts'
import { HintStore } from '../storage/hint-store.ts'
import { Horizons } from '../storage/horizons.ts'
import { createCache } from '../storage/record-cache.ts'
import { SetAside } from '../storage/set-aside.ts'
import { CeilingStampSource } from '../storage/stamp-source.ts'
import { TreeIndex } from '../storage/tree-index.ts'
import { Indexing } from './indexing.ts'
import type { NodeConfig, NodeParts } from './node-core.ts'
import type { StoreReports } from './store-reports.ts'

/** Everything of a node that lies in its store. */
export interface Stores {
  /** The store itself, which takes nothing more once a write has failed. */
  readonly guard: GuardedStore
  readonly records: ApplyLoop
  readonly trees: TreeIndex
  readonly horizons: Horizons
  readonly hints: HintStore
  readonly setAside: SetAside
  readonly stamps: CeilingStampSource
  readonly damage: Damage
  /** What goes with the records of keyspaces that have indexes. */
  readonly indexing: Indexing
  /** What was written lately, while somebody watches. */
  readonly arrivals: ArrivalLog
}

/** Most bytes of keys and values that a node keeps for others. */
const HINT_BYTES_MAX = 64 * 1024 * 1024

/**
 * Wires what a node stores; nothing is read or written yet.
 *
 * @param onFound - called when a damaged record is found
 * @param owns - whether this node owns a partition, and is not only about to
 */
export function createStores(
  config: NodeConfig,
  { clock, store, identity, rules }: NodeParts,
  reports: StoreReports,
  onFound: () => void,
  owns: (partition: PartitionId) => boolean
): Stores {
  const { durability, partitions, cacheBytes, maxClockDriftMs } = config
  const guard = new GuardedStore(store, clock, reports)
  const trees = new TreeIndex(partitions, identity.created)
  const horizons = new Horizons(guard, partitions)
  const stamps = new CeilingStampSource({ store, clock }, { ...identity, maxAheadMs: maxClockDriftMs })
  const damage = new Damage({
    // Nothing that is stored here now is stamped after this node's clock, but by clocks that are ahead and within the drift.
    latest: () => Math.max(stamps.last, hlcFromMs(clock.wallMs())),
    trees,
    onFound: key => {
      reports.onDamage(key)
      onFound()
    }
  })
  const horizonOf = rules.refusePast ? { horizonOf: horizons.horizonOf.bind(horizons) } : {}
  const torn = rules.keepUnits ? {} : { keepsUnits: false, batchMax: 1 }
  const { joinSiblings: joinsSiblings } = rules
  const { logger, events } = reports
  const indexing = new Indexing({ store: guard, partitions, logger, rules, events })
  const arrivals = new ArrivalLog({
    wallMs: () => clock.wallMs(),
    horizonOf: partition => horizons.horizonOf(partition)
  })
  const records = new ApplyLoop(
    {
      store: guard,
      cache: createCache(store, cacheBytes),
      clock,
      trees,
      damage,
      tap: arrivals,
      indexes: indexing.indexes,
      isWhole: owns,
      ...horizonOf
    },
    { durability, joinsSiblings, ...torn }
  )
  const kept = { store: guard, clock, onDamage: reports.onDamage }
  const hints = new HintStore(
    { ...kept, floorOf: horizons.floorOf.bind(horizons) },
    { durability, bytesMax: HINT_BYTES_MAX }
  )
  return { guard, records, trees, horizons, hints, setAside: new SetAside(kept), stamps, damage, arrivals, indexing }
}
