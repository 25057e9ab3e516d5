import assert from 'node:assert/strict'
import { Pace } from '../../../src/runtime/pace.ts'
import { pause } from '../../../src/runtime/clock.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

describe('the pace of work in the background', () => {
  let world: SimWorld
  let clock: SimClock
  let requests: number
  let pace: Pace
  let running: number
  let most: number
  let startedMs: number[]

  beforeEach(() => {
    world = new SimWorld()
    clock = world.clock('a')
    requests = 0
    pace = new Pace(clock, () => requests)
    running = most = 0
    startedMs = []
  })

  /** Work of four milliseconds. */
  async function work(): Promise<void> {
    startedMs.push(clock.monotonicMs())
    most = Math.max(most, ++running)
    await pause(clock, 4)
    running--
  }

  const rests = (): number[] => startedMs.slice(1).map((startMs, i) => Math.round(startMs - startedMs[i]! - 4))

  it('is unbounded while no requests come', async () => {
    await world.settle(Promise.all([1, 2, 3].map(() => pace.turn(work))))
    assert.equal(most, 3)
    assert.equal(pace.isBusy, false)
  })

  it('is one piece at a time while requests come, with a rest of fifteen times as long after each', async () => {
    requests++
    await world.settle(Promise.all([1, 2, 3].map(() => pace.turn(work))))
    assert.equal(most, 1)
    assert.deepEqual(rests(), [60, 60])
  })

  it('is unbounded again half a second after the last request', async () => {
    requests++
    assert.equal(pace.isBusy, true)
    await world.advance(499)
    assert.equal(pace.isBusy, true)
    await world.advance(2)
    assert.equal(pace.isBusy, false)
  })

  it('does not rest for more than half a second, nor for work that is not wanted any more', async () => {
    requests++
    const long = (): Promise<void> => pause(clock, 300)
    await world.settle(pace.turn(long))
    const beforeMs = clock.monotonicMs()
    await world.settle(pace.turn(work))
    assert.equal(Math.round(startedMs[0]! - beforeMs), 500)
    requests++
    const abort = new AbortController()
    abort.abort()
    const againMs = clock.monotonicMs()
    await world.settle(pace.turn(work, abort.signal))
    assert.equal(startedMs[1], againMs)
  })

  it('rests less and less while somebody waits for it, and after five seconds not at all, still one piece at a time', async () => {
    const sinceMs = clock.monotonicMs()
    pace.awaited(true)
    for (const [atMs, parts] of [
      [0, 15],
      [1000, 12],
      [2500, 7.5],
      [4000, 3],
      [5000, 0],
      [60_000, 0]
    ] as const) {
      await world.advance(Math.max(0, sinceMs + atMs - clock.monotonicMs()))
      // Who is told of it once more has waited since the first time.
      pace.awaited(true)
      requests++
      startedMs = []
      await world.settle(Promise.all([1, 2].map(() => pace.turn(work))))
      assert.ok(Math.abs(rests()[0]! - 4 * parts) <= 1, `${rests()[0]} ms of rest after ${atMs} ms`)
    }
    assert.equal(most, 1)
  })

  it('rests as before once nobody waits any more', async () => {
    pace.awaited(true)
    await world.advance(10_000)
    pace.awaited(false)
    requests++
    await world.settle(Promise.all([1, 2].map(() => pace.turn(work))))
    assert.deepEqual(rests(), [60])
    pace.awaited(true)
    startedMs = []
    await world.settle(Promise.all([1, 2].map(() => pace.turn(work))))
    assert.ok(rests()[0]! >= 58, `${rests()[0]} ms`)
  })

  it('goes on when a piece of work fails', async () => {
    requests++
    const failing = pace.turn(() => Promise.reject(new Error('no')))
    await assert.rejects(world.settle(failing), /no/u)
    await world.settle(pace.turn(work))
    assert.equal(startedMs.length, 1)
  })

  it('leaves no timer when it is stopped: what waits comes at once', async () => {
    requests++
    void pace.turn(work)
    await world.advance(20)
    const waiting = Promise.all([1, 2, 3].map(() => pace.turn(work)))
    await world.advance(5)
    assert.equal(clock.pending, 1)
    pace.stop()
    const beganMs = clock.monotonicMs()
    await world.settle(waiting)
    assert.ok(clock.monotonicMs() - beganMs < 35)
    assert.equal(clock.pending, 0)
  })
})
