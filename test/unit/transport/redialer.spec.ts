import assert from 'node:assert/strict'
import type { PeerId } from '../../../src/model/node-id.ts'
import { SeededRandom } from '../../../src/runtime/seeded-random.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { Redialer } from '../../../src/transport/redialer.ts'

const PEER = 'm' as PeerId

describe('redialing', () => {
  let world: SimWorld
  let clock: SimClock
  let linked: boolean
  let dials: { readonly atMs: number; readonly addresses: readonly string[]; readonly signal: AbortSignal }[]
  /** Settles the dial under way. */
  let settle: (() => void) | undefined
  /** Whether a dial settles at once. */
  let isQuick: boolean

  beforeEach(() => {
    world = new SimWorld()
    clock = world.clock('a')
    linked = false
    dials = []
    isQuick = true
    settle = undefined
  })

  function create(self = 'a'): Redialer {
    return new Redialer({
      self: self as PeerId,
      clock,
      random: new SeededRandom(1),
      isLinked: () => linked,
      dial: (_, addresses, signal) => {
        dials.push({ atMs: world.nowMs, addresses, signal })
        if (isQuick) return Promise.resolve()
        return new Promise<void>(resolve => {
          settle = resolve
        })
      }
    })
  }

  function up(redialer: Redialer): void {
    linked = true
    redialer.up(PEER)
  }

  function down(redialer: Redialer): void {
    linked = false
    redialer.down(PEER)
  }

  it('dials at once where its id is the smaller one, and after a moment otherwise', async () => {
    create('a').keep(PEER, ['x'])
    create('z').keep(PEER, ['y'])
    await world.advance(500)
    const [first, second] = [
      dials.find(({ addresses }) => addresses[0] === 'x')!,
      dials.find(({ addresses }) => addresses[0] === 'y')!
    ]
    assert.equal(first.atMs, 0)
    assert.ok(second.atMs >= 180 && second.atMs <= 320, `${second.atMs} ms`)
  })

  it('pauses longer and longer, up to ten seconds, give or take a quarter', async () => {
    create().keep(PEER, ['x'])
    await world.advance(120_000)
    const pauses = dials.slice(1).map(({ atMs }, i) => atMs - dials[i]!.atMs)
    const expected = [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]
    expected.forEach((pauseMs, i) => {
      assert.ok(pauses[i]! >= pauseMs * 0.74 && pauses[i]! <= pauseMs * 1.26, `pause ${i}: ${pauses[i]} ms`)
    })
  })

  it('dials one at a time', async () => {
    isQuick = false
    const redialer = create()
    redialer.keep(PEER, ['x'])
    await world.advance(60_000)
    redialer.down(PEER)
    await world.advance(60_000)
    assert.equal(dials.length, 1)
    settle!()
    await world.advance(500)
    assert.equal(dials.length, 2)
  })

  it('dials again at once when a good link is lost, and with pauses when it is lost over and over', async () => {
    const redialer = create()
    redialer.keep(PEER, ['x'])
    await world.advance(0)
    up(redialer)
    await world.advance(10_000)
    assert.equal(dials.length, 1)
    for (let i = 0; i < 3; i++) {
      down(redialer)
      await world.advance(1)
      assert.equal(dials.length, 2 + i)
      up(redialer)
      await world.advance(6000)
    }
    // Now it never holds.
    for (let i = 0; i < 100; i++) {
      down(redialer)
      await world.advance(100)
      up(redialer)
      await world.advance(100)
    }
    assert.ok(dials.length < 20, `${dials.length} dials in 20 s`)
  })

  it('forgets a dropped peer, and gives up the dial under way', async () => {
    isQuick = false
    const redialer = create()
    redialer.keep(PEER, ['x'])
    await world.advance(0)
    redialer.drop(PEER)
    assert.equal(dials[0]!.signal.aborted, true)
    settle!()
    await world.advance(60_000)
    assert.deepEqual([dials.length, clock.pending, redialer.isKept(PEER)], [1, 0, false])
    redialer.keep(PEER, ['x'])
    await world.advance(0)
    assert.equal(dials.length, 2)
  })

  it('tries news of addresses at once, and old ones in their turn', async () => {
    const redialer = create()
    redialer.keep(PEER, ['x'])
    await world.advance(30_000)
    const before = dials.length
    redialer.keep(PEER, ['x'])
    await world.advance(1)
    assert.equal(dials.length, before)
    redialer.keep(PEER, ['y', 'x'])
    await world.advance(1)
    assert.equal(dials.length, before + 1)
    assert.deepEqual(dials.at(-1)!.addresses, ['y', 'x'])
  })

  it('does not dial whoever is linked, and nobody after it stopped', async () => {
    linked = true
    const redialer = create()
    redialer.keep(PEER, ['x'])
    await world.advance(1000)
    assert.equal(dials.length, 0)
    redialer.stop()
    linked = false
    redialer.down(PEER)
    redialer.keep(PEER, ['y'])
    await world.advance(1000)
    assert.deepEqual([dials.length, clock.pending], [0, 0])
  })
})
