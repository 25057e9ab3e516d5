import assert from 'node:assert/strict'
import { utf8 } from '../../../src/base/bytes.ts'
import { createDeferred } from '../../../src/base/deferred.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import { encodeRecord, type RecordBytes } from '../../../src/model/record.ts'
import { Importer } from '../../../src/repair/importer.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import type { RecordKey, RecordStore, StoredRecord } from '../../../src/storage/record-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

const PARTITION = 3

/** Records of one partition, in order, and an importer that hands them to the test. */
class Bench {
  readonly world: SimWorld = new SimWorld()
  readonly clock = this.world.clock('n')
  readonly records: readonly StoredRecord[]
  readonly brought: string[] = []
  /** Those that are brought at this moment, and how many that were at most. */
  atOnce = 0
  mostAtOnce = 0
  isFlushed = false
  bring: (place: RecordKey) => Promise<void> = async () => {}
  readonly importer: Importer

  constructor(count: number) {
    const record: RecordBytes = encodeRecord({
      stamp: { hlc: 1, actor: '00000000000000aa' as Actor },
      value: utf8('v')
    })
    this.records = Array.from({ length: count }, (_, i) => ({
      partition: PARTITION,
      keyspace: utf8(''),
      key: utf8(String(i).padStart(5, '0')),
      record
    }))
    const { records, world, clock } = this
    const kept: Pick<RecordStore, 'flushed' | 'page'> = {
      flushed: async () => void (this.isFlushed = true),
      page: async (partition, after, limit) => {
        assert.equal(partition, PARTITION)
        assert.ok(this.isFlushed, 'what was taken last is stored')
        const from = after === undefined ? 0 : records.indexOf(after as StoredRecord) + 1
        return records.slice(from, from + limit)
      }
    }
    this.importer = new Importer({
      // The slice that it uses.
      records: kept as RecordStore,
      clock,
      logger: silentLogger,
      bring: async (place, given) => {
        assert.equal(given, record)
        this.mostAtOnce = Math.max(this.mostAtOnce, ++this.atOnce)
        await new Promise<void>(resolve => world.after(1, resolve))
        await this.bring(place)
        this.atOnce--
        this.brought.push(Buffer.from(place.key).toString())
      }
    })
  }

  get names(): readonly string[] {
    return this.records.map(({ key }) => Buffer.from(key).toString())
  }

  run(): Promise<void> {
    return this.world.settle(this.importer.run(PARTITION))
  }
}

describe('bringing records along from another cluster', () => {
  it('gives the owners each record of a partition, over all of its pages', async () => {
    const bench = new Bench(1000)
    await bench.run()
    assert.deepEqual(bench.brought.toSorted(), bench.names)
  })

  it('is done at once with a partition in which there is nothing', async () => {
    const bench = new Bench(0)
    await bench.run()
    assert.equal(bench.world.nowMs, 0)
  })

  it('has a bounded number of records under way', async () => {
    const bench = new Bench(300)
    await bench.run()
    assert.equal(bench.mostAtOnce, 32)
  })

  it('rejects when the owners do not take a record, and begins anew when it is run again', async () => {
    const bench = new Bench(100)
    bench.bring = async ({ key }) => {
      if (Buffer.from(key).toString() === '00050') throw new Error('no quorum')
    }
    await assert.rejects(bench.run(), { message: 'no quorum' })
    bench.bring = async () => {}
    await bench.run()
    assert.deepEqual([...new Set(bench.brought)].toSorted(), bench.names)
  })

  it('ends after the page at hand when the node stops, and leaves no timer', async () => {
    const bench = new Bench(1000)
    const gate = createDeferred<void>()
    bench.bring = () => gate.promise
    const running = bench.importer.run(PARTITION)
    running.catch(() => {})
    await bench.world.advance(10)
    bench.importer.cancel()
    gate.resolve()
    await assert.rejects(bench.world.settle(running), { code: 'KV_NODE_STOPPED' })
    assert.ok(bench.brought.length < bench.records.length)
    assert.equal(bench.clock.pending, 0)
  })
})
