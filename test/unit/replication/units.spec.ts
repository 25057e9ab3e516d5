import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import { type RecordBytes, recordHlc } from '../../../src/model/record.ts'
import type { Gathered } from '../../../src/replication/gather.ts'
import { UNIT_BYTES_MAX, UNIT_MAX } from '../../../src/replication/wire.ts'
import { storeNumber } from '../cluster/fixtures.ts'
import { Bench, call, KEYSPACE, MOVING, record, text } from './bench.ts'

const key = (n: number): Uint8Array => Uint8Array.of(n >> 8, n)

describe('reads of one call in one partition, at one', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench()
    bench.held.set('0000', record(3)).set('0001', record(4))
  })

  afterEach(() => bench.end())

  const read = (): Promise<Gathered<RecordBytes | undefined>> =>
    bench.coordinator.getMany(KEYSPACE, [key(1), key(2), key(0)], call('one', { timeoutMs: 50 }))

  it('are one look at what this node holds, in their order', async () => {
    assert.deepEqual((await read()).results.map(text), ['v4', undefined, 'v3'])
    assert.deepEqual(bench.waiting, [])
    assert.equal(bench.coordinator.stats().reads, 3)
  })

  it('ask others for what cannot be read here', async () => {
    bench.damaged.set('0002', new KilovoltError('KV_CORRUPT', 'rotten'))
    const reading = read()
    await bench.turn()
    bench.of(bench.waiting[0]!).holds(record(9))
    assert.deepEqual((await settle(bench, reading)).results.map(text), ['v4', 'v9', 'v3'])
    bench.readFails = new KilovoltError('KV_STORAGE', 'broken')
    const all = read()
    await bench.turn()
    for (const asked of bench.asked.slice()) asked.holds(record(7))
    assert.deepEqual((await settle(bench, all)).results.map(text), ['v7', 'v7', 'v7'])
  })

  it('wait for the disk no longer than they may', async () => {
    bench.readsLater = new Promise(() => {})
    const reading = read()
    await bench.world.advance(100)
    const { failures } = await settle(bench, reading)
    assert.deepEqual(
      [...failures.values()].map(error => (error as { code: string }).code),
      ['KV_TIMEOUT', 'KV_TIMEOUT', 'KV_TIMEOUT']
    )
    bench.readsLater = Promise.resolve()
    assert.deepEqual((await settle(bench, read())).results.map(text), ['v4', undefined, 'v3'])
  })
})

async function settle<T>(bench: Bench, promise: Promise<T>): Promise<T> {
  await bench.turn()
  return promise
}

