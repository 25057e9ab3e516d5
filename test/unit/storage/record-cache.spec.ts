import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { toHex } from '../../../src/base/bytes.ts'
import type { RecordBytes } from '../../../src/model/record.ts'
import { ApplyLoop } from '../../../src/storage/apply-loop.ts'
import { dataKey } from '../../../src/storage/key-layout.ts'
import { createCache, ENTRY_BYTES, RecordCache, TEXT_ENTRY_BYTES } from '../../../src/storage/record-cache.ts'
import { SEALED } from '../../../src/storage/record-form.ts'
import type { Read, RecordKey } from '../../../src/storage/record-store.ts'
import { apply, place, record, valueOf } from '../../conformance/record-store-suite.ts'
import { settled, Turns } from '../../support/gated-store.ts'
import { SlowStore } from '../../support/slow-store.ts'

const MIB = 1024 * 1024

function storeKey({ partition, keyspace, key }: RecordKey): Uint8Array {
  return dataKey(partition, keyspace, key)
}

describe('the record cache', () => {
  /** A cache that holds records of these keys, which are of partition 1. */
  function filled(bytesMax: number, records: Readonly<Record<string, RecordBytes>>): RecordCache {
    const cache = new RecordCache(bytesMax)
    for (const [key, bytes] of Object.entries(records)) cache.keep(cache.nameOf(storeKey(place(1, key))), bytes)
    return cache
  }

  function found(cache: RecordCache, key: string, partition = 1): string | undefined {
    return valueOf(cache.get(cache.nameOf(storeKey(place(partition, key)))))
  }

  for (const [title, length, entryBytes] of [
    ['short', 100, TEXT_ENTRY_BYTES],
    ['long', 2000, ENTRY_BYTES]
  ] as const) {
    it(`counts keys, ${title} records and what an entry takes, and gives up what was used least recently`, () => {
      const bytes = record(1, 'x'.repeat(length))
      const each = bytes.length + storeKey(place(1, 'k00')).length + entryBytes
      const cache = filled(each * 20, {})
      for (let i = 0; i < 20; i++) cache.keep(cache.nameOf(storeKey(place(1, `k0${i % 10}`))), bytes)
      assert.deepEqual(cache.stats(), { hits: 0, misses: 0, entries: 10, bytes: each * 10, bytesMax: each * 20 })
      for (let i = 0; i < 20; i++) {
        cache.keep(cache.nameOf(storeKey(place(2, `l${10 + i}`))), bytes)
        assert.notEqual(found(cache, 'k03'), undefined)
      }
      assert.equal(found(cache, 'k04'), undefined)
      assert.equal(cache.stats().bytes, each * 20)
    })
  }

  it('is there by default over a database on disk only, and not at all with 0 bytes', () => {
    assert.equal(createCache({ permanent: true })?.stats().bytesMax, 32 * MIB)
    assert.equal(createCache({ permanent: false }), undefined)
    assert.equal(createCache({ permanent: false }, 5 * MIB)?.stats().bytesMax, 5 * MIB)
    assert.equal(createCache({ permanent: true }, 0), undefined)
  })

  it('keeps no record that takes more than a sixteenth of it, and not the one before it either', () => {
    const cache = filled(16 * 1000, { k: record(1, 'small') })
    assert.equal(found(cache, 'k'), 'small')
    cache.keep(cache.nameOf(storeKey(place(1, 'k'))), record(2, 'x'.repeat(1000)))
    assert.equal(found(cache, 'k'), undefined)
  })

  it('returns every record byte for byte, whatever its length', () => {
    for (const length of [0, 1, 60, 1003, 1004, 1005, 1006, 1007, 1008, 5000]) {
      const whole = record(1, 'x'.repeat(length))
      for (let i = whole.length - length; i < whole.length; i++) whole[i] = i * 37
      assert.equal(toHex(filled(MIB, { k: whole }).peek(storeKey(place(1, 'k')))!), toHex(whole))
    }
  })

  it('keeps a copy of a long record that is part of something larger, and the record itself otherwise', () => {
    const whole = record(1, 'x'.repeat(2000))
    const frame = new Uint8Array(10_000)
    frame.set(whole, 5000)
    const cache = filled(MIB, { a: whole, b: frame.subarray(5000, 5000 + whole.length) })
    const [a, b] = ['a', 'b'].map(key => cache.peek(storeKey(place(1, key)))!) as [RecordBytes, RecordBytes]
    assert.equal(a, whole)
    assert.equal(b.buffer.byteLength, whole.length)
    assert.equal(toHex(b), toHex(whole))
  })

  it('finds nothing of a partition that is being dropped or was, and keeps what is written afterwards, however often', () => {
    const cache = filled(MIB, { k: record(1, 'old') })
    const key = storeKey(place(1, 'k'))
    const other = cache.nameOf(storeKey(place(2, 'k')))
    cache.keep(other, record(1, 'other'))
    for (let i = 0; i < 60_000; i++) {
      const late = cache.readBegins(cache.nameOf(key))
      cache.dropping(1)
      assert.equal(cache.nameOf(key), undefined)
      assert.equal(cache.get(undefined), undefined)
      cache.keep(cache.nameOf(key), record(1, 'old'))
      cache.dropped(1)
      cache.readEnds(late, record(1, 'late'))
      assert.equal(cache.peek(key), undefined)
      cache.keep(cache.nameOf(key), record(i, 'new'))
      if (i % 1000 === 0) assert.equal(found(cache, 'k'), 'new')
      if (i === 1000) assert.equal(valueOf(cache.get(other)), 'other')
    }
  })
})

