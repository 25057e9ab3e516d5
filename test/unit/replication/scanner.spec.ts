import assert from 'node:assert/strict'
import { utf8 } from '../../../src/base/bytes.ts'
import { createDeferred, type Deferred } from '../../../src/base/deferred.ts'
import { isKilovoltError } from '../../../src/base/errors.ts'
import { ALL_KEYS } from '../../../src/model/key-range.ts'
import type { Ring } from '../../../src/model/partition.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import { Routes } from '../../../src/replication/routes.ts'
import { Scanner, type ScannerDeps, type ScanOptions } from '../../../src/replication/scanner.ts'
import type { ScanPage, ScanRequest } from '../../../src/replication/scan-wire.ts'
import { Slicer } from '../../../src/runtime/slices.ts'
import { systemClock } from '../../../src/runtime/system-clock.ts'
import { TimerWheel } from '../../../src/runtime/timer-wheel.ts'
import { store, topology } from '../cluster/fixtures.ts'
import { type PageOfObjects, packed, type ScanRow } from '../../support/scan-pages.ts'
import { record, tombstone } from './bench.ts'

const EPOCH = 3
const row = (key: string): ScanRow => ({ key: utf8(key), record: record(1), isHead: false })
const dead = (key: string): ScanRow => ({ key: utf8(key), record: tombstone(1), isHead: false })

/** A scan of one partition that this node alone owns; each of its pages waits to be answered. */
describe('a scan', () => {
  /** The time by which its slices are cut. */
  let nowMs: number
  let pages: Deferred<Pick<PageOfObjects, 'rows' | 'last'>>[]
  let scanner: Scanner
  let asked: ScanRequest[]
  let breaths: number

  beforeEach(() => open())

  function open(more: Partial<ScanOptions> = {}): void {
    pages = []
    asked = []
    breaths = nowMs = 0
    const here = topology([{ n: 1 }], { slots: [1], epoch: EPOCH })
    const routes = new Routes({ ...here, rows: here.rows.slice(0, 1) }, store(1), SOUND_RULES)
    const soon = (fn: () => void): void => {
      breaths++
      systemClock.soon(fn)
    }
    const deps = {
      self: store(1),
      clock: systemClock,
      slicer: new Slicer({ ...systemClock, monotonicMs: () => nowMs, soon }, () => 0),
      wheel: new TimerWheel(systemClock),
      rules: SOUND_RULES,
      routes: () => routes,
      isDead: () => false,
      stamps: { last: 0, observe: () => {} },
      ring: { partitions: 1, partitionOf: () => 0 } as unknown as Ring,
      track: () => () => {},
      onPage: () => {},
      scans: {
        page: (request: ScanRequest, _epoch: number, done: (error: undefined, page: ScanPage) => void) => {
          const page = createDeferred<Pick<PageOfObjects, 'rows' | 'last'>>()
          pages.push(page)
          asked.push(request)
          void page.promise.then(({ rows, last }) =>
            done(undefined, { epoch: EPOCH, refused: [], rows: packed(rows), last })
          )
        }
      }
    } as unknown as ScannerDeps
    scanner = new Scanner(deps, {
      keyspace: utf8(''),
      range: ALL_KEYS,
      isReverse: false,
      wantsValues: true,
      rests: true,
      requirement: 'quorum',
      timeoutMs: 5000,
      signal: undefined,
      ...more
    })
  }

  /** Until so many pages were asked for. */
  async function asking(count: number): Promise<void> {
    for (let turns = 0; pages.length < count && turns < 100; turns++) await new Promise(setImmediate)
    assert.equal(pages.length, count)
  }

  it('goes over pages of nothing but tombstones to the next entries', async () => {
    const entries = scanner.next(2)
    await asking(1)
    pages[0]!.resolve({ rows: [dead('a'), dead('b')], last: utf8('b') })
    await asking(2)
    pages[1]!.resolve({ rows: [row('c')], last: undefined })
    const found = await entries
    assert.equal(found.length, 1)
    assert.deepEqual(Buffer.from(found.keyAt(0)).toString(), 'c')
    assert.equal((await scanner.next(2)).length, 0)
  })

  it('that is closed reads no further, also after a page of nothing', async () => {
    for (const empty of [0, 1, 2]) {
      open()
      const entries = scanner.next(2)
      for (let i = 0; i < empty; i++) {
        await asking(i + 1)
        pages.at(-1)!.resolve({ rows: [dead(`a${i}`)], last: utf8(`a${i}`) })
      }
      await asking(empty + 1)
      scanner.close()
      await assert.rejects(entries, (error: unknown) => isKilovoltError(error, 'KV_ABORTED'))
      pages.at(-1)!.resolve({ rows: [row('x')], last: utf8('x') })
      await new Promise(setImmediate)
      assert.equal((await scanner.next(2)).length, 0, 'it has ended')
      assert.equal(pages.length, empty + 1)
    }
  })

  it('lets whom it asks rest for an eighth of its deadline, a quarter of a second at most, or not at all', async () => {
    for (const [options, restMaxMs] of [
      [{ timeoutMs: 5000 }, 250],
      [{ timeoutMs: 80 }, 10],
      [{ timeoutMs: 5000, rests: false }, 0]
    ] as const) {
      open(options)
      const entries = scanner.next(2)
      await asking(1)
      const most = asked[0]!.restMaxMs
      // Some of the deadline may have passed until it was asked.
      assert.ok(most <= restMaxMs && most >= restMaxMs / 2, `${most} ms of ${options.timeoutMs}`)
      pages[0]!.resolve({ rows: [], last: undefined })
      assert.equal((await entries).length, 0)
    }
  })

  it('does not take waiting for a page for work of its own', async () => {
    const entries = scanner.next(2)
    await asking(1)
    nowMs += 1000
    pages[0]!.resolve({ rows: [row('a'), row('b')], last: undefined })
    assert.equal((await entries).length, 2)
    assert.equal(breaths, 0)
  })
})
