import assert from 'node:assert/strict'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { Gathered } from '../../../src/replication/gather.ts'
import { store } from '../cluster/fixtures.ts'
import { Bench, call, KEYSPACE, record, text } from './bench.ts'

const key = (n: number): Uint8Array => Uint8Array.of(n >> 8, n)
const keys = (count: number): Uint8Array[] => Array.from({ length: count }, (_, i) => key(i))

/** The codes of what failed, by place. */
function codes({ failures }: Gathered<unknown>): [number, string][] {
  return [...failures].map(([index, error]) => [index, (error as { code: string }).code])
}

describe('a call for many keys', () => {
  let bench: Bench

  beforeEach(() => {
    bench = new Bench({ spread: true })
  })

  afterEach(() => bench.end())

  it('reads them in one message to as many others as needed, at once, and keeps their order', async () => {
    bench.held.set('0001', record(7))
    const reading = bench.coordinator.getMany(KEYSPACE, keys(3), call('quorum'))
    assert.deepEqual(bench.waiting, [2])
    const asked = bench.of(2)
    assert.equal(asked.gets?.length, 3)
    asked.gets$({ kind: 'none', horizon: 0 }, { kind: 'same' }, { kind: 'none', horizon: 0 })
    const { results, failures } = await settle(bench, reading)
    assert.deepEqual(results.map(text), [undefined, 'v7', undefined])
    assert.equal(failures.size, 0)
    assert.equal(bench.coordinator.stats().reads, 3)
  })

  it('reads those that this node holds without asking anybody, at one', async () => {
    bench.held.set('0002', record(9))
    const { results } = await bench.coordinator.getMany(KEYSPACE, keys(3), call('one'))
    assert.deepEqual(results.map(text), [undefined, undefined, 'v9'])
    assert.deepEqual(bench.waiting, [])
  })

  it('writes them in one message to each, and tells which were there before', async () => {
    const writes = keys(2).map(one => ({ key: one, value: Buffer.from('x') }))
    const writing = bench.coordinator.putMany(KEYSPACE, [...writes, { key: key(2), value: undefined }], call('quorum'))
    assert.deepEqual(bench.waiting, [2, 3])
    bench
      .of(2)
      .puts$({ kind: 'stored', existed: false }, { kind: 'stored', existed: true }, { kind: 'stored', existed: true })
    const { results, failures } = await settle(bench, writing)
    assert.equal(failures.size, 0)
    assert.deepEqual(
      results.map(found => found?.existed),
      [false, true, true]
    )
    assert.equal(bench.coordinator.stats().writes, 3)
  })

  it('tells of each key that fails, and does the others', async () => {
    const writing = bench.coordinator.putMany(
      KEYSPACE,
      keys(2).map(one => ({ key: one, value: Buffer.from('x') })),
      call('all')
    )
    bench.of(2).puts$({ kind: 'stored', existed: false }, { kind: 'failed' })
    bench.of(3).puts$({ kind: 'stored', existed: false }, { kind: 'stored', existed: false })
    await bench.turn()
    // The second one has gone on by itself.
    for (const to of [2, 3])
      bench.of(to).end({ kind: 'refused', error: new KilovoltError('KV_STORAGE', 'the disk is gone') })
    const gathered = await settle(bench, writing)
    assert.deepEqual(codes(gathered), [[1, 'KV_QUORUM_NOT_REACHED']])
    assert.equal(gathered.results[0]?.existed, false)
    assert.equal(bench.coordinator.stats().failed, 1)
  })

  it('copies values before it returns, also when stamps have to be waited for', async () => {
    for (const wait of [undefined, Promise.resolve()]) {
      bench.stampsAfter = wait
      const value = Buffer.from('mine')
      const writing = bench.coordinator.putMany(KEYSPACE, [{ key: key(1), value }], call('one'))
      value.fill('!')
      await settle(bench, writing)
      assert.equal(text(bench.held.get('0001')), 'mine')
    }
  })

  it('sends a large value by itself', async () => {
    const values = ['small', 'x'.repeat(64 * 1024)]
    void bench.coordinator.putMany(
      KEYSPACE,
      values.map((value, i) => ({ key: key(i), value: Buffer.from(value) })),
      call('quorum')
    )
    assert.deepEqual(
      bench.asked.filter(({ to }) => to === 2).map(({ put, puts }) => [puts?.length, put?.record.length]),
      [
        [undefined, 64 * 1024 + 16],
        [1, undefined]
      ]
    )
  })

  it('ends with the signal, and so do those of it that go on by themselves', async () => {
    const aborter = new AbortController()
    bench.held.set('0001', record(7))
    const reading = bench.coordinator.getMany(KEYSPACE, keys(2), call('quorum', { signal: aborter.signal }))
    // The copies of the second differ: it goes on by itself, and waits.
    bench.of(2).gets$({ kind: 'none', horizon: 0 }, { kind: 'record', record: record(8) })
    await bench.turn()
    assert.equal(await bench.state(reading), 'pending')
    aborter.abort()
    const gathered = await settle(bench, reading)
    assert.deepEqual(codes(gathered), [[1, 'KV_ABORTED']])
  })

  it('ends when the node stops', async () => {
    const writing = bench.coordinator.putMany(KEYSPACE, [{ key: key(1), value: undefined }], call('quorum'))
    bench.coordinator.stop()
    assert.deepEqual(codes(await settle(bench, writing)), [[0, 'KV_NODE_STOPPED']])
    const late = await bench.coordinator.getMany(KEYSPACE, [key(1)], call('quorum'))
    assert.deepEqual(codes(late), [[0, 'KV_NODE_STOPPED']])
  })

  it('asks nobody who is dead', async () => {
    bench.dead.add(store(2))
    const reading = bench.coordinator.getMany(KEYSPACE, keys(1), call('quorum'))
    assert.deepEqual(bench.waiting, [3])
    bench.of(3).gets$({ kind: 'none', horizon: 0 })
    assert.deepEqual((await settle(bench, reading)).results, [undefined])
  })
})

async function settle<T>(bench: Bench, promise: Promise<T>): Promise<T> {
  await bench.turn()
  return promise
}
