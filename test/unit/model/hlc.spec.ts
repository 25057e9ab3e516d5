import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { HLC_COUNTERS_PER_MS, HLC_EPOCH_MS, hlcFromMs, hlcToMs, HybridClock } from '../../../src/model/hlc.ts'

const wallMs = fc.integer({ min: HLC_EPOCH_MS, max: Date.UTC(2089, 0) })
/** What may happen to a clock: time is told, which may jump either way, or a time is seen elsewhere. */
const event = fc.oneof(
  fc.record({ kind: fc.constant('tick' as const), at: wallMs }),
  fc.record({ kind: fc.constant('observe' as const), at: wallMs })
)

describe('HybridClock', () => {
  it('only ever issues times greater than all it has issued or seen, however the wall clock jumps', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 50 }), events => {
        const clock = new HybridClock()
        let greatest = 0
        for (const { kind, at } of events) {
          if (kind === 'observe') {
            clock.observe(hlcFromMs(at))
            greatest = Math.max(greatest, hlcFromMs(at))
          } else {
            const issued = clock.tick(at)
            assert.ok(issued > greatest)
            assert.ok(issued >= hlcFromMs(at), 'never behind the wall clock')
            assert.ok(Number.isSafeInteger(issued))
            greatest = issued
          }
          assert.equal(clock.last, greatest)
        }
      })
    )
  })

  it('issues nothing at or below what it was begun with', () => {
    assert.equal(new HybridClock(5_000_000_000_000_000).tick(HLC_EPOCH_MS), 5_000_000_000_000_001)
  })

  it('borrows the next millisecond when the counters of one are used up', () => {
    const clock = new HybridClock()
    const first = clock.tick(HLC_EPOCH_MS + 10)
    for (let i = 1; i < HLC_COUNTERS_PER_MS; i++) clock.tick(HLC_EPOCH_MS + 10)
    assert.equal(hlcToMs(clock.last), HLC_EPOCH_MS + 10)
    assert.equal(clock.tick(HLC_EPOCH_MS + 10), first + HLC_COUNTERS_PER_MS)
    assert.equal(hlcToMs(clock.last), HLC_EPOCH_MS + 11)
  })
})

describe('hybrid times', () => {
  it('keep the millisecond they were made of until 2089', () => {
    fc.assert(fc.property(wallMs, ms => assert.equal(hlcToMs(hlcFromMs(ms)), ms)))
  })

  it('keep the order of the milliseconds, and every counter of one is before the next', () => {
    fc.assert(
      fc.property(wallMs, fc.nat(HLC_COUNTERS_PER_MS - 1), (ms, counter) => {
        assert.ok(hlcFromMs(ms) + counter < hlcFromMs(ms + 1))
        assert.equal(hlcToMs(hlcFromMs(ms) + counter), ms)
      })
    )
  })

  it('begin at zero for a wall clock set before 2020', () => assert.equal(hlcFromMs(0), 0))
})
