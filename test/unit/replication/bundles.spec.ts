import assert from 'node:assert/strict'
import { recordValue } from '../../../src/model/record.ts'
import { BUNDLE_MAX } from '../../../src/replication/bundle-wire.ts'
import { Bench, call, MOVING, record, text } from './bench.ts'

const key = (n: number): Uint8Array => Uint8Array.of(n >> 8, n)
const [A, B, C] = [key(1), key(2), key(3)]

/** What was asked of a node, as the kinds of messages, and how many operations are in each. */
function askedOf(bench: Bench, node: number): string[] {
  return bench.asked
    .filter(({ to }) => to === node)
    .map(({ get, put, gets, puts }) =>
      get !== undefined
        ? 'GET'
        : put !== undefined
          ? 'PUT'
          : gets !== undefined
            ? `GETS ${gets.length}`
            : `PUTS ${puts?.length}`
    )
}

describe('operations that begin in one turn', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench()
  })

  afterEach(() => bench.end())

  it('go together, one message to each replica that is asked; the first of them goes at once', async () => {
    void bench.get('quorum', {}, A)
    assert.deepEqual([askedOf(bench, 2), askedOf(bench, 3)], [['GET'], []])
    void bench.get('quorum', {}, B)
    void bench.put('quorum', 'x', {}, B)
    void bench.get('quorum', {}, C)
    void bench.delete('quorum', C)
    assert.deepEqual(askedOf(bench, 2), ['GET'])
    await bench.turn()
    assert.deepEqual(askedOf(bench, 2), ['GET', 'GETS 2', 'PUTS 2'])
    assert.deepEqual(askedOf(bench, 3), ['PUTS 2'], 'one more copy is enough for a read')
    bench.asked.length = 0
    void bench.put('quorum', 'y', {}, A)
    for (const to of [2, 3]) assert.deepEqual(askedOf(bench, to), ['PUT'], 'another turn has begun')
    for (const place of [B, C]) void bench.get('all', {}, place)
    await bench.turn()
    for (const to of [2, 3]) assert.deepEqual(askedOf(bench, to), ['PUT', 'GETS 2'])
  })

  it('go together with those of the same level and deadline', async () => {
    bench.begin()
    const levels = ['quorum', 'all', 2, 'quorum'] as const
    for (const [i, requirement] of levels.entries()) void bench.put(requirement, 'x', {}, key(i))
    for (const [i, timeoutMs] of [300, 400, 300].entries()) void bench.put('quorum', 'x', { timeoutMs }, key(9 + i))
    await bench.turn()
    assert.deepEqual(askedOf(bench, 2), ['PUTS 2', 'PUTS 1', 'PUTS 1', 'PUTS 2', 'PUTS 1'])
    assert.deepEqual(
      bench.asked.filter(({ to }) => to === 2).map(({ timeoutMs }) => timeoutMs),
      [1000, 1000, 1000, 300, 400]
    )
  })

  it('go by themselves when they can be called off, are at any, read at one, or carry a large value', async () => {
    bench = new Bench({ self: 9 })
    bench.begin()
    const { signal } = new AbortController()
    for (const begin of [
      () => bench.get('quorum', { signal }),
      () => bench.put('quorum', 'x', { signal }),
      () => bench.put('any'),
      () => bench.get('any'),
      () => bench.get('one'),
      () => bench.put('quorum', 'x'.repeat(64 * 1024))
    ]) {
      void begin()
      assert.match(askedOf(bench, 1).join(), /^(GET|PUT)$/u, String(begin))
      bench.asked.length = 0
    }
    void bench.put('one')
    assert.deepEqual(askedOf(bench, 1), [])
    await bench.turn()
    assert.deepEqual(askedOf(bench, 1), ['PUTS 1'])
  })

  it('begin at once when there are as many as go into a message', async () => {
    bench.begin()
    for (let i = 0; i < BUNDLE_MAX; i++) void bench.get('all', {}, key(i))
    assert.deepEqual(askedOf(bench, 2), [])
    void bench.get('all', {}, key(BUNDLE_MAX))
    assert.deepEqual(askedOf(bench, 2), [`GETS ${BUNDLE_MAX}`])
    await bench.turn()
    for (const to of [2, 3]) assert.deepEqual(askedOf(bench, to), [`GETS ${BUNDLE_MAX}`, 'GETS 1'])
  })

  it('begin at once when they have as many bytes as go into a message', async () => {
    bench.begin()
    for (let i = 0; i < 18; i++) void bench.put('quorum', 'x'.repeat(60 * 1024), {}, key(i))
    assert.deepEqual(askedOf(bench, 2), [])
    void bench.put('quorum', 'x'.repeat(5 * 1024), {}, key(18))
    assert.deepEqual(askedOf(bench, 2), ['PUTS 18'])
    await bench.turn()
    assert.deepEqual(askedOf(bench, 2), ['PUTS 18', 'PUTS 1'])
  })

  it('wait for their turn when they have many bytes, where small ones do not', async () => {
    bench.begin()
    for (let i = 0; i < 18 * 9; i++) void bench.put('quorum', 'x'.repeat(60 * 1024), {}, key(i))
    void bench.put('quorum', 'x', {}, key(1000))
    await bench.turn()
    assert.deepEqual(askedOf(bench, 2).toSorted(), ['PUTS 1', ...Array.from({ length: 7 }, () => 'PUTS 18')])
    for (const asked of bench.asked)
      asked.puts$(...Array.from({ length: asked.puts!.length }, () => ({ kind: 'stored', existed: false }) as const))
    await bench.turn()
    assert.equal(askedOf(bench, 2).length, 10)
  })

  it('wait as well where each goes on by itself, as while its row changes', async () => {
    bench = new Bench({ row: MOVING })
    bench.begin()
    const puts = Array.from({ length: 18 * 9 }, (_, i) => bench.put('quorum', 'x'.repeat(60 * 1024), {}, key(i)))
    await bench.turn()
    assert.equal(askedOf(bench, 2).length, 18 * 7, 'seven bundles')
    for (const asked of bench.asked) if (asked.put !== undefined) asked.put$({ kind: 'stored', existed: false })
    await bench.turn()
    await bench.turn()
    assert.equal(askedOf(bench, 2).length, 18 * 9)
    for (const asked of bench.asked.slice(-36)) asked.put$({ kind: 'stored', existed: false })
    for (const put of puts) put.catch(() => {})
  })

  it('leave the caller its bytes as soon as they have returned', async () => {
    for (const stampsAfter of [undefined, Promise.resolve()]) {
      bench = new Bench()
      bench.stampsAfter = stampsAfter
      bench.begin()
      const value = Uint8Array.of(1, 2, 3)
      const puts = [A, B].map(place => bench.coordinator.put(new Uint8Array(), place, value, call('quorum')))
      value.fill(0)
      await bench.turn()
      const { puts: sent = [] } = bench.of(2)
      assert.deepEqual(
        sent.map(({ record: bytes }) => recordValue(bytes)!.join()),
        ['1,2,3', '1,2,3']
      )
      await bench.end()
      await Promise.allSettled(puts)
    }
  })

  it('have all of their time from when they go out, however long the turn was', async () => {
    bench.begin()
    const put = bench.put('quorum', 'new', { timeoutMs: 300 })
    bench.clock.stall(500)
    await bench.world.advance(501)
    const [two] = bench.asked
    assert.equal(two?.timeoutMs, 300)
    two?.puts$({ kind: 'stored', existed: false })
    await bench.turn()
    assert.deepEqual(await put, { existed: false })
  })

  describe('when the node stops', () => {
    it('end with that, whether they have gone out or not', async () => {
      bench.begin()
      const out = [bench.get('quorum', {}, A), bench.put('quorum', 'x', {}, A)]
      await bench.turn()
      bench.begin()
      const gathered = [bench.get('quorum', {}, A), bench.put('quorum', 'x', {}, A)]
      bench.asked.length = 0
      bench.coordinator.stop()
      for (const promise of [...out, ...gathered]) await assert.rejects(promise, { code: 'KV_NODE_STOPPED' })
      await bench.turn()
      assert.deepEqual(bench.waiting, [], 'nothing goes out any more')
    })

    it('are refused in the same turn too, rather than gathered for ever', async () => {
      bench.begin()
      void bench.get('quorum', {}, A)
      void bench.put('quorum', 'x', {}, A)
      bench.coordinator.stop()
      const late = [bench.get('quorum', {}, B), bench.put('quorum', 'x', {}, B)]
      for (const promise of late) await assert.rejects(promise, { code: 'KV_NODE_STOPPED' })
      assert.deepEqual(bench.waiting, [])
    })

    it('are refused when they have waited for their stamp meanwhile', async () => {
      let go = (): void => {}
      bench.stampsAfter = new Promise<void>(resolve => (go = resolve))
      const puts = [bench.put('quorum', 'x', {}, A), bench.put('quorum', 'x', {}, B)]
      bench.coordinator.stop()
      go()
      for (const promise of puts) await assert.rejects(promise, { code: 'KV_NODE_STOPPED' })
      assert.deepEqual([bench.waiting, bench.held.size], [[], 0])
    })

    it('change nothing by answers that come later', async () => {
      bench.local = record(5)
      bench.begin()
      const put = bench.put('all')
      const get = bench.get('all')
      await bench.turn()
      const asked = bench.asked.splice(0)
      bench.coordinator.stop()
      for (const one of asked.slice(0, 2)) {
        if (one.gets !== undefined) one.gets$({ kind: 'none', horizon: 0 })
        if (one.puts !== undefined) one.puts$({ kind: 'stored', existed: false })
      }
      for (const one of asked.slice(2)) one.end({ kind: 'lost' })
      await bench.turn()
      await assert.rejects(put, { code: 'KV_NODE_STOPPED' })
      await assert.rejects(get, { code: 'KV_NODE_STOPPED' })
      assert.deepEqual([bench.kept, bench.waiting, text(bench.local)], [[], [], 'new'])
    })
  })
})