describe('an apply loop with a cache', () => {
  let store: SlowStore
  let turns: Turns
  let records: ApplyLoop

  function open(readsAtOnce: boolean): void {
    store = new SlowStore(readsAtOnce)
    turns = new Turns()
    records = new ApplyLoop({ store, clock: turns, cache: new RecordCache(MIB) })
  }

  async function rest(): Promise<void> {
    while (store.underWay > 0 || turns.waiting > 0) {
      if (store.underWay > 0) store.step(0, false)
      await turns.turn()
    }
  }

  async function write(key: string, hlc: number, value: string | undefined = `${key}@${hlc}`): Promise<void> {
    const written = apply(records, place(1, key), record(hlc, value))
    await rest()
    await written
  }

  it('reads what was written without asking the database, though the database reads later only', async () => {
    open(false)
    await write('a', 1)
    await write('b', 1)
    const read = records.get(place(1, 'a'))
    assert.ok(!(read instanceof Promise))
    assert.equal(valueOf(read), 'a@1')
    const both = records.getMany([place(1, 'b'), place(1, 'a')])
    assert.ok(Array.isArray(both))
    assert.deepEqual(
      both.map((each: Read) => valueOf(each as RecordBytes)),
      ['b@1', 'a@1']
    )
    // The look-ups of both writes went to the database.
    const { hits, misses, entries } = records.stats().cache
    assert.deepEqual([hits, misses, entries], [3, 2, 2])
  })

  it('asks the database only for those of a list that it has not, and keeps what it says', async () => {
    open(false)
    for (const key of ['a', 'b', 'c']) await write(key, 1)
    records = new ApplyLoop({ store, clock: turns, cache: new RecordCache(MIB) })
    for (const expected of [undefined, 'b@1']) {
      const read = Promise.resolve(records.get(place(1, 'b')))
      assert.equal(store.underWay, expected === undefined ? 1 : 0)
      await rest()
      assert.equal(valueOf(await read), 'b@1')
    }
    const keys = ['a', 'b', 'nothing', 'c'].map(key => place(1, key))
    const many = Promise.resolve(records.getMany(keys))
    await rest()
    assert.deepEqual(
      (await many).map(each => valueOf(each as RecordBytes)),
      ['a@1', 'b@1', undefined, 'c@1']
    )
    assert.ok(!(records.get(place(1, 'c')) instanceof Promise))
  })

  for (const [title, isUnderWay] of [
    ['before a write began', false],
    ['while a write was under way', true]
  ] as const) {
    it(`does not keep what a read brings that saw the database ${title} and comes back after it`, async () => {
      for (const many of [false, true]) {
        open(false)
        await write('a', 1)
        records = new ApplyLoop({ store, clock: turns, cache: new RecordCache(MIB) })
        const begin = (): Promise<unknown> =>
          Promise.resolve(many ? records.getMany([place(1, 'a')]) : records.get(place(1, 'a')))
        let early = isUnderWay ? undefined : begin()
        if (early !== undefined) store.step(0, false)
        const written = apply(records, place(1, 'a'), record(2, 'new'))
        await turns.turn()
        // The look-up of the write, which comes after the early read.
        for (let i = 0; i < 2; i++) store.step(isUnderWay ? 0 : 1, false)
        await settled()
        if (early === undefined) {
          early = begin()
          store.step(1, false)
        }
        const batch = isUnderWay ? 0 : 1
        for (let i = 0; i < 2; i++) store.step(batch, false)
        await written
        assert.equal(store.underWay, 1)
        await rest()
        await early
        const read = records.get(place(1, 'a'))
        assert.ok(!(read instanceof Promise))
        assert.equal(valueOf(read), 'new')
      }
    })
  }

  it('finds the old versions of a write in memory', async () => {
    open(false)
    await write('a', 1)
    const { misses } = records.stats().cache
    await write('a', 2)
    assert.equal(records.stats().cache.misses, misses)
    assert.equal(valueOf(await records.get(place(1, 'a'))), 'a@2')
  })

  it('does not keep what is only copied from another store', async () => {
    open(true)
    records.copy(place(1, 'a'), record(1, 'x'), () => {})
    await rest()
    assert.equal(records.stats().cache.entries, 0)
    assert.equal(valueOf(await records.get(place(1, 'a'))), 'x')
    assert.equal(records.stats().cache.entries, 1)
  })

  it('puts a record that has rotted on the medium back as it was, where a scan finds it, and reads it all the while', async () => {
    open(true)
    await write('a', 1)
    await write('b', 1)
    const [key] = [storeKey(place(1, 'a'))]
    const whole = store.valueOf(key)!
    const rotten = new Uint8Array(whole)
    rotten[rotten.length - 1]! ^= 1
    store.put(key, rotten)
    assert.equal(valueOf(await records.get(place(1, 'a'))), 'a@1')
    assert.equal(records.stats().corrupt, 0)
    const page = await records.page(1, undefined, 10)
    assert.deepEqual(
      page.map(each => valueOf(each.record)),
      ['b@1']
    )
    assert.deepEqual([records.stats().corrupt, records.stats().corruptLeft], [1, 1])
    await rest()
    assert.deepEqual([records.stats().corrupt, records.stats().corruptLeft], [1, 0])
    assert.equal(toHex(store.valueOf(key)!), toHex(whole))
    assert.equal((await records.page(1, undefined, 10)).length, 2)
  })

  it('does not put back what was deleted, or written anew, since it was found damaged', async () => {
    for (const hlc of [undefined, 2]) {
      open(true)
      await write('a', 1)
      const key = storeKey(place(1, 'a'))
      const rotten = new Uint8Array(store.valueOf(key)!)
      rotten[rotten.length - 1]! ^= 1
      store.put(key, rotten)
      if (hlc === undefined) records.remove(place(1, 'a'), record(1, 'a@1'), () => {})
      else records.apply(place(1, 'a'), record(hlc, 'new'), () => {})
      await records.page(1, undefined, 10)
      await rest()
      const stored = store.valueOf(key)
      assert.equal(valueOf(stored && SEALED.open(key, stored)), hlc === undefined ? undefined : 'new')
      assert.equal(records.stats().corruptLeft, 0)
    }
  })

  it('is never older than the database, whatever happens in which order', async () => {
    const KEYS = [place(1, 'a'), place(1, 'b'), place(2, 'c', 'other')]
    const key = fc.nat(KEYS.length - 1)
    const action = fc.oneof(
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('get' as const), key }) },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant('getMany' as const), keys: fc.array(key, { maxLength: 4 }) })
      },
      { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('apply', 'copy', 'remove'), key, hlc: fc.nat(9) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('drop' as const), partition: fc.constantFrom(1, 2) }) },
      {
        weight: 12,
        arbitrary: fc.record({ kind: fc.constant('step' as const), which: fc.nat(9), fails: fc.boolean() })
      },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('turn' as const) }) }
    )
    let hits = 0
    let reads = 0
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.array(action, { minLength: 20, maxLength: 120 }), async (atOnce, actions) => {
        open(atOnce)
        const running: Promise<unknown>[] = []
        const check = (place: RecordKey, since: number, read: Read): void => {
          assert.ok(!(read instanceof Error))
          const at = storeKey(place)
          const shown = store.since(at, since).map(value => value && toHex(SEALED.open(at, value)))
          assert.ok(shown.includes(read && toHex(read)), `${valueOf(read)} was not there`)
          reads++
        }
        const fine = (error: Error): void => assert.equal((error as { code?: string }).code ?? 'none', 'none')
        for (const each of actions) {
          const since = store.time
          if (each.kind === 'get') {
            const read = records.get(KEYS[each.key]!)
            if (read instanceof Promise) running.push(read.then(found => check(KEYS[each.key]!, since, found), fine))
            else check(KEYS[each.key]!, since, read)
          } else if (each.kind === 'getMany') {
            const places = each.keys.map(at => KEYS[at]!)
            const all = (found: readonly Read[]): void => found.forEach((read, i) => check(places[i]!, since, read))
            const read = records.getMany(places)
            if ('then' in read) running.push(read.then(all, fine))
            else all(read)
          } else if (each.kind === 'drop') {
            running.push(records.dropPartition(each.partition).catch(() => {}))
          } else if (each.kind === 'step') {
            store.step(each.which, each.fails && each.which === 0)
          } else if (each.kind === 'turn') {
            await turns.turn()
          } else {
            records[each.kind as 'apply'](KEYS[each.key]!, record(each.hlc, `v${each.hlc}`), () => {})
          }
          await settled()
        }
        await rest()
        await Promise.all(running)
        for (const each of KEYS) {
          const read = Promise.resolve(records.get(each))
          await rest()
          check(each, store.time, await read)
        }
        hits += records.stats().cache.hits
      }),
      { numRuns: 400 }
    )
    assert.ok(hits > 300 && reads > 3000, `${hits} hits of ${reads} reads`)
  })
})
