import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import { LOOK_EVERY_MS, lookUntil } from '../../../src/cluster/look-until.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

/** Something that comes about when the test says so, or a time after the beginning. */
class Bench {
  readonly world: SimWorld = new SimWorld()
  readonly clock = this.world.clock('n')
  readonly abort: AbortController = new AbortController()
  readonly startMs: number = this.clock.monotonicMs()
  isSo = false
  soAfterMs = Infinity
  /** When it was looked at, ms after the beginning. */
  readonly looks: number[] = []

  get nowMs(): number {
    return this.clock.monotonicMs() - this.startMs
  }

  lookUntil(timeoutMs: number): Promise<void> {
    const isSo = (): boolean => {
      this.looks.push(this.nowMs)
      return this.isSo || this.nowMs >= this.soAfterMs
    }
    const { clock } = this
    const late = (): KilovoltError => new KilovoltError('KV_TIMEOUT', `not so at ${this.nowMs}`)
    const deadlineMs = this.startMs + timeoutMs
    const looking = lookUntil(isSo, { clock, stopped: this.abort.signal, deadlineMs, late })
    looking.catch(() => {})
    return looking
  }
}

describe('looking until something is so', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench()
  })

  afterEach(() => {
    assert.equal(bench.clock.pending, 0, 'no timer is left')
  })

  it('waits for nothing when it is so already, be the node stopped or the time over', async () => {
    bench.isSo = true
    await bench.lookUntil(1000)
    bench.abort.abort()
    await bench.lookUntil(0)
    assert.deepEqual(bench.looks, [0, 0])
  })

  it('looks from time to time, and ends with the first look at which it is so', async () => {
    bench.soAfterMs = 2 * LOOK_EVERY_MS - 1
    const looking = bench.lookUntil(10_000)
    await bench.world.settle(looking, { limitMs: 1000 })
    assert.deepEqual(bench.looks, [0, LOOK_EVERY_MS, 2 * LOOK_EVERY_MS])
  })

  it('gives up with the error for it at the first look after the deadline', async () => {
    const looking = bench.lookUntil(2 * LOOK_EVERY_MS - 1)
    await bench.world.advance(LOOK_EVERY_MS)
    assert.deepEqual(bench.looks, [0, LOOK_EVERY_MS])
    await bench.world.advance(LOOK_EVERY_MS)
    await assert.rejects(looking, { code: 'KV_TIMEOUT', message: `not so at ${2 * LOOK_EVERY_MS}` })
    assert.deepEqual(bench.looks, [0, LOOK_EVERY_MS, 2 * LOOK_EVERY_MS])
  })

  it('takes what has come about by the last look for in time', async () => {
    bench.soAfterMs = LOOK_EVERY_MS
    await bench.world.settle(bench.lookUntil(LOOK_EVERY_MS), { limitMs: 1000 })
  })

  it('ends at once when the node stops, unless it is so by then', async () => {
    const looking = bench.lookUntil(10_000)
    await bench.world.advance(10)
    bench.abort.abort()
    await assert.rejects(looking, { code: 'KV_NODE_STOPPED' })
    assert.deepEqual([bench.nowMs, bench.looks], [10, [0, 10]])
    const other = new Bench()
    const soon = other.lookUntil(10_000)
    other.isSo = true
    other.abort.abort()
    await soon
  })

  it('of a node that has stopped fails with that, be the time over or not', async () => {
    bench.abort.abort()
    await assert.rejects(bench.lookUntil(0), { code: 'KV_NODE_STOPPED' })
  })
})
