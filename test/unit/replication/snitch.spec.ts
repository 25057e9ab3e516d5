import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { StoreId } from '../../../src/model/node-id.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import { type Route, Routes } from '../../../src/replication/routes.ts'
import { Snitch } from '../../../src/replication/snitch.ts'
import { numbers, store, topology } from '../cluster/fixtures.ts'

/** How long who is not known is waited for, and the bounds for who is, ms. */
const [UNKNOWN_MS, MIN_MS, MAX_MS] = [50, 20, 250]
/** How often the usual is waited for, and how often that who was late is avoided. */
const [LATE_FACTOR, AVOID_FACTOR] = [4, 4]
/** Beside one that takes so long whoever takes longer than this is slow, ms. */
const slowBeyond = (fastestMs: number): number => 3 * fastestMs + 10

const [A, B, C] = [store(1), store(2), store(3)]

/** The route of a row of stores 1 … count, for one of them or, when `self` is beyond, for none of them. */
function routeOf(count: number, self: number): Route {
  const row = { slots: numbers(count).map(({ n }) => store(n)), change: undefined, rowEpoch: 1 }
  return new Routes(topology(numbers(count), { rows: [row] }), store(self), SOUND_RULES).of(0, false)
}

const anyRoute: fc.Arbitrary<Route> = fc
  .integer({ min: 1, max: 31 })
  .chain(count => fc.integer({ min: 1, max: count + 1 }).map(self => routeOf(count, self)))
const anyFrom = fc.nat(2 ** 20)
const anyBits = fc.nat(2 ** 31 - 1)

const anyMs = fc.nat(100_000).map(n => n / 100)

/** What befalls a store. */
const anyEvent = fc.record({
  n: fc.integer({ min: 1, max: 31 }),
  what: fc.constantFrom('heard', 'failed', 'late', 'turn' as const),
  ms: anyMs
})

