import assert from 'node:assert/strict'
import type { ViewMember } from '../../../src/model/view.ts'
import type { PeerId, StoreId } from '../../../src/model/node-id.ts'
import { untilUsable } from '../../../src/node/usable.ts'
import type { Row, Topology } from '../../../src/placement/topology.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { seen, store, topology } from '../cluster/fixtures.ts'

type Fake = {
  readonly world: SimWorld
  /** Starts to wait; tells whether it has ended. */
  readonly wait: (signal?: AbortSignal) => () => boolean
  readonly link: (n: number) => void
  readonly become: (topology: Topology) => void
  /** Another of which gossip has something to say. */
  readonly see: (member: ViewMember) => void
  readonly stop: () => void
  readonly pending: () => number
}

/** Store 1 in a cluster as the test says; all members of it are alive. */
function setUp(first: Topology): Fake {
  const world = new SimWorld()
  const clock = world.clock('n')
  const linked = new Set<string>()
  const view = new Map<StoreId, ViewMember>()
  const listeners = { change: new Set<() => void>(), stop: new Set<() => void>() }
  const onChange = (_type: string, listener: () => void): (() => void) => {
    listeners.change.add(listener)
    return () => listeners.change.delete(listener)
  }
  const core = {
    storeId: store(1),
    clock,
    cluster: { topology: first, on: onChange },
    membership: { view, statusOf: (id: StoreId) => view.get(id)?.status ?? 'alive', on: onChange },
    transport: { isLinked: (peer: PeerId) => linked.has(peer), on: onChange },
    on: (_type: string, listener: () => void): (() => void) => {
      listeners.stop.add(listener)
      return () => listeners.stop.delete(listener)
    }
  }
  const tell = (kind: 'change' | 'stop'): void => {
    for (const listener of listeners[kind]) listener()
  }
  return {
    world,
    wait: signal => {
      let done = false
      void untilUsable(core as never, signal === undefined ? {} : { signal }).then(() => (done = true))
      return () => done
    },
    link: n => {
      linked.add(core.cluster.topology.members.get(store(n))!.peerId)
      tell('change')
    },
    become: next => {
      core.cluster.topology = next
      tell('change')
    },
    see: member => {
      view.set(member.storeId, member)
      tell('change')
    },
    stop: () => tell('stop'),
    pending: () => clock.pending + listeners.change.size + listeners.stop.size
  }
}

const THREE = [{ n: 1 }, { n: 2 }, { n: 3 }]

describe('a node that starts', () => {
  it('waits until it is linked with a majority of the owners of every row, itself included', async () => {
    const { world, wait, link, pending } = setUp(topology(THREE))
    const isDone = wait()
    await world.advance(500)
    assert.equal(isDone(), false)
    link(3)
    await world.advance(1)
    assert.equal(isDone(), true)
    assert.equal(pending(), 0, 'nothing is left')
    const again = wait()
    await world.advance(1)
    assert.equal(again(), true, 'there is nothing to wait for')
  })

  it('waits for two seconds at most: the others may be gone', async () => {
    const { world, wait, pending } = setUp(topology(THREE))
    const isDone = wait()
    await world.advance(1990)
    assert.equal(isDone(), false)
    await world.advance(20)
    assert.equal(isDone(), true)
    assert.equal(pending(), 0, 'nothing is left')
  })

  it('waits no more when it is called off, or stopped', async () => {
    const { world, wait, stop, pending } = setUp(topology(THREE))
    const abort = new AbortController()
    const one = wait(abort.signal)
    const other = wait()
    await world.advance(10)
    abort.abort()
    await world.advance(1)
    assert.deepEqual([one(), other()], [true, false])
    stop()
    await world.advance(1)
    assert.equal(other(), true)
    assert.equal(pending(), 0, 'nothing is left')
  })
})

describe('a node of a cluster that starts for the first time', () => {
  const alone = topology(THREE, { slots: [1] })
  const changing: Row = {
    slots: [store(1)],
    change: { next: [store(1), store(2)], copies: [{ to: store(2), from: [store(1)] }] },
    rowEpoch: 2
  }
  const second: Row = { slots: [store(1), store(2)], change: undefined, rowEpoch: 3 }

  it('waits until every write at quorum is on two nodes', async () => {
    const { world, wait, become, pending } = setUp(alone)
    const isDone = wait()
    become(topology(THREE, { rows: [second, changing] }))
    await world.advance(100)
    assert.equal(isDone(), false, 'if the change is aborted, one row has a single owner')
    become(topology(THREE, { rows: [second, second] }))
    await world.advance(1)
    assert.equal(isDone(), true)
    assert.equal(pending(), 0, 'nothing is left')
  })

  it('waits for five seconds at most', async () => {
    const { world, wait, pending } = setUp(alone)
    const isDone = wait()
    await world.advance(4990)
    assert.equal(isDone(), false)
    await world.advance(20)
    assert.equal(isDone(), true)
    assert.equal(pending(), 0, 'nothing is left')
  })

  it('waits for who is on the way in', async () => {
    const { world, wait, see, become } = setUp(topology([{ n: 1 }], { slots: [1] }))
    const alone = wait()
    await world.advance(1)
    assert.equal(alone(), true, 'nobody else is there')
    see(seen(2))
    const isDone = wait()
    await world.advance(100)
    assert.equal(isDone(), false)
    become(topology([{ n: 1 }, { n: 2 }], { slots: [1, 2] }))
    await world.advance(1)
    assert.equal(isDone(), true, 'it has its copies')
  })

  it('does not wait for copies that nobody can take, or nobody wants', async () => {
    const cases = {
      'the others are gone': setUp(alone),
      'the others take no data': setUp(topology([{ n: 1 }, { n: 2, weight: 0 }], { slots: [1] })),
      'the others leave': setUp(topology([{ n: 1 }, { n: 2, status: 'leaving' }], { slots: [1] })),
      'one copy is wanted': setUp(topology(THREE, { slots: [1], replicas: 1 }))
    }
    for (const n of [2, 3]) cases['the others are gone'].see(seen(n, { status: 'dead', clusterId: alone.clusterId }))
    for (const [name, { world, wait }] of Object.entries(cases)) {
      const isDone = wait()
      await world.advance(1)
      assert.equal(isDone(), true, name)
    }
  })
})