describe('writes of one call in one partition', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench()
    bench.storesAtOnce = true
  })

  afterEach(() => bench.end())

  function write(requirement: 'one' | 'quorum' | 'all' | 'any', count: number, value = Buffer.from('new'), more = {}) {
    const writes = Array.from({ length: count }, (_, n) => ({ key: key(n), value }))
    const writing = bench.coordinator.putMany(KEYSPACE, writes, call(requirement, more))
    writing.catch(() => {})
    return writing
  }

  /** Whether there was a value, or the code of the error, of each. */
  async function outcomes(writing: Promise<Gathered<{ readonly existed: boolean }>>): Promise<(string | boolean)[]> {
    await bench.turn()
    const { results, failures } = await writing
    return results.map((result, i) => result?.existed ?? (failures.get(i) as { code: string }).code)
  }

  it('travel as one with one stamp, and each is told what was at its key', async () => {
    bench.held.set('0001', record(5))
    const writing = write('quorum', 3)
    const asked = bench.of(2)
    assert.equal(asked.puts?.length, 1)
    const { record: first, rest = [] } = asked.puts[0]!
    assert.equal(rest.length, 2)
    assert.equal(new Set([first, ...rest.map(one => one.record)].map(recordHlc)).size, 1)
    asked.puts$({ kind: 'stored', existed: false, rest: Uint8Array.of(0, 1) })
    assert.deepEqual(await outcomes(writing), [false, true, true])
  })

  it('are kept as one for who fails to answer', async () => {
    const writing = write('quorum', 3)
    bench.of(2).puts$({ kind: 'stored', existed: false, rest: Uint8Array.of(0, 0) })
    assert.deepEqual(await outcomes(writing), [false, false, false])
    bench.of(3).end({ kind: 'lost' })
    await bench.turn()
    assert.deepEqual(
      bench.kept.map(([target, , rest]) => [storeNumber(target), rest?.length]),
      [[3, 2]]
    )
  })

  it('are stamped again as one when something newer is at one key of one replica', async () => {
    const writing = write('quorum', 3)
    bench.of(2).puts$({ kind: 'behind', hlc: 5000, existed: true })
    await bench.turn()
    const asked = bench.asked.find(({ to, put }) => to === 2 && put !== undefined)!
    const { record: first, rest = [] } = asked.put!
    assert.equal(rest.length, 2)
    const stamps = [first, ...rest.map(one => one.record)].map(recordHlc)
    assert.ok(stamps.every(hlc => hlc === stamps[0] && hlc > 5000))
    asked.put$({ kind: 'stored', existed: true, rest: Uint8Array.of(0, 0) })
    assert.deepEqual(await outcomes(writing), [true, true, true], 'each lay here by its first stamp')
    assert.deepEqual(
      [0, 1, 2].map(n => recordHlc(bench.held.get(Buffer.from(key(n)).toString('hex'))!)),
      stamps
    )
  })

  it('are stored where nothing newer is, also at a replica that wants another stamp', async () => {
    bench.held.set('0001', record(9000, 'newer'))
    const writing = write('one', 3)
    assert.deepEqual((await outcomes(writing)).length, 3)
    assert.deepEqual(
      ['0000', '0001', '0002'].map(name => text(bench.held.get(name))),
      ['new', 'newer', 'new']
    )
  })

  it('go on as one while the row changes, to the old owners and the new', async () => {
    await bench.end()
    bench = new Bench({ row: MOVING })
    bench.storesAtOnce = true
    const writing = write('quorum', 2)
    await bench.turn()
    assert.deepEqual(bench.waiting, [2, 3, 4])
    for (const to of [2, 4]) {
      const asked = bench.of(to)
      assert.equal(asked.put?.rest?.length, 1)
      asked.put$({ kind: 'stored', existed: false, rest: Uint8Array.of(1) })
    }
    assert.deepEqual(await outcomes(writing), [false, true])
  })

  it('go by themselves when they are large', async () => {
    const writing = write('quorum', 3, Buffer.alloc(40_000))
    const asked = bench.of(2)
    assert.equal(asked.put?.rest?.length, 2)
    asked.stored()
    assert.deepEqual(await outcomes(writing), [false, false, false])
  })

  it('are kept here as one, at any, when no owner can be had', async () => {
    await bench.end()
    bench = new Bench({ self: 9 })
    for (const n of [1, 2, 3]) bench.dead.add(bench.topology.rows[0]!.slots[n - 1]!)
    const writing = write('any', 3)
    assert.deepEqual(await outcomes(writing), [false, false, false])
    assert.deepEqual(
      bench.kept.map(([, , rest]) => rest?.length),
      [2]
    )
  })

  it('all fail, of unknown outcome, when the time is over', async () => {
    const writing = write('quorum', 3, undefined, { timeoutMs: 50 })
    await bench.world.advance(100)
    assert.deepEqual(await outcomes(writing), ['KV_TIMEOUT', 'KV_TIMEOUT', 'KV_TIMEOUT'])
  })

  it('all fail when the call is ended before they begin', async () => {
    const controller = new AbortController()
    const writes = Array.from({ length: 3000 }, (_, n) => ({ key: key(n), value: Buffer.from('x') }))
    await bench.end()
    bench = new Bench({ spread: true })
    const writing = bench.coordinator.putMany(KEYSPACE, writes, call('quorum', { signal: controller.signal }))
    controller.abort()
    assert.deepEqual(new Set(await outcomes(writing)), new Set(['KV_ABORTED']))
  })

  it('are refused, and nothing is sent, when they are too many or too large to be stored as one', async () => {
    await assert.rejects(write('quorum', UNIT_MAX + 1), { code: 'KV_BATCH_TOO_LARGE', retryable: false })
    const half = Buffer.alloc(UNIT_BYTES_MAX / 2)
    await assert.rejects(write('quorum', 2, half), error => {
      const { bytes, bytesMax, operations } = (error as { details: Record<string, unknown> }).details
      assert.deepEqual([bytes, bytesMax, operations], [UNIT_BYTES_MAX + 4, UNIT_BYTES_MAX, 2])
      return true
    })
    assert.deepEqual(bench.waiting, [])
    assert.equal(bench.coordinator.stats().writes, 0)
    const writing = write('one', UNIT_MAX)
    assert.equal((await outcomes(writing)).length, UNIT_MAX)
  })
})
