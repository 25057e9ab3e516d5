import assert from 'node:assert/strict'
import { compareBytes, toHex, utf8 } from '../../src/base/bytes.ts'
import { encodeRecord, recordHead, recordValue, type RecordBytes } from '../../src/model/record.ts'
import type { Actor } from '../../src/model/node-id.ts'
import type { ByteRange } from '../../src/model/key-range.ts'
import { minted, valuesIn } from '../support/siblings.ts'
import { PackedRows } from '../../src/codec/packed-rows.ts'
import type { ApplyResult, RangePart, Read, RecordKey, RecordStore } from '../../src/storage/record-store.ts'

/** A record store to test. */
export interface RecordStoreUnderTest {
  readonly records: RecordStore
  /** Refuses new work, finishes what was taken, and closes everything below. */
  close(): Promise<void>
}

/** A place in the store; the keyspace is the default one unless named. */
export function place(partition: number, key: string, keyspace = ''): RecordKey {
  return { partition, keyspace: utf8(keyspace), key: utf8(key) }
}

/** A record with a value, or a tombstone. */
export function record(hlc: number, value: string | undefined, actor = '00000000000000aa'): RecordBytes {
  return encodeRecord({
    stamp: { hlc, actor: actor as Actor },
    value: value === undefined ? undefined : utf8(value)
  })
}

/** The value of a record as text. */
export function valueOf(bytes: RecordBytes | undefined): string | undefined {
  const value = bytes === undefined ? undefined : recordValue(bytes)
  return value === undefined ? undefined : Buffer.from(value).toString()
}

/** What was read, in hex, or the code of an error. */
function bytesOf(read: Read): string | undefined {
  return read instanceof Error ? read.code : read && toHex(read)
}

/** `apply` as a promise. */
export function apply(records: RecordStore, key: RecordKey, bytes: RecordBytes): Promise<ApplyResult> {
  return new Promise((resolve, reject) => {
    records.apply(key, bytes, (error, result) => (error === undefined ? resolve(result!) : reject(error)))
  })
}