describe('Snitch', () => {
  let nowMs: number
  let snitch: Snitch

  beforeEach(() => {
    nowMs = 5000
    snitch = made()
  })

  function made(): Snitch {
    return new Snitch({ monotonicMs: () => nowMs })
  }

  /** A turn so much later. */
  function turn(ms = 0): void {
    nowMs += ms
    snitch.rotate()
  }

  /** All places in the order in which they would be asked, until there is none left. */
  function order(route: Route, from: number, tried: number = route.locals): number[] {
    const places: number[] = []
    for (let bits = tried; ;) {
      const at = snitch.next(route, bits, from)
      if (at === -1) return places
      assert.equal((bits >> at) & 1, 0, 'nobody is asked twice')
      bits |= 1 << at
      places.push(at)
    }
  }

  /** Whom a node without a copy asks first. */
  function first(from = 0): StoreId {
    const route = routeOf(3, 9)
    return route.replicas[snitch.next(route, 0, from)]!
  }

  /** How many of the next reads, each in a turn of its own, ask this one first. */
  function sharesOf(id: StoreId): number {
    return [0, 1, 2].filter(from => first(from) === id).length
  }

  function suffer({ n, what, ms }: { n: number; what: string; ms: number }): void {
    if (what === 'heard') snitch.heard(store(n), ms)
    else if (what === 'failed') snitch.failed(store(n))
    else if (what === 'late') snitch.late(store(n))
    else turn(ms)
  }

  describe('whom to ask next', () => {
    it('is each of the others once, and then nobody, whatever has befallen them', () => {
      fc.assert(
        fc.property(anyRoute, anyFrom, anyBits, fc.array(anyEvent), (route, from, tried, events) => {
          snitch = made()
          for (const event of events) suffer(event)
          const untried = route.replicas.map((_, at) => at).filter(at => at >= route.locals && !((tried >> at) & 1))
          assert.deepEqual(
            order(route, from, tried).toSorted((a, b) => a - b),
            untried
          )
        }),
        { numRuns: 1000 }
      )
    })

    it('is never this node, whose copy is looked at anyway', () => {
      assert.equal(snitch.next(routeOf(1, 1), 0, 7), -1)
      assert.deepEqual(order(routeOf(3, 2), 0, 0), [1, 2])
    })

    it('goes round from where it begins', () => {
      fc.assert(
        fc.property(anyRoute, anyFrom, (route, from) => {
          const others = route.replicas.length - route.locals
          const expected = Array.from({ length: others }, (_, i) => route.locals + ((from + i) % others))
          assert.deepEqual(order(route, from), expected)
        })
      )
    })

    it('is all in turn, so that each does the same work, however many are asked in a turn', () => {
      fc.assert(
        fc.property(fc.integer({ min: 2, max: 7 }), fc.boolean(), fc.nat(20), (count, isOwner, turnsBefore) => {
          snitch = made()
          for (let i = 0; i < turnsBefore; i++) turn()
          const route = routeOf(count, isOwner ? 1 : count + 1)
          const others = count - route.locals
          for (let asked = 1; asked <= others; asked++) {
            const times = route.replicas.map(() => 0)
            for (let i = 0; i < 3 * others; i++, turn()) {
              for (const at of order(route, snitch.rotation).slice(0, asked)) times[at]!++
            }
            assert.deepEqual(times.slice(route.locals), Array(others).fill(3 * asked))
          }
        })
      )
    })

    it('is the same throughout a turn', () => {
      const before = snitch.rotation
      snitch.heard(A, 5)
      snitch.failed(A)
      nowMs += 10_000
      assert.equal(snitch.rotation, before)
      turn()
      assert.notEqual(snitch.rotation, before)
    })

    it('is those who are avoided last, in their turn too', () => {
      fc.assert(
        fc.property(anyRoute, anyFrom, anyBits, anyBits, (route, from, failed, late) => {
          snitch = made()
          const isAvoided = (at: number): boolean => (((failed | late) >> at) & 1) === 1
          for (const [at, id] of route.replicas.entries()) {
            if ((failed >> at) & 1) snitch.failed(id)
            if ((late >> at) & 1) snitch.late(id)
          }
          const others = route.replicas.length - route.locals
          const round = Array.from({ length: others }, (_, i) => route.locals + ((from + i) % others))
          assert.deepEqual(order(route, from), [
            ...round.filter(at => !isAvoided(at)),
            ...round.filter(at => isAvoided(at))
          ])
        })
      )
    })
  })

  describe('one that has failed', () => {
    it('is avoided for a second', () => {
      snitch.failed(A)
      nowMs += 999
      assert.equal(sharesOf(A), 0)
      nowMs += 1
      assert.equal(sharesOf(A), 1)
    })

    it('is avoided for a second from when it failed last, whatever it has answered between', () => {
      snitch.failed(A)
      nowMs += 600
      snitch.failed(A)
      snitch.heard(A, 1)
      nowMs += 999
      assert.equal(sharesOf(A), 0)
      nowMs += 1
      assert.equal(sharesOf(A), 1)
    })

    it('is asked when nobody else is left', () => {
      for (const id of [A, B, C]) snitch.failed(id)
      assert.deepEqual([first(0), first(1), first(2)], [A, B, C])
    })
  })

  describe('one that is late', () => {
    it('is avoided for four times as long as it was waited for', () => {
      for (const [usualMs, waitedMs] of [
        [undefined, UNKNOWN_MS],
        [10, LATE_FACTOR * 10],
        [1, MIN_MS],
        [200, MAX_MS]
      ] as const) {
        snitch = made()
        if (usualMs !== undefined) snitch.heard(A, usualMs)
        snitch.late(A)
        nowMs += AVOID_FACTOR * waitedMs - 1
        assert.equal(sharesOf(A), 0, String(usualMs))
        nowMs += 1
        assert.equal(sharesOf(A), 1, String(usualMs))
      }
    })

    it('is avoided no shorter because it has failed before', () => {
      snitch.failed(A)
      snitch.late(A)
      nowMs += 999
      assert.equal(sharesOf(A), 0)
    })
  })

  describe('one that is slow', () => {
    /** Two that take 10 ms, and one that takes as long as this. */
    function measure(ms: number): void {
      snitch.heard(A, ms)
      snitch.heard(B, 10)
      snitch.heard(C, 10)
    }

    it('takes more than three times as long as the fastest, and 10 ms beyond that', () => {
      for (const [ms, shares] of [
        [slowBeyond(10), 1],
        [slowBeyond(10) + 0.01, 0]
      ] as const) {
        snitch = made()
        measure(ms)
        turn()
        assert.equal(sharesOf(A), shares, `${ms} ms`)
      }
      snitch = made()
      snitch.heard(A, slowBeyond(0))
      snitch.heard(B, 0.01)
      turn()
      assert.equal(sharesOf(A), 1, 'a difference that nobody feels')
    })

    it('is told from others ten times in a second at most, at the end of a turn', () => {
      turn()
      measure(100)
      assert.equal(sharesOf(A), 1)
      turn(99)
      assert.equal(sharesOf(A), 1)
      turn(1)
      assert.equal(sharesOf(A), 0)
    })

    it('is so by what is usual: one answer makes nobody slow, and many do', () => {
      for (let i = 0; i < 20; i++) measure(10)
      measure(100)
      turn()
      assert.equal(sharesOf(A), 1)
      for (let i = 0; i < 20; i++) measure(100)
      turn(100)
      assert.equal(sharesOf(A), 0)
    })

    it('is nobody as long as all are, or only one is known', () => {
      for (const id of [A, B, C]) snitch.heard(id, 400)
      turn()
      assert.deepEqual([A, B, C].map(sharesOf), [1, 1, 1])
      snitch = made()
      snitch.heard(A, 400)
      turn()
      assert.deepEqual([A, B, C].map(sharesOf), [1, 1, 1])
    })

    it('is avoided for a second, and tried again though the others are measured all the time', () => {
      measure(100)
      turn()
      const judgedMs = nowMs
      while (nowMs < judgedMs + 900) {
        turn(10)
        for (const id of [B, C]) snitch.heard(id, 10)
        assert.equal(sharesOf(A), 0)
      }
      while (sharesOf(A) === 0 && nowMs < judgedMs + 10_000) {
        turn(10)
        for (const id of [B, C]) snitch.heard(id, 10)
      }
      assert.ok(nowMs <= judgedMs + 2500, `it is avoided for ${nowMs - judgedMs} ms`)
    })

    it('is tried again when nothing was read for a while', () => {
      measure(100)
      turn()
      assert.equal(sharesOf(A), 0)
      nowMs += 1001
      assert.equal(sharesOf(A), 1)
      turn()
      assert.equal(sharesOf(A), 1, 'what was measured before is forgotten')
    })

    it('has its turn again when it is as fast as the others', () => {
      measure(100)
      turn()
      for (let i = 0; i < 60; i++) measure(10)
      turn(999)
      assert.equal(sharesOf(A), 0, 'when its time is over')
      turn(1)
      assert.equal(sharesOf(A), 1)
    })
  })

  describe('how long to wait', () => {
    it('is 50 ms for who is not known, and for nobody else’s sake', () => {
      assert.equal(snitch.lateAfterMs(A), UNKNOWN_MS)
      snitch.heard(B, 10)
      snitch.failed(A)
      snitch.late(A)
      assert.deepEqual([snitch.lateAfterMs(A), snitch.lateAfterMs(B)], [UNKNOWN_MS, LATE_FACTOR * 10])
    })

    it('is four times the usual, at least 20 ms and at most 250', () => {
      for (const [ms, lateMs] of [
        [0.1, MIN_MS],
        [5, MIN_MS],
        [6, LATE_FACTOR * 6],
        [62, LATE_FACTOR * 62],
        [63, MAX_MS],
        [10_000, MAX_MS]
      ] as const) {
        snitch = made()
        snitch.heard(A, ms)
        assert.equal(snitch.lateAfterMs(A), lateMs, `${ms} ms`)
      }
    })

    it('keeps within these bounds, and within those of what was measured', () => {
      fc.assert(
        fc.property(
          fc.array(
            anyMs.filter(ms => ms > 0),
            { minLength: 1 }
          ),
          times => {
            snitch = made()
            for (const ms of times) snitch.heard(A, ms)
            const lateMs = snitch.lateAfterMs(A)
            assert.ok(lateMs >= MIN_MS && lateMs <= MAX_MS)
            // A hair's breadth for what is lost in rounding.
            assert.ok(lateMs >= Math.min(MAX_MS, LATE_FACTOR * Math.min(...times)) * 0.999)
            assert.ok(lateMs <= Math.max(MIN_MS, LATE_FACTOR * Math.max(...times)) * 1.001)
          }
        )
      )
    })

    it('follows what is usual, not a single answer', () => {
      snitch.heard(A, 10)
      snitch.heard(A, 60)
      assert.ok(Math.abs(snitch.lateAfterMs(A) - LATE_FACTOR * 15) < 1e-9, 'a tenth of the way')
      for (let i = 0; i < 60; i++) snitch.heard(A, 60)
      assert.ok(snitch.lateAfterMs(A) > LATE_FACTOR * 59)
    })
  })

  describe('one that is gone', () => {
    it('is forgotten a second after it was heard last', () => {
      snitch.heard(A, 10)
      nowMs += 900
      snitch.heard(A, 10)
      turn(1000)
      assert.equal(snitch.lateAfterMs(A), LATE_FACTOR * 10)
      turn(100)
      assert.equal(snitch.lateAfterMs(A), UNKNOWN_MS)
    })

    it('is remembered as long as it is avoided, and forgotten then', () => {
      snitch.heard(A, 200)
      nowMs += 500
      snitch.failed(A)
      turn(999)
      assert.deepEqual([snitch.lateAfterMs(A), sharesOf(A)], [MAX_MS, 0])
      turn(101)
      assert.deepEqual([snitch.lateAfterMs(A), sharesOf(A)], [UNKNOWN_MS, 1])
    })

    it('sets no measure for the others any more', () => {
      snitch.heard(A, 1)
      for (let i = 0; i < 12; i++) {
        turn(100)
        for (const id of [B, C]) snitch.heard(id, 10)
      }
      nowMs += 1001
      for (const id of [B, C]) snitch.heard(id, 10)
      turn()
      assert.ok(sharesOf(B) > 0 && sharesOf(C) > 0)
    })
  })
})
