import assert from 'node:assert/strict'
import { isKilovoltError, KilovoltError } from '../../../src/base/errors.ts'
import { recordHlc } from '../../../src/model/record.ts'
import { store, storeNumber } from '../cluster/fixtures.ts'
import { Bench, MOVED, MOVING, record, text } from './bench.ts'

describe('a write', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench()
  })

  afterEach(() => bench.end())

  it('that fails at once fails a turn later, so that who tries again for ever keeps nobody from working', async () => {
    for (const n of [2, 3]) bench.dead.add(store(n))
    let failed = false
    bench.put('quorum').catch(() => (failed = true))
    for (let i = 0; i < 100; i++) await Promise.resolve()
    assert.ok(!failed)
    await bench.turn()
    assert.ok(failed)
  })

  it('at quorum ends with the second of three acknowledgements, its own included', async () => {
    const put = bench.put('quorum')
    assert.equal(await bench.state(put), 'pending')
    assert.equal(text(bench.local), 'new')
    assert.deepEqual(bench.waiting, [2, 3])
    bench.of(3).stored()
    assert.equal(await bench.state(put), 'done')
    assert.equal((await put).existed, false)
  })

  it('says that there was a value when one of those who acknowledged it had one', async () => {
    const put = bench.put('quorum')
    bench.of(2).stored(true)
    await bench.turn()
    assert.equal((await put).existed, true)
  })

  it('at one needs one, at all everybody, and w as many as it says', async () => {
    assert.equal(await bench.state(bench.put('one')), 'done')
    bench.asked.length = 0
    for (const [requirement, needed] of [
      ['all', 2],
      [1, 0],
      [2, 1],
      [3, 2]
    ] as const) {
      const put = bench.put(requirement)
      for (let i = 0; i < needed; i++) {
        assert.equal(await bench.state(put), 'pending', `${requirement} after ${i}`)
        bench.of(2 + i).stored()
      }
      assert.equal(await bench.state(put), 'done', String(requirement))
      bench.asked.length = 0
    }
  })

  it('C1: while the row changes, needs a majority of the owners and one of the coming owners', async () => {
    bench = new Bench({ row: MOVING, self: 3 })
    const put = bench.put('quorum')
    assert.deepEqual(bench.waiting, [1, 2, 4])
    bench.of(1).stored()
    // 3 and 1 are a majority of the owners, but 1 alone is none of those to come.
    assert.equal(await bench.state(put), 'pending')
    bench.of(4).stored()
    assert.equal(await bench.state(put), 'done')
  })

  it('at one asks the owners alone, and is not bound to the epoch', async () => {
    bench = new Bench({ row: MOVING, self: 9 })
    const put = bench.put('one')
    assert.deepEqual(bench.waiting, [1, 2, 3])
    const asked = bench.of(2)
    assert.equal(asked.put?.exempt, true)
    asked.stored()
    assert.equal(await bench.state(put), 'done')
  })

  it('is stamped anew, later than what it met, before it is acknowledged', async () => {
    const put = bench.put('quorum')
    const first = bench.of(2)
    const newer = recordHlc(first.put!.record) + 1_000_000
    first.put$({ kind: 'stale', current: record(newer) })
    await bench.turn()
    const again = bench.asked.filter(({ put: sent }) => recordHlc(sent!.record) > newer)
    assert.deepEqual(new Set(again.map(({ to }) => to)), new Set([2, 3]))
    bench.asked.splice(0, bench.asked.length, ...again)
    bench.of(3).stored()
    assert.deepEqual(await bench.state(put), 'done')
    assert.ok(recordHlc(bench.local!) > newer)
    assert.equal(bench.coordinator.stats().restamped, 1)
  })

  it('takes no answer to its first stamp for one to its second', async () => {
    const put = bench.put('quorum')
    const [two, three] = [bench.of(2), bench.of(3)]
    two.put$({ kind: 'stale', current: record(10_000_000) })
    await bench.turn()
    three.stored()
    bench.of(2).end({ kind: 'lost' })
    assert.equal(await bench.state(put), 'pending')
    bench.of(3).stored()
    assert.equal(await bench.state(put), 'done')
  })

  it('at one takes a newer record for an acknowledgement: nothing more was promised', async () => {
    bench = new Bench({ self: 9 })
    const put = bench.put('one')
    bench.of(1).put$({ kind: 'stale', current: record(10_000_000) })
    await bench.turn()
    assert.equal((await put).existed, true)
  })

  it('is acknowledged by newer records once it is later than what a quorum has shown: they are of writes at the same time', async () => {
    bench = new Bench({ self: 9 })
    const put = bench.put('quorum')
    const stale = async (to: number, hlc: number): Promise<void> => {
      const asked = bench.asked.findLast(one => one.to === to)!
      assert.ok(recordHlc(asked.put!.record) < hlc)
      asked.put$({ kind: 'stale', current: record(hlc) })
      await bench.turn()
    }
    await stale(2, 10_000_000)
    await stale(2, 20_000_000)
    assert.equal(await bench.state(put), 'pending', 'one copy alone has shown what it holds')
    await stale(3, 30_000_000)
    assert.ok(recordHlc(bench.asked.findLast(one => one.to === 1)!.put!.record) > 30_000_000)
    await stale(1, 40_000_000)
    assert.equal(await bench.state(put), 'pending')
    await stale(3, 50_000_000)
    assert.equal(await bench.state(put), 'done')
  })

  it('gives a copy up whose record is newer however often it is stamped anew', async () => {
    bench = new Bench({ self: 9 })
    const put = bench.put('all')
    let newest = 10_000_000
    for (let i = 0; i < 6; i++) {
      bench.asked.find(({ to }) => to === 2)!.put$({ kind: 'stale', current: record((newest *= 2)) })
      bench.asked.length = 0
      await bench.turn()
    }
    const { code, answers, outcome } = await bench.failure(put)
    assert.deepEqual([code, answers, outcome], ['KV_QUORUM_NOT_REACHED', ['pending', 'stale', 'pending'], 'unknown'])
  })

  it('goes by the new owners when a copy says that the row has changed', async () => {
    bench = new Bench({ self: 9, slots: [1, 2, 3] })
    bench.next = MOVED
    const put = bench.put('quorum')
    bench.of(1).put$({ kind: 'fenced', epoch: 12 })
    await bench.turn()
    assert.deepEqual(bench.caughtUp, [12])
    // Asked before the change; their answers count no more.
    bench.of(2).stored()
    bench.of(3).stored()
    assert.equal(await bench.state(put), 'pending')
    assert.deepEqual(bench.waiting, [3, 4, 5])
    bench.of(4).stored()
    bench.of(5).stored()
    assert.equal(await bench.state(put), 'done')
  })

  it('does not go round in circles with a copy that refuses without knowing more', async () => {
    const put = bench.put('quorum')
    bench.of(2).put$({ kind: 'fenced', epoch: 10 })
    bench.of(3).put$({ kind: 'fenced', epoch: 4 })
    const { code, answers } = await bench.failure(put)
    assert.deepEqual([code, answers, bench.caughtUp], ['KV_QUORUM_NOT_REACHED', ['ok', 'fenced', 'fenced'], []])
  })

  it('fails with why when it cannot catch up', async () => {
    bench.next = new KilovoltError('KV_TIMEOUT', 'nobody has that epoch')
    const put = bench.put('quorum')
    bench.of(2).put$({ kind: 'fenced', epoch: 12 })
    await bench.turn()
    await assert.rejects(put, { code: 'KV_TIMEOUT', message: 'nobody has that epoch' })
  })

  it('fails as soon as its level is out of reach, and says how each copy fared', async () => {
    bench.dead.add(store(2))
    const put = bench.put('quorum')
    assert.deepEqual(bench.waiting, [3], 'who is dead is not asked')
    bench.of(3).end({ kind: 'unsent', reason: 'no link' })
    const startMs = bench.world.nowMs
    const { code, answers, outcome } = await bench.failure(put)
    assert.deepEqual([code, answers], ['KV_QUORUM_NOT_REACHED', ['ok', 'down', 'unsent']])
    assert.equal(outcome, 'unknown', 'the local copy has it')
    assert.ok(bench.world.nowMs - startMs < 10)
  })

  it('that cannot have happened anywhere says so', async () => {
    bench = new Bench({ self: 9 })
    const dead = new Bench({ self: 9 })
    for (const n of [1, 2]) dead.dead.add(store(n))
    assert.deepEqual(await dead.failure(dead.put('quorum')), {
      code: 'KV_QUORUM_NOT_REACHED',
      answers: ['down', 'down', 'unasked'],
      outcome: 'not-executed'
    })
    const refused = bench.put('quorum')
    const error = new KilovoltError('KV_OVERLOADED', 'busy', { retryable: true })
    for (const to of [1, 2, 3]) bench.of(to).end({ kind: 'refused', error })
    const { answers, outcome } = await bench.failure(refused)
    assert.deepEqual([answers, outcome], [['KV_OVERLOADED', 'KV_OVERLOADED', 'pending'], 'unknown'])
  })

  it('is stored by nobody when too few owners live, or are, for its level: whoever called is told that it was not executed', async () => {
    for (const [level, ...gone] of [['quorum', 2, 3], [2, 2, 3], ['all', 3], [9], ['one', 1, 2, 3]] as const) {
      const self = gone.length === 3 ? 9 : 1
      bench = new Bench({ self })
      for (const n of gone) bench.dead.add(store(n))
      const { code, outcome } = await bench.failure(bench.put(level))
      assert.deepEqual([code, outcome], ['KV_QUORUM_NOT_REACHED', 'not-executed'], String(level))
      assert.equal(bench.held.size, 0)
      assert.deepEqual([bench.waiting, bench.kept], [[], []])
    }
    // While the row changes the level holds in both sets.
    bench = new Bench({ row: MOVING })
    for (const n of [2, 3]) bench.dead.add(store(n))
    assert.equal((await bench.failure(bench.put('quorum'))).outcome, 'not-executed')
  })

  it('of which an answer was lost, was cut off or makes no sense may have happened', async () => {
    for (const end of [
      { kind: 'lost' },
      { kind: 'timeout' },
      { kind: 'reply', epoch: 10, body: Uint8Array.of(77) }
    ] as const) {
      bench = new Bench({ self: 9 })
      const put = bench.put('quorum')
      bench.dead.add(store(2))
      bench.of(1).end(end)
      bench.of(2).end({ kind: 'unsent', reason: 'no link' })
      assert.equal((await bench.failure(put)).outcome, 'unknown', end.kind)
    }
  })

  it('that was sent again may have happened the first time, although nobody is there for the second', async () => {
    bench = new Bench({ self: 9 })
    const put = bench.put('quorum')
    for (const n of [1, 2, 3]) bench.dead.add(store(n))
    bench.of(1).put$({ kind: 'stale', current: record(1e9) })
    assert.deepEqual(await bench.failure(put), {
      code: 'KV_QUORUM_NOT_REACHED',
      answers: ['down', 'down', 'unasked'],
      outcome: 'unknown'
    })
  })

  it('of more copies than there are fails at once', async () => {
    const { code, answers } = await bench.failure(bench.put(4))
    assert.deepEqual([code, answers.length], ['KV_QUORUM_NOT_REACHED', 3])
  })

  it('advises a third node when a quorum of two copies is not there', async () => {
    bench = new Bench({ slots: [1, 2], replicas: 2 })
    const put = bench.put('quorum')
    bench.of(2).end({ kind: 'unsent', reason: 'no link' })
    await bench.turn()
    await assert.rejects(put, { code: 'KV_QUORUM_NOT_REACHED', message: /run a third node/u })
  })

  it('that takes too long ends at its deadline with an unknown outcome', async () => {
    const put = bench.put('all', 'new', { timeoutMs: 300 })
    assert.equal(bench.asked[0]!.timeoutMs, 300)
    bench.of(2).stored()
    await bench.world.advance(290)
    assert.equal(await bench.state(put), 'pending')
    await bench.world.advance(20)
    const { code, answers, outcome } = await bench.failure(put)
    assert.deepEqual([code, answers, outcome], ['KV_TIMEOUT', ['ok', 'ok', 'pending'], 'unknown'])
    await assert.rejects(put, error => isKilovoltError(error) && !error.retryable)
    assert.equal(bench.coordinator.stats().timedOut, 1)
    // What comes now finds nobody.
    bench.of(3).stored()
    await bench.turn()
  })

  describe('keeps hints', () => {
    const targets = (): number[] => bench.kept.map(([target]) => storeNumber(target))

    it('for those who failed before it was acknowledged, and for those who fail later', async () => {
      bench.dead.add(store(2))
      const put = bench.put('quorum')
      const three = bench.of(3)
      three.stored()
      await bench.turn()
      await put
      assert.deepEqual(targets(), [2])
      bench = new Bench()
      const late = bench.put('quorum')
      bench.of(2).stored()
      await bench.turn()
      await late
      assert.deepEqual(targets(), [])
      bench.of(3).end({ kind: 'timeout' })
      await bench.turn()
      assert.deepEqual(targets(), [3])
      assert.equal(text(bench.kept[0]![1]), 'new')
    })

    it('for nobody when all goes well, when it fails, and when somebody who is late has it', async () => {
      const put = bench.put('quorum')
      bench.of(2).stored()
      await bench.turn()
      await put
      bench.of(3).put$({ kind: 'stale', current: record(1e9) })
      await bench.turn()
      const failed = bench.put('quorum')
      for (const to of [2, 3]) bench.of(to).end({ kind: 'lost' })
      await bench.failure(failed)
      assert.deepEqual(targets(), [])
    })
  })

  describe('at any', () => {
    beforeEach(() => {
      bench = new Bench({ self: 9 })
    })

    it('is a write at one while an owner can be reached', async () => {
      const put = bench.put('any')
      assert.equal(bench.asked[0]!.put?.exempt, true)
      bench.of(2).stored(true)
      await bench.turn()
      assert.equal((await put).existed, true)
      assert.deepEqual(bench.kept, [])
    })

    it('is kept on this node for any owner when none can be', async () => {
      for (const n of [1, 2, 3]) bench.dead.add(store(n))
      assert.equal(await bench.state(bench.put('any')), 'done')
      assert.deepEqual(
        bench.kept.map(([target]) => target),
        ['0'.repeat(32)]
      )
    })

    it('has the time for that when all owners are silent', async () => {
      const put = bench.put('any', 'new', { timeoutMs: 1000 })
      assert.deepEqual(
        bench.asked.map(({ timeoutMs }) => timeoutMs),
        [500, 500, 500]
      )
      for (const to of [1, 2, 3]) bench.of(to).end({ kind: 'timeout' })
      assert.equal(await bench.state(put), 'done')
    })

    it('fails like any other when it cannot be kept here either', async () => {
      bench.keepFails = new KilovoltError('KV_OVERLOADED', 'no room')
      for (const n of [1, 2, 3]) bench.dead.add(store(n))
      const { code, outcome } = await bench.failure(bench.put('any'))
      assert.deepEqual([code, outcome], ['KV_QUORUM_NOT_REACHED', 'not-executed'])
    })
  })

  it('ends when its signal aborts, and when the node stops', async () => {
    const abort = new AbortController()
    const aborted = bench.put('all', 'new', { signal: abort.signal })
    const stopped = bench.put('all')
    await bench.turn()
    abort.abort()
    assert.equal(await bench.state(aborted), 'failed')
    await assert.rejects(aborted, { code: 'KV_ABORTED' })
    assert.equal(await bench.state(stopped), 'pending')
    bench.coordinator.stop()
    await assert.rejects(stopped, { code: 'KV_NODE_STOPPED' })
  })

  it('may have happened where a database failed, and has not where it refused', async () => {
    for (const [code, expected] of [
      ['KV_STORAGE', 'unknown'],
      ['KV_READ_ONLY', 'not-executed']
    ] as const) {
      bench = new Bench({ self: 9 })
      for (const n of [2, 3]) bench.dead.add(store(n))
      const put = bench.put(1)
      bench.of(1).end({ kind: 'refused', error: new KilovoltError(code, 'the disk') })
      const { outcome } = await bench.failure(put)
      assert.equal(outcome, expected)
      await bench.end()
    }
    bench = new Bench()
  })

  describe('whose stamp has to be waited for', () => {
    let stamped: () => void

    beforeEach(() => {
      bench.stampsAfter = new Promise<void>(resolve => (stamped = resolve))
    })

    it('ends at its deadline, and is not sent later', async () => {
      const put = bench.put('quorum', 'new', { timeoutMs: 100 })
      await bench.world.advance(120)
      await assert.rejects(
        put,
        error => isKilovoltError(error, 'KV_TIMEOUT') && error.retryable && error.details['outcome'] === 'not-executed'
      )
      assert.deepEqual([bench.coordinator.stats().timedOut, bench.coordinator.stats().failed], [1, 1])
      stamped()
      await bench.turn()
      assert.deepEqual([bench.waiting, bench.local], [[], undefined])
    })

    it('has what is left of its time when it is sent', async () => {
      const put = bench.put('quorum', 'new', { timeoutMs: 100 })
      await bench.world.advance(60)
      stamped()
      await bench.turn()
      assert.ok(bench.asked.every(({ timeoutMs }) => timeoutMs <= 41))
      for (const n of [2, 3]) bench.of(n).stored()
      assert.equal(await bench.state(put), 'done')
    })

    it('ends when its signal aborts, and when the node stops', async () => {
      const abort = new AbortController()
      const aborted = bench.put('quorum', 'new', { signal: abort.signal })
      const stopped = bench.put('quorum')
      abort.abort()
      await assert.rejects(aborted, { code: 'KV_ABORTED' })
      bench.coordinator.stop()
      await assert.rejects(stopped, { code: 'KV_NODE_STOPPED' })
      stamped()
      await bench.turn()
      assert.deepEqual([bench.waiting, bench.local], [[], undefined])
    })
  })

  it('is stamped again once, though two replicas hold something newer', async () => {
    let stamped = (): void => {}
    const put = bench.put('quorum')
    const [two, three] = [bench.of(2), bench.of(3)]
    bench.stampsAfter = new Promise<void>(resolve => (stamped = resolve))
    for (const one of [two, three]) one.put$({ kind: 'stale', current: record(recordHlc(one.put!.record) + 1000) })
    stamped()
    await bench.turn()
    bench.stampsAfter = undefined
    for (const n of [2, 3]) bench.of(n).stored()
    assert.equal(await bench.state(put), 'done')
    assert.equal(bench.coordinator.stats().restamped, 1)
  })

  it('with a signal that has aborted already is not sent', async () => {
    await assert.rejects(bench.put('quorum', 'new', { signal: AbortSignal.abort() }), { code: 'KV_ABORTED' })
    assert.deepEqual([bench.waiting, bench.local], [[], undefined])
  })
})
