import assert from 'node:assert/strict'
import { pause } from '../../../src/runtime/clock.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

describe('the simulated world', () => {
  it('runs timers in order of time, and of setting when they are due together', async () => {
    const world = new SimWorld()
    const clock = world.clock('a')
    const seen: string[] = []
    clock.after(20, () => seen.push('late'))
    clock.after(10, () => seen.push('first'))
    clock.after(10, () => seen.push('second'))
    await world.advance(15)
    assert.deepEqual(seen, ['first', 'second'])
    await world.advance(5)
    assert.deepEqual(seen, ['first', 'second', 'late'])
    assert.equal(world.nowMs, 20)
  })

  it('runs what is due soon after the present instant and before any later one', async () => {
    const world = new SimWorld()
    const clock = world.clock('a')
    const seen: string[] = []
    clock.after(10, () => {
      seen.push('one')
      clock.soon(() => seen.push('soon'))
    })
    clock.after(10, () => seen.push('two'))
    clock.after(10.001, () => seen.push('later'))
    await world.advance(20)
    assert.deepEqual(seen, ['one', 'two', 'soon', 'later'])
  })

  it('lets awaiting code come to rest between two events', async () => {
    const world = new SimWorld()
    const clock = world.clock('a')
    const seen: string[] = []
    const walk = async (name: string): Promise<void> => {
      for (let i = 0; i < 3; i++) {
        await pause(clock, 10)
        for (let j = 0; j < 10; j++) await Promise.resolve()
        seen.push(`${name}${i}`)
      }
    }
    await world.settle(Promise.all([walk('a'), walk('b')]))
    assert.deepEqual(seen, ['a0', 'b0', 'a1', 'b1', 'a2', 'b2'])
  })

  it('never runs a cancelled timer, and counts what is left', async () => {
    const world = new SimWorld()
    const clock = world.clock('a')
    const timers = Array.from({ length: 10_000 }, () => clock.after(10, () => assert.fail()))
    assert.equal(clock.pending, 10_000)
    for (const timer of timers) timer.cancel()
    timers[0]!.cancel()
    assert.equal(clock.pending, 0)
    assert.ok(world.pending < 10_000)
    await world.advance(20)
  })

  it('drops the timers of a process that was killed and sets no new ones', async () => {
    const world = new SimWorld()
    const clock = world.clock('a')
    clock.after(10, () => assert.fail())
    clock.soon(() => assert.fail())
    clock.kill()
    clock.after(5, () => assert.fail())
    assert.equal(clock.pending, 0)
    await world.advance(20)
  })

  it('delays everything of a stalled process to the end of its pause, in order', async () => {
    const world = new SimWorld()
    const [a, b] = [world.clock('a'), world.clock('b')]
    const seen: [string, number][] = []
    const note = (what: string) => (): unknown => seen.push([what, world.nowMs])
    a.after(10, note('a10'))
    a.after(20, note('a20'))
    a.after(200, note('a200'))
    b.after(30, note('b30'))
    a.stall(100)
    a.soon(note('soon'))
    await world.advance(300)
    assert.deepEqual(seen, [
      ['b30', 30],
      ['soon', 100],
      ['a10', 100],
      ['a20', 100],
      ['a200', 200]
    ])
    assert.equal(a.loopMonitor.takeLagMs(), 100)
    assert.equal(a.loopMonitor.takeLagMs(), 0)
  })

  it('runs what a pause has held up, in order and before anything later, when the process is continued early', async () => {
    const world = new SimWorld()
    const [a, b] = [world.clock('a'), world.clock('b')]
    const seen: [string, number][] = []
    const note = (what: string) => (): unknown => seen.push([what, world.nowMs])
    a.after(20, note('a20'))
    b.after(10, note('b10'))
    a.stall(1000)
    a.soon(note('soon'))
    a.arrive(10_000, note('frame'))
    b.stall(200)
    await world.advance(50)
    a.resume()
    a.after(0, note('a50'))
    a.after(30, note('a80'))
    await world.advance(500)
    assert.deepEqual(seen, [
      ['soon', 50],
      ['frame', 50],
      ['a20', 50],
      ['a50', 50],
      ['a80', 80],
      ['b10', 200]
    ])
    assert.equal(a.pending, 0)
  })

  it('gives each process its own wall clock, drift and jumps, and a monotonic clock that only rises', async () => {
    const world = new SimWorld({ epochMs: 1_000_000 })
    const right = world.clock('right')
    const fast = world.clock('fast', { offsetMs: 500, driftPpm: 10_000 })
    const before = fast.monotonicMs()
    await world.advance(1000)
    assert.equal(right.wallMs(), 1_001_000)
    assert.equal(fast.wallMs(), 1_001_510)
    fast.oscillator.jump(-2000)
    assert.equal(fast.wallMs(), 999_510)
    assert.equal(fast.monotonicMs() - before, 1010)
    fast.oscillator.drift(world.nowUs, -10_000)
    await world.advance(1000)
    assert.equal(fast.monotonicMs() - before, 2000)
  })

  it('never calls a timer before its own clock says so, however the clock drifts', async () => {
    const world = new SimWorld()
    for (const driftPpm of [-20_000, -333, 0, 7, 19_999]) {
      const clock = world.clock('a', { driftPpm })
      for (const delay of [0, 0.5, 1, 3, 33.3, 5000]) {
        const start = clock.monotonicMs()
        await world.settle(pause(clock, delay))
        const late = clock.monotonicMs() - start - delay
        assert.ok(late > -1e-9 && late < 0.01, `${driftPpm} ppm, ${delay} ms: ${late}`)
      }
    }
  })

  it('says when a promise can never be settled', async () => {
    const world = new SimWorld()
    await assert.rejects(world.settle(new Promise(() => {})), /no event is left/u)
    world.clock('a').after(5000, () => {})
    await assert.rejects(world.settle(new Promise(() => {}), { limitMs: 10 }), /limit of virtual time/u)
    assert.equal(world.nowMs, 10)
  })

  it('hands on what an event throws', async () => {
    const world = new SimWorld()
    world.after(1, () => {
      throw new Error('broken')
    })
    await assert.rejects(world.advance(5), /broken/u)
    await world.advance(5)
  })

  it('gives the same trace for the same seed and another for another', async () => {
    const run = async (seed: number): Promise<string> => {
      const world = new SimWorld({ seed })
      const clock = world.clock('a')
      const walk = async (): Promise<void> => {
        for (let i = 0; i < 200; i++) await pause(clock, world.random.int(50))
      }
      await world.settle(Promise.all([walk(), walk(), walk()]))
      return world.trace.hash
    }
    const first = await run(7)
    assert.equal(await run(7), first)
    assert.notEqual(await run(8), first)
  })
})
