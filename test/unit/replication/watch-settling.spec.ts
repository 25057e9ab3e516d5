import assert from 'node:assert/strict'
import { WatchSettling } from '../../../src/replication/watch-settling.ts'
import { WatchSubscription } from '../../../src/replication/watch-subscription.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

/** Goal: when watches are told a second time to look anew. Method: time passes by hand. */
describe('a watch that was reset', () => {
  const REPAIR_MS = 600_000
  const world = new SimWorld()
  let clock: SimClock
  let isComplete: boolean
  let settling: WatchSettling
  let subscription: WatchSubscription
  let resets: number

  function create(repairIntervalMs = REPAIR_MS): void {
    clock = world.clock('n')
    isComplete = true
    settling = new WatchSettling({ clock, repairIntervalMs, isComplete: () => isComplete, shard: () => undefined })
    resets = 0
    const listener = { change: () => {}, reset: () => void resets++, room: () => undefined }
    const filter = { keyspace: new Uint8Array(0), prefix: new Uint8Array(0), isKey: false }
    subscription = new WatchSubscription(filter, [0, 1], 0, listener)
  }

  /** How often it has been reset when so much time has passed. */
  async function resetsAfter(forMs: number): Promise<number> {
    for (let leftMs = forMs; leftMs > 0; leftMs -= 5000) {
      await world.advance(Math.min(leftMs, 5000))
      settling.look()
    }
    return resets
  }

  it('is reset again after a minute, when what was under way is over, and when copies were compared', async () => {
    create()
    settling.reset(subscription)
    assert.deepEqual([await resetsAfter(55_000), await resetsAfter(10_000)], [1, 2])
    assert.deepEqual([await resetsAfter(2 * REPAIR_MS - 70_000), await resetsAfter(10_000)], [2, 3])
    assert.equal(await resetsAfter(2 * REPAIR_MS), 3)
  })

  it('is so once where copies are compared as often', async () => {
    create(20_000)
    settling.reset(subscription)
    assert.equal(await resetsAfter(200_000), 2)
  })

  it('is so within an hour where copies are never compared', async () => {
    create(Infinity)
    settling.reset(subscription)
    assert.equal(await resetsAfter(3_610_000), 3)
  })

  it('is not so while somebody is away who may bring back what a read does not find', async () => {
    create()
    settling.reset(subscription)
    await resetsAfter(30_000)
    isComplete = false
    assert.equal(await resetsAfter(300_000), 1)
    isComplete = true
    assert.deepEqual([await resetsAfter(50_000), await resetsAfter(15_000)], [1, 2])
  })

  it('waits anew when it is reset meanwhile', async () => {
    create()
    settling.reset(subscription)
    await resetsAfter(50_000)
    settling.reset(subscription)
    assert.deepEqual([await resetsAfter(55_000), await resetsAfter(10_000)], [2, 3])
  })

  it('is not when it has ended', async () => {
    create()
    settling.reset(subscription)
    settling.forget(subscription)
    assert.equal(await resetsAfter(2 * REPAIR_MS), 1)
  })
})
