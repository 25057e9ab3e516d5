import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import { encodeRecord, type RecordBytes, recordStamp } from '../../../src/model/record.ts'
import { store } from '../cluster/fixtures.ts'
import { type Asked, Bench, call, KEY, KEYSPACE, MOVED, MOVING, record, text, tombstone } from './bench.ts'

describe('a read', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench({ held: record(5) })
  })

  afterEach(() => bench.end())

  it('at quorum returns what two of three hold, without the third', async () => {
    const get = bench.get('quorum')
    assert.deepEqual(bench.waiting, [2])
    bench.of(2).get$({ kind: 'same' })
    assert.equal(text(await settle(bench, get)), 'v5')
    await bench.world.advance(200)
    assert.deepEqual([bench.waiting, bench.coordinator.stats().readRepairs], [[], 0])
  })

  it('asks as many as its level needs, of its own copy first', async () => {
    for (const [self, requirement, asked] of [
      [1, 'quorum', [2, 3]],
      [1, 'all', [2, 3, 4, 5]],
      [1, 1, []],
      [1, 4, [2, 3, 4]],
      [9, 'quorum', [1, 2, 3]],
      [9, 'one', [1]],
      [9, 2, [1, 2]]
    ] as const) {
      bench = new Bench({ self, slots: [1, 2, 3, 4, 5], replicas: 5, held: record(5) })
      const get = bench.get(requirement)
      assert.deepEqual(bench.waiting, asked, `${requirement} from ${self}`)
      for (const to of asked) {
        assert.equal(await bench.state(get), 'pending')
        bench.of(to).holds(record(5))
      }
      assert.equal(text(await settle(bench, get)), 'v5')
      assert.deepEqual(bench.waiting, [])
    }
  })

  it('tells the others the stamp of the local record, so that what is equal need not travel', async () => {
    void bench.get('quorum')
    const { known } = bench.of(2).get!
    assert.deepEqual([...known!], [...record(5).subarray(1, 16)])
    bench = new Bench({ self: 9 })
    void bench.get('quorum')
    assert.equal(bench.of(1).get!.known, undefined)
  })

  it('of a key that nobody has is undefined; so it is of a deleted one, and of an expired one', async () => {
    const expired = encodeRecord({ stamp: recordStamp(record(9)), value: Uint8Array.of(1), expiresAt: 1 })
    for (const held of [undefined, tombstone(9), expired]) {
      bench = new Bench(held === undefined ? {} : { held })
      const get = bench.get('quorum')
      bench.of(2).holds(held)
      assert.equal(await settle(bench, get), undefined)
    }
  })

  it('sees to it that a quorum holds what it returns', async () => {
    const get = bench.get('quorum')
    bench.of(2).holds(record(8))
    assert.equal(text(await settle(bench, get)), 'v8')
    assert.equal(text(bench.local), 'v8', 'the local copy is mended')
  })

  it('counts those who hold it already, so that a copy that fails delays nothing', async () => {
    bench = new Bench({ self: 9 })
    const get = bench.get('all')
    bench.of(1).holds(record(8))
    bench.of(2).holds(record(8))
    bench.of(3).holds(record(5))
    assert.equal(await bench.state(get), 'pending')
    const mending = bench.of(3)
    assert.deepEqual([text(mending.put?.record), mending.put?.repair, mending.put?.exempt], ['v8', true, false])
    mending.stored()
    assert.equal(text(await settle(bench, get)), 'v8')
  })

  it('waits for a quorum of repairs only: one that fails is made up for by another', async () => {
    bench = new Bench({ self: 9 })
    const get = bench.get('quorum')
    bench.of(1).holds(record(8))
    bench.of(2).holds(undefined)
    await bench.turn()
    // Both that are behind or have not answered are offered it.
    const repairs = bench.asked.filter(({ put }) => put !== undefined)
    assert.deepEqual(new Set(repairs.map(({ to }) => to)), new Set([2, 3]))
    repairs.find(({ to }) => to === 2)!.end({ kind: 'lost' })
    assert.equal(await bench.state(get), 'pending')
    repairs.find(({ to }) => to === 3)!.stored()
    assert.equal(text(await settle(bench, get)), 'v8')
    assert.equal(bench.coordinator.stats().readRepairs, 2)
  })

  it('fails when no quorum takes over what it found: a later read might miss it', async () => {
    bench = new Bench({ self: 9 })
    const get = bench.get('quorum')
    bench.of(1).holds(record(8))
    bench.of(2).holds(undefined)
    await bench.turn()
    for (const asked of bench.asked.filter(({ put }) => put !== undefined)) asked.end({ kind: 'lost' })
    await bench.turn()
    await assert.rejects(get, { code: 'KV_QUORUM_NOT_REACHED', message: / ok, .* unmended, .* unmended/u })
  })

  it('reads again when it learns while mending that the row has changed', async () => {
    bench = new Bench({ self: 9 })
    bench.next = MOVED
    const get = bench.get('quorum')
    bench.of(1).holds(record(8))
    bench.of(2).holds(undefined)
    await bench.turn()
    const repairs = bench.asked.filter(({ put }) => put !== undefined)
    bench.asked.length = 0
    for (const repair of repairs) repair.put$({ kind: 'fenced', epoch: 12 })
    await bench.turn()
    // As many of the new owners as are needed.
    assert.deepEqual([bench.caughtUp, bench.waiting], [[12], [4, 5]])
    for (const to of [4, 5]) bench.of(to).holds(record(8))
    assert.equal(text(await settle(bench, get)), 'v8')
  })

  it('takes a newer record of a copy that it wanted to mend for mended', async () => {
    bench = new Bench({ self: 9 })
    const get = bench.get('quorum')
    bench.of(1).holds(record(8))
    bench.of(2).holds(undefined)
    await bench.turn()
    const repair = bench.asked.find(({ to, put }) => to === 2 && put !== undefined)!
    repair.put$({ kind: 'stale', current: record(9) })
    assert.equal(text(await settle(bench, get)), 'v8')
  })

  it('mends a copy that answers late, in the background', async () => {
    const { get, late } = await hedged(bench)
    assert.equal(text(await get), 'v5')
    late.holds(record(2))
    await bench.turn()
    const repair = bench.of(2)
    assert.deepEqual([text(repair.put?.record), repair.put?.repair], ['v5', true])
    repair.stored()
    await bench.turn()
  })

  it('leaves a late copy alone that holds the same, that is newer, or whose answer makes no sense', async () => {
    for (const what of ['same', 'newer', 'nonsense'] as const) {
      bench = new Bench({ held: record(5) })
      const { get, late } = await hedged(bench)
      if (what === 'same') late.get$({ kind: 'same' })
      else if (what === 'newer') late.holds(record(7))
      else late.end({ kind: 'reply', epoch: 10, body: Uint8Array.of(66) })
      await bench.turn()
      assert.deepEqual([text(await get), bench.waiting], ['v5', []], what)
    }
  })

  it('C1: while the row changes, needs a majority of the owners and one of the coming owners', async () => {
    bench = new Bench({ row: MOVING, self: 3, held: record(5) })
    const get = bench.get('quorum')
    bench.of(2).get$({ kind: 'same' })
    assert.equal(await bench.state(get), 'pending')
    bench.of(1).get$({ kind: 'same' })
    assert.equal(text(await settle(bench, get)), 'v5')
  })

  it('goes by the new owners when a copy says that the row has changed, and forgets what the old ones said', async () => {
    bench = new Bench({ self: 9 })
    bench.next = MOVED
    const get = bench.get('quorum')
    bench.of(1).holds(record(50))
    await bench.turn()
    bench.of(2).get$({ kind: 'fenced', epoch: 12 })
    await bench.turn()
    assert.deepEqual([bench.caughtUp, bench.waiting], [[12], [4, 5]])
    bench.of(4).holds(record(60))
    bench.of(5).holds(record(60))
    assert.equal(text(await settle(bench, get)), 'v60')
  })

  it('fails early with each answer when its quorum is out of reach, and not at all executed', async () => {
    bench.dead.add(store(2))
    const get = bench.get('quorum')
    bench.of(3).end({ kind: 'lost' })
    assert.deepEqual(await bench.failure(get), {
      code: 'KV_QUORUM_NOT_REACHED',
      answers: ['ok', 'down', 'lost'],
      // Nothing was to be changed.
      outcome: undefined
    })
  })

  it('with a count of a majority promises what quorum does; with fewer it returns at once and mends behind', async () => {
    bench = new Bench({ self: 9 })
    const two = bench.get(2)
    bench.of(1).holds(record(8))
    bench.of(2).holds(undefined)
    assert.equal(await bench.state(two), 'pending')
    bench.asked.find(({ put }) => put !== undefined)!.stored()
    assert.equal(text(await settle(bench, two)), 'v8')
    bench.asked.length = 0
    const one = bench.get(1)
    const [late] = bench.asked.splice(0)
    await bench.world.advance(60)
    const [hedge] = bench.asked.splice(0)
    hedge!.holds(record(8))
    assert.equal(text(await settle(bench, one)), 'v8')
    late!.holds(undefined)
    await bench.turn()
    const repair = bench.of(late!.to)
    assert.deepEqual([text(repair.put?.record), bench.waiting], ['v8', []])
  })

  describe('at one', () => {
    it('looks at the local copy and nowhere else', async () => {
      const found = bench.coordinator.get(KEYSPACE, KEY, call('one'))
      assert.ok(!(found instanceof Promise), 'it is known at once')
      assert.equal(text(found), 'v5')
      assert.deepEqual(bench.waiting, [])
    })

    it('does so too when the database takes its time', async () => {
      bench = new Bench({ held: record(5), readsAtOnce: false })
      assert.equal(text(await settle(bench, bench.get('one'))), 'v5')
      assert.deepEqual(bench.waiting, [])
    })

    it('asks another copy when the local one cannot be read', async () => {
      bench.readFails = new KilovoltError('KV_CORRUPT', 'not a record')
      const get = bench.get('one')
      await bench.turn()
      assert.deepEqual(bench.waiting, [2])
      bench.of(2).holds(record(6))
      assert.equal(text(await settle(bench, get)), 'v6')
    })

    it('says that copies are damaged when nothing else is in the way, and goes on without them otherwise', async () => {
      const corrupt = new KilovoltError('KV_CORRUPT', 'fails its checksum')
      bench.readFails = corrupt
      const get = bench.get('quorum')
      await bench.turn()
      bench.of(2).holds(record(6))
      bench.of(3).holds(record(6))
      assert.equal(text(await settle(bench, get)), 'v6')
      const refused = bench.get('quorum')
      await bench.turn()
      bench.of(2).holds(record(6))
      bench.of(3).end({ kind: 'refused', error: corrupt })
      await assert.rejects(settle(bench, refused), {
        code: 'KV_CORRUPT',
        message: / KV_CORRUPT, .* ok, .* KV_CORRUPT/u
      })
      const unreachable = bench.get('quorum')
      await bench.turn()
      bench.of(2).holds(record(6))
      bench.of(3).end({ kind: 'timeout' })
      await assert.rejects(settle(bench, unreachable), { code: 'KV_QUORUM_NOT_REACHED' })
    })

    it('takes no turns: whom an app has read from it reads from again', async () => {
      bench = new Bench({ self: 9 })
      for (let i = 0; i < 3; i++) {
        bench.begin()
        const get = bench.get('one')
        assert.deepEqual(bench.waiting, [1])
        bench.of(1).holds(record(6))
        assert.equal(text(await settle(bench, get)), 'v6')
      }
    })

    it('asks one after another, and does not spend all its time on a silent one', async () => {
      for (const isSilent of [true, false]) {
        bench = new Bench({ self: 9 })
        const get = bench.get('one', { timeoutMs: 5000 })
        assert.deepEqual(bench.waiting, [1])
        if (isSilent) await bench.world.advance(60)
        else bench.of(1).end({ kind: 'timeout' })
        await bench.turn()
        assert.deepEqual(bench.waiting, isSilent ? [1, 2] : [2])
        bench.of(2).end({ kind: 'unsent', reason: 'no link' })
        await bench.turn()
        const last = bench.of(3)
        assert.ok(last.timeoutMs > 4000, 'the last one may take all that is left')
        last.holds(record(6))
        assert.equal(text(await settle(bench, get)), 'v6')
        await bench.end()
      }
    })

    it('returns nothing that was overwritten by what another has purged meanwhile', async () => {
      bench = new Bench({ self: 9 })
      const get = bench.get('quorum')
      // Asked before it had the delete, which the other one has purged since.
      bench.of(1).holds(record(5))
      await bench.turn()
      bench.of(2).get$({ kind: 'none', horizon: 5 })
      assert.equal(await settle(bench, get), undefined)
      const newer = bench.get('quorum')
      const [first, second] = bench.asked.splice(0)
      first!.holds(record(6))
      await bench.turn()
      second!.get$({ kind: 'none', horizon: 5 })
      await bench.turn()
      bench.of(second!.to).stored()
      assert.equal(text(await settle(bench, newer)), 'v6', 'but what is newer than that')
    })

    it('returns what a coming owner has not been given yet, whose horizon comes before the records', async () => {
      const change = { next: [1, 2, 4].map(store), copies: [{ to: store(4), from: [store(1), store(3)] }] }
      bench = new Bench({ self: 9, row: { slots: [1, 2, 3].map(store), change, rowEpoch: 1 } })
      const get = bench.get('quorum')
      bench.of(4).get$({ kind: 'none', horizon: 5 })
      bench.of(1).holds(record(5))
      await bench.turn()
      bench.of(2).holds(record(5))
      await bench.turn()
      for (const n of [3, 4]) if (bench.waiting.includes(n)) bench.of(n).stored()
      assert.equal(text(await settle(bench, get)), 'v5')
    })

    it('asks the next one as well when one is slow, and takes whichever answers first', async () => {
      bench = new Bench({ self: 9 })
      const get = bench.get('one', { timeoutMs: 5000 })
      await bench.world.advance(45)
      assert.deepEqual(bench.waiting, [1])
      await bench.world.advance(20)
      assert.deepEqual(bench.waiting, [1, 2])
      await bench.world.advance(60)
      assert.deepEqual(bench.waiting, [1, 2, 3])
      bench.of(2).holds(record(6))
      assert.equal(text(await settle(bench, get)), 'v6')
      // The slow one is late, and changes nothing.
      bench.of(1).holds(record(5))
      bench.of(3).end({ kind: 'timeout' })
      await bench.turn()
      await bench.world.advance(200)
    })

    it('asks nobody twice', async () => {
      bench = new Bench({ self: 9 })
      const get = bench.get('one', { timeoutMs: 5000 })
      await bench.world.advance(65)
      bench.of(1).end({ kind: 'lost' })
      await bench.turn()
      assert.deepEqual(bench.waiting, [2, 3])
      bench.of(2).end({ kind: 'lost' })
      bench.of(3).end({ kind: 'lost' })
      await bench.turn()
      await assert.rejects(get, { code: 'KV_QUORUM_NOT_REACHED' })
    })

    it('skips the dead, and fails when nobody is left', async () => {
      bench = new Bench({ self: 9 })
      bench.dead.add(store(1))
      bench.dead.add(store(2))
      const get = bench.get('one')
      assert.deepEqual(bench.waiting, [3])
      bench.of(3).end({ kind: 'lost' })
      await bench.turn()
      await assert.rejects(get, { code: 'KV_QUORUM_NOT_REACHED' })
    })
  })
})

/** A read at quorum of this node and 3, which was asked as 2 was late; `late` is to answer yet. */
async function hedged(bench: Bench): Promise<{ get: Promise<RecordBytes | undefined>; late: Asked }> {
  const get = bench.get('quorum')
  const late = bench.of(2)
  await bench.world.advance(60)
  bench.of(3).get$({ kind: 'same' })
  await settle(bench, get)
  return { get, late }
}

/** Lets everything run, then takes the result. */
async function settle<T>(bench: Bench, promise: Promise<T>): Promise<T> {
  assert.notEqual(await bench.state(promise), 'pending', 'it has ended')
  return promise
}
