import assert from 'node:assert/strict'
import { compareBytes, concatBytes, fromUtf8, utf8 } from '../../../src/base/bytes.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import { encodeIndexValue, indexRange } from '../../../src/model/index-value.ts'
import { ALL_KEYS, type ByteRange } from '../../../src/model/key-range.ts'
import { type Hash64, Ring } from '../../../src/model/partition.ts'
import { type RecordBytes, recordValue } from '../../../src/model/record.ts'
import { SOUND_RULES } from '../../../src/placement/rules.ts'
import type { Topology } from '../../../src/placement/topology.ts'
import { IndexQueries, type IndexQueriesDeps } from '../../../src/replication/index-queries.ts'
import type { IndexQuery } from '../../../src/replication/index-query.ts'
import {
  decodeIndexRequest,
  encodeIndexPage,
  type IndexPage,
  type IndexRequest
} from '../../../src/replication/index-wire.ts'
import { loadHash64 } from '../../../src/runtime/hash.ts'
import { Slicer } from '../../../src/runtime/slices.ts'
import { systemClock } from '../../../src/runtime/system-clock.ts'
import type { IndexDefinition } from '../../../src/storage/stored-index.ts'
import { peerNumber, store, topology } from '../cluster/fixtures.ts'
import { record } from './bench.ts'

const definition: IndexDefinition = {
  keyspace: utf8('ks'),
  name: 'byText',
  fingerprint: new Uint8Array(16),
  valuesOf: of => {
    const text = fromUtf8(recordValue(of)!)
    if (text === 'bad') throw new Error('bad')
    return text.split(' ').map(encodeIndexValue)
  }
}

function contains({ from, to }: ByteRange, row: Uint8Array): boolean {
  return compareBytes(row, from) >= 0 && (to === undefined || compareBytes(row, to) < 0)
}

function entry(value: string, key: string): Uint8Array {
  return concatBytes([encodeIndexValue(value), utf8(key)])
}

