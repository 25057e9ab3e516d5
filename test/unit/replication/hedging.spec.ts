import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { Requirement } from '../../../src/model/quorum.ts'
import { store } from '../cluster/fixtures.ts'
import { type Asked, Bench, type BenchOptions, record, text } from './bench.ts'

type Begin = (bench: Bench, requirement: Requirement) => Promise<string | undefined>

/** Begins a read as an operation of its own. */
const alone: Begin = (bench, requirement) => {
  const found = bench.get(requirement).then(text)
  found.catch(() => {})
  return found
}

/** Begins a read as one of a bundle. */
const together: Begin = (bench, requirement) => {
  bench.begin()
  return alone(bench, requirement)
}

const FIVE: BenchOptions = { slots: [1, 2, 3, 4, 5], replicas: 5, held: record(5) }
/** More than those wait that know nothing of a store, and more than one that was late is avoided then. */
const [LATE_MS, LATE_IS_OVER_MS] = [60, 510]
/** More than one that has failed is avoided. */
const FAILURE_IS_OVER_MS = 1010

const numerically = (a: number, b: number): number => a - b

/** Answers a read, alone or in a bundle, with what was written at this time. */
function holds(asked: Asked, hlc: number): void {
  if (asked.gets === undefined) asked.holds(record(hlc))
  else asked.gets$(...asked.gets.map(() => ({ kind: 'record', record: record(hlc) }) as const))
}

