import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { Requirement } from '../../../src/model/quorum.ts'
import type { RecordBytes } from '../../../src/model/record.ts'
import type { ReadAnswer } from '../../../src/replication/bundle-wire.ts'
import type { ReplicaAnswer } from '../../../src/replication/out-of-reach.ts'
import { store } from '../cluster/fixtures.ts'
import { type Asked, Bench, type BenchOptions, MOVED, MOVING, record, text } from './bench.ts'

const [A, B, C] = [Uint8Array.of(1), Uint8Array.of(2), Uint8Array.of(3)]
const SAME: ReadAnswer = { kind: 'same' }
const NONE: ReadAnswer = { kind: 'none', horizon: 0 }

function holds(found: RecordBytes): ReadAnswer {
  return { kind: 'record', record: found }
}

describe('reads that go together', () => {
  let bench: Bench

  beforeEach(() => {
    bench = withThree()
  })

  afterEach(() => bench.end())

  /** A node that holds `v5` and `v6` under two keys, and nothing under the third. */
  function withThree(options: BenchOptions = {}): Bench {
    const made = new Bench(options)
    made.held.set('01', record(5)).set('02', record(6))
    return made
  }

  /** Begins reads that go together, and lets them go. */
  async function read(
    requirement: Requirement,
    ...keys: readonly Uint8Array[]
  ): Promise<Promise<string | undefined>[]> {
    bench.begin()
    const reads = keys.map(key => {
      const found = bench.get(requirement, {}, key).then(text)
      found.catch(() => {})
      return found
    })
    await bench.turn()
    return reads
  }

  /** The single requests to a node that wait. */
  function singles(to: number): Asked[] {
    return bench.asked.filter(asked => asked.to === to && (asked.get ?? asked.put) !== undefined)
  }

  it('at quorum return what two of three hold, or that nothing is there, without the third', async () => {
    const reads = await read('quorum', A, B, C)
    assert.deepEqual(bench.waiting, [2])
    const two = bench.of(2)
    assert.deepEqual(
      two.gets?.map(({ known, exempt }) => [known?.length, exempt]),
      [
        [15, false],
        [15, false],
        [undefined, false]
      ]
    )
    assert.deepEqual(await bench.outcomes(reads), ['pending', 'pending', 'pending'])
    two.gets$(SAME, SAME, NONE)
    assert.deepEqual(await bench.outcomes(reads), ['v5', 'v6', undefined])
    await bench.world.advance(200)
    assert.deepEqual([bench.waiting, bench.coordinator.stats().readRepairs], [[], 0])
  })

  it('go by thirty-two to the same replica where they have a choice, and are one message to each', async () => {
    const keys = Array.from({ length: 70 }, (_, i) => Uint8Array.of(9, i))
    const reads = await read('quorum', ...keys)
    const halves = [bench.of(2), bench.of(3)].map(({ gets = [] }) => gets.map(({ key }) => key[1]))
    const among = (from: number, to: number): number[] => keys.slice(from, to).map(key => key[1]!)
    assert.deepEqual(halves, [[...among(0, 32), ...among(64, 70)], among(32, 64)])
    assert.deepEqual([bench.waiting, await bench.state(Promise.all(reads))], [[], 'pending'])
  })

  it('of which some are late ask for those elsewhere, together, and blame nobody who has answered', async () => {
    const reads = await read('quorum', ...Array.from({ length: 40 }, () => A))
    const [two, three] = [bench.of(2), bench.of(3)]
    assert.deepEqual([two.gets?.length, three.gets?.length], [32, 8])
    three.gets$(...Array.from({ length: 8 }, () => SAME))
    await bench.world.advance(60)
    assert.deepEqual(
      bench.asked.map(({ to, gets }) => [to, gets?.length, gets?.[0]?.known?.length]),
      [[3, 32, 15]]
    )
    bench.of(3).gets$(...Array.from({ length: 32 }, () => SAME))
    assert.deepEqual(new Set(await bench.outcomes(reads)), new Set(['v5']))
    for (let i = 0; i < 2; i++) {
      void (await read('quorum', A))
      assert.deepEqual(bench.waiting, [3])
      bench.of(3).gets$(SAME)
    }
    // What one that was late says in the end is taken as it comes.
    two.gets$(...Array.from({ length: 32 }, (_, i) => (i === 0 ? NONE : SAME)))
    await bench.turn()
    assert.deepEqual(
      bench.asked.map(({ to, put }) => [to, text(put?.record)]),
      [[2, 'v5']]
    )
  })

  it('leave no timer behind when the last of them has ended', async () => {
    const reads = await read('quorum', ...Array.from({ length: 40 }, () => A))
    bench.of(2).gets$(...Array.from({ length: 32 }, () => SAME))
    await bench.turn()
    assert.notEqual(bench.clock.pending, 0, 'some are waited for')
    bench.of(3).gets$(...Array.from({ length: 8 }, () => SAME))
    assert.deepEqual(new Set(await bench.outcomes(reads)), new Set(['v5']))
    assert.equal(bench.clock.pending, 0)
  })

  it('at all wait for everybody, and at a number for so many', async () => {
    const all = await read('all', A, B)
    bench.of(2).gets$(SAME, SAME)
    assert.deepEqual(await bench.outcomes(all), ['pending', 'pending'])
    bench.of(3).gets$(SAME, SAME)
    assert.deepEqual(await bench.outcomes(all), ['v5', 'v6'])
    const two = await read(2, A, C)
    bench.of(3).gets$(SAME, NONE)
    assert.deepEqual(await bench.outcomes(two), ['v5', undefined])
    bench.asked.length = 0
    const one = await read(1, A, C)
    assert.deepEqual([await bench.outcomes(one), bench.waiting], [['v5', undefined], []], 'nobody else is asked')
    const four = await read(4, A, C)
    assert.deepEqual(await bench.outcomes(four), ['KV_QUORUM_NOT_REACHED', 'KV_QUORUM_NOT_REACHED'])
  })

  it('of a node that holds nothing compare what the others say', async () => {
    bench = new Bench({ self: 9 })
    const reads = await read('quorum', A, B)
    assert.deepEqual(bench.waiting, [1, 2])
    bench.of(2).gets$(holds(record(5)), NONE)
    assert.deepEqual(await bench.outcomes(reads), ['pending', 'pending'])
    bench.of(1).gets$(holds(record(5)), NONE)
    assert.deepEqual(await bench.outcomes(reads), ['v5', undefined])
  })

  it('go on by themselves where replicas differ, and are repaired', async () => {
    const reads = await read('quorum', A, B)
    bench.of(2).gets$(holds(record(8)), SAME)
    assert.deepEqual(await bench.outcomes(reads), ['pending', 'v6'])
    assert.deepEqual(
      bench.asked.map(({ get }) => get?.key),
      [A]
    )
    bench.asked.splice(0)[0]!.holds(record(8))
    assert.deepEqual(await bench.outcomes(reads), ['v8', 'v6'])
    assert.equal(text(bench.local), 'v8', 'the local copy is mended')
  })

  it('return nothing that was overwritten by what another has purged', async () => {
    const reads = await read('quorum', A)
    bench.of(2).gets$({ kind: 'none', horizon: 5 })
    assert.deepEqual(await bench.outcomes(reads), ['pending'])
    bench.asked.splice(0)[0]!.get$({ kind: 'none', horizon: 5 })
    assert.deepEqual(await bench.outcomes(reads), [undefined])
  })

  it('mend a replica that answers late and is behind, and leave others alone', async () => {
    const reads = await read('quorum', A, B, C)
    const late = bench.of(2)
    await bench.world.advance(60)
    bench.of(3).gets$(SAME, SAME, NONE)
    assert.deepEqual(await bench.outcomes(reads), ['v5', 'v6', undefined])
    late.gets$(holds(record(2)), holds(record(7)), holds(record(1)))
    await bench.turn()
    assert.deepEqual(
      bench.asked.map(({ to, put }) => [to, text(put?.record), put?.repair]),
      [[2, 'v5', true]]
    )
    bench.of(2).stored()
    await bench.turn()
    assert.equal(bench.coordinator.stats().readRepairs, 1)
  })

  it('mend nobody by what was no result, or was found by themselves', async () => {
    bench = withThree({ self: 9 })
    bench.begin()
    const late = bench.get('all', { timeoutMs: 100 }, A)
    await bench.turn()
    bench.of(1).gets$(holds(record(5)))
    await bench.turn()
    await bench.world.advance(200)
    await assert.rejects(late, { code: 'KV_TIMEOUT' })
    bench.of(2).gets$(NONE)
    await bench.turn()
    bench = withThree({ self: 9 })
    const [alone] = await read('quorum', A)
    bench.of(1).gets$(holds(record(5)))
    await bench.world.advance(60)
    bench.of(3).gets$(holds(record(6)))
    await bench.turn()
    // It has gone on by itself, and what it finds there is not known yet.
    bench.asked.find(({ gets }) => gets !== undefined)!.gets$(NONE)
    assert.deepEqual(await bench.outcomes([alone!]), ['pending'])
    assert.deepEqual(
      bench.asked.filter(({ put }) => put !== undefined),
      []
    )
  })

  it('do without a replica that fails as long as a quorum is left', async () => {
    for (const end of [
      { kind: 'lost' },
      { kind: 'timeout' },
      { kind: 'unsent', reason: 'no link' },
      { kind: 'refused', error: new KilovoltError('KV_STORAGE', 'broken') },
      { kind: 'reply', epoch: 10, body: Uint8Array.of(2) },
      { kind: 'reply', epoch: 10, body: Uint8Array.of(2, 77) },
      { kind: 'reply', epoch: 10, body: Uint8Array.of(3, 3) }
    ] as const) {
      bench = withThree()
      const reads = await read('quorum', A, B)
      bench.of(2).end(end)
      assert.deepEqual(await bench.outcomes(reads), ['pending', 'pending'], end.kind)
      assert.deepEqual(bench.waiting, [3, 3], 'each goes on by itself')
      for (let i = 0; i < 2; i++) bench.of(3).get$(SAME)
      assert.deepEqual(await bench.outcomes(reads), ['v5', 'v6'], end.kind)
      await bench.end()
    }
  })

  it('do without a replica that has no answer to one of them', async () => {
    const reads = await read('quorum', A, B)
    bench.of(2).gets$({ kind: 'fenced', epoch: 10 }, SAME)
    assert.deepEqual(await bench.outcomes(reads), ['pending', 'v6'])
    bench.of(3).get$(SAME)
    assert.deepEqual(await bench.outcomes(reads), ['v5', 'v6'])
  })

  it('take no notice of what stands behind the answers, which a later version may have added', async () => {
    const reads = await read('quorum', A)
    bench.of(2).gets$(SAME, holds(record(9)))
    assert.deepEqual(await bench.outcomes(reads), ['v5'])
  })

  it('go on by themselves when one that was asked fails, and fail like any other when no quorum is left', async () => {
    const reads = await read('quorum', A, B)
    bench.of(2).end({ kind: 'lost' })
    await bench.turn()
    assert.equal(singles(3).length, 2)
    for (let i = 0; i < 2; i++) bench.of(3).end({ kind: 'lost' })
    await bench.turn()
    // The first attempt does not count: who failed in it is asked as well.
    assert.equal(singles(2).length, 2)
    bench.of(2).get$(SAME)
    bench.of(2).end({ kind: 'lost' })
    assert.deepEqual(await bench.outcomes(reads), ['v5', 'KV_QUORUM_NOT_REACHED'])
  })

  it('do not ask the dead, and go on by themselves when those were needed', async () => {
    bench.dead.add(store(2))
    const reads = await read('quorum', A)
    assert.deepEqual(bench.waiting, [3])
    bench.of(3).gets$(SAME)
    assert.deepEqual(await bench.outcomes(reads), ['v5'])
    bench.dead.add(store(3))
    const lost = await read('quorum', A, B)
    assert.deepEqual(bench.waiting, [])
    assert.deepEqual(await bench.outcomes(lost), ['KV_QUORUM_NOT_REACHED', 'KV_QUORUM_NOT_REACHED'])
  })

  it('go by themselves while their row changes', async () => {
    bench = withThree({ row: MOVING })
    const promises = await read('quorum', A, B)
    assert.deepEqual(bench.waiting, [2, 2, 3, 3, 4, 4])
    assert.deepEqual(await bench.outcomes(promises), ['pending', 'pending'])
    assert.ok(bench.asked.every(({ get }) => get !== undefined))
  })

  it('go by the new owners when the row has changed', async () => {
    bench = new Bench({ self: 9 })
    bench.next = MOVED
    const reads = await read('quorum', A)
    for (const to of [1, 2]) bench.of(to).gets$({ kind: 'fenced', epoch: 12 })
    await bench.turn()
    bench.asked.splice(0)[0]!.get$({ kind: 'fenced', epoch: 12 })
    await bench.turn()
    assert.deepEqual([bench.caughtUp, bench.waiting], [[12], [4, 5]])
    for (const to of [4, 5]) bench.of(to).holds(record(60))
    assert.deepEqual(await bench.outcomes(reads), ['v60'])
  })

  it('do not wait for a database that takes its time before they ask the others', async () => {
    bench = withThree({ readsAtOnce: false })
    const reads = await read('quorum', A, B, C)
    const two = bench.of(2)
    assert.deepEqual(
      two.gets?.map(({ known }) => known),
      [undefined, undefined, undefined]
    )
    two.gets$(holds(record(5)), holds(record(9)), NONE)
    assert.deepEqual(await bench.outcomes(reads), ['v5', 'pending', undefined])
    assert.deepEqual(
      bench.asked.map(({ get }) => get?.key),
      [B]
    )
  })

  it('take an answer that something is the same as nothing for none', async () => {
    const reads = await read('quorum', C)
    bench.of(2).gets$(SAME)
    assert.deepEqual(await bench.outcomes(reads), ['pending'])
    assert.equal(singles(3).length, 1, 'it has gone on by itself')
    bench.of(3).holds(record(3))
    assert.deepEqual(await bench.outcomes(reads), ['v3'])
  })

  it('do without a local record that is damaged, and without a local database that fails', async () => {
    const corrupt = new KilovoltError('KV_CORRUPT', 'fails its checksum')
    bench.damaged.set('01', corrupt)
    const reads = await read('quorum', A, B)
    bench.asked.find(({ gets }) => gets !== undefined)!.gets$(SAME)
    assert.deepEqual(await bench.outcomes(reads), ['pending', 'v6'])
    for (const to of [2, 3]) singles(to)[0]!.holds(record(5))
    assert.deepEqual(await bench.outcomes(reads), ['v5', 'v6'])
    bench.asked.length = 0
    bench.readFails = corrupt
    const others = await read('quorum', A, B)
    for (const asked of [...singles(2), ...singles(3)]) asked.holds(asked.get?.key[0] === 1 ? record(5) : undefined)
    assert.deepEqual(await bench.outcomes(others), ['v5', undefined])
  })

  it('that take too long end at their deadline, and say who has answered', async () => {
    bench.begin()
    const get = bench.get('all', { timeoutMs: 300 }, A)
    await bench.turn()
    bench.of(2).end({ kind: 'lost' })
    await bench.turn()
    // It has gone on by itself, in the time that is left.
    assert.ok(singles(2)[0]!.timeoutMs < 300)
    bench.begin()
    const other = bench.get('all', { timeoutMs: 300 }, B)
    await bench.turn()
    bench.asked.find(({ to, gets }) => to === 2 && gets !== undefined)!.gets$(SAME)
    await bench.world.advance(320)
    await assert.rejects(get, { code: 'KV_TIMEOUT' })
    await assert.rejects(other, (error: KilovoltError) => {
      assert.deepEqual([error.code, error.retryable], ['KV_TIMEOUT', true])
      const answers = error.details['answers'] as ReplicaAnswer[]
      assert.deepEqual(answers, [
        { store: store(1), answer: 'ok' },
        { store: store(2), answer: 'ok' },
        { store: store(3), answer: 'pending' }
      ])
      return true
    })
    assert.equal(bench.coordinator.stats().timedOut, 2)
  })
})
