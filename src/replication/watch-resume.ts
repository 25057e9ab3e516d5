import { fromHex, toHex } from '../base/bytes.ts'
import type { PartitionId } from '../model/partition.ts'
import type { WatchDesk } from './watch-desk.ts'
import { type RewindEnd, search } from './watch-rewind.ts'
import type { WatchShard } from './watch-shard.ts'
import type { WatchChange, WatchSubscription } from './watch-subscription.ts'
import type { FeedPosition, Reached, Standing } from './watch-token.ts'

/**
 * Tells a watch what came since an earlier one stood somewhere: where the same store still feeds the partition, and knows what
 * has arrived since, exactly that; elsewhere what a search finds. New changes come meanwhile; versions decide what is late.
 * Never rejects.
 */
export async function resumeWatch(hub: WatchDesk, watch: WatchSubscription, since: Standing): Promise<void> {
  await hub.covered(watch)
  const isWanted = (): boolean => !watch.isClosed && !hub.signal.aborted
  if (!isWanted()) return
  const isKnown = watch.partitions.every(partition => since.partitions.has(partition))
  if (!isKnown || since.clusterId !== hub.book?.clusterId) hub.reset(watch)
  if (!hub.rules.resumeWatches) for (const partition of watch.behind.keys()) watch.caughtUp(partition)
  await continueFeeds(hub, watch).catch(() => {})
  // Those furthest behind first: who is taken up again and again, and reads a little each time, gets on all the same.
  const behind = [...watch.behind].toSorted(([, a], [, b]) => a.low - b.low)
  for (const [partition] of behind) {
    while (isWanted() && watch.behind.has(partition)) await catchUp(hub, watch, partition)
  }
  // What a search has met may still be on its way from the feed.
  await hub.coveredAnew(watch)
  watch.inOrder()
}

/** Everything that has arrived at the stores where the earlier watch stood, if that is known. */
async function continueFeeds(hub: WatchDesk, watch: WatchSubscription): Promise<void> {
  const feeds = new Map<FeedPosition, WatchShard[]>()
  for (const [partition, { feed }] of watch.behind) {
    const shard = hub.shard(partition)
    if (feed === undefined || shard?.phase !== 'live' || shard.source !== feed.store) continue
    if (hub.feed(feed.store)?.position?.log !== feed.log) continue
    const shards = feeds.get(feed)
    if (shards === undefined) feeds.set(feed, [shard])
    else shards.push(shard)
  }
  for (const [feed, shards] of feeds) await continueFeed(hub, watch, feed, shards)
}

async function continueFeed(
  hub: WatchDesk,
  watch: WatchSubscription,
  feed: FeedPosition,
  shards: readonly WatchShard[]
): Promise<void> {
  const upTo = hub.feed(feed.store)?.position?.seq ?? 0
  const turns = new Map(shards.map(shard => [shard, shard.turn]))
  const partitions = shards.map(({ partition }) => partition).sort((a, b) => a - b)
  const gaps = new Set<PartitionId>()
  let at = feed
  while (at.seq < upTo && !watch.isClosed && watch.behind.size > 0) {
    const reply = await hub.ask.watch(feed.store, {
      position: { log: fromHex(feed.log)!, seq: at.seq },
      wantsHorizons: false,
      waitMs: 0,
      partitions,
      filters: [watch.filter]
    })
    for (const partition of [...reply.gaps, ...reply.strangers]) gaps.add(partition)
    if (toHex(reply.log) !== feed.log) return
    const told = partitions.filter(partition => !gaps.has(partition))
    // Another object than before: tokens move on those partitions alone that stand at it.
    watch.advance(told, (at = { ...at }))
    for (const arrival of reply.arrivals) offer(hub, watch, copy(arrival), at, arrival.seq)
    watch.advance(told, (at = { ...at, seq: reply.seq }))
    await watch.room()
  }
  for (const [shard, turn] of turns)
    if (shard.turn === turn && !gaps.has(shard.partition)) watch.caughtUp(shard.partition)
}

async function catchUp(hub: WatchDesk, watch: WatchSubscription, partition: PartitionId): Promise<void> {
  const shard = hub.shard(partition)
  const reached: Reached | undefined = watch.behind.get(partition)
  if (shard === undefined || reached === undefined) return
  const isFed = shard.phase === 'live' || shard.phase === 'rewinding'
  const end: RewindEnd | undefined = isFed
    ? await search(hub, shard, {
        low: reached.low,
        expiredUntil: reached.expiredUntil,
        filters: [watch.filter],
        isWanted: () => !watch.isClosed && watch.behind.has(partition),
        found: change => offer(hub, watch, change),
        room: () => watch.room()
      })
    : undefined
  if (end?.kind === 'done') watch.caughtUp(partition)
  else if (end?.kind === 'lost' || (end?.kind === 'failed' && !hub.distrust(shard))) hub.reset(watch)
  else await hub.retry()
}

/** @param feed - where it was found, and its number there; a search finds things in no such order */
function offer(hub: WatchDesk, watch: WatchSubscription, change: WatchChange, feed?: FeedPosition, seq = 0): void {
  const { book } = hub
  // Not after a reset: what is old is not asked for any more, and nobody would put it in order.
  if (book !== undefined && watch.behind.has(change.partition)) watch.offer(change, { book, feed, seq })
}

function copy({ partition, keyspace, key, record, expired, previous }: WatchChange): WatchChange {
  return {
    partition,
    keyspace: new Uint8Array(keyspace),
    key: new Uint8Array(key),
    record: new Uint8Array(record),
    expired,
    previous: previous && new Uint8Array(previous)
  }
}
