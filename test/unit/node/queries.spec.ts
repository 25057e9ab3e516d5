import assert from 'node:assert/strict'
import { concatBytes, utf8 } from '../../../src/base/bytes.ts'
import { encodeIndexValue } from '../../../src/model/index-value.ts'
import type { ByteRange } from '../../../src/model/key-range.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import { encodeRecord, type RecordBytes } from '../../../src/model/record.ts'
import type { BackendOptions, BackendSource } from '../../../src/node/backend.ts'
import { indexDefinitions } from '../../../src/node/index-definitions.ts'
import type { IndexDoor } from '../../../src/node/index-door.ts'
import type { KeyspaceOptions } from '../../../src/node/keyspace-options.ts'
import type { Keyspace } from '../../../src/node/keyspace.ts'
import { NodeKeyspace } from '../../../src/node/node-keyspace.ts'
import type { IndexDefinition } from '../../../src/storage/stored-index.ts'
import { createTestCluster } from '../../../src/testing/index.ts'

const stamp = { hlc: 1, actor: '00112233445566ff' as Actor }

function recordOf(value: unknown): RecordBytes {
  return encodeRecord({ stamp, value: value === undefined ? undefined : utf8(JSON.stringify(value)) })
}

/** What a keyspace defines and asks. */
class Door implements IndexDoor {
  readonly defined: IndexDefinition[] = []
  readonly asked: { readonly range: ByteRange; readonly options: BackendOptions; readonly isReverse: boolean }[] = []
  closed = 0

  define(_keyspace: Uint8Array, definitions: readonly IndexDefinition[]): void {
    this.defined.push(...definitions)
  }

  find(_keyspace: Uint8Array, name: string): IndexDefinition | undefined {
    return this.defined.find(definition => definition.name === name)
  }

  query(...[, range, options, isReverse]: Parameters<IndexDoor['query']>): ReturnType<IndexDoor['query']> {
    this.asked.push({ range, options, isReverse })
    let left = [1, 2, 3]
    return {
      next: async rows => {
        const some = left.slice(0, rows)
        left = left.slice(rows)
        return some.map(age => {
          const key = utf8(`k${age}`)
          return { entry: concatBytes([encodeIndexValue(age), key]), key, record: recordOf({ age }) }
        })
      },
      breathe: () => undefined,
      close: () => this.closed++
    }
  }
}

function open(door: Door, options: KeyspaceOptions<{ age: number }, string>): NodeKeyspace<{ age: number }, string> {
  return new NodeKeyspace<{ age: number }, string>({ indexes: door } as unknown as BackendSource, 'ks', options)
}

describe('queries of a keyspace', () => {
  const byAge = (value: { age: number }): number => value.age

  it('find values with their keys and what they were found by, in pages and up to a limit', async () => {
    const door = new Door()
    const users = open(door, { indexes: { byAge }, r: 2 })
    const query = users.query('byAge', { gte: 1, reverse: true, limit: 2, pageSize: 1, timeoutMs: 77 })
    assert.deepEqual(await query.all(), [
      { key: 'k1', value: { age: 1 }, index: 1 },
      { key: 'k2', value: { age: 2 }, index: 2 }
    ])
    const { range, options, isReverse } = door.asked[0]!
    assert.deepEqual(range, { from: encodeIndexValue(1), to: Uint8Array.of(0x30) })
    assert.deepEqual([options.requirement, options.timeoutMs, isReverse, door.closed], [2, 77, true, 1])
    await users.query('byAge', { reverse: true, after: query.token!, consistency: 'one' }).all()
    assert.deepEqual(door.asked[1]!.range.to, concatBytes([encodeIndexValue(2), utf8('k2')]))
    assert.equal(door.asked[1]!.options.requirement, 'one')
    assert.throws(() => users.query('byAge', { after: query.token! }), { code: 'KV_TOKEN' })
    const aborted = users.query('byAge', { signal: AbortSignal.abort() })
    await assert.rejects(aborted.next(), { code: 'KV_ABORTED' })
  })

  it('are refused when no such index is defined, or with options that no query can have', () => {
    const users = open(new Door(), { indexes: { byAge } })
    assert.throws(() => users.query('byName'), { code: 'KV_CONFIG', message: /byName/u })
    const wrong: readonly object[] = [
      { equal: 5 },
      { equals: 5, gt: 4 },
      { equals: undefined },
      { equals: NaN },
      { equals: {} },
      { equals: 'x'.repeat(2000) },
      { gt: null },
      { prefix: 5 },
      { reverse: 1 },
      { limit: -1 },
      { limit: 1.5 },
      { pageSize: 0 },
      { pageSize: 20_000 },
      { consistency: 'most' },
      { r: 0 },
      { timeoutMs: 0 }
    ]
    for (const options of wrong) {
      assert.throws(() => users.query('byAge', options), { code: 'KV_CONFIG' }, JSON.stringify(options))
    }
    assert.throws(() => users.query('byAge', { after: 'nothing' }), { code: 'KV_TOKEN' })
  })
})

