import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { MemoryLevel } from 'memory-level'
import { fromUtf8, toHex, utf8 } from '../../../src/base/bytes.ts'
import { decodeIndexValue, encodeIndexValue } from '../../../src/model/index-value.ts'
import { ALL_KEYS } from '../../../src/model/key-range.ts'
import { recordValue, type RecordBytes } from '../../../src/model/record.ts'
import { silentLogger } from '../../../src/runtime/logger.ts'
import { systemClock } from '../../../src/runtime/system-clock.ts'
import { ApplyLoop } from '../../../src/storage/apply-loop.ts'
import { IndexKeeper } from '../../../src/storage/index-keeper.ts'
import { Indexes } from '../../../src/storage/indexes.ts'
import {
  indexEntryKey,
  indexEntryRange,
  indexKey,
  indexRange,
  KeyKind,
  partitionOfKey
} from '../../../src/storage/key-layout.ts'
import { LevelStore } from '../../../src/storage/level-store.ts'
import type { Store } from '../../../src/storage/store.ts'
import { PartitionState, type IndexDefinition, type StoredIndex } from '../../../src/storage/stored-index.ts'
import { apply, place, record } from '../../conformance/record-store-suite.ts'
import { GatedStore } from '../../support/gated-store.ts'

const PARTITIONS = 8
const KS = utf8('ks')
const PIECE = { limit: 3, maxBytes: Infinity, isReverse: false }

/** Values are words of the text of a record; "bad" cannot be indexed. */
function words(version: number, isSlow = false): IndexDefinition {
  const valuesOf = (of: RecordBytes): readonly Uint8Array[] => {
    const text = recordValue(of)
    if (text === undefined) return []
    if (fromUtf8(text).includes('bad')) throw new Error('bad')
    const found = [...new Set(fromUtf8(text).split(' '))].map(word => `${word}${version}`)
    return found.map(encodeIndexValue)
  }
  return {
    keyspace: KS,
    name: 'words',
    fingerprint: new Uint8Array(16).fill(version),
    valuesOf: isSlow ? async of => valuesOf(of) : valuesOf
  }
}

/** A store with one life of a node over it. */
class Life {
  readonly indexes: Indexes
  readonly records: ApplyLoop
  readonly keeper: IndexKeeper
  readonly failures: unknown[] = []

  constructor(store: GatedStore) {
    this.indexes = new Indexes({
      store,
      partitions: PARTITIONS,
      onFailure: (_index, _key, error) => this.failures.push(error),
      onWork: () => this.keeper?.work()
    })
    this.records = new ApplyLoop({ store, clock: systemClock, indexes: this.indexes })
    this.keeper = new IndexKeeper({
      indexes: this.indexes,
      store,
      clock: systemClock,
      logger: silentLogger,
      alone: (partition, task) => this.records.alone(partition, task),
      rowsOf: (...where) => this.records.range(...where, PIECE),
      getMany: keys => this.records.getMany(keys),
      partitions: () => this.records.partitions(),
      turn: work => work()
    })
  }

  async start(): Promise<this> {
    await this.indexes.open()
    this.keeper.start()
    return this
  }

  async stop(): Promise<void> {
    await this.keeper.stop()
    await this.records.close()
  }

  get index(): StoredIndex {
    return this.indexes.find(KS, 'words')!
  }

  async ready(): Promise<void> {
    while (!this.index.isReady || this.indexes.dropped.size > 0) await new Promise(resolve => setTimeout(resolve, 1))
  }

  put(key: string, hlc: number, value: string | undefined): Promise<unknown> {
    return apply(this.records, { ...place(partitionOf(key), key), keyspace: KS }, record(hlc, value))
  }
}

/** A store whose writes fail when they are told to, and all of them once its process has ended. */
class FaultyStore implements Store {
  readonly permanent = true
  readonly readsAtOnce = false
  isOver = false
  readonly #base: Store
  #skip = 0
  #left = 0

  constructor(base: Store) {
    this.#base = base
  }

  /** After so many writes so many fail. */
  refuse(skip: number, count: number): void {
    this.#skip = skip
    this.#left = count
  }

