import assert from 'node:assert/strict'
import { pause } from '../../../src/runtime/clock.ts'
import { atOnce, Slicer, type SlicesOptions, type Steps } from '../../../src/runtime/slices.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

const WORK = { restMaxMs: 1000 }

describe('work in slices', () => {
  let world: SimWorld
  let clock: SimClock
  let requests: number
  let slicer: Slicer

  beforeEach(() => {
    world = new SimWorld()
    clock = world.clock('a')
    requests = 0
    slicer = new Slicer(clock, () => requests)
  })

  /** Does so many steps that take so long each; returns how long the breath after each was, ms, `undefined` where there was none. */
  async function work(steps: number, stepMs: number, options: SlicesOptions = WORK): Promise<(number | undefined)[]> {
    const slices = slicer.begin(options)
    const breaths: (number | undefined)[] = []
    for (let i = 0; i < steps; i++) {
      await pause(clock, stepMs)
      const breath = slices.breathe()
      const sinceMs = clock.monotonicMs()
      await breath
      breaths.push(breath && Math.round(clock.monotonicMs() - sinceMs))
    }
    return breaths
  }

  it('lets others have the event loop every half a millisecond, without a rest while no requests come', async () => {
    assert.deepEqual(await world.settle(work(6, 0.2)), [undefined, undefined, 0, undefined, undefined, 0])
  })

  it('rests seven times as long as a slice took while requests come', async () => {
    requests++
    assert.deepEqual(await world.settle(work(4, 1)), [7, 7, 7, 7])
    requests++
    assert.deepEqual(await world.settle(work(2, 2)), [14, 14])
  })

  it('begins to rest with the first request that comes into the midst, and ends it fifty milliseconds after the last', async () => {
    const working = work(30, 1)
    await world.advance(5.5)
    requests++
    const breaths = await world.settle(working)
    assert.deepEqual(breaths.slice(0, 5), [0, 0, 0, 0, 0])
    const last = breaths.lastIndexOf(7)
    assert.deepEqual(breaths.slice(5, last + 1), Array(last - 4).fill(7))
    assert.deepEqual(breaths.slice(last + 1), Array(29 - last).fill(0))
    assert.ok((last - 4) * 8 > 40 && (last - 4) * 8 < 60, `${last - 4} rests`)
  })

  it('has an eighth of the time for all pieces of work together', async () => {
    requests++
    const keepBusy = setBusy()
    const beganMs = clock.monotonicMs()
    await world.settle(Promise.all([work(10, 1), work(10, 1)]))
    keepBusy.cancel()
    const tookMs = clock.monotonicMs() - beganMs
    assert.ok(tookMs > 130 && tookMs < 180, `20 ms of work took ${tookMs} ms`)
  })

  /** Requests all the time. */
  function setBusy(): { cancel(): void } {
    let isOver = false
    const next = (): void => {
      requests++
      if (!isOver) clock.after(10, next)
    }
    next()
    return { cancel: () => (isOver = true) }
  }

  it('does not rest for longer than it may in all, and then goes on without', async () => {
    requests++
    assert.deepEqual(await world.settle(work(4, 2, { restMaxMs: 20 })), [14, 6, 0, 0])
    requests++
    assert.deepEqual(await world.settle(work(2, 2, { restMaxMs: 0 })), [0, 0])
  })

  it('does not pay without end for a slice that something else has held up', async () => {
    requests++
    assert.deepEqual(await world.settle(work(1, 40)), [20])
  })

  it('rests the shorter the more wait for its end', async () => {
    requests++
    assert.deepEqual(await world.settle(work(2, 3, { ...WORK, waiting: () => 2 })), [7, 7])
  })

  it('leaves no timer when it is stopped: what rests goes on at once', async () => {
    requests++
    const working = work(3, 2)
    await world.advance(3)
    assert.equal(clock.pending, 1)
    slicer.stop()
    assert.deepEqual(await world.settle(working), [1, 0, 0])
    assert.equal(clock.pending, 0)
  })

  it('rests once for what goes on in several places, and does not take the rest for work', async () => {
    requests++
    const beganMs = clock.monotonicMs()
    const slices = slicer.begin(WORK)
    await world.advance(1)
    const breath = slices.breathe()
    await world.advance(2)
    assert.equal(slices.breathe(), breath)
    await world.settle(breath!)
    assert.equal(slices.breathe(), undefined)
    assert.equal(Math.round(clock.monotonicMs() - beganMs), 8)
  })

  it('does not take for work what it has waited for', async () => {
    requests++
    const beganMs = clock.monotonicMs()
    const slices = slicer.begin(WORK)
    await world.advance(10)
    slices.resume()
    assert.equal(slices.breathe(), undefined)
    await world.advance(1)
    const breath = slices.breathe()
    slices.resume()
    assert.equal(slices.breathe(), breath, 'it still rests')
    await world.settle(breath!)
    assert.equal(Math.round(clock.monotonicMs() - beganMs), 18)
  })

  it('does what comes in steps, at once or with breaths in between', async () => {
    let done = 0
    function* counting(): Steps<string> {
      for (; done < 100; done++) yield
      return 'all'
    }
    assert.equal(atOnce(counting()), 'all')
    done = 0
    const slices = slicer.begin(WORK)
    await world.advance(1)
    const counted = slices.run(counting())
    assert.equal(done, 0, 'the slice was over already')
    assert.equal(await world.settle(counted), 'all')
    assert.equal(done, 100)
  })
})
