import assert from 'node:assert/strict'
import type { PeerId } from '../../../src/model/node-id.ts'
import { reachQuorums } from '../../../src/node/reach.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { store, topology } from '../cluster/fixtures.ts'

/** Store 1 of three members that own everything, linked with whom the test says. */
function setUp(): {
  readonly world: SimWorld
  readonly reach: (signal?: AbortSignal) => () => boolean
  readonly link: (n: number) => void
  readonly stop: () => void
  readonly pending: () => number
} {
  const world = new SimWorld()
  const clock = world.clock('n')
  const linked = new Set<string>()
  const listeners = new Set<() => void>()
  const on = (_type: string, listener: () => void): (() => void) => {
    listeners.add(listener)
    return () => listeners.delete(listener)
  }
  const core = {
    storeId: store(1),
    clock,
    cluster: { topology: topology([{ n: 1 }, { n: 2 }, { n: 3 }], { slots: [1, 2, 3] }), on },
    transport: { isLinked: (peer: PeerId) => linked.has(peer), on },
    on
  }
  const tell = (): void => {
    for (const listener of listeners) listener()
  }
  return {
    world,
    reach: signal => {
      let done = false
      void reachQuorums(core as never, signal === undefined ? {} : { signal }).then(() => (done = true))
      return () => done
    },
    link: n => {
      linked.add(core.cluster.topology.members.get(store(n))!.peerId)
      tell()
    },
    stop: tell,
    pending: () => clock.pending + listeners.size
  }
}

describe('a node that starts', () => {
  it('waits until it is linked with a majority of the owners of every row, itself included', async () => {
    const { world, reach, link, pending } = setUp()
    const isDone = reach()
    await world.advance(500)
    assert.equal(isDone(), false)
    link(3)
    await world.advance(1)
    assert.equal(isDone(), true)
    assert.equal(pending(), 0, 'nothing is left')
    const again = reach()
    await world.advance(1)
    assert.equal(again(), true, 'there is nothing to wait for')
  })

  it('waits for two seconds at most: the others may be gone', async () => {
    const { world, reach, pending } = setUp()
    const isDone = reach()
    await world.advance(1990)
    assert.equal(isDone(), false)
    await world.advance(20)
    assert.equal(isDone(), true)
    assert.equal(pending(), 0, 'nothing is left')
  })

  it('waits no more when it is called off', async () => {
    const { world, reach, pending } = setUp()
    const abort = new AbortController()
    const isDone = reach(abort.signal)
    await world.advance(10)
    abort.abort()
    await world.advance(1)
    assert.equal(isDone(), true)
    assert.equal(pending(), 0, 'nothing is left')
  })
})
