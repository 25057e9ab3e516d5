import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Deadline, TimerWheel } from '../../../src/runtime/timer-wheel.ts'
import type { SimClock } from '../../../src/testing/sim-clock.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

class Bell extends Deadline {
  readonly #ring: () => void

  constructor(ring: () => void) {
    super()
    this.#ring = ring
  }

  expire(): void {
    this.#ring()
  }
}

describe('the timer wheel', () => {
  let world: SimWorld
  let clock: SimClock
  let wheel: TimerWheel

  beforeEach(async () => {
    world = new SimWorld()
    clock = world.clock('a')
    wheel = new TimerWheel(clock)
    await world.advance(12_345.6)
  })

  /** When deadlines of these delays fire, ms after now. */
  async function fire(...delaysMs: number[]): Promise<number[]> {
    const from = clock.monotonicMs()
    const fired: number[] = []
    for (const [i, delayMs] of delaysMs.entries()) {
      wheel.add(
        new Bell(() => {
          fired[i] = clock.monotonicMs() - from
        }),
        delayMs
      )
    }
    await world.advance(Math.max(...delaysMs) + 100)
    return fired
  }

  it('fires each deadline once, not early and at most 10 ms late', async () => {
    const delaysMs = [0, 1, 5, 10, 11, 99, 100, 1000, 5000, 5001, 10_239, 10_240, 10_241, 25_000, 60_000]
    const fired = await fire(...delaysMs)
    delaysMs.forEach((delayMs, i) => {
      assert.ok(fired[i]! >= delayMs && fired[i]! <= delayMs + 11, `${delayMs} ms fired after ${fired[i]} ms`)
    })
    assert.equal(wheel.size, 0)
  })

  it('keeps no timer while it is empty', async () => {
    assert.equal(clock.pending, 0)
    const bells = [1, 2, 3].map(() => new Bell(() => {}))
    for (const [i, bell] of bells.entries()) wheel.add(bell, 1000 * (i + 1))
    assert.equal(clock.pending, 1)
    for (const bell of bells) wheel.cancel(bell)
    assert.deepEqual([clock.pending, wheel.size], [0, 0])
    await fire(50)
    assert.equal(clock.pending, 0)
  })

  it('sleeps until something is due', async () => {
    wheel.add(new Bell(() => {}), 5000)
    const before = world.pending
    await world.advance(4900)
    assert.deepEqual([wheel.size, world.pending], [1, before])
  })

  it('does not fire what was cancelled, also while others of the same instant fire', async () => {
    let fired = 0
    const bells: Bell[] = [1, 2, 3].map(
      () =>
        new Bell(() => {
          fired++
          for (const bell of bells) wheel.cancel(bell)
        })
    )
    for (const bell of bells) wheel.add(bell, 100)
    await world.advance(200)
    assert.equal(fired, 1)
    assert.deepEqual([wheel.size, clock.pending], [0, 0])
  })

  it('moves a deadline that is added again, and takes back one that fires', async () => {
    let fired = 0
    const bell: Bell = new Bell(() => {
      if (++fired < 3) wheel.add(bell, 100)
    })
    wheel.add(bell, 50)
    wheel.add(bell, 1000)
    await world.advance(900)
    assert.deepEqual([fired, wheel.size], [0, 1])
    await world.advance(400)
    assert.deepEqual([fired, wheel.size, clock.pending], [3, 0, 0])
  })

  it('catches up after the process stood still', async () => {
    const fired: number[] = []
    for (const delayMs of [10, 5000, 11_000, 29_000, 31_000]) wheel.add(new Bell(() => fired.push(delayMs)), delayMs)
    clock.stall(30_000)
    await world.advance(30_050)
    assert.deepEqual(
      fired.sort((a, b) => a - b),
      [10, 5000, 11_000, 29_000]
    )
    await world.advance(1000)
    assert.equal(fired.length, 5)
  })

  it('agrees with a list of deadlines, whatever is added, cancelled and waited for', async () => {
    const step = fc.oneof(
      fc.record({ add: fc.integer({ min: 0, max: 30_000 }) }),
      fc.record({ cancel: fc.nat(50) }),
      fc.record({ pass: fc.integer({ min: 0, max: 8000 }) })
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async steps => {
        const all: { readonly bell: Bell; readonly dueMs: number; state: 'waits' | 'fired' | 'cancelled' }[] = []
        for (const one of steps) {
          if ('add' in one) {
            const entry = {
              bell: new Bell(() => {
                assert.equal(entry.state, 'waits')
                entry.state = 'fired'
                assert.ok(clock.monotonicMs() >= entry.dueMs)
              }),
              dueMs: clock.monotonicMs() + one.add,
              state: 'waits' as 'waits' | 'fired' | 'cancelled'
            }
            all.push(entry)
            wheel.add(entry.bell, one.add)
          } else if ('cancel' in one) {
            const entry = all[one.cancel]
            if (entry === undefined) continue
            if (entry.state === 'waits') entry.state = 'cancelled'
            wheel.cancel(entry.bell)
          } else {
            await world.advance(one.pass)
          }
          for (const { state, dueMs } of all) {
            if (state === 'waits') assert.ok(dueMs + 11 >= clock.monotonicMs(), `late: ${dueMs}`)
          }
        }
        await world.advance(31_000)
        assert.ok(all.every(({ state }) => state !== 'waits'))
        assert.deepEqual([wheel.size, clock.pending], [0, 0])
      }),
      { numRuns: 50 }
    )
  })
})