describe('a query of an index', () => {
  let hash: Hash64
  let here: Topology
  let asked: { readonly n: number; readonly request: IndexRequest }[]
  /** What each node says. */
  let answer: (n: number, request: IndexRequest) => Partial<IndexPage> | undefined
  let records: Map<string, RecordBytes>
  let reads: string[][]
  let queries: IndexQueries

  before(async () => {
    hash = await loadHash64()
  })

  beforeEach(() => {
    here = topology(
      [1, 2, 3, 4].map(n => ({ n })),
      { slots: [1, 2, 3], epoch: 5 }
    )
    asked = []
    reads = []
    records = new Map()
    answer = () => ({})
    const page = (n: number, request: IndexRequest): IndexPage | undefined => {
      asked.push({ n, request })
      const said = answer(n, request)
      return said && { epoch: 5, refused: [], lacking: [], rows: [], last: undefined, ...said }
    }
    const deps: IndexQueriesDeps = {
      self: store(1),
      clock: systemClock,
      rules: SOUND_RULES,
      ring: new Ring(64, hash),
      topology: () => here,
      catchUp: async epoch => {
        here = { ...here, epoch }
      },
      isDead: () => false,
      slicer: new Slicer(systemClock, () => 0),
      indexPages: {
        page: async request => {
          const said = page(1, request)
          if (said === undefined) throw new KilovoltError('KV_STORAGE', 'no')
          return said
        }
      },
      transport: {
        request: (to, { body }, done) => {
          const said = page(peerNumber(to), decodeIndexRequest(body))
          if (said === undefined) done({ kind: 'timeout' } as never)
          else done({ kind: 'reply', body: encodeIndexPage(said) } as never)
        }
      } as IndexQueriesDeps['transport'],
      getMany: async (_keyspace, keys) => {
        reads.push(keys.map(fromUtf8))
        return { results: keys.map(key => records.get(fromUtf8(key))), failures: new Map() }
      }
    }
    queries = new IndexQueries(deps, 500)
  })

  function query(range: ByteRange = ALL_KEYS, timeoutMs = 500, isReverse = false): IndexQuery {
    return queries.query(definition, range, { requirement: 'quorum', timeoutMs, signal: undefined }, isReverse)
  }

  async function keys(of: IndexQuery): Promise<string[]> {
    return (await of.next(100)).map(({ key }) => fromUtf8(key))
  }

  it('asks this node alone where it holds all partitions, and as few others as will do where it does not', async () => {
    assert.deepEqual(await keys(query()), [])
    assert.deepEqual(
      asked.map(({ n, request }) => [n, request.partitions.length]),
      [[1, 64]]
    )
    asked = []
    here = topology(
      [1, 2, 3, 4].map(n => ({ n })),
      { slots: [4, 2, 3], epoch: 5 }
    )
    await keys(query(indexRange({ equals: 'a' })))
    assert.deepEqual(
      asked.map(({ n, request }) => [n, request.partitions.length]),
      [[4, 64]]
    )
  })

  it('gives out what still has the value, once, and reads each key once', async () => {
    records.set('k', record(1, 'a b'))
    records.set('moved', record(1, 'c'))
    records.set('bad', record(1, 'bad'))
    answer = () => ({
      rows: [entry('a', 'gone'), entry('a', 'k'), entry('a', 'moved'), entry('b', 'bad'), entry('b', 'k')]
    })
    const found = await query().next(100)
    assert.deepEqual(
      found.map(({ entry: of }) => Buffer.from(of).toString('hex')),
      [entry('a', 'k'), entry('b', 'k')].map(of => Buffer.from(of).toString('hex'))
    )
    assert.deepEqual(reads, [['gone', 'k', 'moved', 'bad']])
  })

  it('waits for none that has passed less, and goes on there', async () => {
    here = { ...here, rows: here.rows.map((row, i) => ({ ...row, slots: [store(i % 2 === 0 ? 1 : 2)] })) }
    for (const key of ['k1', 'k2', 'k3']) records.set(key, record(1, key))
    answer = (n, { range }) => {
      const rows = (n === 1 ? ['k1', 'k2'] : ['k3']).map(key => entry(key, key))
      const left = rows.filter(row => Buffer.compare(row, range.from) >= 0)
      return n === 1 ? { rows: left.slice(0, 1), last: left[0] } : { rows: left }
    }
    const one = query()
    const found = [await keys(one), await keys(one), await keys(one), await keys(one)]
    assert.deepEqual(found.flat(), ['k1', 'k2', 'k3'])
  })

  it('reads no more at a time than it may keep, whatever the size of a page', async () => {
    const byFirst = { ...definition, valuesOf: (of: RecordBytes) => [encodeIndexValue(fromUtf8(recordValue(of)!)[0])] }
    const options = { requirement: 'quorum', timeoutMs: 5000, signal: undefined } as const
    const large = 'x'.repeat(200_000)
    const names = Array.from({ length: 1000 }, (_, i) => `k${String(i).padStart(3, '0')}`)
    // Of some the entry is left over.
    for (const [i, name] of names.entries()) records.set(name, record(1, i % 3 === 0 ? large : `a${large}`))
    for (const isReverse of [false, true]) {
      answer = (_n, { range }) => {
        const all = names.map(name => entry('a', name)).filter(row => contains(range, row))
        return { rows: isReverse ? all.reverse() : all }
      }
      reads = []
      const one = queries.query(byFirst, ALL_KEYS, options, isReverse)
      const found: string[] = []
      for (let page = await one.next(1024); page.length > 0; page = await one.next(1024)) {
        assert.ok(page.length <= 100, `${page.length} records of 200 kB in one page`)
        found.push(...page.map(({ key }) => fromUtf8(key)))
      }
      const wanted = names.filter((_, i) => i % 3 !== 0)
      assert.deepEqual(found, isReverse ? wanted.reverse() : wanted)
      assert.equal(Math.max(...reads.map(({ length }) => length)), 64)
      assert.deepEqual(reads.flat().sort(), names)
    }
    // What is small is read in one go as soon as that is known.
    for (const name of names) records.set(name, record(1, 'a'))
    answer = (_n, { range }) => ({ rows: names.map(name => entry('a', name)).filter(row => contains(range, row)) })
    reads = []
    assert.equal((await queries.query(byFirst, ALL_KEYS, options, false).next(1024)).length, 1000)
    assert.deepEqual(
      reads.map(({ length }) => length),
      [64, 256, 680]
    )
  })

  it('asks another where one has not built the index, and fails when nobody has', async () => {
    answer = (n, { partitions }) => (n === 1 ? { lacking: partitions } : { rows: [entry('a', 'k')] })
    records.set('k', record(1, 'a'))
    assert.deepEqual(await keys(query()), ['k'])
    assert.equal(asked.length, 2)
    answer = (_n, { partitions }) => ({ lacking: partitions })
    await assert.rejects(query(ALL_KEYS, 60).next(10), { code: 'KV_INDEX_NOT_READY', retryable: true })
    answer = () => undefined
    await assert.rejects(query(ALL_KEYS, 60).next(10), { code: 'KV_TIMEOUT' })
  })

  it('ends with its node, and when it is closed', async () => {
    answer = (_n, { partitions }) => ({ lacking: partitions })
    const [closed, stopped] = [query(), query()]
    const pages = [closed.next(10), stopped.next(10)]
    closed.close()
    queries.stop()
    await assert.rejects(pages[0]!, { code: 'KV_ABORTED' })
    await assert.rejects(pages[1]!, { code: 'KV_NODE_STOPPED' })
    await assert.rejects(query().next(10), { code: 'KV_NODE_STOPPED' })
  })
})
