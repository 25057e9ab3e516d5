import assert from 'node:assert/strict'
import { MemoryLevel } from 'memory-level'
import { utf8 } from '../../../src/base/bytes.ts'
import { isKilovoltError, type KilovoltError } from '../../../src/base/errors.ts'
import { ALL_KEYS, restAfter } from '../../../src/model/key-range.ts'
import { encodeRecord, type RecordBytes } from '../../../src/model/record.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Topology } from '../../../src/placement/topology.ts'
import { ScanServer } from '../../../src/replication/scan-server.ts'
import type { ScanRequest } from '../../../src/replication/scan-wire.ts'
import { pause } from '../../../src/runtime/clock.ts'
import { Slicer } from '../../../src/runtime/slices.ts'
import { systemClock } from '../../../src/runtime/system-clock.ts'
import { ApplyLoop } from '../../../src/storage/apply-loop.ts'
import { LevelStore } from '../../../src/storage/level-store.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'
import { apply } from '../../conformance/record-store-suite.ts'
import { type PageOfObjects, unpacked } from '../../support/scan-pages.ts'
import { store, topology } from '../cluster/fixtures.ts'
import { ACTOR, record, tombstone } from './bench.ts'

const KEYSPACE = utf8('ks')
const EPOCH = 10

describe('a node that is asked for pages', () => {
  let records: ApplyLoop
  let here: Topology
  let server: ScanServer
  /** What happens in the midst of a page. */
  let meanwhile: (() => void) | undefined
  let held: Promise<void> | undefined

  beforeEach(async () => {
    records = new ApplyLoop({ store: await LevelStore.open(new MemoryLevel()), clock: systemClock })
    here = topology(
      [1, 2, 3, 4].map(n => ({ n })),
      { slots: [1, 2, 3], epoch: EPOCH }
    )
    meanwhile = held = undefined
    server = new ScanServer(
      {
        self: store(1),
        records: {
          get: key => records.get(key),
          pack: async (...where) => {
            await held
            const part = await records.pack(...where)
            meanwhile?.()
            return part
          }
        },
        clock: systemClock,
        slicer: new Slicer(systemClock, () => 0),
        rules: SOUND_RULES,
        topology: () => here,
        catchUp: async epoch => {
          here = { ...here, epoch }
        }
      },
      { requestTimeoutMs: 1000 }
    )
  })

  afterEach(() => records.close())

  async function hold(count: number, of: (i: number) => RecordBytes = i => record(i + 1)): Promise<void> {
    const puts = Array.from({ length: count }, (_, i) =>
      apply(records, { partition: i % 8, keyspace: KEYSPACE, key: name(i) }, of(i))
    )
    await Promise.all(puts)
  }

  function ask(more: Partial<ScanRequest> = {}, epoch = EPOCH): Promise<PageOfObjects> {
    const request: ScanRequest = {
      keyspace: KEYSPACE,
      range: ALL_KEYS,
      isReverse: false,
      exempt: false,
      rows: 100,
      bytes: 1e6,
      whole: [0, 1, 2, 3, 4, 5, 6, 7],
      heads: [],
      restMaxMs: 0,
      ...more
    }
    return new Promise((resolve, reject) => {
      server.page(request, epoch, (error: KilovoltError | undefined, page) =>
        error === undefined ? resolve({ ...page!, rows: unpacked(page!.rows) }) : reject(error)
      )
    })
  }

  it('merges its partitions, page by page, in both directions', async () => {
    await hold(1000)
    let pages = 0
    for (const isReverse of [false, true]) {
      const names: string[] = []
      let range = ALL_KEYS
      for (;;) {
        const { rows, last, refused } = await ask({ range, isReverse, rows: 70 })
        assert.deepEqual(refused, [])
        assert.equal(server.pages, ++pages)
        assert.ok(rows.length <= 70)
        names.push(...rows.map(({ key }) => Buffer.from(key).toString()))
        if (last === undefined) break
        range = restAfter(range, last, isReverse)
      }
      const all = Array.from({ length: 1000 }, (_, i) => name(i).toString())
      assert.deepEqual(names, isReverse ? all.reverse() : all)
    }
  })

  it('looks at a keyspace and a range, and at nothing else', async () => {
    await hold(20)
    await apply(records, { partition: 0, keyspace: utf8('kt'), key: name(3) }, record(1))
    const { rows, last } = await ask({ range: { from: name(5), to: name(9) }, whole: [5, 6, 0], heads: [7] })
    assert.deepEqual(
      rows.map(({ key, isHead }) => [Buffer.from(key).toString(), isHead]),
      [5, 6, 7, 8].map(i => [name(i).toString(), i === 7])
    )
    assert.equal(last, undefined)
    assert.deepEqual((await ask({ range: { from: name(9), to: name(5) } })).rows, [])
  })

  it('counts what is deleted, so that a page of nothing else ends', async () => {
    await hold(300, i => (i < 299 ? tombstone(i + 1) : record(i + 1)))
    const { rows, last } = await ask()
    assert.equal(rows.length, 100)
    assert.deepEqual(last, rows.at(-1)!.key)
  })

  it('ends a page after the row that fills it, and reads again what was too large to wait', async () => {
    const large = (i: number): RecordBytes =>
      encodeRecord({ stamp: { hlc: i + 1, actor: ACTOR }, value: new Uint8Array(400_000).fill(i) })
    await hold(24, large)
    const seen: number[] = []
    for (let range = ALL_KEYS; ;) {
      const { rows, last } = await ask({ range, bytes: 1_000_000 })
      const bytes = rows.reduce((sum, row) => sum + row.record!.length, 0)
      assert.ok(rows.length > 0 && bytes <= 1_400_100, `${bytes} bytes`)
      for (const row of rows) {
        assert.equal(row.isHead, false)
        assert.equal(row.record!.length, 400_016)
        seen.push(row.record!.at(-1)!)
      }
      if (last === undefined) break
      range = restAfter(range, last, false)
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 24 }, (_, i) => i)
    )
  })

  it('refuses what it does not own, or owns only in a later epoch than it is asked in', async () => {
    await hold(16)
    const rows = here.rows.map((row, i) =>
      i === 2 ? { ...row, slots: [store(2)] } : i === 3 ? { ...row, rowEpoch: EPOCH } : row
    )
    here = { ...here, rows }
    const page = await ask({}, EPOCH - 1)
    assert.deepEqual(page.refused, [2, 3])
    assert.equal(page.epoch, EPOCH)
    assert.equal(page.rows.length, 12)
    const exempt = await ask({ exempt: true }, EPOCH - 1)
    assert.deepEqual(exempt.refused, [2], 'at one nobody is bound to an epoch')
  })

  it('does not answer at one for what it is only about to own', async () => {
    const change = { next: [1, 3, 4].map(store), copies: [] }
    const rows = here.rows.map((row, i) => (i === 2 ? { slots: [2, 3, 4].map(store), change, rowEpoch: 3 } : row))
    here = { ...here, rows }
    assert.deepEqual((await ask()).refused, [])
    assert.deepEqual((await ask({ exempt: true })).refused, [2])
  })

  it('refuses what has moved while the page was read: it may have been dropped', async () => {
    await hold(16)
    meanwhile = () => {
      const rows = here.rows.map((row, i) => (i === 5 ? { ...row, rowEpoch: EPOCH + 1 } : row))
      here = { ...here, epoch: EPOCH + 1, rows }
    }
    const page = await ask()
    assert.deepEqual(page.refused, [5])
    assert.equal(page.epoch, EPOCH + 1)
    assert.ok(page.rows.every(({ key }) => Number(Buffer.from(key).toString().slice(1)) % 8 !== 5))
  })

  it('waits for the epoch that it is asked in', async () => {
    assert.equal((await ask({}, EPOCH + 5)).epoch, EPOCH + 5)
  })

  it('reads two pages at a time, lets some wait, and refuses more', async () => {
    let go = (): void => {}
    held = new Promise(resolve => (go = resolve))
    const asked = Array.from({ length: 70 }, () => ask().catch((error: unknown) => error))
    go()
    const answers = await Promise.all(asked)
    const refused = answers.filter(answer => isKilovoltError(answer, 'KV_OVERLOADED'))
    assert.equal(refused.length, 70 - 2 - 64)
  })

  it('rests in the midst of a page while requests come, as long as it may, and hands it out whole all the same', async () => {
    await hold(200)
    const world = new SimWorld()
    const clock = world.clock('a')
    let requests = 0
    server = new ScanServer(
      {
        self: store(1),
        records: {
          get: key => records.get(key),
          pack: async (...where) => {
            // The database of a machine on which reading takes its time.
            await pause(clock, 1)
            return records.pack(...where)
          }
        },
        clock,
        slicer: new Slicer(clock, () => requests),
        rules: SOUND_RULES,
        topology: () => here,
        catchUp: async () => {}
      },
      { requestTimeoutMs: 1000 }
    )
    const tookMs = async (restMaxMs: number): Promise<number> => {
      const sinceMs = clock.monotonicMs()
      const { rows } = await world.settle(ask({ restMaxMs, rows: 200 }))
      assert.equal(rows.length, 200)
      return clock.monotonicMs() - sinceMs
    }
    const aloneMs = await tookMs(250)
    requests++
    const besideMs = await tookMs(250)
    requests++
    const hurriedMs = await tookMs(2)
    assert.ok(besideMs >= 7 * aloneMs, `${aloneMs} ms alone, ${besideMs} ms beside a request`)
    assert.ok(hurriedMs <= aloneMs + 2, `${hurriedMs} ms`)
  })

  it('refuses partitions that there are not, and everything before it is a member', async () => {
    await assert.rejects(ask({ heads: [99] }), { code: 'KV_PROTOCOL' })
    here = undefined as unknown as Topology
    await assert.rejects(ask(), { code: 'KV_NOT_JOINED' })
  })
})

function name(i: number): Buffer {
  return Buffer.from(`k${String(i).padStart(4, '0')}`)
}
