import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import * as z from 'zod'
import { toHex } from '../../../src/base/bytes.ts'
import { isKilovoltError, KilovoltError } from '../../../src/base/errors.ts'
import { encodeRecord, isPacked, type RecordBytes } from '../../../src/model/record.ts'
import type { Actor } from '../../../src/model/node-id.ts'
import { createCodec, type EncodingName } from '../../../src/node/encodings.ts'
import type {
  BackendOptions,
  BackendResults,
  BackendScan,
  BackendSource,
  BackendWrite,
  KeyspaceBackend
} from '../../../src/node/backend.ts'
import { resolved } from '../../../src/node/conflicts.ts'
import { KeyTurns } from '../../../src/node/key-turns.ts'
import { Packing } from '../../../src/node/packing.ts'
import { systemClock } from '../../../src/runtime/system-clock.ts'
import { loadZstd } from '../../../src/runtime/zstd.ts'
import { NodeKeyspace } from '../../../src/node/node-keyspace.ts'
import { SimWorld } from '../../../src/testing/sim-world.ts'

/** A map with the coordinator's verbs. */
class MapBackend implements KeyspaceBackend, BackendSource {
  readonly data = this
  readonly turns = new KeyTurns(new SimWorld().clock('n'), { timeoutMs: 1000 })
  readonly nowMs = 0
  readonly packing = new Packing(systemClock, loadZstd)
  get indexes(): never {
    throw new Error('there are none here')
  }
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
    const { packed } = options
    const id = `${toHex(keyspace)}/${toHex(key)}`
    if (this.refuse?.(Buffer.from(key).toString()) === true)
      throw new KilovoltError('KV_TIMEOUT', 'too late', { retryable: true })
    const existed = this.records.has(id)
    if (value === undefined) this.records.delete(id)
    else {
      const stamp = { hlc: this.#hlc++, actor: '00112233445566ff' as Actor }
      this.records.set(id, encodeRecord({ stamp, value, packed }))
    }
    return { existed }
  }

  async mint(): Promise<never> {
    throw new KilovoltError('KV_INTERNAL', 'siblings are looked at where there are copies')
  }

  async write(): Promise<never> {
    throw new KilovoltError('KV_INTERNAL', 'conditional writes are looked at where there are copies')
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
    writes: readonly BackendWrite[],
    options: BackendOptions
  ): Promise<BackendResults<{ existed: boolean }>> {
    return each(writes, ({ key, value, packed }) => this.put(keyspace, key, value, { ...options, packed }))
  }

  /** The same records, as another node has them. */
  reader(): MapBackend {
    const other = new MapBackend()
    for (const [key, record] of this.records) other.records.set(key, record)
    return other
  }