describe('the indexes of a keyspace', () => {
  it('are refused when they are none', () => {
    const many = Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`i${i}`, () => i]))
    const wrong = [
      5,
      null,
      [() => 5],
      { byAge: 5 },
      { byAge: null },
      { byAge: {} },
      { byAge: { of: 5, version: 1 } },
      { byAge: { of: () => 5 } },
      { byAge: { of: () => 5, version: NaN } },
      { byAge: { of: () => 5, version: 1, more: 1 } },
      { '': () => 5 },
      { '\ud83d': () => 5 },
      { ['x'.repeat(65)]: () => 5 },
      many
    ]
    for (const indexes of wrong) {
      const options = { indexes } as unknown as KeyspaceOptions<{ age: number }, string>
      assert.throws(() => open(new Door(), options), { code: 'KV_CONFIG' }, JSON.stringify(indexes))
    }
  })

  it('have a fingerprint that is that of the text of a function, or of a version', () => {
    const of = (indexes: unknown): string[] =>
      indexDefinitions(utf8('ks'), indexes, () => 5).map(({ fingerprint }) => Buffer.from(fingerprint).toString('hex'))
    const [a] = of({ a: () => 5 })
    assert.deepEqual([of({ b: () => 5 }), a!.length], [[a], 32])
    assert.notEqual(of({ a: () => 6 })[0], a)
    const [one] = of({ a: { of: () => 5, version: 1 } })
    assert.deepEqual(of({ a: { of: () => 6, version: 1 } }), [one])
    for (const version of [2, '1', '']) assert.notEqual(of({ a: { of: () => 5, version } })[0], one)
  })

  it('are refused where the text of a function tells nothing, unless they have a version', () => {
    const double = function (this: { by: number }, n: number): number {
      return n * this.by
    }
    const define = (a: unknown): unknown => indexDefinitions(utf8('ks'), { a }, () => 5)
    // All of them have the same text.
    for (const of of [double.bind({ by: 2 }), double.bind({ by: 3 }), String, Math.abs])
      assert.throws(() => define(of), { code: 'KV_CONFIG' })
    define({ of: double.bind({ by: 2 }), version: 1 })
    define(() => '[native code]')
  })

  it('end no process when a function answers by a promise that fails', async () => {
    const heard: unknown[] = []
    const listen = (error: unknown): void => void heard.push(error)
    process.on('unhandledRejection', listen)
    try {
      const [one] = indexDefinitions(utf8('ks'), { a: async () => Promise.reject(new Error('no')) }, () => 1)
      assert.throws(() => one!.valuesOf(recordOf(1)), TypeError)
      const many = indexDefinitions(utf8('ks'), { a: () => [Promise.reject(new Error('no'))] }, () => 1)
      assert.throws(() => many[0]!.valuesOf(recordOf(1)), TypeError)
      await new Promise(resolve => setTimeout(resolve, 5))
    } finally {
      process.off('unhandledRejection', listen)
    }
    assert.deepEqual(heard, [])
  })

  it('decode what a change is about once, however many they are', () => {
    const decoded: RecordBytes[] = []
    const count = (record: RecordBytes): number => decoded.push(record)
    const [a, b] = indexDefinitions(utf8('ks'), { a: (n: number) => n, b: (n: number) => -n }, count)
    const [before, after] = [recordOf(1), recordOf(2)]
    const values = [a!, b!].flatMap(({ valuesOf }) => [valuesOf(before), valuesOf(after)])
    assert.deepEqual(
      values,
      [1, 2, -1, -2].map(n => [encodeIndexValue(n)])
    )
    assert.deepEqual(decoded, [before, after])
    assert.deepEqual(a!.valuesOf(recordOf(3)), [encodeIndexValue(3)])
    assert.equal(decoded.length, 3)
  })

  it('make values of records: one, several each once, or none; at once unless the value has to be waited for', async () => {
    const values = (made: unknown, isSlow = false): readonly Uint8Array[] | Promise<readonly Uint8Array[]> =>
      indexDefinitions(utf8('ks'), { a: () => made }, () => (isSlow ? Promise.resolve(1) : 1))[0]!.valuesOf(recordOf(1))
    assert.deepEqual(values('a'), [encodeIndexValue('a')])
    assert.deepEqual(values(['a', null, 5, 'a', undefined]), ['a', 5].map(encodeIndexValue))
    for (const none of [undefined, null, []]) assert.deepEqual(values(none), [])
    assert.deepEqual(await values('a', true), [encodeIndexValue('a')])
    assert.throws(() => values(Array.from({ length: 257 }, (_, i) => i)), RangeError)
    for (const wrong of [{}, [[1]], NaN, Promise.resolve(1)]) assert.throws(() => values(wrong), TypeError)
    const [definition] = indexDefinitions(utf8('ks'), { a: () => 1 }, () => assert.fail('there is no value'))
    assert.deepEqual(definition!.valuesOf(recordOf(undefined)), [])
  })
})

describe('an index that an earlier life of a node has left', () => {
  for (const [afterMs, isKept] of [
    [3_000_000, true],
    [4_200_000, false]
  ] as const) {
    it(`is ${isKept ? 'kept' : 'dropped'} ${afterMs / 60_000} minutes after its keyspace was opened without it`, async () => {
      const cluster = await createTestCluster(1, { disk: true })
      const open = (): Keyspace<number> =>
        cluster.node(0).keyspace<number>('k', { indexes: { byValue: (value: number) => value } })
      try {
        await cluster.run(open().put('a', 1))
        await cluster.advance(1000)
        cluster.crash(0)
        cluster.restart(0)
        await cluster.settled()
        cluster.node(0).keyspace('k')
        await cluster.advance(afterMs)
        open()
        await cluster.advance(1000)
        const known = cluster.node(0).status().indexes
        assert.deepEqual(
          known.map(({ state, built }) => [state, built]),
          [['ready', isKept ? 0 : 1]]
        )
      } finally {
        await cluster.stop()
      }
    }).timeout(60_000)
  }
})
