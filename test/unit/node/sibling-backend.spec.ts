import assert from 'node:assert/strict'
import { fromUtf8 } from '../../../src/base/bytes.ts'
import { KilovoltError } from '../../../src/base/errors.ts'
import type { RecordBytes } from '../../../src/model/record.ts'
import type { BackendOptions, BackendSource, KeyspaceBackend } from '../../../src/node/backend.ts'
import type { KeyspaceOptions } from '../../../src/node/keyspace-options.ts'
import { KeyTurns } from '../../../src/node/key-turns.ts'
import { NodeKeyspace } from '../../../src/node/node-keyspace.ts'
import { resolvers } from '../../../src/node/resolvers.ts'
import { systemClock } from '../../../src/runtime/system-clock.ts'
import { minted } from '../../support/siblings.ts'

/** What a keyspace with siblings asks of the coordinator; each answer takes some time. */
describe('the calls of a keyspace with siblings', () => {
  let nowMs: number
  let held: RecordBytes | undefined
  let asked: { readonly what: string; readonly options: BackendOptions }[]
  let refusals: number

  const data = {
    nowMs: 0,
    get: async (_keyspace, _key, options) => {
      asked.push({ what: 'get', options })
      nowMs += 60
      return held
    },
    mint: async (_keyspace, key, { value }, options) => {
      asked.push({ what: `mint ${fromUtf8(key)} ${value === undefined ? '' : fromUtf8(value)}`.trim(), options })
      nowMs += 10
      if (refusals-- > 0) throw new KilovoltError('KV_TOO_MANY_SIBLINGS', 'no')
      return { existed: true }
    }
  } as Pick<KeyspaceBackend, 'nowMs' | 'get' | 'mint'>

  beforeEach(() => {
    nowMs = 1000
    asked = []
    refusals = 0
    held = undefined
  })

  function open(options: KeyspaceOptions<number, string>): NodeKeyspace<number, string> {
    const turns = new KeyTurns({ ...systemClock, monotonicMs: () => nowMs }, { timeoutMs: 200 })
    return new NodeKeyspace<number, string>({ data, turns } as unknown as BackendSource, 'ks', options)
  }

  const times = (): (number | undefined)[] => asked.map(({ options }) => options.timeoutMs)

  it('end at their deadline, whatever they are made of', async () => {
    held = minted(undefined, 5, '1')
    const { signal } = new AbortController()
    assert.equal(await open({ conflicts: 'siblings' }).delete('x', { timeoutMs: 100, signal }), true)
    assert.deepEqual(times(), [100, 40])
    asked = []
    assert.equal(await open({ conflicts: 'siblings' }).delete('x'), true)
    assert.deepEqual(times(), [200, 140])
    asked = []
    held = minted(held, 6, '2', { actor: 2 })
    refusals = 1
    await open({ conflicts: resolvers.max }).put('x', 3, { timeoutMs: 100, signal })
    assert.deepEqual(
      asked.map(({ what }) => what),
      ['mint x 3', 'get', 'mint x 2', 'mint x 3']
    )
    assert.deepEqual(times(), [100, 90, 30, 20])
    assert.ok(asked.every(({ options }) => options.signal === signal))
    asked = []
    const batch = Array.from({ length: 4 }, (_, i) => ({ type: 'put', key: 'x', value: i }) as const)
    await open({ conflicts: 'siblings' }).batch(batch, { timeoutMs: 25, signal })
    assert.deepEqual(times(), [25, 15, 5, 1], 'of a batch as a whole')
  })

  it('make each write of a batch by itself, those of one key in their order', async () => {
    const keyspace = open({ conflicts: 'siblings' })
    await keyspace.batch([
      { type: 'del', key: 'x' },
      { type: 'put', key: 'y', value: 1 },
      { type: 'put', key: 'x', value: 2 },
      { type: 'put', key: 'y', value: 3 }
    ])
    const of = (key: string): string[] => asked.map(({ what }) => what).filter(what => what.includes(key))
    assert.deepEqual(of('y'), ['mint y 1', 'mint y 3'])
    assert.deepEqual(asked.map(({ what }) => what).sort(), ['get', 'mint x 2', 'mint y 1', 'mint y 3'])
    refusals = 1
    await assert.rejects(
      keyspace.batch([
        { type: 'put', key: 'x', value: 1 },
        { type: 'put', key: 'x', value: 2 }
      ]),
      { code: 'KV_BATCH_FAILED' }
    )
    assert.deepEqual(of('x').slice(-2), ['mint x 1', 'mint x 2'])
  })
})
