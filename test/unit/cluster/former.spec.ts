import assert from 'node:assert/strict'
import { Former } from '../../../src/cluster/former.ts'
import type { ClusterId } from '../../../src/model/node-id.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { GatedStore } from '../../support/gated-store.ts'

const A = 'a'.repeat(32) as ClusterId
const B = 'b'.repeat(32) as ClusterId

describe('the clusters that a node was in', () => {
  let world: SimWorld
  let store: GatedStore
  let former: Former

  beforeEach(() => {
    world = new SimWorld()
    const disk = new SimDisk(world.random.fork('disk'), { permanent: true })
    store = new GatedStore(new SimStore({ disk, clock: world.clock('n') }))
    former = new Former(store)
  })

  /** What a later life on the store knows. */
  async function known(): Promise<readonly ClusterId[]> {
    const later = new Former(store)
    await world.settle(later.load())
    return later.clusters
  }

  it('are known to a later life, each once, in the order in which they were left', async () => {
    assert.deepEqual(await known(), [])
    for (const cluster of [A, B, A]) await world.settle(former.add(cluster))
    assert.deepEqual(former.clusters, [A, B])
    assert.deepEqual(await known(), [A, B])
    assert.ok(former.has(A) && !former.has(undefined))
  })

  it('are noted durably, and only when there is something new', async () => {
    for (const cluster of [A, A]) await world.settle(former.add(cluster))
    assert.deepEqual(
      store.batches.map(({ sync }) => sync),
      [true]
    )
  })

  it('are forgotten one by one, or all at once', async () => {
    for (const cluster of [A, B]) await world.settle(former.add(cluster))
    await world.settle(former.remove(A))
    assert.deepEqual(await known(), [B])
    await world.settle(former.clear())
    assert.ok(former.isEmpty)
    assert.deepEqual(await known(), [])
  })

  it('stay as they were when the store fails', async () => {
    await world.settle(former.add(A))
    store.held.add('batch')
    const adding = former.add(B)
    adding.catch(() => {})
    assert.ok(store.fail())
    await assert.rejects(world.settle(adding))
    assert.deepEqual(former.clusters, [A])
    assert.deepEqual(await known(), [A])
  })
})
