import assert from 'node:assert/strict'
import fc from 'fast-check'
import { toHex } from '../../../src/base/bytes.ts'
import { isKilovoltError, KilovoltError } from '../../../src/base/errors.ts'
import { encodeRecord, type RecordBytes } from '../../../src/model/record.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import { createCodec, type EncodingName } from '../../../src/node/encodings.ts'
import type { BackendOptions, BackendResults, BackendSource, KeyspaceBackend } from '../../../src/node/backend.ts'
import { NodeKeyspace } from '../../../src/node/node-keyspace.ts'

/** A map with the coordinator's verbs. */
class MapBackend implements KeyspaceBackend, BackendSource {
  readonly data = this
  get watches(): never {
    throw new Error('nobody watches here')
  }
  readonly records = new Map<string, RecordBytes>()
  readonly seen: BackendOptions[] = []
  refuse: ((key: string) => boolean) | undefined
  #hlc = 1

  async get(keyspace: Uint8Array, key: Uint8Array, options: BackendOptions): Promise<RecordBytes | undefined> {
    this.seen.push(options)
    return this.records.get(`${toHex(keyspace)}/${toHex(key)}`)
  }

  async put(
    keyspace: Uint8Array,
    key: Uint8Array,
    value: Uint8Array | undefined,
    options: BackendOptions
  ): Promise<{ existed: boolean }> {
    this.seen.push(options)
    const id = `${toHex(keyspace)}/${toHex(key)}`
    if (this.refuse?.(Buffer.from(key).toString()) === true)
      throw new KilovoltError('KV_TIMEOUT', 'too late', { retryable: true })
    const existed = this.records.has(id)
    if (value === undefined) this.records.delete(id)
    else this.records.set(id, encodeRecord({ stamp: { hlc: this.#hlc++, actor: '00112233445566ff' as Actor }, value }))
    return { existed }
  }

  getMany(
    keyspace: Uint8Array,
    keys: readonly Uint8Array[],
    options: BackendOptions
  ): Promise<BackendResults<RecordBytes>> {
    return each(keys, key => this.get(keyspace, key, options))
  }

  putMany(
    keyspace: Uint8Array,
    writes: readonly { key: Uint8Array; value: Uint8Array | undefined }[],
    options: BackendOptions
  ): Promise<BackendResults<{ existed: boolean }>> {
    return each(writes, ({ key, value }) => this.put(keyspace, key, value, options))
  }
}

async function each<T, R>(items: readonly T[], fn: (item: T) => Promise<R | undefined>): Promise<BackendResults<R>> {
  const settled = await Promise.allSettled(items.map(fn))
  const failures = new Map<number, unknown>()
  const results = settled.map((one, i) => {
    if (one.status === 'fulfilled') return one.value
    failures.set(i, one.reason)
  })
  return { results, failures }
}

describe('a keyspace', () => {
  it('hands on its own level, and a call’s instead when it names one', async () => {
    const backend = new MapBackend()
    const keyspace = new NodeKeyspace(backend, 'a', { consistency: 'one', w: 2 })
    await keyspace.get('k')
    await keyspace.put('k', 1)
    await keyspace.get('k', { consistency: 'all', timeoutMs: 7 })
    await keyspace.put('k', 1, { w: 1 })
    await new NodeKeyspace(backend, 'b').get('k')
    assert.deepEqual(
      backend.seen.map(({ requirement }) => requirement),
      ['one', 2, 'all', 1, 'quorum']
    )
    assert.equal(backend.seen[2]!.timeoutMs, 7)
  })

  it('reports the failures of a batch by key, and does the rest', async () => {
    const backend = new MapBackend()
    backend.refuse = key => key.startsWith('bad')
    const keyspace = new NodeKeyspace(backend, '')
    const operations = ['bad1', 'good', 'bad2'].map(key => ({ type: 'put', key, value: key }) as const)
    await assert.rejects(keyspace.batch(operations), error => {
      assert.ok(isKilovoltError(error, 'KV_BATCH_FAILED'))
      assert.deepEqual((error.details['failures'] as { key: string }[]).map(({ key }) => key).toSorted(), [
        'bad1',
        'bad2'
      ])
      assert.equal(error.retryable, true)
      return true
    })
    assert.equal(await keyspace.get('good'), 'good')
  })

  it('has its own copy of a whole batch before it waits for anything', async () => {
    const backend = new MapBackend()
    const keyspace = new NodeKeyspace<Uint8Array, Uint8Array>(backend, '', {
      keyEncoding: 'view',
      valueEncoding: 'view'
    })
    const operations = Array.from({ length: 1000 }, (_, i) => ({
      type: 'put' as const,
      key: Uint8Array.of(i >> 8, i & 255),
      value: Uint8Array.of(1)
    }))
    const done = keyspace.batch(operations)
    for (const { key, value } of operations) {
      key.fill(255)
      value.fill(0)
    }
    await done
    const values = await keyspace.getMany(Array.from({ length: 1000 }, (_, i) => Uint8Array.of(i >> 8, i & 255)))
    assert.ok(values.every(value => value?.[0] === 1))
  })

  it('reports a value of a batch that cannot be encoded like any other failure', async () => {
    const keyspace = new NodeKeyspace<unknown, string>(new MapBackend(), '')
    const put = keyspace.batch([
      { type: 'put', key: 'a', value: 1n },
      { type: 'put', key: 'b', value: 1 }
    ])
    await assert.rejects(put, error => isKilovoltError(error, 'KV_BATCH_FAILED') && error.message.includes('1 of 2'))
    assert.equal(await keyspace.get('b'), 1)
  })

  it('keeps the order of getMany however many there are', async () => {
    const keyspace = new NodeKeyspace<number, string>(new MapBackend(), '')
    const keys = Array.from({ length: 1000 }, (_, i) => `k${i}`)
    await keyspace.batch(keys.map((key, i) => ({ type: 'put', key, value: i })))
    assert.deepEqual(
      await keyspace.getMany(keys.toReversed()),
      keys.map((_, i) => 999 - i)
    )
  })

  it('says of a call on many keys as a whole what is wrong with the call, and asks for nothing', async () => {
    const backend = new MapBackend()
    const keyspace = new NodeKeyspace(backend, '')
    const puts = [{ type: 'put', key: 'a', value: 1 }] as const
    const signal = AbortSignal.abort()
    await assert.rejects(keyspace.batch(puts, { w: 0 }), { code: 'KV_CONFIG' })
    await assert.rejects(keyspace.batch(puts, { signal }), { code: 'KV_ABORTED' })
    await assert.rejects(keyspace.getMany(['a'], { ttl: 1 } as object), { code: 'KV_CONFIG' })
    await assert.rejects(keyspace.getMany([], { signal }), { code: 'KV_ABORTED' })
    await assert.rejects(keyspace.getMany(['a', 'b'.repeat(70_000)]), { code: 'KV_KEY_TOO_LARGE' })
    assert.deepEqual(backend.seen, [])
  })

  it('fails to read many with the error of the first key that could not be read', async () => {
    const backend = new MapBackend()
    const keyspace = new NodeKeyspace(backend, '')
    backend.get = async (_keyspace, key) => {
      throw new KilovoltError('KV_TIMEOUT', `not ${Buffer.from(key).toString()}`)
    }
    await assert.rejects(keyspace.getMany(['a', 'b']), { code: 'KV_TIMEOUT', message: /not a/u })
  })

  it('refuses a name that is too long, and r or w that are no counts', () => {
    const backend = new MapBackend()
    assert.throws(() => new NodeKeyspace(backend, 'ä'.repeat(33)), { code: 'KV_CONFIG' })
    assert.throws(() => new NodeKeyspace(backend, 'a', { r: 0 }), { code: 'KV_CONFIG' })
    assert.throws(() => new NodeKeyspace(backend, 'a', { w: 1.5 }), { code: 'KV_CONFIG' })
    assert.throws(() => new NodeKeyspace(backend, 'a', { valueEncoding: 'xml' as 'json' }), { code: 'KV_CONFIG' })
  })
})

describe('encodings', () => {
  it('give back what they were given', () => {
    const json = createCodec<unknown>('json', 'valueEncoding')
    fc.assert(
      fc.property(fc.jsonValue(), value =>
        assert.deepEqual(json.decode(json.encode(value)), JSON.parse(JSON.stringify(value)))
      )
    )
    const text = createCodec<string>('utf8', 'valueEncoding')
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), value => assert.equal(text.decode(text.encode(value)), value))
    )
    for (const mark of ['\u{feff}', '\u{feff}text']) assert.equal(text.decode(text.encode(mark)), mark)
    const view = createCodec<Uint8Array>('view', 'valueEncoding')
    fc.assert(fc.property(fc.uint8Array(), value => assert.deepEqual(view.decode(view.encode(value)), value)))
  })

  it('never share memory of a key, or of what is handed out, with the caller', () => {
    for (const name of ['view', 'buffer'] satisfies EncodingName[]) {
      const codec = createCodec<Uint8Array>(name, 'keyEncoding')
      const given = Buffer.from([1, 2, 3])
      const stored = codec.encode(given)
      given.fill(0)
      assert.deepEqual([...stored], [1, 2, 3])
      const handedOut = codec.decode(stored)
      handedOut.fill(0)
      assert.deepEqual([...stored], [1, 2, 3])
    }
  })

  it('name themselves when they fail', () => {
    const broken = createCodec<number>(
      {
        name: 'broken',
        encode: () => {
          throw new Error('no')
        },
        decode: () => {
          throw new Error('no')
        }
      },
      'valueEncoding'
    )
    assert.throws(() => broken.encode(1), { code: 'KV_ENCODING', message: /broken/u })
    assert.throws(() => broken.decode(new Uint8Array()), { code: 'KV_ENCODING', message: /broken/u })
    assert.throws(() => createCodec('json', 'valueEncoding').decode(Buffer.from('{')), { code: 'KV_ENCODING' })
    assert.throws(() => createCodec<unknown>('utf8', 'valueEncoding').encode(5), TypeError)
  })
})
