import assert from 'node:assert/strict'
import { fromUtf8, utf8 } from '../../../src/base/bytes.ts'
import { decodeIndexValue, encodeIndexValue } from '../../../src/model/index-value.ts'
import { ALL_KEYS, restAfter } from '../../../src/model/key-range.ts'
import { rowOf, type Topology } from '../../../src/placement/topology.ts'
import { IndexServer, type IndexServerDeps } from '../../../src/replication/index-server.ts'
import { encodeIndexPage, type IndexPage, type IndexRequest } from '../../../src/replication/index-wire.ts'
import { systemClock } from '../../../src/runtime/system-clock.ts'
import type { IndexEntry } from '../../../src/storage/indexes.ts'
import { PartitionState, StoredIndex } from '../../../src/storage/stored-index.ts'
import { store, topology } from '../cluster/fixtures.ts'

const PARTITIONS = 64
const DEFINITION = { keyspace: utf8('ks'), name: 'byAge', fingerprint: new Uint8Array(16).fill(1) }

describe('a node that is asked for pages of an index', () => {
  let here: Topology
  let index: StoredIndex
  let entries: IndexEntry[]
  let meanwhile: (() => void) | undefined
  let held: Promise<void> | undefined
  let pages: number
  let server: IndexServer

  beforeEach(() => {
    here = topology([{ n: 1 }, { n: 2 }], { slots: [1, 2], epoch: 10 })
    index = new StoredIndex(DEFINITION, PARTITIONS, 1)
    index.setAll(PartitionState.READY)
    entries = Array.from({ length: 200 }, (_, i) => ({
      entry: Uint8Array.of(...encodeIndexValue(i), ...utf8(`k${i}`)),
      partition: i % 8
    }))
    meanwhile = held = undefined
    pages = 0
    const indexes: IndexServerDeps['indexes'] = {
      find: (_keyspace, name) => (name === 'byAge' ? index : undefined),
      page: async (_index, range, limit, isReverse) => {
        pages++
        await held
        const all = (isReverse ? entries.toReversed() : entries).filter(
          ({ entry }) =>
            Buffer.compare(entry, range.from) >= 0 && (range.to === undefined || Buffer.compare(entry, range.to) < 0)
        )
        meanwhile?.()
        const some = all.slice(0, limit)
        const isAll = some.length < limit
        return { entries: some, rest: isAll ? undefined : restAfter(range, some.at(-1)!.entry, isReverse) }
      }
    }
    server = new IndexServer({ self: store(1), indexes, clock: systemClock, topology: () => here })
  })

  function ask(more: Partial<IndexRequest> = {}): Promise<IndexPage> {
    return server.page({ ...DEFINITION, range: ALL_KEYS, isReverse: false, rows: 500, partitions: [1, 2], ...more })
  }

  function keysOf({ rows }: IndexPage): string[] {
    return rows.map(entry => fromUtf8(entry.subarray(decodeIndexValue(entry).length)))
  }

  it('names the entries of the partitions that it is asked for, page by page, in both directions', async () => {
    for (const isReverse of [false, true]) {
      const keys: string[] = []
      for (let range = ALL_KEYS; ;) {
        const page = await ask({ isReverse, rows: 7, range })
        keys.push(...keysOf(page))
        if (page.last === undefined) break
        range = restAfter(range, page.last, isReverse)
      }
      const wanted = entries.filter(({ partition }) => partition === 1 || partition === 2).length
      assert.equal(keys.length, wanted)
      assert.equal(keys[isReverse ? 0 : wanted - 1], 'k194')
    }
  })

  it('looks no further than it has to, and says how far it came', async () => {
    entries = Array.from({ length: 40_000 }, (_, i) => ({ entry: encodeIndexValue(i), partition: 7 }))
    const page = await ask({ rows: 10 })
    assert.deepEqual(page.rows, [])
    // 64 at first, and twice as many each time, up to 1,024.
    assert.equal(pages, 20)
    assert.ok((decodeIndexValue(page.last!).value as number) >= 16_383)
  })

  it('says which partitions it does not own, and which it has not built', async () => {
    index.set(2, PartitionState.BUILDING)
    here = { ...here, rows: here.rows.map((row, i) => (i === 3 ? { ...row, slots: [store(2)] } : row)) }
    const page = await ask({ partitions: [1, 2, 3, 999] })
    assert.deepEqual([page.refused, page.lacking, keysOf(page).length], [[3, 999], [2], 25])
    assert.deepEqual((await ask({ name: 'byName' })).lacking, [1, 2])
    const other = await ask({ fingerprint: new Uint8Array(16).fill(2) })
    assert.deepEqual([other.lacking, other.rows], [[1, 2], []])
    assert.equal(pages, 1)
  })

  it('takes back what has moved, or was lost, while it was read', async () => {
    meanwhile = () => {
      index.set(1, PartitionState.STALE)
      here = { ...here, epoch: 11, rows: here.rows.map((row, i) => (i === 2 ? { ...row, rowEpoch: 11 } : row)) }
    }
    const page = await ask({ partitions: [1, 2, 3] })
    assert.deepEqual([page.epoch, page.refused, page.lacking], [11, [2], [1]])
    assert.equal(keysOf(page).length, 25)
    assert.equal(rowOf(here, 2).rowEpoch, 11)
    meanwhile = () => {
      index.id = 2
    }
    assert.deepEqual((await ask({ partitions: [3] })).lacking, [3])
  })

  it('ends a page that has grown large, so that it fits into a message', async () => {
    const long = 'x'.repeat(1000)
    entries = Array.from({ length: 12_000 }, (_, i) => ({
      entry: Uint8Array.of(...encodeIndexValue(`${long}${String(i).padStart(6, '0')}`), ...utf8(long)),
      partition: 1
    })).sort((a, b) => Buffer.compare(a.entry, b.entry))
    const page = await ask({ rows: 16_384 })
    assert.ok(encodeIndexPage(page).length <= 5 * 1024 * 1024, `${encodeIndexPage(page).length} bytes`)
    assert.deepEqual(page.last, page.rows.at(-1))
    const rest = await ask({ rows: 16_384, range: restAfter(ALL_KEYS, page.last!, false) })
    assert.deepEqual(rest.rows[0], entries[page.rows.length]!.entry)
  })

  it('reads a few pages side by side, and refuses more than may wait', async () => {
    let release = (): void => {}
    held = new Promise(resolve => {
      release = resolve
    })
    const asked = Array.from({ length: 4 + 256 }, () => ask())
    await assert.rejects(ask(), { code: 'KV_OVERLOADED', retryable: true })
    assert.equal(pages, 4)
    release()
    assert.equal((await Promise.all(asked)).length, 260)
  })
})