/** What every {@link RecordStore} must do: to be called inside a `describe`. */
export function describeRecordStore(create: () => Promise<RecordStoreUnderTest>): void {
  let records: RecordStore
  let close: () => Promise<void>

  beforeEach(async () => {
    const underTest = await create()
    records = underTest.records
    close = () => underTest.close()
  })

  afterEach(async () => {
    await close()
  })

  async function scan(partition: number, limit = 100): Promise<string[]> {
    const page = await records.page(partition, undefined, limit)
    return page.map(({ keyspace, key, record: bytes }) => {
      return `${Buffer.from(keyspace).toString()}/${Buffer.from(key).toString()}=${valueOf(bytes)}`
    })
  }

  it('keeps a record that is new or newer, and says what was there', async () => {
    const [a, b] = [record(1, 'a'), record(2, 'b')]
    assert.equal(await records.get(place(1, 'k')), undefined)
    assert.deepEqual(await apply(records, place(1, 'k'), a), { outcome: 'applied', current: undefined })
    const result = await apply(records, place(1, 'k'), b)
    assert.equal(result.outcome, 'applied')
    assert.equal(valueOf(result.current), 'a')
    assert.equal(valueOf(await records.get(place(1, 'k'))), 'b')
  })

  it('answers stale with the newer record, and same for a repetition', async () => {
    const newer = record(2, 'newer')
    await apply(records, place(1, 'k'), newer)
    const stale = await apply(records, place(1, 'k'), record(1, 'older'))
    assert.equal(stale.outcome, 'stale')
    assert.equal(valueOf(stale.current), 'newer')
    const same = await apply(records, place(1, 'k'), new Uint8Array(newer))
    assert.equal(same.outcome, 'same')
    assert.equal(valueOf(await records.get(place(1, 'k'))), 'newer')
  })

  it('keeps tombstones, which lose to newer records only', async () => {
    await apply(records, place(1, 'k'), record(5, 'v'))
    await apply(records, place(1, 'k'), record(7, undefined))
    assert.equal((await apply(records, place(1, 'k'), record(6, 'late'))).outcome, 'stale')
    assert.notEqual(await records.get(place(1, 'k')), undefined)
    assert.equal((await apply(records, place(1, 'k'), record(8, 'again'))).outcome, 'applied')
    assert.equal(valueOf(await records.get(place(1, 'k'))), 'again')
  })

  it('decides mutations of one key that arrive together one after the other', async () => {
    const outcomes = await Promise.all(
      [3, 1, 3, 5, 4].map(hlc => apply(records, place(1, 'k'), record(hlc, String(hlc))))
    )
    assert.deepEqual(
      outcomes.map(({ outcome, current }) => [outcome, valueOf(current)]),
      [
        ['applied', undefined],
        ['stale', '3'],
        ['same', '3'],
        ['applied', '3'],
        ['stale', '5']
      ]
    )
    assert.equal(valueOf(await records.get(place(1, 'k'))), '5')
  })

  it('tells places apart by partition, keyspace and key', async () => {
    const places = [
      place(1, 'k'),
      place(2, 'k'),
      place(1, 'k', 'k'),
      place(1, 'kk'),
      place(1, '', 'kk'),
      place(256, 'k')
    ]
    await Promise.all(places.map((at, i) => apply(records, at, record(1, String(i)))))
    for (const [i, at] of places.entries()) assert.equal(valueOf(await records.get(at)), String(i))
  })

  it('reads several at once, each in its place', async () => {
    assert.deepEqual(await records.getMany([]), [])
    assert.deepEqual(await records.getMany([place(1, 'k')]), [undefined])
    await apply(records, place(1, 'a'), record(1, 'x'))
    await apply(records, place(2, 'a'), record(2, undefined))
    await apply(records, place(1, 'a', 'ks'), record(3, 'z'))
    const places = [place(1, 'b'), place(1, 'a', 'ks'), place(1, 'a'), place(2, 'a'), place(1, 'a')]
    const found = await records.getMany(places)
    const expected = [undefined, record(3, 'z'), record(1, 'x'), record(2, undefined), record(1, 'x')]
    assert.deepEqual(found.map(bytesOf), expected.map(bytesOf))
  })

  it('reads as many at once as a message holds', async () => {
    const places = Array.from({ length: 512 }, (_, i) => place(i, `k${i}`))
    await Promise.all(places.filter((_, i) => i % 3 > 0).map((at, i) => apply(records, at, record(1, String(i)))))
    const found = await records.getMany(places)
    assert.equal(found.length, places.length)
    for (const [i, read] of found.entries()) {
      assert.equal(bytesOf(read), bytesOf(await records.get(places[i]!)), `of ${i}`)
      assert.equal(read === undefined, i % 3 === 0)
    }
  })

  it('shows a record to reads as soon as it is acknowledged', async () => {
    for (let i = 1; i <= 50; i++) {
      await apply(records, place(3, 'k'), record(i, String(i)))
      assert.equal(valueOf(await records.get(place(3, 'k'))), String(i))
      assert.deepEqual((await records.getMany([place(3, 'k')])).map(bytesOf), [bytesOf(record(i, String(i)))])
    }
  })

  it('mints a record upon what is held, one after the other', async () => {
    const mint = (hlc: number, value: string): Promise<ApplyResult> =>
      new Promise((resolve, reject) => {
        const make = (held: RecordBytes | undefined): RecordBytes => minted(held, hlc, value)
        records.mint(place(1, 'k'), value.length, make, (error, result) => {
          if (error === undefined) resolve(result!)
          else reject(error)
        })
      })
    const results = await Promise.all([mint(1, 'a'), mint(2, 'b'), mint(3, 'c')])
    assert.deepEqual(
      results.map(({ outcome, stored }) => [outcome, valuesIn(stored)]),
      [
        ['applied', ['a']],
        ['applied', ['a', 'b']],
        ['applied', ['a', 'b', 'c']]
      ]
    )
    assert.deepEqual(valuesIn(await records.get(place(1, 'k'))), ['a', 'b', 'c'])
  })

  it('tells when what was held may have been forgotten', async () => {
    const { forgotten } = records
    await apply(records, place(5, 'k'), record(1, 'a'))
    assert.equal(records.forgotten, forgotten)
    await records.dropPartition(5)
    assert.ok(records.forgotten > forgotten)
  })

  it('pages through a partition in order, strictly after a place', async () => {
    const all = ['a', 'b', 'b0', 'c']
      .map(key => place(7, key))
      .concat(place(7, 'a', 'ks'), place(8, 'a'), place(6, 'z'))
    await Promise.all(all.map((at, i) => apply(records, at, record(1, String(i)))))
    assert.deepEqual(await scan(7), ['/a=0', '/b=1', '/b0=2', '/c=3', 'ks/a=4'])
    assert.deepEqual(await scan(7, 2), ['/a=0', '/b=1'])
    const after = await records.page(7, place(7, 'b'), 2)
    assert.deepEqual(
      after.map(({ key }) => Buffer.from(key).toString()),
      ['b0', 'c']
    )
    assert.deepEqual(await records.page(7, place(7, 'a', 'ks'), 2), [])
    assert.deepEqual(await records.page(9, undefined, 2), [])
  })

  it('reads a range of one keyspace in a partition, in order and against it, part by part', async () => {
    const all = ['a', 'b', 'b0', 'c'].map(key => place(7, key, 'ks'))
    all.push(place(7, 'b'), place(7, 'b', 'kt'), place(7, 'b', 'k'), place(8, 'b', 'ks'), place(7, '', 'ks'))
    await Promise.all(all.map((at, i) => apply(records, at, record(1, i === 2 ? undefined : 'v'.repeat(1000)))))
    const read = async (from: string, to: string | undefined, isReverse: boolean, more = {}): Promise<string> => {
      let rest: ByteRange | undefined = { from: utf8(from), to: to === undefined ? undefined : utf8(to) }
      const parts: string[] = []
      const options = { limit: 100, maxBytes: Infinity, isReverse, ...more }
      const packed = PackedRows.gather()
      const wholeBytesMax = isReverse ? 0 : Infinity
      while (rest !== undefined) {
        const part: RangePart = await records.range(7, utf8('ks'), rest, options)
        parts.push(part.rows.map(({ key }) => Buffer.from(key).toString()).join(' '))
        const where = { partition: 7, keyspace: utf8('ks'), range: rest }
        const same = await records.pack(packed, where, { ...options, wholeBytesMax })
        assert.deepEqual(same.rest, part.rest)
        assert.equal(same.to, packed.length)
        assert.equal(same.to - same.from, part.rows.length)
        for (const [i, row] of part.rows.entries()) {
          const held = isReverse ? recordHead(row.record!) : row.record!
          assert.equal(compareBytes(packed.keyAt(same.from + i), row.key), 0)
          assert.equal(compareBytes(packed.recordAt(same.from + i)!, held), 0)
          assert.equal(packed.isHead(same.from + i), isReverse)
        }
        rest = part.rest
      }
      return parts.join('|')
    }
    assert.equal(await read('', undefined, false), ' a b b0 c')
    assert.equal(await read('', undefined, true), 'c b0 b a ')
    assert.equal(await read('a', 'b0', false), 'a b')
    assert.equal(await read('a', 'b0', true), 'b a')
    assert.equal(await read('', undefined, false, { limit: 2 }), ' a|b b0|c')
    assert.equal(await read('a', undefined, true, { limit: 2 }), 'c b0|b a|')
    assert.equal(await read('a', undefined, false, { maxBytes: 1500 }), 'a b|b0 c')
    assert.equal(await read('x', undefined, false), '')
  })

  it('ends a page after the record that reaches the bound of bytes', async () => {
    for (let i = 0; i < 10; i++) await apply(records, place(1, `k${i}`), record(1, 'v'.repeat(1000)))
    assert.equal((await records.page(1, undefined, 100, 1)).length, 1)
    assert.equal((await records.page(1, undefined, 100, 2500)).length, 3)
    assert.equal((await records.page(1, undefined, 2, 2500)).length, 2)
    assert.equal((await records.page(1, undefined, 100, 1_000_000)).length, 10)
  })

  it('has written everything that was offered before, once it is flushed', async () => {
    const done: number[] = []
    for (let i = 0; i < 2000; i++) {
      records.apply(place(1, `k${i % 700}`), record(i + 1, String(i)), error => {
        assert.equal(error, undefined)
        done.push(i)
      })
    }
    await records.flushed()
    assert.equal(done.length, 2000)
    assert.equal(records.stats().pending, 0)
    assert.equal(records.stats().applied, 2000)
    assert.equal((await records.page(1, undefined, 10_000)).length, 700)
    await records.flushed()
  })

  it('drops a partition with all that was offered before, and keeps what is offered after', async () => {
    for (let i = 0; i < 300; i++) void apply(records, place(5, `old${i}`), record(1, 'x'))
    const neighbours = [apply(records, place(4, 'n'), record(1, '4')), apply(records, place(6, 'n'), record(1, '6'))]
    const dropped = records.dropPartition(5)
    const after = apply(records, place(5, 'new'), record(1, 'y'))
    await Promise.all([dropped, after, ...neighbours])
    assert.deepEqual(await scan(5), ['/new=y'])
    assert.deepEqual([...(await scan(4)), ...(await scan(6))], ['/n=4', '/n=6'])
    assert.equal((await apply(records, place(5, 'old1'), record(1, 'x'))).current, undefined)
    await Promise.all([records.dropPartition(5), records.dropPartition(5)])
    assert.deepEqual(await scan(5), [])
  })

  it('keeps what is offered between two drops no longer than the second', async () => {
    void apply(records, place(5, 'a'), record(1, 'x'))
    const first = records.dropPartition(5)
    const between = apply(records, place(5, 'b'), record(1, 'y'))
    const second = records.dropPartition(5)
    const after = apply(records, place(5, 'c'), record(1, 'z'))
    await Promise.all([first, between, second, after])
    assert.deepEqual(await scan(5), ['/c=z'])
  })

  it('lists the partitions of which it holds anything', async () => {
    assert.deepEqual(await records.partitions(), [])
    for (const partition of [0, 7, 300, 65_535]) {
      for (const key of ['a', 'b']) await apply(records, place(partition, key), record(1, 'x'))
    }
    assert.deepEqual(await records.partitions(), [0, 7, 300, 65_535])
    await records.dropPartition(7)
    assert.deepEqual(await records.partitions(), [0, 300, 65_535])
  })

  it('finishes what it has taken when it is closed, and refuses the rest', async () => {
    const taken = Promise.all(Array.from({ length: 100 }, (_, i) => apply(records, place(1, `k${i}`), record(1, 'x'))))
    const closed = close()
    const stopped = { name: 'KilovoltError', code: 'KV_NODE_STOPPED' }
    await assert.rejects(apply(records, place(1, 'late'), record(1, 'x')), stopped)
    await taken
    await closed
    await assert.rejects(async () => records.get(place(1, 'k1')), stopped)
    await assert.rejects(async () => records.getMany([place(1, 'k1')]), stopped)
    await assert.rejects(records.page(1, undefined, 1), stopped)
    await assert.rejects(records.dropPartition(1), stopped)
    await records.flushed()
  })
}
