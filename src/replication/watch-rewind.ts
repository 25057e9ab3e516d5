import { copyBytes } from '../base/bytes.ts'
import { recordHlc } from '../model/record.ts'
import type { WatchFilter } from './watch-filter.ts'
import type { WatchDesk } from './watch-desk.ts'
import { EXPIRY_SLACK_MS, type WatchShard } from './watch-shard.ts'
import type { WatchChange, WatchSubscription } from './watch-subscription.ts'
import type { RewindPlace, RewindReply } from './watch-wire.ts'

/** What is looked for in a partition. */
export interface RewindTask {
  readonly low: number
  readonly expiredUntil: number
  readonly filters: readonly WatchFilter[]
  /** Whether the search goes on; asked before each page. */
  readonly isWanted: () => boolean
  readonly found: (change: WatchChange) => void
  /** Resolves when there is room for more. */
  readonly room: () => Promise<void> | undefined
}

/**
 * How a search has ended: `lost`: what is looked for may have been purged, up to the horizon; `moved`: the partition is fed by
 * another copy now, or nobody wants it any more; `failed`: that copy cannot be searched, though it feeds the partition.
 */
export interface RewindEnd {
  readonly kind: 'done' | 'lost' | 'moved' | 'failed'
  readonly horizon: number
}

const MOVED: RewindEnd = { kind: 'moved', horizon: 0 }
const FAILED: RewindEnd = { kind: 'failed', horizon: 0 }
/** Attempts at one page, after which a store that answers otherwise is given up. */
const ATTEMPTS_MAX = 5

/**
 * Searches the copy that feeds a partition now for what may have been missed. The feed was asked for what arrives before the
 * search begins, so what is not met here comes from there.
 */
export async function search(hub: WatchDesk, shard: WatchShard, task: RewindTask): Promise<RewindEnd> {
  const { turn, partition, source } = shard
  const expiredSince = Math.max(0, task.expiredUntil - EXPIRY_SLACK_MS)
  let after: RewindPlace | undefined
  let attempts = 0
  do {
    if (shard.turn !== turn || source === undefined || !task.isWanted()) return MOVED
    const { low, filters } = task
    let reply: RewindReply
    try {
      reply = await hub.ask.rewind(source, { partition, low, expiredSince, after, filters })
    } catch {
      attempts++
      if (attempts >= ATTEMPTS_MAX && shard.turn === turn && hub.feed(source)?.isWell === true) return FAILED
      await hub.retry()
      continue
    }
    if (shard.turn !== turn || !task.isWanted()) return MOVED
    attempts = 0
    if (reply.horizon > task.low) return { kind: 'lost', horizon: reply.horizon }
    for (const { keyspace, key, record, expired } of reply.records) {
      task.found({
        partition,
        keyspace: copyBytes(keyspace),
        key: copyBytes(key),
        record: copyBytes(record),
        expired,
        previous: undefined
      })
    }
    await task.room()
    after = reply.reached && { keyspace: copyBytes(reply.reached.keyspace), key: copyBytes(reply.reached.key) }
    if (after === undefined) return { kind: 'done', horizon: reply.horizon }
  } while (!hub.signal.aborted)
  return MOVED
}

/** Rule W2: tells all watches of a partition what the copy that feeds it now has and the former one never had. */
export async function rewindShard(hub: WatchDesk, shard: WatchShard): Promise<void> {
  shard.turnOver()
  if (!hub.rules.rewindWatches) {
    shard.phase = 'live'
    return
  }
  shard.phase = 'rewinding'
  const { turn, low, expiredUntil } = shard
  // They do not know what of it they were told: they look at everything anew instead.
  const unsure = new Set(hub.audience.of(shard.partition).filter(one => !one.isExactAbove(low, shard.endedMs)))
  /** By the page that is being told. */
  const told = new Set<WatchSubscription>()
  const end: RewindEnd = shard.isExact
    ? await search(hub, shard, {
        low,
        expiredUntil,
        filters: hub.filters,
        isWanted: () => hub.shard(shard.partition) === shard,
        found: change => tell(hub, shard, change, unsure, told),
        room: () => {
          const these = [...told]
          told.clear()
          return hub.room(these)
        }
      })
    : { kind: 'lost', horizon: 0 }
  if (end.kind === 'moved' || shard.turn !== turn || hub.shard(shard.partition) !== shard) return
  if (end.kind === 'failed' && hub.distrust(shard)) return
  // Something may be missing for good: those who watch have to look at everything anew.
  const isLost = end.kind !== 'done'
  if (isLost) shard.restart(end.horizon, hub.clock.wallMs())
  shard.phase = 'live'
  hub.moved()
  for (const subscription of isLost ? hub.audience.of(shard.partition) : unsure) hub.reset(subscription)
}

function tell(
  hub: WatchDesk,
  shard: WatchShard,
  change: WatchChange,
  unsure: ReadonlySet<WatchSubscription>,
  told: Set<WatchSubscription>
): void {
  const { book } = hub
  if (book === undefined || !shard.isNews(change, change.record, change.expired)) return
  const hlc = recordHlc(change.record)
  for (const subscription of hub.audience.for(change)) {
    // Who began to watch later asks for no more than what came since.
    if ((hlc <= subscription.low && !change.expired) || unsure.has(subscription)) continue
    subscription.offer(change, { book, feed: undefined, seq: 0 })
    told.add(subscription)
  }
}