  get: Store['get'] = key => this.#base.get(key)
  getMany: Store['getMany'] = (...asked) => this.#base.getMany(...asked)
  page: Store['page'] = (...asked) => this.#base.page(...asked)
  batch: Store['batch'] = (...given) => this.#refusal() ?? this.#base.batch(...given)
  clear: Store['clear'] = range => this.#refusal() ?? this.#base.clear(range)
  close: Store['close'] = async () => {}

  #refusal(): Promise<never> | undefined {
    if (!this.isOver) {
      if (this.#skip > 0) {
        this.#skip--
        return undefined
      }
      if (this.#left <= 0) return undefined
      this.#left--
    }
    return Promise.reject(new Error('the disk has failed'))
  }
}

function partitionOf(key: string): number {
  return key.charCodeAt(0) % PARTITIONS
}

describe('the indexes of a store', function () {
  this.timeout(60_000)

  let store: GatedStore
  let life: Life

  beforeEach(async () => {
    store = new GatedStore(await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' })), true)
    life = await new Life(store).start()
  })
  afterEach(() => life.stop())

  async function restart(): Promise<void> {
    await life.stop()
    life = await new Life(store).start()
  }

  /** "word key" of each entry, as a query would find them. */
  async function found(): Promise<string[]> {
    const { entries } = await life.indexes.page(life.index, ALL_KEYS, 10_000, false)
    return entries.map(({ entry, partition }) => {
      const { value, length } = decodeIndexValue(entry)
      const key = fromUtf8(entry.subarray(length))
      assert.equal(partition, partitionOf(key))
      return `${String(value)} ${key}`
    })
  }

  /** The same, of what the records make; whatever else lies in the store is told by its absence. */
  async function expected(version: number): Promise<string[]> {
    const names: string[] = []
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const { rows } = await life.records.range(partition, KS, ALL_KEYS, { ...PIECE, limit: 10_000 })
      for (const { key, record: of } of rows) {
        const text = of && recordValue(of)
        if (text === undefined || fromUtf8(text).includes('bad')) continue
        for (const word of new Set(fromUtf8(text).split(' '))) names.push(`${word}${version} ${fromUtf8(key)}`)
      }
    }
    return names.sort()
  }

  async function assertTrue(version: number): Promise<void> {
    await life.ready()
    assert.deepEqual((await found()).sort(), await expected(version))
    const all = await store.page({ gte: Uint8Array.of(KeyKind.INDEX_ENTRY), lt: Uint8Array.of(KeyKind.RAFT_LOG) }, 1e6)
    assert.equal(all.length, (await found()).length, 'entries of other indexes are left')
    assert.equal((await store.page(indexRange(), 100)).length, 1)
  }

  it('are written in the batch of their records, and are gone with them', async () => {
    life.indexes.define(words(1))
    await life.ready()
    await life.put('a', 1, 'red green')
    assert.deepEqual(await found(), ['green1 a', 'red1 a'])
    const { changes } = store.batches.at(-1)!
    assert.equal(changes.length, 3)
    await life.put('a', 2, 'red blue')
    assert.deepEqual(await found(), ['blue1 a', 'red1 a'])
    assert.equal(store.batches.at(-1)!.changes.length, 3)
    await life.put('a', 3, undefined)
    assert.deepEqual(await found(), [])
    await life.put('b', 3, 'red')
    await assertTrue(1)
  })

  it('cost nothing where a keyspace has none', async () => {
    assert.equal(life.indexes.isIdle, true)
    life.indexes.define(words(1))
    await life.ready()
    await apply(life.records, place(1, 'b'), record(1, 'red'))
    assert.deepEqual(store.batches.at(-1)!.changes.length, 1)
  })

  it('are built of what is there, and of what is written meanwhile', async () => {
    for (let i = 0; i < 40; i++) await life.put(`${String.fromCharCode(97 + (i % 9))}${i}`, 1, `red ${i}`)
    life.indexes.define(words(1, true))
    for (let i = 0; i < 40; i += 3) await life.put(`${String.fromCharCode(97 + (i % 9))}${i}`, 2, `blue ${i}`)
    await assertTrue(1)
    assert.ok(life.index.built >= 40)
  })

  it('are taken over by a later life, which makes up for what was written before their code was known', async () => {
    life.indexes.define(words(1))
    for (const key of ['a', 'b', 'c', 'd', 'e']) await life.put(key, 1, 'red')
    await life.ready()
    await restart()
    await life.put('b', 2, 'blue')
    await life.put('b', 3, 'green')
    await life.put('c', 2, undefined)
    await life.put('j', 1, 'new')
    assert.equal(life.indexes.find(KS, 'words'), undefined)
    life.indexes.define(words(1))
    assert.deepEqual(life.index.in(PartitionState.BEHIND), ['b', 'c'].map(partitionOf))
    await life.put('b', 4, 'green late')
    await assertTrue(1)
    assert.deepEqual(await found(), ['green1 b', 'late1 b', 'new1 j', 'red1 a', 'red1 d', 'red1 e'])
    assert.equal(life.index.built, 0)
  })

  it('are built anew where too much was written before their code was known, or by a life that never knew it', async () => {
    life.indexes.define(words(1))
    // What cannot be indexed is as long to remember.
    for (const key of ['a', 'b']) await life.put(key, 1, `bad ${'x'.repeat(9_000_000)}`)
    for (const key of ['c', 'd']) await life.put(key, 1, 'red')
    await life.ready()
    await restart()
    const [known] = [...life.indexes.all()]
    await life.put('a', 2, 'blue')
    assert.deepEqual([known!.in(PartitionState.BEHIND), known!.journal.isEmpty], [[partitionOf('a')], false])
    await life.put('b', 2, 'blue')
    assert.deepEqual([known!.in(PartitionState.STALE), known!.journal.isEmpty], [['a', 'b'].map(partitionOf), true])
    life.indexes.define(words(1))
    await assertTrue(1)
    await restart()
    await life.put('b', 4, 'blue')
    // And yet another one, that does not even hear of it.
    await restart()
    life.indexes.define(words(1))
    assert.deepEqual(life.index.in(PartitionState.STALE), [partitionOf('b')])
    await assertTrue(1)
    assert.equal(life.index.built, 1)
  })

  it('are built anew when their definition changes, and what they had is deleted', async () => {
    life.indexes.define(words(1))
    for (const key of ['a', 'b', 'c']) await life.put(key, 1, 'red green')
    await life.ready()
    assert.throws(() => life.indexes.define(words(2)), { code: 'KV_CONFIG' })
    await restart()
    life.indexes.define(words(2))
    await assertTrue(2)
    life.indexes.drop(life.index)
    while (life.indexes.dropped.size > 0) await new Promise(resolve => setTimeout(resolve, 1))
    assert.deepEqual(await store.page(indexRange(), 10), [])
    assert.equal(life.indexes.isIdle, true)
  })

  it('are not taken for whole when their definition comes back after another one was there', async () => {
    life.indexes.define(words(1))
    for (const key of ['a', 'b', 'c']) await life.put(key, 1, 'red')
    await life.ready()
    await life.stop()
    // A life that ends before it has come to delete what it has no use for, and in which others write.
    life = new Life(store)
    await life.indexes.open()
    life.indexes.define(words(2))
    await life.put('a', 2, 'blue')
    await restart()
    life.indexes.define(words(1))
    await assertTrue(1)
    assert.deepEqual(await found(), ['blue1 a', 'red1 b', 'red1 c'])
  })

  it('are not taken for whole when a crash has left a part of what was to be deleted', async () => {
    life.indexes.define(words(1))
    for (const key of ['a', 'b', 'c']) await life.put(key, 1, 'red')
    await life.ready()
    await restart()
    store.held.add('clear')
    life.indexes.define(words(2))
    while (store.waiting.length === 0) await new Promise(resolve => setTimeout(resolve, 1))
    store.held.clear()
    store.held.add('batch')
    store.release()
    while (store.waiting.length === 0) await new Promise(resolve => setTimeout(resolve, 1))
    store.held.clear()
    store.fail()
    await life.stop()
    life = await new Life(store).start()
    life.indexes.define(words(1))
    await assertTrue(1)
    assert.deepEqual(await found(), ['red1 a', 'red1 b', 'red1 c'])
  })

  it('lose the entries of a partition with its records, and those of no other', async () => {
    life.indexes.define(words(1))
    for (const key of ['a', 'i1', 'i2', 'i3', 'i4', 'b']) await life.put(key, 1, 'red')
    await life.ready()
    const dropped = life.records.dropPartition(partitionOf('a'))
    const late = life.put('a', 5, 'late')
    await Promise.all([dropped, late])
    assert.deepEqual(await found(), ['late1 a', 'red1 b'])
    await assertTrue(1)
    // Nobody knows any more how they came about: they are deleted when somebody does.
    await restart()
    await life.records.dropPartition(partitionOf('a'))
    life.indexes.define(words(1))
    await assertTrue(1)
    assert.deepEqual(await found(), ['red1 b'])
  })

  it('leave out what their code cannot make values of, tell of the first, and count all', async () => {
    life.indexes.define(words(1))
    await life.ready()
    await life.put('a', 1, 'bad')
    await life.put('b', 1, 'bad luck')
    await life.put('b', 2, 'good luck')
    await life.put('c', 1, 'good')
    assert.deepEqual(await found(), ['good1 b', 'good1 c', 'luck1 b'])
    assert.deepEqual([life.failures.length, life.index.failed], [1, 2])
    assert.equal(
      fromUtf8(recordValue((await life.records.get({ partition: partitionOf('a'), keyspace: KS, key: utf8('a') }))!)!),
      'bad'
    )
  })

  it('are built anew when an entry is damaged, or what is known of them is', async () => {
    life.indexes.define(words(1))
    for (const key of ['a', 'b', 'c']) await life.put(key, 1, 'red')
    await life.ready()
    const { id } = life.index
    const entry = indexEntryKey(id!, encodeIndexValue('red1'), utf8('b'))
    await store.batch([{ key: entry, value: Uint8Array.of(1, 2, 3, 4, 5, 6) }], { sync: false })
    assert.deepEqual(await found(), [])
    await assertTrue(1)
    assert.notEqual(life.index.id, id)
    await store.batch([{ key: indexKey(life.index.id!), value: Uint8Array.of(1) }], { sync: false })
    await restart()
    life.indexes.define(words(1))
    await assertTrue(1)
    assert.deepEqual(await found(), ['red1 a', 'red1 b', 'red1 c'])
  })

  it('go on when the store has refused a write', async () => {
    life.indexes.define(words(1))
    await life.ready()
    await restart()
    // The note that a partition is not kept up is written with the next batch, as this one was not.
    store.held.add('batch')
    const refused = life.put('a', 1, 'red')
    while (store.waiting.length === 0) await new Promise(resolve => setTimeout(resolve, 1))
    store.held.delete('batch')
    store.fail(new Error('full'))
    await assert.rejects(refused, { code: 'KV_STORAGE' })
    await life.put('a', 2, 'blue')
    await restart()
    life.indexes.define(words(1))
    await assertTrue(1)
    assert.deepEqual(await found(), ['blue1 a'])
  })

  it('have the entries of the records, and no others, whatever happens', async () => {
    const key = fc.constantFrom('a', 'a1', 'a2', 'a3', 'a4', 'b', 'c', 'i')
    const step = fc.oneof(
      {
        weight: 10,
        arbitrary: fc.record({
          kind: fc.constant('put'),
          key,
          value: fc.constantFrom('red', 'red green', 'bad', undefined)
        })
      },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('remove'), key }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('drop'), key }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('restart') }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('define') }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('rest') }) }
    ) as fc.Arbitrary<{ kind: string; key?: string; value?: string }>
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 40 }),
        fc.constantFrom(1, 2),
        fc.boolean(),
        async (steps, other, isSlow) => {
          await life.stop()
          store = new GatedStore(await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' })), true)
          life = await new Life(store).start()
          life.indexes.define(words(1))
          let version = 1
          let hlc = 0
          const writes: Promise<unknown>[] = []
          for (const { kind, key: name = '', value } of steps) {
            const at = { partition: partitionOf(name || 'a'), keyspace: KS, key: utf8(name) }
            if (kind === 'put') writes.push(life.put(name, ++hlc, value))
            else if (kind === 'drop') writes.push(life.records.dropPartition(at.partition))
            else if (kind === 'rest') await new Promise(resolve => setTimeout(resolve, 1))
            else if (kind === 'define' && life.indexes.find(KS, 'words') === undefined)
              life.indexes.define(words(version, isSlow))
            else if (kind === 'remove') {
              const held = await life.records.get(at)
              if (held !== undefined)
                writes.push(new Promise<void>(done => life.records.remove(at, held, () => done())))
            } else if (kind === 'restart') {
              await restart()
              version = version === 1 ? other : 1
            }
          }
          await Promise.all(writes)
          const known = life.indexes.find(KS, 'words')
          if (known === undefined) life.indexes.define(words(version, isSlow))
          await assertTrue(life.index.fingerprint[0]!)
        }
      ),
      { numRuns: 300 }
    )
  })

  it('are not taken for whole when a partition was written to after it could not be deleted', async () => {
    const base = await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' }))
    const faulty = new FaultyStore(base)
    await life.stop()
    life = await new Life(new GatedStore(faulty, true)).start()
    life.indexes.define(words(1))
    await life.ready()
    faulty.refuse(0, 1)
    await assert.rejects(life.records.dropPartition(partitionOf('a')), { code: 'KV_STORAGE' })
    const written = life.put('a', 1, 'red')
    await written
    faulty.isOver = true
    await life.stop()
    store = new GatedStore(base, true)
    life = await new Life(store).start()
    life.indexes.define(words(1))
    await assertTrue(1)
    assert.deepEqual(await found(), ['red1 a'])
  })

  it('are never taken for whole when they are not, whichever write fails and wherever the process ends', async () => {
    const key = fc.constantFrom('a', 'a1', 'a2', 'a3', 'b', 'c', 'i')
    const step = fc.oneof(
      {
        weight: 10,
        arbitrary: fc.record({ kind: fc.constant('put'), key, value: fc.constantFrom('red', 'blue bad', undefined) })
      },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('drop'), key }) },
      {
        weight: 3,
        arbitrary: fc.record({ kind: fc.constant('refuse'), skip: fc.nat(4), count: fc.integer({ min: 1, max: 3 }) })
      },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('crash'), skip: fc.nat(6), knows: fc.boolean() }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('define') }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('rot') }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('rest') }) }
    ) as fc.Arbitrary<{
      readonly kind: string
      readonly key?: string
      readonly value?: string
      readonly skip?: number
      readonly count?: number
      readonly knows?: boolean
    }>
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.boolean(), async (steps, isSlow) => {
        await life.stop()
        const base = await LevelStore.open(new MemoryLevel({ storeEncoding: 'view' }))
        let faulty = new FaultyStore(base)
        const begin = async (): Promise<void> => {
          faulty = new FaultyStore(base)
          store = new GatedStore(faulty, true)
          life = await new Life(store).start()
        }
        const rest = (): Promise<void> => new Promise(resolve => setTimeout(resolve, 1))
        const crash = async (): Promise<void> => {
          faulty.isOver = true
          await life.stop()
          await begin()
        }
        await begin()
        life.indexes.define(words(1, isSlow))
        let hlc = 0
        for (const { kind, key: name = '', value, skip = 0, count = 0, knows = false } of steps) {
          if (kind === 'put') void life.put(name, ++hlc, value).catch(() => {})
          else if (kind === 'drop') void life.records.dropPartition(partitionOf(name)).catch(() => {})
          else if (kind === 'rest') await rest()
          else if (kind === 'define') life.indexes.define(words(1, isSlow))
          else if (kind === 'refuse') faulty.refuse(skip, count)
          else if (kind === 'rot') {
            const { index } = life
            const some = index?.id === undefined ? [] : await base.page(indexEntryRange(index.id, ALL_KEYS), 1)
            for (const [entry] of some) await base.batch([{ key: entry, value: Uint8Array.of(1) }], { sync: false })
            if (index !== undefined) void life.indexes.page(index, ALL_KEYS, 10, false)
          } else if (kind === 'crash') {
            faulty.refuse(skip, Infinity)
            await rest()
            await crash()
            if (knows) life.indexes.define(words(1, isSlow))
          }
        }
        await rest()
        faulty.refuse(0, 0)
        await crash()
        life.indexes.define(words(1, isSlow))
        await life.ready()
        // What is damaged is noticed when it is read.
        await found()
        await assertTrue(1)
      }),
      { numRuns: 400 }
    )
  })

  it('lie where nothing else does', () => {
    const key = indexEntryKey(0xfedcba98, encodeIndexValue('a'), utf8('k'))
    const range = indexEntryRange(0xfedcba98, ALL_KEYS)
    assert.ok(toHex(range.gte) <= toHex(key) && toHex(key) < toHex(range.lt!))
    assert.equal(toHex(key).slice(0, 10), '19fedcba98')
    assert.equal(partitionOfKey(Uint8Array.of(0x10, 1, 2)), 258)
  })
})