  scan(): BackendScan {
    throw new Error('scans are tried elsewhere')
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

  it('sends nothing of a batch of which something cannot be encoded, and says what', async () => {
    const backend = new MapBackend()
    const keyspace = new NodeKeyspace<unknown, string>(backend, '')
    const put = keyspace.batch([
      { type: 'put', key: 'a', value: 1n },
      { type: 'put', key: 'b', value: 1 }
    ])
    await assert.rejects(put, error => isKilovoltError(error, 'KV_BATCH_FAILED') && error.message.includes('1 of 2'))
    assert.deepEqual(backend.seen, [])
    assert.equal(await keyspace.get('b'), undefined)
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

  it('tells whose value it is that cannot be stored, and keeps the key out of the message', async () => {
    const circle: { self?: unknown } = {}
    circle.self = circle
    const thrown = new TypeError('no such thing')
    const broken = () => {
      throw thrown
    }
    const schema = (validate: () => unknown) => ({ '~standard': { version: 1, vendor: 'x', validate } }) as never
    const custom = { name: 'mine', encode: broken, decode: broken }
    const values: readonly [options: object, value: unknown, code: string, message: RegExp][] = [
      [
        {},
        circle,
        'KV_ENCODING',
        /^could not encode a value of keyspace "things" as json \(Converting circular .*\)$/u
      ],
      [{}, { big: 1n }, 'KV_ENCODING', /as json \(.*BigInt\)$/u],
      [{}, 1n, 'KV_ENCODING', /as json \(.*BigInt\)$/u],
      [{}, { toJSON: broken }, 'KV_ENCODING', /\(no such thing\)$/u],
      [{}, 'x'.repeat(9_000_000), 'KV_VALUE_TOO_LARGE', /8388608|8 MiB/u],
      [{ valueEncoding: 'structured' }, circle, 'KV_ENCODING', /as structured/u],
      [{ valueEncoding: 'structured' }, { f: broken }, 'KV_ENCODING', /as structured/u],
      [{ valueEncoding: 'structured' }, Promise.resolve(), 'KV_ENCODING', /as structured/u],
      [{ valueEncoding: custom }, 1, 'KV_ENCODING', /as mine \(no such thing\)$/u],
      [{ schema: z.number() }, 'text', 'KV_INVALID_VALUE', /things/u],
      [{ schema: schema(broken) }, 1, 'KV_INVALID_VALUE', /threw: no such thing$/u],
      [{ schema: schema(() => undefined) }, 1, 'KV_CONFIG', /neither a value nor issues/u]
    ]
    const backend = new MapBackend()
    for (const [options, value, code, message] of values) {
      const keyspace = new NodeKeyspace<unknown, string>(backend, 'things', options)
      const told = (error: unknown): boolean => {
        assert.ok(isKilovoltError(error, code as never), String(error))
        assert.match(error.message, message)
        assert.doesNotMatch(error.message, /secret-key|\n/u)
        assert.equal(error.details['key'], 'secret-key')
        if (error.message.includes('no such thing')) assert.equal(error.cause, thrown)
        return true
      }
      await assert.rejects(keyspace.put('secret-key', value), told)
      await assert.rejects(keyspace.putIfAbsent('secret-key', value), told)
      await assert.rejects(keyspace.batch([{ type: 'put', key: 'secret-key', value }]), error => {
        assert.ok(isKilovoltError(error, 'KV_BATCH_FAILED'))
        const [failure] = error.details['failures'] as [{ key: string; error: unknown }]
        return failure.key === 'secret-key' && told(failure.error)
      })
    }
    assert.equal(backend.records.size, 0)
  })

  it('tells whose value it is that cannot be decoded', async () => {
    const backend = new MapBackend()
    await new NodeKeyspace<string, string>(backend, '', { valueEncoding: 'utf8' }).put('k', 'no JSON')
    const keyspace = new NodeKeyspace<unknown, string>(backend, '')
    for (const read of [keyspace.get('k'), keyspace.getEntry('k'), keyspace.getMany(['k'])]) {
      await assert.rejects(read, error => isKilovoltError(error, 'KV_ENCODING') && error.details['key'] === 'k')
    }
    const failing = (): never => {
      throw new Error('cannot merge')
    }
    const resolver = { code: 'KV_RESOLVER', details: { key: 'k' } }
    assert.throws(() => resolved(failing, [1, 2], 'k', 'things'), resolver)
    const ids = new NodeKeyspace<unknown, unknown>(backend, '', { keyEncoding: 'json' })
    assert.throws(() => ids.keys({ gt: 1n }), { code: 'KV_ENCODING', message: /^"gt": could not encode a key/u })
  })

  it('tells of each key that could not be read or decoded, and what the others are', async () => {
    const backend = new MapBackend()
    const keyspace = new NodeKeyspace<unknown, string>(backend, '')
    await keyspace.batch(['a', 'b', 'c'].map(key => ({ type: 'put', key, value: `${key}!` })))
    await new NodeKeyspace<string, string>(backend, '', { valueEncoding: 'utf8' }).put('d', 'no JSON')
    const read = backend.get.bind(backend)
    backend.get = async (name, key, options) => {
      if (Buffer.from(key).toString() === 'b') throw new KilovoltError('KV_TIMEOUT', 'late', { retryable: true })
      return read(name, key, options)
    }
    await assert.rejects(keyspace.getMany(['d', 'c', 'b', 'a']), error => {
      assert.ok(isKilovoltError(error, 'KV_ENCODING'), String(error))
      const failures = error.details['failures'] as { key: string; error: { code: string } }[]
      assert.deepEqual(
        failures.map(({ key, error: { code } }) => [key, code]),
        [
          ['d', 'KV_ENCODING'],
          ['b', 'KV_TIMEOUT']
        ]
      )
      assert.deepEqual(error.details['values'], [undefined, 'c!', undefined, 'a!'])
      assert.match(error.message, /2 of 4 keys failed \(KV_ENCODING, KV_TIMEOUT\)/u)
      assert.equal(error.retryable, false)
      return true
    })
    await assert.rejects(keyspace.getMany(['b']), { code: 'KV_TIMEOUT', retryable: true })
  })

  it('refuses a name that is too long, and r or w that are no counts', () => {
    const backend = new MapBackend()
    assert.throws(() => new NodeKeyspace(backend, 'ä'.repeat(33)), { code: 'KV_CONFIG' })
    assert.throws(() => new NodeKeyspace(backend, '\ud800'), { code: 'KV_CONFIG' })
    assert.throws(() => new NodeKeyspace(backend, 'a', { r: 0 }), { code: 'KV_CONFIG' })
    assert.throws(() => new NodeKeyspace(backend, 'a', { w: 1.5 }), { code: 'KV_CONFIG' })
    assert.throws(() => new NodeKeyspace(backend, 'a', { valueEncoding: 'xml' as 'json' }), { code: 'KV_CONFIG' })
  })

  it('names each option that is wrong, whatever it is: big integers, symbols, objects without a text', async () => {
    const keyspace = new NodeKeyspace<string, string>(new MapBackend(), 'a')
    const bare: unknown = Object.create(null)
    for (const wrong of [3n, Symbol('three'), bare, '3']) {
      for (const name of ['timeoutMs', 'r', 'consistency']) {
        const named = { code: 'KV_CONFIG', message: new RegExp(`"${name}"`, 'u') }
        await assert.rejects(keyspace.get('k', { [name]: wrong }), named)
        if (name !== 'timeoutMs') assert.throws(() => new NodeKeyspace(new MapBackend(), 'a', { [name]: wrong }), named)
      }
      for (const name of ['limit', 'pageSize'])
        assert.throws(() => keyspace.keys({ [name]: wrong }), { code: 'KV_CONFIG' })
      for (const option of ['ttl', 'compressAbove', 'compression']) {
        assert.throws(() => new NodeKeyspace(new MapBackend(), 'a', { [option]: wrong }), { code: 'KV_CONFIG' })
      }
      await assert.rejects(keyspace.batch([{ type: wrong as 'del', key: 'k' }]), /a batch operation is/u)
    }
  })

  it('suggests the option that was meant', async () => {
    const keyspace = new NodeKeyspace<string, string>(new MapBackend(), 'a')
    const meant = (name: string): object => ({ code: 'KV_CONFIG', message: new RegExp(`did you mean "${name}"`, 'u') })
    await assert.rejects(keyspace.get('k', { timeoutms: 5 } as object), meant('timeoutMs'))
    assert.throws(() => keyspace.keys({ limits: 5 } as object), meant('limit'))
    assert.throws(() => new NodeKeyspace(new MapBackend(), 'a', { consistancy: 'one' } as object), meant('consistency'))
  })
})

describe('a keyspace that compresses', () => {
  const text = (bytes: number): string => '{"name":"Ada","active":true},'.repeat(bytes / 20).slice(0, bytes)
  const flags = (backend: MapBackend): boolean[] => [...backend.records.values()].map(isPacked)

  it('packs what is larger than it was told, when it gets smaller by it', async () => {
    const backend = new MapBackend()
    const keyspace = new NodeKeyspace<string, string>(backend, '', { valueEncoding: 'utf8', compression: 'zstd' })
    const values = [text(512), text(513), text(5000), text(500_000), '']
    for (const [i, value] of values.entries()) await keyspace.put(`k${i}`, value)
    assert.deepEqual(flags(backend), [false, true, true, true, false])
    for (const [i, value] of values.entries()) {
      assert.equal(await keyspace.get(`k${i}`), value)
      assert.equal((await keyspace.getEntry(`k${i}`))?.value, value)
      assert.equal(await keyspace.has(`k${i}`), true)
    }
    const small = new NodeKeyspace<string, string>(backend, '', { compression: 'zstd', compressAbove: 100 })
    await small.put('k0', text(512))
    assert.equal(flags(backend)[0], true)
  })

  it('packs the values of a batch, and reads many at once, packed or not', async () => {
    const backend = new MapBackend()
    const options = { valueEncoding: 'utf8', compression: 'zstd' } as const
    const values = [text(900), 'small', text(300_000), text(900)]
    const keys = ['a', 'b', 'c', 'd']
    await new NodeKeyspace<string, string>(backend, '', options).batch([
      ...keys.map((key, i) => ({ type: 'put' as const, key, value: values[i]! })),
      { type: 'del', key: 'd' }
    ])
    assert.deepEqual(flags(backend), [true, false, true])
    // As whoever compresses nothing, and has not loaded zstd, reads them; and a second time, when it has.
    const reader = backend.reader()
    const plain = new NodeKeyspace<string, string>(reader, '', { valueEncoding: 'utf8' })
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(await plain.getMany(['d', 'c', 'b', 'a']), [undefined, values[2], 'small', values[0]])
    }
  })

  it('has its own copy of everything before it waits for anything', async () => {
    for (const large of [2000, 300_000]) {
      const backend = new MapBackend()
      const keyspace = new NodeKeyspace<Uint8Array, Uint8Array>(backend, '', {
        keyEncoding: 'view',
        valueEncoding: 'view',
        compression: 'zstd'
      })
      const made = (): { key: Uint8Array; value: Uint8Array }[] => [
        { key: Uint8Array.of(1), value: new Uint8Array(large).fill(7) },
        { key: Uint8Array.of(2), value: Uint8Array.of(7, 7) },
        { key: Uint8Array.of(3), value: new Uint8Array(randomBytes(large)) }
      ]
      const given = made()
      const last = new Uint8Array(given[2]!.value)
      const batch = keyspace.batch(given.map(one => ({ type: 'put' as const, ...one })))
      for (const { key, value } of given) [key, value].forEach(bytes => bytes.fill(9))
      const one = { key: Uint8Array.of(4), value: new Uint8Array(large).fill(7) }
      const put = keyspace.put(one.key, one.value)
      for (const bytes of [one.key, one.value]) bytes.fill(9)
      await Promise.all([batch, put])
      const values = await keyspace.getMany([1, 2, 3, 4].map(byte => Uint8Array.of(byte)))
      const expected = [new Uint8Array(large).fill(7), Uint8Array.of(7, 7), last, new Uint8Array(large).fill(7)]
      assert.deepEqual(values, expected)
    }
  })

  it('measures values as they are given: what is too large stays so, however well it compresses', async () => {
    const keyspace = new NodeKeyspace<Uint8Array, string>(new MapBackend(), '', {
      valueEncoding: 'view',
      compression: 'zstd'
    })
    await keyspace.put('a', new Uint8Array(8 * 1024 * 1024))
    await assert.rejects(keyspace.put('a', new Uint8Array(8 * 1024 * 1024 + 1)), { code: 'KV_VALUE_TOO_LARGE' })
    assert.equal((await keyspace.get('a'))?.length, 8 * 1024 * 1024)
  })

  it('gives up a write whose signal aborts while it is packed', async () => {
    const backend = new MapBackend()
    const keyspace = new NodeKeyspace<string, string>(backend, '', { compression: 'zstd' })
    const stop = new AbortController()
    const { signal } = stop
    const writes = [
      keyspace.put('a', text(400_000), { signal }),
      keyspace.batch([{ type: 'put', key: 'b', value: text(400_000) }], { signal })
    ]
    stop.abort()
    for (const write of writes) await assert.rejects(write, { code: 'KV_ABORTED' })
    assert.equal(backend.records.size, 0)
  })

  it('says of a value that does not unpack that it is damaged', async () => {
    const backend = new MapBackend()
    const keyspace = new NodeKeyspace<string, string>(backend, '', { compression: 'zstd' })
    await keyspace.put('a', text(1000))
    const [record] = backend.records.values()
    record!.fill(0xff, 30)
    await assert.rejects(keyspace.get('a'), { code: 'KV_CORRUPT' })
    await assert.rejects(keyspace.getEntry('a'), { code: 'KV_CORRUPT' })
    await assert.rejects(keyspace.getMany(['a']), { code: 'KV_CORRUPT' })
  })

  it('refuses options that make no sense', () => {
    for (const wrong of [
      { compression: 'gzip' },
      { compressAbove: 5 },
      { compression: 'zstd', compressAbove: -1 },
      { conflicts: 'all' },
      { conflicts: 5 },
      { conflicts: null }
    ]) {
      assert.throws(() => new NodeKeyspace(new MapBackend(), '', wrong as object), { code: 'KV_CONFIG' })
    }
  })
})

describe('a keyspace with a schema', () => {
  const schema = z.object({ name: z.string(), visits: z.coerce.number().default(0) })

  it('stores what the schema makes of a value', async () => {
    const keyspace = new NodeKeyspace(new MapBackend(), 'users', { schema })
    await keyspace.put('a', { name: 'Ada' })
    assert.deepEqual(await keyspace.get('a'), { name: 'Ada', visits: 0 })
    await keyspace.batch([{ type: 'put', key: 'b', value: { name: 'Bob', visits: '5' } }])
    assert.deepEqual(await keyspace.get('b'), { name: 'Bob', visits: 5 })
  })

  it('refuses what the schema refuses, and stores nothing of it', async () => {
    const backend = new MapBackend()
    const keyspace = new NodeKeyspace(backend, 'users', { schema })
    const wrong = { name: 5 } as unknown as { name: string }
    await assert.rejects(keyspace.put('a', wrong), error => {
      assert.ok(isKilovoltError(error, 'KV_INVALID_VALUE'))
      assert.deepEqual((error.details['issues'] as { path: unknown }[])[0]!.path, ['name'])
      return !error.retryable
    })
    const batch = keyspace.batch([
      { type: 'put', key: 'a', value: wrong },
      { type: 'put', key: 'b', value: { name: 'Bob' } }
    ])
    await assert.rejects(batch, error => {
      const [failure] = (error as KilovoltError).details['failures'] as { key: string; error: unknown }[]
      return failure!.key === 'a' && isKilovoltError(failure!.error, 'KV_INVALID_VALUE')
    })
    assert.equal(await keyspace.has('a'), false)
    assert.equal(await keyspace.has('b'), false, 'what may belong together is not stored in part')
  })

  it('does not judge what is stored already: what it reads was valid when it was written', async () => {
    const backend = new MapBackend()
    await new NodeKeyspace<unknown, string>(backend, 'users').put('a', { old: true })
    assert.deepEqual(await new NodeKeyspace<unknown, string>(backend, 'users', { schema }).get('a'), { old: true })
  })

  it('refuses what is no schema', () => {
    const wrong = {} as unknown as typeof schema
    assert.throws(() => new NodeKeyspace(new MapBackend(), '', { schema: wrong }), { code: 'KV_CONFIG' })
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