for (const [name, begin] of [
  ['a read asks', alone],
  ['reads that go together ask', together]
] as const) {
  describe(`whom ${name}`, () => {
    let bench: Bench

    beforeEach(() => {
      bench = new Bench({ held: record(5) })
    })

    afterEach(() => bench.end())

    /** Begins a read at quorum and lets it ask. */
    async function read(requirement: Requirement = 'quorum'): Promise<{ readonly found: Promise<string | undefined> }> {
      const found = begin(bench, requirement)
      await bench.turn()
      return { found }
    }

    /** Waits until somebody more is asked. */
    async function untilHedged(): Promise<void> {
      const before = bench.asked.length
      for (let ms = 0; ms < LATE_MS && bench.asked.length === before; ms++) await bench.turn()
      assert.equal(bench.asked.length, before + 1, 'one is asked, and no more')
    }

    /** Whom a read asks at first, all of whom answer. */
    async function firstAsked(): Promise<readonly number[]> {
      const { found } = await read()
      const { waiting } = bench
      for (const to of waiting) holds(bench.of(to), 5)
      assert.deepEqual(await bench.outcomes([found]), ['v5'])
      assert.deepEqual(bench.waiting, [], 'and nobody else')
      return waiting
    }

    it('is others in the next turn, so that all share the work', async () => {
      const asked: (readonly number[])[] = []
      for (let i = 0; i < 4; i++) asked.push(await firstAsked())
      assert.deepEqual(asked, [[2], [3], [2], [3]])
      bench = new Bench({ ...FIVE, self: 9 })
      const times = new Map<number, number>()
      for (let i = 0; i < 20; i++) for (const to of await firstAsked()) times.set(to, (times.get(to) ?? 0) + 1)
      assert.deepEqual(
        [1, 2, 3, 4, 5].map(n => times.get(n)),
        [12, 12, 12, 12, 12]
      )
    })

    it('is exactly one more when one is late, and then the next', async () => {
      bench = new Bench(FIVE)
      const { found } = await read()
      assert.deepEqual(bench.waiting, [2, 3])
      await bench.world.advance(48)
      assert.deepEqual(bench.waiting, [2, 3], 'not before it is late')
      await untilHedged()
      assert.deepEqual(bench.waiting, [2, 3, 4])
      await bench.world.advance(48)
      assert.deepEqual(bench.waiting, [2, 3, 4], 'the next has its time as well')
      await untilHedged()
      assert.deepEqual(bench.waiting, [2, 3, 4, 5])
      for (const to of [5, 2]) {
        assert.deepEqual(await bench.outcomes([found]), ['pending'])
        holds(bench.of(to), 5)
      }
      assert.deepEqual(await bench.outcomes([found]), ['v5'])
    })

    it('is one more when one takes four times as long as usual', async () => {
      for (const [usualMs, lateMs] of [
        [1, 20],
        [20, 80],
        [45, 180]
      ] as const) {
        bench = new Bench({ held: record(5) })
        for (let i = 0; i < 4; i++) {
          const { found } = await read()
          await bench.world.advance(usualMs - 1)
          for (const asked of bench.asked.splice(0)) holds(asked, 5)
          assert.deepEqual(await bench.outcomes([found]), ['v5'])
        }
        await read()
        await bench.world.advance(lateMs - 2)
        assert.deepEqual(bench.waiting, [2], `not within ${lateMs - 2} ms when ${usualMs} ms are usual`)
        // The wheel is up to 10 ms late.
        await bench.world.advance(11)
        assert.deepEqual(bench.waiting, [2, 3], `within ${lateMs + 10} ms when ${usualMs} ms are usual`)
      }
    })

    it('is not first whoever is slow, though it is never late', async () => {
      bench = new Bench({ self: 9 })
      for (let i = 0; i < 40; i++) {
        const { found } = await read()
        const slow = bench.asked.filter(({ to }) => to === 2)
        for (const asked of bench.asked) if (asked.to !== 2) holds(asked, 5)
        bench.asked.length = 0
        if (slow.length > 0) await bench.world.advance(19)
        for (const asked of slow) holds(asked, 5)
        assert.deepEqual(await bench.outcomes([found]), ['v5'])
      }
      for (let i = 0; i < 3; i++) assert.deepEqual(await firstAsked(), [1, 3])
    })

    it('is each of them once at worst, however many are slow', async () => {
      bench = new Bench(FIVE)
      const { found } = await read()
      await bench.world.advance(800)
      assert.deepEqual(bench.waiting, [2, 3, 4, 5])
      for (const to of [4, 3]) holds(bench.of(to), 5)
      assert.deepEqual(await bench.outcomes([found]), ['v5'])
      for (const to of [2, 5]) holds(bench.of(to), 5)
      await bench.world.advance(200)
      assert.deepEqual([bench.waiting, bench.coordinator.stats().readRepairs], [[], 0])
    })

    it('counts with its late answer too, and whoever was asked in its place is mended if that is behind', async () => {
      const { found } = await read()
      const late = bench.of(2)
      await untilHedged()
      const hedge = bench.of(3)
      holds(late, 5)
      assert.deepEqual(await bench.outcomes([found]), ['v5'])
      holds(hedge, 2)
      await bench.turn()
      assert.deepEqual(
        bench.asked.map(({ to, put }) => [to, text(put?.record), put?.repair]),
        [[3, 'v5', true]]
      )
    })

    it('is waited for no more when it was late and does not answer at all', async () => {
      const { found } = await read()
      const late = bench.of(2)
      await untilHedged()
      holds(bench.of(3), 5)
      assert.deepEqual(await bench.outcomes([found]), ['v5'])
      late.end({ kind: 'timeout' })
      await bench.world.advance(200)
      assert.deepEqual(bench.waiting, [])
    })

    it('is not first whoever was late, for a while; but whoever has answered is', async () => {
      for (const [late, punctual] of [
        [1, 2],
        [2, 1]
      ] as const) {
        bench = new Bench({ self: 9 })
        const { found } = await read()
        assert.deepEqual(bench.waiting, [1, 2])
        holds(bench.of(punctual), 5)
        await untilHedged()
        holds(bench.of(3), 5)
        assert.deepEqual(await bench.outcomes([found]), ['v5'])
        bench.asked.length = 0
        for (let i = 0; i < 3; i++) assert.deepEqual(await firstAsked(), [punctual, 3], `${late} was late`)
        await bench.world.advance(LATE_IS_OVER_MS)
        const asked = [await firstAsked(), await firstAsked(), await firstAsked()]
        assert.ok(asked.flat().includes(late), 'it has its turn again')
      }
    })

    it('is not first whoever failed, for a second', async () => {
      for (const end of [
        { kind: 'lost' },
        { kind: 'timeout' },
        { kind: 'unsent', reason: 'no link' },
        { kind: 'refused', error: new KilovoltError('KV_STORAGE', 'broken') }
      ] as const) {
        bench = new Bench({ held: record(5) })
        const { found } = await read()
        bench.of(2).end(end)
        await bench.turn()
        assert.deepEqual(bench.waiting, [3], 'the next is asked at once')
        holds(bench.of(3), 5)
        assert.deepEqual(await bench.outcomes([found]), ['v5'])
        for (let i = 0; i < 9; i++) {
          await bench.world.advance(100)
          assert.deepEqual(await firstAsked(), [3], end.kind)
        }
        await bench.world.advance(FAILURE_IS_OVER_MS - 900)
        assert.deepEqual(new Set([...(await firstAsked()), ...(await firstAsked())]), new Set([2, 3]), end.kind)
      }
    })

    it('is in its turn whoever has but a damaged record of this key', async () => {
      const { found } = await read()
      bench.of(2).end({ kind: 'refused', error: new KilovoltError('KV_CORRUPT', 'this record alone') })
      await bench.turn()
      holds(bench.of(3), 5)
      assert.deepEqual(await bench.outcomes([found]), ['v5'])
      assert.deepEqual([...(await firstAsked()), ...(await firstAsked())].toSorted(numerically), [2, 3])
    })

    it('is whoever failed all the same when nobody else is left', async () => {
      const { found } = await read()
      bench.of(2).end({ kind: 'lost' })
      await bench.turn()
      bench.of(3).end({ kind: 'lost' })
      await bench.outcomes([found])
      bench.asked.length = 0
      bench.dead.add(store(3))
      assert.deepEqual(await firstAsked(), [2])
    })

    it('passes over the dead, at first and when one is late', async () => {
      bench = new Bench(FIVE)
      for (const n of [2, 4]) bench.dead.add(store(n))
      const { found } = await read()
      assert.deepEqual(bench.waiting, [3, 5])
      holds(bench.of(3), 5)
      await bench.world.advance(200)
      assert.deepEqual(bench.waiting, [5], 'nobody else is there')
      holds(bench.of(5), 5)
      assert.deepEqual(await bench.outcomes([found]), ['v5'])
      bench = new Bench(FIVE)
      bench.dead.add(store(4))
      await read()
      assert.deepEqual(bench.waiting, [2, 3])
      await untilHedged()
      assert.deepEqual(bench.waiting, [2, 3, 5])
    })

    it('is nobody any more while what was found is given to those who lack it', async () => {
      bench = new Bench({ ...FIVE, self: 9 })
      const { found } = await read()
      // In a bundle they differ, and then it asks by itself.
      if (begin === together) {
        for (const asked of bench.asked.splice(0)) holds(asked, asked.to === 3 ? 8 : 5)
        await bench.turn()
      }
      const late = bench.asked.splice(0, 1)[0]!
      await untilHedged()
      for (const asked of bench.asked.splice(0)) holds(asked, asked.to === 3 ? 8 : 5)
      await bench.turn()
      const repairs = bench.asked.splice(0)
      assert.deepEqual(new Set(repairs.map(({ put }) => text(put?.record))), new Set(['v8']))
      late.end({ kind: 'lost' })
      await bench.world.advance(300)
      assert.deepEqual(bench.waiting, [])
      for (const repair of repairs) repair.stored()
      assert.deepEqual(await bench.outcomes([found]), ['v8'])
    })

    it('leaves no timer behind when it has ended, in time, late or not at all', async () => {
      for (const [answering, outcome] of [
        [[2], 'v5'],
        [[3], 'v5'],
        [[], 'KV_TIMEOUT']
      ] as const) {
        bench = new Bench({ held: record(5) })
        const { found } = await read()
        if (answering[0] !== 2) await untilHedged()
        assert.notEqual(bench.clock.pending, 0)
        for (const to of answering) holds(bench.of(to), 5)
        if (answering.length === 0) await bench.world.advance(1010)
        assert.deepEqual(await bench.outcomes([found]), [outcome])
        assert.equal(bench.clock.pending, 0)
      }
    })
  })
}

describe('a read that was fenced', () => {
  it('asks nobody of the row as it was while it learns of the new one', async () => {
    const bench = new Bench({ held: record(5) })
    const found = alone(bench, 'quorum')
    bench.catchesUpAfterMs = 200
    bench.of(2).get$({ kind: 'fenced', epoch: 99 })
    await bench.world.advance(150)
    assert.deepEqual(bench.waiting, [])
    await bench.world.advance(60)
    assert.equal(bench.waiting.length, 1, 'of the new row')
    holds(bench.of(bench.waiting[0]!), 5)
    assert.deepEqual(await bench.outcomes([found]), ['v5'])
    await bench.end()
  })
})
