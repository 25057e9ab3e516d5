import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { toHex } from '../../../src/base/bytes.ts'
import { Former } from '../../../src/cluster/former.ts'
import type { ClusterId } from '../../../src/model/node-id.ts'
import { metaKey } from '../../../src/storage/key-layout.ts'
import { seal } from '../../../src/storage/sealed.ts'
import { SimDisk } from '../../../src/testing/sim-disk.ts'
import { SimStore } from '../../../src/testing/sim-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { GatedStore, settled as turn } from '../../support/gated-store.ts'

const KEY = metaKey(Uint8Array.of(1))
const C = 'c'.repeat(32) as ClusterId
const D = 'd'.repeat(32) as ClusterId

describe('the clusters that a node was in', () => {
  let world: SimWorld
  let disk: SimDisk
  let store: GatedStore
  let former: Former

  beforeEach(async () => {
    world = new SimWorld()
    disk = new SimDisk(world.random.fork('disk'), {})
    await open()
  })

  async function open(): Promise<void> {
    store = new GatedStore(new SimStore({ disk, clock: world.clock('n') }))
    former = new Former(store)
    await world.settle(former.load())
  }

  function put(value: Uint8Array): void {
    disk.release()
    disk.write({ changes: [{ key: KEY, value }] }, true)
  }

  it('are none in a new store', () => {
    assert.deepEqual([former.clusters, former.isEmpty, former.has(C), former.has(undefined)], [[], true, false, false])
  })

  it('are known after the end of the machine, each once, until all that was brought along is in its place', async () => {
    for (const cluster of [C, D, C]) await world.settle(former.add(cluster))
    disk.crash({ machine: true })
    await open()
    assert.deepEqual([former.clusters, former.has(D)], [[C, D], true])
    await world.settle(former.remove(former.clusters))
    disk.crash({ machine: true })
    await open()
    assert.equal(former.isEmpty, true)
    assert.equal(disk.get(KEY), undefined)
  })

  it('are kept in the bytes that the reference tells', async () => {
    await world.settle(former.add(C))
    assert.equal(toHex(disk.get(KEY)!), `8607067701${'cc'.repeat(16)}`)
  })

  it('are never others than were noted, whatever the store has become', async () => {
    for (const cluster of [C, D]) await world.settle(former.add(cluster))
    const whole = disk.get(KEY)!
    const refuses = (value: Uint8Array): Promise<void> => {
      put(value)
      return assert.rejects(open(), { code: 'KV_CORRUPT', message: /an empty one/u })
    }
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length * 8 - 1), async bit => {
        const spoilt = new Uint8Array(whole)
        spoilt[bit >> 3]! ^= 1 << (bit & 7)
        await refuses(spoilt)
        await refuses(whole.subarray(0, bit >> 3))
      })
    )
    await refuses(seal(KEY, Uint8Array.of(9, 9)).value)
    put(whole)
    await open()
    assert.deepEqual(former.clusters, [C, D])
  })

  /** What a later life on the store knows. */
  async function known(): Promise<readonly ClusterId[]> {
    const later = new Former(store)
    await world.settle(later.load())
    return later.clusters
  }

  it('are noted durably, and only when there is something new', async () => {
    for (const cluster of [C, C]) await world.settle(former.add(cluster))
    assert.deepEqual(
      store.batches.map(({ sync }) => sync),
      [true]
    )
  })

  it('are forgotten one by one, or all at once', async () => {
    for (const cluster of [C, D]) await world.settle(former.add(cluster))
    await world.settle(former.remove([C]))
    assert.deepEqual(await known(), [D])
    await world.settle(former.remove(former.clusters))
    assert.ok(former.isEmpty)
    assert.deepEqual(await known(), [])
  })

  it('stay when they are noted while others are forgotten', async () => {
    await world.settle(former.add(C))
    store.held.add('batch')
    const removing = former.remove(former.clusters)
    await turn()
    const adding = former.add(D)
    store.held.clear()
    assert.ok(store.release())
    await world.settle(Promise.all([removing, adding]))
    assert.deepEqual(former.clusters, [D])
    assert.deepEqual(await known(), [D])
  })

  it('stay as they were when the store fails', async () => {
    await world.settle(former.add(C))
    store.held.add('batch')
    const adding = former.add(D)
    adding.catch(() => {})
    await turn()
    assert.ok(store.fail())
    await assert.rejects(world.settle(adding))
    assert.deepEqual(former.clusters, [C])
    assert.deepEqual(await known(), [C])
  })
})
